"""What arrived: the rows that the champion has not seen, told by what they say and not by their place.

Every version keeps ``rows.parquet``, the keys of all rows that it was trained, chosen and tested on, and
``reference.parquet``, a sample of them with their texts, so that what arrives later can be compared also
where the old files are gone.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from doubleroute.config import SPLITS, Project
from doubleroute.data.answers import copy_answers
from doubleroute.data.splits import text_key
from doubleroute.data.tables import read_frame, read_validated, rows_digest
from doubleroute.data.tokens import join_tokens
from doubleroute.digests import code_digest, digest_of
from doubleroute.errors import DataError
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    import pandas as pd

ROWS = "rows.parquet"
REFERENCE = "reference.parquet"
#: Rows of each task in the sample; held-out rows first, because the model's answers to them are honest.
SAMPLE = 5000
#: What tells the rows of a version apart.
_KEYS = ["task", "text_key", "row_key"]


class HeldOut:
    """The keys of the test rows of versions, by task: uint64, sorted.

    ``held_out[task]``: texts of the test rows, of these versions and of those before them.
    """

    def __init__(self, table: "pd.DataFrame") -> None:
        self.held_out = _keys(table[table["split"].isin(["test", "former test"])], "text_key")

    @classmethod
    def of(cls, *paths: Path) -> "HeldOut":
        """Read from the ``rows.parquet`` of versions, of which it is the smaller part."""
        return cls(_tested(paths))

    def holds_out(self, task: str, keys: np.ndarray) -> np.ndarray:
        """Which of these text keys [n] were test rows of the versions or of those before them: bool [n]."""
        return np.isin(keys, self.held_out.get(task, np.empty(0, np.uint64)))


class Seen(HeldOut):
    """The keys of all rows behind a version, by task: uint64, sorted.

    ``rows[task]``: text and label of all rows, and ``copies[task]`` how many rows each of them is;
    ``texts[task]``: their texts; ``judged[task]``: the texts of those that had a label; ``learned[task]``:
    text and label of the training rows; ``labelled[task]``: how many of those had a label, which is what was
    learned from; ``taught[task]``: their texts, and those that the weights that it began with had learned
    before; ``taught_rows[task]``: text and label of the same.
    """

    def __init__(self, table: "pd.DataFrame") -> None:
        def keys(column: str, chosen: Any) -> dict[str, np.ndarray]:
            return _keys(table[chosen], column)

        super().__init__(table)
        alive = ~table["split"].isin(["former test", "former train"])
        self.rows = keys("row_key", alive)
        by_task = table[alive].astype({"row_key": np.uint64}).groupby("task")["row_key"]
        self.copies = {str(task): each.value_counts() for task, each in by_task}
        self.texts = keys("text_key", alive)
        self.judged = keys("text_key", alive & _labelled(table))
        self.learned = keys("row_key", table["split"] == "train")
        labelled = _labelled(table)
        counted = table[labelled & (table["split"] == "train")]["task"].value_counts()
        self.labelled = {str(task): int(count) for task, count in counted.items()}
        taught = labelled & table["split"].isin(["train", "former train"])
        self.taught, self.taught_rows = keys("text_key", taught), keys("row_key", taught)

    @classmethod
    def read(cls, *paths: Path) -> "Seen":
        """Read the ``rows.parquet`` of a version, or those of several as if they were one."""
        import pandas as pd

        return cls(pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True))

    def knows(self, task: str, keys: np.ndarray) -> np.ndarray:
        """Which of these row keys [n] are behind the version: bool [n]."""
        return np.isin(keys, self.rows.get(task, np.empty(0, np.uint64)))

    def are_more(self, task: str, keys: np.ndarray) -> np.ndarray:
        """Which of these row keys [n] are more than the rows behind the version: those that are none of them,
        and of a key that comes more often than there the last ones: bool [n]."""
        import pandas as pd

        copies = self.copies.get(task)
        had = np.zeros(len(keys), int) if copies is None else copies.reindex(keys, fill_value=0).to_numpy()
        more: np.ndarray = pd.Series(keys).groupby(keys).cumcount().to_numpy() >= had
        return more

    def knows_text(self, task: str, keys: np.ndarray) -> np.ndarray:
        """Which of these text keys [n] are behind the version, with whatever label: bool [n]."""
        return np.isin(keys, self.texts.get(task, np.empty(0, np.uint64)))

    def knows_label(self, task: str, keys: np.ndarray) -> np.ndarray:
        """Which of these text keys [n] are behind the version with a label, whatever it is: bool [n]."""
        return np.isin(keys, self.judged.get(task, np.empty(0, np.uint64)))

    def learned_from(self, task: str, keys: np.ndarray) -> np.ndarray:
        """Which of these row keys [n] are training rows of the version: bool [n]."""
        return np.isin(keys, self.learned.get(task, np.empty(0, np.uint64)))

    def was_taught(self, task: str, keys: np.ndarray) -> np.ndarray:
        """Which of these text keys [n] the version's weights learned from, with whatever label: bool [n]."""
        return np.isin(keys, self.taught.get(task, np.empty(0, np.uint64)))

    def was_taught_row(self, task: str, keys: np.ndarray) -> np.ndarray:
        """Which of these row keys [n] the version's weights learned from, with this label: bool [n]."""
        return np.isin(keys, self.taught_rows.get(task, np.empty(0, np.uint64)))


