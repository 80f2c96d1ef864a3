"""The challenger against the champion where the promotion gate looks: slices, calibration, time, size.

Each p-value asks whether the challenger is worse: twice the chance of a loss at least as large if the two
models' answers to a row could change places. For the share of rows that are right this is McNemar's exact
test (McNemar 1947), for any other metric approximate randomisation over the rows (Noreen 1989; Yeh 2000).
A bootstrap gives the interval beside it, but no p-value: where few answers differ it is too sure.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from doubleroute.kinds import kind
from doubleroute.training.intervals import Sample, difference

if TYPE_CHECKING:
    from doubleroute.modeling.inference import Answerer

#: Losses as large as the one seen that end a randomisation test (Besag & Clifford 1991).
ENOUGH = 20
#: Texts of one batch, batches, and seconds after which no further one is begun, when answering is timed.
TEXTS = 32
ROUNDS = (3, 7)
PATIENCE = 4.0
Answer = dict[str, Any]


class Pair:
    """Two models' answers to the labelled rows of one task: ``ours`` is the challenger's."""

    def __init__(
        self,
        kind_name: str,
        labels: Sequence[str],
        truths: Sequence[Any],
        ours: Sequence[Answer],
        theirs: Sequence[Answer],
    ) -> None:
        self.kind, self.labels = kind_name, labels
        self.truths, self.ours, self.theirs = truths, ours, theirs

    def chance(
        self, rows: np.ndarray, metric: str, higher_is_better: bool, draws: int, seed: int
    ) -> float | None:
        """p that the challenger is worse in ``metric`` on these row indices; None where it is undefined.

        In [0, 1]; 1 where it is not worse at all. A randomisation test ends after ``draws`` at most, which
        bounds p from below by 2 / (draws + 1).
        """
        truths = [self.truths[row] for row in rows]
        answers = [each[row] for each in (self.ours, self.theirs) for row in rows]
        scorer = kind(self.kind).scorer(answers, truths + truths, self.labels)
        if metric in (shares := scorer.shares()):
            ours, theirs = shares[metric].reshape(2, -1)
            return mcnemar(int((theirs > ours).sum()), int((ours > theirs).sum()))
        sign, count = (1 if higher_is_better else -1), len(truths)
        own = np.arange(count)

        def gain(swapped: np.ndarray) -> float:
            """How much better the first answers are, with these rows' answers changing places."""
            first, second = (own + count * side for side in (swapped, ~swapped))
            return sign * (scorer.score(first)[metric] - scorer.score(second)[metric])

        seen = gain(np.zeros(count, bool))
        if np.isnan(seen):
            return None
        return 1.0 if seen >= 0 else _randomised(gain, seen, count, draws, seed)


def _randomised(gain: Any, seen: float, rows: int, draws: int, seed: int) -> float:
    generator, as_large = np.random.default_rng(seed), 0
    for drawn in range(1, draws + 1):
        # An undefined difference counts as a loss: the test never becomes surer by it.
        as_large += not gain(generator.random(rows) < 0.5) > seen + 1e-12
        if as_large == ENOUGH:
            return min(1.0, 2 * ENOUGH / drawn)
    return min(1.0, 2 * (as_large + 1) / (draws + 1))


def mcnemar(lost: int, won: int) -> float:
    """Exact p that the challenger is worse, from the rows that only one of the two got right.

    Twice the upper tail at ``lost`` of a binomial of lost + won trials with chance 1/2, at most 1; 1 when
    it lost no more rows than it won.
    """
    if lost <= won:
        return 1.0
    trials = lost + won
    terms = np.log(trials - np.arange(won)) - np.log(np.arange(1, won + 1))
    logs = np.concatenate([[0.0], np.cumsum(terms)]) - trials * np.log(2)
    return min(1.0, 2 * float(np.exp(logs).sum()))


