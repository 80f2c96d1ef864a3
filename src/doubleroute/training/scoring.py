"""A model's answers on one split, compared with the labels."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from doubleroute.data.batches import Encoded
from doubleroute.data.collating import padded_states
from doubleroute.data.tables import read_validated
from doubleroute.data.tokens import Packed
from doubleroute.data.windows import by_row, counted
from doubleroute.kinds import NOTHING, Scorer, kind
from doubleroute.kinds.span import with_texts
from doubleroute.modeling.trunk import Trunk

if TYPE_CHECKING:
    from doubleroute.modeling.answering import Before
    from doubleroute.modeling.model import DoublerouteModel


class Truths:
    """The canonical labels of the labelled rows of one task and split. ``words``: how many words each encoded
    row has, of windows the tokens that count; None where a row is answered as a whole."""

    def __init__(self, validated: Path, task: str, split: str, encoded: Encoded, labels: list[str]) -> None:
        self.frame = (
            read_validated(validated, task, split).iloc[np.asarray(encoded.index)].reset_index(drop=True)
        )
        self.values: list[Any] = self.frame["label"].tolist()
        self.labels = labels
        self.words = [len(tokens) for tokens in self.frame["tokens"]] if "tokens" in self.frame else None
        self.windows = encoded.packed if encoded.packed.owners is not None else None
        if self.windows is not None:
            self.words = counted(self.windows)


def answers_of(
    model: "DoublerouteModel",
    rows: Mapping[str, Encoded],
    truths: Mapping[str, Truths],
    pad_id: int,
    before: "Callable[[str], Before | None]" = lambda _: None,
) -> dict[str, list[dict[str, Any]]]:
    """The model's answer for each encoded row of these tasks; those that have the same rows share the passes.
    ``before``: of a task, what is called before each pass over its rows."""
    from doubleroute.modeling.inference import logits_of

    found: dict[str, list[dict[str, Any]]] = {}
    for tasks, leader in shared_passes(rows, truths):
        given = (rows[leader].packed, tasks, pad_id, truths[leader].words, before(leader))
        logits = logits_of(model, *given)
        found |= {task: decoded(model, task, logits.pop(task), truths[task]) for task in tasks}
    return {task: found[task] for task in rows}


def shared_passes(
    rows: Mapping[str, Encoded], truths: Mapping[str, Truths], layers: Mapping[str, int] = NOTHING
) -> list[tuple[list[str], str]]:
    """The tasks, together those whose rows are the same tokens in the same order, and the same words where
    they answer for words: those behind the length limit count too. With each group the one of its tasks whose
    rows and words are given to the pass. ``layers``: which layer a task reads, where that must be one too."""

    def together(one: str, other: str) -> bool:
        words = truths[one].words, truths[other].words
        same = _same(rows[one].packed, rows[other].packed) and (None in words or words[0] == words[1])
        return same and layers.get(one) == layers.get(other)

    groups = grouped(rows, together)
    # The tokens of a task that answers for words say where those begin.
    return [
        (group, next((task for task in group if rows[task].packed.words is not None), group[0]))
        for group in groups
    ]


def grouped(tasks: Iterable[str], together: Callable[[str, str], bool]) -> list[list[str]]:
    """The tasks in groups of which any two belong ``together``."""
    groups: list[list[str]] = []
    for task in tasks:
        group = next((group for group in groups if all(together(task, other) for other in group)), None)
        if group is None:
            groups.append([task])
        else:
            group.append(task)
    return groups


def _same(one: Packed, other: Packed) -> bool:
    """Whether one pass is enough for the rows of both. Windows belong to the rows of their own task."""
    if one.owners is not None or other.owners is not None or (one.types is None) != (other.types is None):
        return False
    pairs = [(one.starts, other.starts), (one.ids, other.ids)]
    pairs += [
        (a, b)
        for a, b in ((one.types, other.types), (one.words, other.words))
        if not (a is None or b is None)
    ]
    return all(np.array_equal(a, b) for a, b in pairs)


def decoded(
    model: "DoublerouteModel",
    task: str,
    logits: list[np.ndarray],
    truths: Truths,
    instead: Mapping[str, np.ndarray] = NOTHING,
) -> list[dict[str, Any]]:
    """The answer of each row from the logits of each encoded row. ``instead``: what stands in the place of
    what the head keeps, by its name."""
    found, kept = kind(model.config.tasks[task]["kind"]), model.kept(task) | dict(instead)
    if truths.windows is None:
        return found.decode(logits, truths.labels, kept)
    rows = by_row(logits, truths.windows, len(truths.values))
    contexts = truths.frame["text_pair"].tolist()
    return with_texts(found.decode(rows, truths.labels, kept), contexts)


def keep_answers(
    model: "DoublerouteModel",
    answers: Mapping[str, Encoded],
    pad_id: int,
    before: "Mapping[str, Before | None]" = NOTHING,
) -> None:
    """Set the vectors of the stored answers of each retrieval task: those that the model gives their texts
    as it is now. ``before``: by task, called before each pass."""
    import torch

    from doubleroute.modeling.inference import logits_of

    for task, encoded in answers.items():
        found = logits_of(model, encoded.packed, [task], pad_id, before=before.get(task))[task]
        vectors = model.head(task).kept()["vectors"]
        vectors.copy_(torch.from_numpy(np.stack(found)))


def scorer_of(kind_name: str, answers: list[dict[str, Any]], truths: Truths) -> Scorer:
    """Compare answers with labels."""
    return kind(kind_name).scorer(answers, truths.values, truths.labels)


def feeder(
    trunk: Trunk | None, states: Mapping[int, Mapping[str, np.ndarray]] | None, task: str
) -> "Before | None":
    """Before each pass over rows of a task, hand the trunk its stored outputs."""
    if trunk is None or states is None:
        return None

    def before(parts: list[tuple[Packed, slice]], width: int) -> None:
        trunk.feed(
            {
                depth: padded_states([stored[task][part] for _, part in parts], width)
                for depth, stored in states.items()
            }
        )

    return before