def _keys(table: "pd.DataFrame", column: str) -> dict[str, np.ndarray]:
    """The different keys of a column, by task."""
    return {str(task): np.unique(np.asarray(each, np.uint64)) for task, each in table.groupby("task")[column]}


def row_texts(frame: "pd.DataFrame") -> list[str]:
    """The text of each row; of tagging rows their tokens joined."""
    return [join_tokens(each) for each in frame["tokens"]] if "tokens" in frame else frame["text"].tolist()


def text_keys(frame: "pd.DataFrame") -> np.ndarray:
    """One key a row for what it says (XXH3, 64 bits, of ``splits.text_key``): uint64 [n]."""
    import xxhash

    pairs = frame["text_pair"].tolist() if "text_pair" in frame else [None] * len(frame)
    keys = [text_key(text, pair) for text, pair in zip(row_texts(frame), pairs, strict=True)]
    return np.array(
        [xxhash.xxh3_64_intdigest(key.encode("utf-8", "surrogatepass")) for key in keys], np.uint64
    )


def row_keys(frame: "pd.DataFrame", texts: np.ndarray) -> np.ndarray:
    """One key a row for what it says and its label: uint64 [n]; ``texts`` are its ``text_keys``."""
    import xxhash

    encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
    labels = [encode(label) for label in frame["label"]]
    return np.array(
        [
            xxhash.xxh3_64_intdigest(f"{int(text):x} {label}".encode("utf-8", "surrogatepass"))
            for text, label in zip(texts, labels, strict=True)
        ],
        np.uint64,
    )


def remember(
    project: Project,
    workspace: Workspace,
    validated: Stage,
    before: Sequence[Path] = (),
    start: Path | None = None,
) -> Stage:
    """Give the stage with ``rows.parquet`` and ``reference.parquet`` of a model trained on these rows.

    ``before``: the ``rows.parquet`` of champions; their held-out rows stay held out for ever. ``start``: that
    of the champion whose weights the model began with, which know for ever what they learned from; in the
    sample such rows count as training rows.
    """
    import pandas as pd

    former = {}
    if before:
        former["test"] = _former(_tested(before), "test")
    if start is not None:
        begun = pd.read_parquet(start)
        former["train"] = _former(begun[_labelled(begun)].assign(labelled=True), "train")
    inputs = {
        "rows": rows_digest(validated),
        "former": {
            split: digest_of(each[_KEYS].astype(str).to_numpy().tolist()) for split, each in former.items()
        },
        "seed": project.seed,
        "code": code_digest("data/arrivals", "data/splits", "data/answers"),
    }

    def make(folder: Path) -> None:
        tables, samples = [], []
        for task in project.tasks:
            frames = {split: read_validated(validated.path, task, split) for split in SPLITS}
            for split, frame in frames.items():
                texts = text_keys(frame)
                rows = row_keys(frame, texts)
                columns = {"task": task, "split": split, "text_key": texts, "row_key": rows}
                tables.append(pd.DataFrame({**columns, "labelled": frame["label"].notna().to_numpy()}))
            sample = _sample(task, frames, project.seed)
            if "train" in former:
                taught = former["train"][former["train"]["task"] == task]["text_key"]
                sample.loc[np.isin(text_keys(sample), taught.to_numpy(np.uint64)), "split"] = "train"
            samples.append(sample)
        known = pd.concat(tables, ignore_index=True)
        now = {"test": known, "train": known[known["labelled"]]}
        parts = [_former(each, split, now[split]) for split, each in former.items()]
        known = pd.concat([known, *parts], ignore_index=True)
        known.to_parquet(folder / ROWS, compression="zstd")
        pd.concat(samples, ignore_index=True).to_parquet(folder / REFERENCE, compression="zstd")

    return workspace.build("remember", inputs, make)


def _tested(paths: Sequence[Path]) -> "pd.DataFrame":
    """The rows of several ``rows.parquet`` that were test rows when they were written, or before."""
    import pandas as pd

    splits = [("split", "in", ["test", "former test"])]
    return pd.concat([pd.read_parquet(path, filters=splits) for path in paths], ignore_index=True)


def _labelled(table: "pd.DataFrame") -> "pd.Series[bool]":
    """Which rows had a label: bool [n]; an older table does not say, and all count as labelled."""
    import pandas as pd

    known = table["labelled"] if "labelled" in table else pd.Series(True, table.index)
    return known.fillna(True).astype(bool)