def slice_differences(
    pair: Pair,
    parts: Mapping[str, Mapping[str, np.ndarray]],
    ours: Mapping[str, Mapping[str, Sample]],
    theirs: Mapping[str, Mapping[str, Sample]],
    metric: str,
    higher_is_better: bool,
    draws: int,
    seed: int,
) -> list[dict[str, Any]]:
    """[{column, value, rows, challenger, champion, difference, low, high, p}] for every slice.

    ``parts``: the row indices by column and value; ``ours``, ``theirs``: samples of them. A positive
    difference speaks for the challenger.
    """
    found = []
    for column, values in parts.items():
        for value, rows in values.items():
            one, other = ours[column][value], theirs[column][value]
            gain = difference(one, other, metric, higher_is_better)
            found.append(
                {
                    "column": column,
                    "value": value,
                    "rows": len(rows),
                    "challenger": one.values[metric],
                    "champion": other.values[metric],
                    "difference": gain.value,
                    "low": gain.low,
                    "high": gain.high,
                    "p": pair.chance(rows, metric, higher_is_better, draws, seed),
                }
            )
    return found


def calibration_difference(
    pair: Pair, ours: Sample, theirs: Sample, draws: int, seed: int
) -> dict[str, Any] | None:
    """The same for the calibration error (ece) on all rows; None for kinds that have none. A positive
    difference is a smaller error."""
    if "ece" not in ours.values:
        return None
    gain = difference(ours, theirs, "ece", higher_is_better=False)
    return {
        "metric": "ece",
        "rows": ours.rows,
        "challenger": ours.values["ece"],
        "champion": theirs.values["ece"],
        "difference": gain.value,
        "low": gain.low,
        "high": gain.high,
        "p": pair.chance(np.arange(ours.rows), "ece", False, draws, seed),
    }


def costs(
    answerers: Mapping[str, "Answerer"], folders: Mapping[str, Path], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What answering costs: {"texts", "threads", "models": {name: {"seconds", "rounds", "bytes"}}}.

    Every model answers the same texts (TEXTS at most) as one batch for the tasks that all have, in turns, on
    one thread, ROUNDS times after a first one that does not count: one that answers a task more does not cost
    more for it. ``seconds``: the median; ``rounds``: each; ``bytes``: all files of the model's folder,
    without the heads of other tasks. Tasks that only look for answers in a context refuse a row without one:
    where all are such, the texts are those with a context; None when there are none, and no task either.
    """
    every = [answerer.tasks for answerer in answerers.values()]
    tasks = [task for task in every[0] if all(task in each for each in every)]
    if all(kind(every[0][task]["kind"]).windowed for task in tasks):
        rows = [row for row in rows if row.get("text_pair") is not None]
    if not rows or not tasks:
        return None
    chosen, threads = list(rows[:TEXTS]), torch.get_num_threads()
    rounds: dict[str, list[float]] = {name: [] for name in answerers}
    try:
        torch.set_num_threads(1)
        begun = time.perf_counter()
        for number in range(ROUNDS[1] + 1):
            if number > ROUNDS[0] and time.perf_counter() - begun > PATIENCE:
                break
            for name, answerer in answerers.items():
                start = time.perf_counter()
                answerer.answer(chosen, tasks)
                if number:
                    rounds[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return {
        "texts": len(chosen),
        "threads": 1,
        "models": {
            name: {
                "seconds": round(median(each), 6),
                "rounds": [round(seconds, 6) for seconds in each],
                "bytes": sum(path.stat().st_size for path in folders[name].rglob("*") if path.is_file())
                - _heads(answerers[name], tasks),
            }
            for name, each in rounds.items()
        },
    }


def _heads(answerer: "Answerer", without: Sequence[str]) -> int:
    """Bytes of the heads of all other tasks."""
    others = (answerer.model.head(task) for task in answerer.tasks if task not in without)
    return sum(each.nbytes for head in others for each in head.state_dict().values())
