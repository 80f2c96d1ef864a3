"""May an exported graph answer in the model's place? Figures of both on labelled rows, and the decision.

The figures are measured once and kept; the decision is made of them and the margin whenever it is asked.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from doubleroute.config import LOWER_IS_BETTER
from doubleroute.kinds import kind
from doubleroute.plain import without_nan

if TYPE_CHECKING:
    import numpy as np

    from doubleroute.modeling.answering import Answering

#: Rows that are also answered one by one.
ALONE = 32


class Labelled(NamedTuple):
    """n labelled rows of a task: what is asked, the canonical labels, and the metric that judges them."""

    rows: Sequence[Mapping[str, Any]]
    truths: Sequence[Any]
    metric: str


def compare(model: "Answering", graph: "Answering", given: Mapping[str, Labelled]) -> dict[str, Any]:
    """Answer the rows of each task with both: plain JSON {task: figures}.

    ``metric``, ``model`` and ``graph`` (its values; None where undefined), ``loss`` (how much worse the graph
    is, negative when better; None where undefined; for mae and rmse as a share of the model's), ``rows``,
    ``same`` (rows with the same answer, see ``same_answer``), ``largest_difference`` of two logits (None:
    not finite), and ``alone``: the largest difference between the graph's logits of a row among others and
    by itself, over the first ALONE rows.
    """
    found = {}
    for task, (rows, truths, metric) in given.items():
        logits = [each.logits(rows, [task])[task] for each in (model, graph)]
        answers = [
            [answer[task] for answer in each.decode(rows, {task: values})]
            for each, values in zip((model, graph), logits, strict=True)
        ]
        about = model.tasks[task]
        scores = [
            kind(about["kind"]).scorer(each, truths, about["labels"]).score()[metric] for each in answers
        ]
        few = rows[:ALONE]
        alone = [graph.logits([row], [task])[task][0] for row in few]
        found[task] = {
            "metric": metric,
            "model": without_nan(scores[0]),
            "graph": without_nan(scores[1]),
            "loss": without_nan(_loss(metric, *scores)),
            "rows": len(rows),
            "same": sum(same_answer(*pair) for pair in zip(*answers, strict=True)),
            "largest_difference": _largest(*logits),
            "alone": _largest(logits[1][: len(few)], alone),
        }
    return found


def objections(figures: Mapping[str, Mapping[str, Any]], margin: float) -> list[str]:
    """Why a graph with these figures must not be used; empty when it may.

    No task may lose more than ``margin`` of its metric; a metric that is undefined says nothing, so then
    every answer must be the same.
    """
    found = []
    for task, each in figures.items():
        if each["largest_difference"] is None:
            found.append(f"{task}: its logits are not all finite")
        elif each["loss"] is None:
            if each["same"] < each["rows"]:
                found.append(
                    f"{task}: {each['metric']} is undefined on these {each['rows']:,} rows, and only "
                    f"{each['same']:,} answers are the same"
                )
        elif each["loss"] > margin + 1e-12:
            of = " of its value" if each["metric"] in LOWER_IS_BETTER else ""
            found.append(
                f"{task}: {each['metric']} {each['model']:.4f} becomes {each['graph']:.4f} on "
                f"{each['rows']:,} rows, {each['loss']:.4f}{of} worse; serving.margin allows {margin:g}"
            )
    return found


def same_answer(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two answers of a kind decide alike: the same label, label set, tags or span; numbers within a
    thousandth of 1 or of their size."""
    if "value" in one:
        return math.isclose(one["value"], other["value"], rel_tol=1e-3, abs_tol=1e-3)
    if "start" in one:
        return bool((one["start"], one["end"]) == (other["start"], other["end"]))
    key = next(key for key in ("label", "labels", "tags") if key in one)
    return bool(one[key] == other[key])


def _loss(metric: str, model: float, graph: float) -> float:
    if metric in LOWER_IS_BETTER:
        return (graph - model) / model if model else (0.0 if graph == model else math.inf)
    return model - graph


def _largest(one: Sequence["np.ndarray"], other: Sequence["np.ndarray"]) -> float | None:
    pairs = zip(one, other, strict=True)
    # A NaN must not be lost: max() passes over it.
    found = [float(abs(left - right).max(initial=0)) for left, right in pairs]
    return max(found, default=0.0) if all(map(math.isfinite, found)) else None