def _former(table: "pd.DataFrame", split: str, known: "pd.DataFrame | None" = None) -> "pd.DataFrame":
    """The rows that were of this split in an earlier version, a text under each of its labels; without those
    that are so still."""
    held = table[table["split"].isin([split, f"former {split}"])].assign(split=f"former {split}")
    if known is not None:
        still = set(known[known["split"] == split][_KEYS].itertuples(index=False, name=None))
        rows = held[_KEYS].itertuples(index=False, name=None)
        held = held[np.array([row not in still for row in rows], bool)]
    return held.sort_values(_KEYS).drop_duplicates(_KEYS)


def reference_rows(
    frames: Mapping[str, "pd.DataFrame"], seed: int, most: int = SAMPLE
) -> Iterator[tuple[str, "pd.DataFrame"]]:
    """At most ``most`` rows of a task's splits, by split, test first, then validation, then train: the sample
    that a version keeps. Of a split that is too large as many at random as are left, in their order."""
    generator = np.random.default_rng(seed)
    for split in ("test", "validation", "train"):
        frame = frames[split]
        chosen = np.sort(generator.permutation(len(frame))[:most])
        most -= len(chosen)
        yield split, frame.iloc[chosen]


def _sample(task: str, frames: Mapping[str, "pd.DataFrame"], seed: int) -> "pd.DataFrame":
    """At most SAMPLE rows of a task in the columns of ``read_reference``."""
    import pandas as pd

    parts = []
    for split, part in reference_rows(frames, seed):
        columns: dict[str, Any] = {
            "task": task,
            "split": split,
            "file": part["file"].tolist(),
            "row": part["row"].tolist(),
            "text": row_texts(part),
        }
        if "text_pair" in part:
            columns["text_pair"] = part["text_pair"].tolist()
        if "tokens" in part:
            columns["tokens"] = part["tokens"].tolist()
        columns["label"] = [json.dumps(_plain(label), ensure_ascii=False) for label in part["label"]]
        for name in part.columns:
            if name == "time" or name.startswith("slice_"):
                columns[name] = part[name].tolist()
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _plain(label: Any) -> Any:
    return None if isinstance(label, float) and np.isnan(label) else label


def read_reference(path: Path) -> dict[str, "pd.DataFrame"]:
    """The sample of a version by task: columns split, file, row, text, label (its plain form, None
    without one) and, where the task has them, text_pair, tokens, time, slice_<column>."""
    table = read_frame(path)
    found = {}
    for task, part in table.groupby("task", sort=False):
        frame = part.drop(columns="task").reset_index(drop=True)
        frame["label"] = [json.loads(label) for label in frame["label"]]
        empty = [name for name in frame if name != "label" and frame[name].isna().all()]
        found[str(task)] = frame.drop(columns=empty)
    return found


def hold_out(
    workspace: Workspace, validated: Stage, tasks: list[str], seen: HeldOut | None
) -> tuple[Stage, dict[str, int]]:
    """The validated rows without those that were once held out and now stand in train or validation.

    Gives the stage, the one that came in when there are none, and how many rows of each task were left out.
    Raises DataError when that leaves a split without a label.
    """
    if seen is None:
        return validated, {}
    out: dict[str, int] = {}
    for task in tasks:
        for split in ("train", "validation"):
            frame = read_validated(validated.path, task, split)
            tested = seen.holds_out(task, text_keys(frame))
            if tested.any() and frame[~tested]["label"].isna().all():
                raise DataError(
                    f"tasks.{task}: all labelled rows of the {split} split were test rows of an earlier "
                    f"champion, and those stay out of training for ever; give {split} other rows"
                )
            out[task] = out.get(task, 0) + int(tested.sum())
    out = {task: count for task, count in out.items() if count}
    if not out:
        return validated, {}
    held = {task: digest_of(seen.held_out[task].astype(str).tolist()) for task in out}
    inputs = {
        "rows": rows_digest(validated),
        "held": held,
        "code": code_digest("data/arrivals", "data/splits"),
    }

    def make(folder: Path) -> None:
        import shutil

        import pyarrow as pa
        import pyarrow.parquet as pq

        shutil.copy(validated.path / "labels.json", folder)
        for task in tasks:
            (folder / task).mkdir()
            copy_answers(validated.path, task, folder)
            for split in SPLITS:
                table = pq.read_table(validated.path / task / f"{split}.parquet")
                if split != "test" and task in out:
                    keys = text_keys(read_validated(validated.path, task, split))
                    table = table.filter(pa.array(~seen.holds_out(task, keys)))
                pq.write_table(table, folder / task / f"{split}.parquet", compression="zstd")

    return workspace.build("held-out", inputs, make), out
