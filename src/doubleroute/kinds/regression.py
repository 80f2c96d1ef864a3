"""Regression: one number a row."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from doubleroute.data.raw import LARGEST
from doubleroute.errors import InputError
from doubleroute.kinds import NOTHING, Kind, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from doubleroute.kinds.heads import RegressionHead

#: Rows that the report draws, and bars of its residual histogram.
POINTS = 500
BARS = 20

_Labels = TypeVar("_Labels", np.ndarray, "Tensor")


class RegressionKind(Kind):
    """One number a row. Logits and loss are in spreads of the training labels from their mean, answers and
    metrics in the unit of the labels; a model without mean and spread was trained in that unit: 0 and 1."""

    name: ClassVar[str] = "regression"

    def encode(self, values: Sequence[float], labels: Sequence[str]) -> np.ndarray:  # noqa: ARG002
        """Numbers of n labelled rows -> float32 [n]. Raises InputError for what is not a number that
        float32 can hold."""
        for value in values:
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not number or not abs(float(value)) <= LARGEST:
                raise InputError(f"label {value!r} is not a finite number of at most {LARGEST:.2g}")
        return np.array(values, np.float32)

    def head(
        self,
        hidden: int,
        labels: Sequence[str],  # noqa: ARG002
        options: Mapping[str, Any],
    ) -> "RegressionHead":
        """One number; ``options`` has what ``unit_of`` gives."""
        from doubleroute.kinds.heads import RegressionHead

        mean, spread = options.get("mean", 0.0), options.get("spread", 1.0)
        return RegressionHead(hidden, options["pooling"], options["dropout"], mean, spread)

    def loss(
        self,
        logits: "Tensor",
        targets: "Tensor",
        label_smoothing: float,  # noqa: ARG002
        kept: Mapping[str, "Tensor"] = NOTHING,
        class_weights: "Tensor | None" = None,  # noqa: ARG002
    ) -> "Tensor":
        """Mean squared error in spreads: logits [rows, 1], targets float32 [rows] in their unit, NaN does
        not count. Label smoothing has no meaning for numbers and does nothing."""
        from doubleroute.kinds.losses import squared_error

        return squared_error(logits.squeeze(-1), in_spreads(targets, kept))

    def decode(
        self,
        logits: Sequence[np.ndarray],
        labels: Sequence[str],  # noqa: ARG002
        kept: Mapping[str, np.ndarray] = NOTHING,
    ) -> list[dict[str, Any]]:
        """Logits of n rows, each [1] -> numbers, in the unit of the labels."""
        mean, spread = float(kept.get("mean", 0.0)), float(kept.get("spread", 1.0))
        return [{"value": mean + spread * float(row[0])} for row in logits]

    def scorer(
        self,
        answers: Sequence[dict[str, Any]],
        truths: Sequence[float],
        labels: Sequence[str],  # noqa: ARG002
    ) -> "RegressionScorer":
        """Compare n answers with the numbers of n labelled rows."""
        return RegressionScorer(answers, truths)


def unit_of(labels: np.ndarray) -> dict[str, float]:
    """What a head that learns from these labels [n], n >= 1, counts in: {"mean", "spread"}, the standard
    deviation; a spread of 1 where all are the same."""
    values = np.asarray(labels, np.float64)
    return {"mean": float(values.mean()), "spread": float(values.std()) if np.ptp(values) else 1.0}


def in_spreads(labels: _Labels, kept: Mapping[str, Any]) -> _Labels:
    """Labels [n] as the logits that answer them: in spreads from the mean, of what the head keeps."""
    return (labels - kept.get("mean", 0.0)) / kept.get("spread", 1.0)


class RegressionScorer(Scorer):
    """spearman, pearson, mae, rmse. Without rows, or with an answer that is not finite, all are NaN;
    the correlations also where truths or answers are all the same."""

    def __init__(self, answers: Sequence[dict[str, Any]], truths: Sequence[float]) -> None:
        """Raises InputError for a truth that is not a finite number."""
        self.truths = np.array(truths, np.float64)
        if not np.isfinite(self.truths).all():
            raise InputError("a row to be scored has no finite number as its label; score labelled rows only")
        self.answers = np.array([answer["value"] for answer in answers], np.float64)
        # The place of each value among the sorted ones: ranks of a resample then need no sorting.
        self.places = [np.unique(values, return_inverse=True)[1] for values in (self.truths, self.answers)]

    def score(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """All metrics over these rows; mae and rmse are in the unit of the labels."""
        truths, answers = (
            (self.truths, self.answers) if rows is None else (self.truths[rows], self.answers[rows])
        )
        if not truths.size or not np.isfinite(answers).all():
            return dict.fromkeys(("spearman", "pearson", "mae", "rmse"), math.nan)
        residuals = answers - truths
        ranks = [_ranks(places if rows is None else places[rows]) for places in self.places]
        return {
            "spearman": _correlation(*ranks),
            "pearson": _correlation(truths, answers),
            "mae": float(np.abs(residuals).mean()),
            "rmse": math.sqrt(residuals @ residuals / residuals.size),
        }

    def details(self) -> dict[str, Any]:
        """residuals (answer - truth) as a histogram, and at most POINTS evenly spaced rows as points
        [truth, answer]; answers that are not finite are left out."""
        finite = np.flatnonzero(np.isfinite(self.answers))
        residuals = self.answers[finite] - self.truths[finite]
        counts, edges = np.histogram(residuals, bins=BARS) if finite.size else (np.zeros(0, int), np.zeros(0))
        if finite.size > POINTS:
            shown = finite[np.linspace(0, finite.size - 1, POINTS).astype(np.int64)]
        else:
            shown = finite
        return {
            "residuals": {"edges": edges.tolist(), "counts": counts.tolist()},
            "points": np.stack([self.truths[shown], self.answers[shown]], -1).tolist(),
        }


def _ranks(places: np.ndarray) -> np.ndarray:
    """Ranks [n] of n values, given as places in the sorted distinct values; ties get their mean rank."""
    counts = np.bincount(places)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(ranks[places])


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two arrays [n], in [-1, 1]; NaN when one of them is constant."""
    parts = []
    for values in (first, second):
        if (values == values[0]).all():
            return math.nan
        centred = values - values.mean()
        scaled = centred / np.abs(centred).max()
        parts.append(scaled / math.sqrt(scaled @ scaled))
    return float(np.clip(parts[0] @ parts[1], -1, 1))
