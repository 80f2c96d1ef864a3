"""What moved, in words that a person can check: found on one half of the rows, verified on the other.

Copies of a text lie in the same half, on both sides, so that nothing is verified on what it was found in.
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from doubleroute.drift import domain
from doubleroute.drift.sample import Sample
from doubleroute.drift.words import count_words, moved_words

#: What a row without a value, and the values beyond the most frequent ones, are called.
MISSING = "(missing)"
OTHER = "(other)"
_VALUES = 20
_ROWS = 20
_POINTS = 400
_TEXT = 600
_GROUPS = 6
_EXAMPLE = 200
_BINS = 24
_TOP = 0.05
_QUANTILES = (5, 25, 50, 75, 95)
#: With fewer distinct texts in a half of a side nothing can be verified.
_LEAST = 20
_ALPHA = 0.05


def attribute(reference: Sample, current: Sample, seed: int) -> dict[str, Any]:
    """Name what moved from reference [n] to current [m]: plain JSON, the same for the same samples.

    ``held_out``: P(a classifier of the embeddings gives a current row more than a reference row) on the
    half that it was not fitted on, with a 95% interval and a sentence; 0.5 is chance. ``tail``: the share
    of each side among the 5% with the highest scores, and the 97.5% interval of the difference. Null with
    fewer than 20 distinct texts in a half. Rows and clusters are empty unless one of the two is
    ``better_than_chance``.
    ``words``: see ``words.moved_words``. ``lengths``: sub-words, quantiles and histogram of both sides,
    and P(a current text is longer) on the held-out half. ``segments`` {column: values} and ``files``:
    shares of all rows, with the simultaneous 95% interval of their difference on the held-out half.
    ``clusters``: at most 6 groups of embeddings, shares on the held-out half, texts nearest to the centre.
    ``responsible``: the 20 current rows that look least like the reference, each scored by the classifier
    of the other half, in standard deviations above the mean reference row; copies of a text are one.
    ``projection``: at most 400 rows a side on the first two principal components.
    ``holds`` says whether both halves agree in direction and the held-out interval excludes no change.
    """
    side = np.repeat([False, True], [len(reference), len(current)])
    texts = [*reference.texts, *current.texts]
    groups, held = _halves(texts, seed)
    enough = all(
        len(np.unique(groups[half & whose])) >= _LEAST for half in (held, ~held) for whose in (side, ~side)
    )
    document: dict[str, Any] = {
        "seed": seed,
        "rows": {"reference": len(reference), "current": len(current)},
        "held_out": _unchecked(held, side),
        "words": {"candidates": 0, "more": [], "less": []},
        "lengths": _lengths(reference, current, groups, held, enough, seed),
        "segments": {
            column: _shares(reference.segments[column], current.segments[column], held, enough)
            for column in sorted(reference.segments.keys() & current.segments.keys())
        },
        "files": _shares(_files(reference), _files(current), held, enough),
        "clusters": [],
        "responsible": [],
        "projection": {"explained": [], "reference": [], "current": []},
    }
    if len(reference) and len(current):
        embeddings = np.concatenate([reference.embeddings, current.embeddings])
        points, shares = domain.components(embeddings, side, seed)
        document["projection"] = domain.projection(points, shares, side, _POINTS, seed)
        if enough:
            document["words"] = moved_words(count_words(texts), side, held)
            document |= _classified(embeddings, side, groups, held, current, seed)
            if document["held_out"]["better_than_chance"]:
                document["clusters"] = _clusters(points, side, held, texts, seed)
    return document


def _halves(texts: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The number [n] of each row's text, and a mask [n] of the rows that are held out."""
    index: dict[str, int] = {}
    groups = np.fromiter((index.setdefault(text.strip(), len(index)) for text in texts), np.int64, len(texts))
    held = np.random.default_rng(seed).permutation(len(index)) % 2 == 1
    return groups, held[groups] if len(groups) else np.zeros(0, bool)


def _unchecked(held: np.ndarray, side: np.ndarray) -> dict[str, Any]:
    said = (
        f"Cannot tell what moved: {int((held & side).sum()):,} current and {int((held & ~side).sum()):,} "
        f"reference rows to check on, and at least {_LEAST} distinct texts a side are needed in each half."
    )
    return {"auc": None, "low": None, "high": None, "tail": None, "better_than_chance": False, "said": said}


def _classified(
    embeddings: np.ndarray,
    side: np.ndarray,
    groups: np.ndarray,
    held: np.ndarray,
    current: Sample,
    seed: int,
) -> dict[str, Any]:
    """``held_out`` and ``responsible``."""
    features = domain.widened(embeddings, seed)
    scores = np.empty(len(side))
    for half in (held, ~held):  # each half is scored by what the other one taught
        found = domain.taught(features[~half], embeddings.shape[1], side[~half], seed)
        scores[half] = features[half] @ found
        like = scores[half & ~side]
        scores[half] = (scores[half] - like.mean()) / (like.std() or 1.0)
    masks = held & ~side, held & side
    area = domain.ordering(scores[masks[0]], scores[masks[1]], (groups[masks[0]], groups[masks[1]]), seed)
    tail = _tail(*(scores[mask] for mask in masks), *(groups[mask] for mask in masks))
    better = (area.low > 0.5 and area.value > area.chance) or tail["low"] > 0
    said = (
        f"On {int(masks[1].sum()):,} current and {int(masks[0].sum()):,} reference rows that it has not "
        f"seen, a classifier gives the current one of a pair the higher score in {area.value:.1%} of pairs "
        f"[{area.low:.1%}, {area.high:.1%}]; 50% is chance. Among the {_TOP:.0%} with the highest scores are "
        f"{tail['current']:.1%} of the current and {tail['reference']:.1%} of the reference rows."
    )
    if not better:
        said += " That is no better than chance: nothing in the embeddings says which rows moved."
    bounds = {key: round(getattr(area, key), 4) for key in ("low", "high")}
    check = {"auc": round(area.value, 4), **bounds, "tail": tail, "better_than_chance": better, "said": said}
    return {"held_out": check, "responsible": _responsible(scores, side, groups, current) if better else []}


def _tail(
    reference: np.ndarray, current: np.ndarray, first: np.ndarray, second: np.ndarray
) -> dict[str, float]:
    """The share of each side among the highest scores of both, and the interval of the difference: a few
    rows far out hardly change the area under the curve. Copies of a text (``first``, ``second``: its
    number) count once."""
    sides = [
        scores[np.unique(numbers, return_index=True)[1]]
        for scores, numbers in ((reference, first), (current, second))
    ]
    top = np.quantile(np.concatenate(sides), 1 - _TOP)
    above = [side > top for side in sides]
    _, low, high = _difference(above[0], above[1], 2)  # one of two ways to be better than chance
    shares = [float(side.mean()) for side in above]
    found = {"reference": shares[0], "current": shares[1], "low": low, "high": high}
    return {key: round(value, 4) for key, value in found.items()}


def _responsible(
    scores: np.ndarray, side: np.ndarray, groups: np.ndarray, current: Sample
) -> list[dict[str, Any]]:
    mine, copies = scores[side], Counter(groups[side].tolist())
    beside = np.sort(scores[~side])
    found: dict[int, dict[str, Any]] = {}
    for row in np.argsort(-mine, kind="stable"):
        group = int(groups[side][row])
        if group not in found:
            found[group] = {
                "place": current.places[row],
                "text": _cut(current.texts[row], _TEXT),
                "score": round(float(mine[row]), 4),
                "reference_above": int(len(beside) - np.searchsorted(beside, mine[row])),
                "copies": copies[group],
            }
        if len(found) == _ROWS:
            break
    return list(found.values())


def _lengths(
    reference: Sample, current: Sample, groups: np.ndarray, held: np.ndarray, enough: bool, seed: int
) -> dict[str, Any]:
    sides = {"reference": reference.tokens, "current": current.tokens}
    both = np.concatenate(list(sides.values()))
    # Whole numbers of sub-words a bin; the last bin takes what is longer than all but one in 200.
    top = int(np.percentile(both, 99.5)) + 1 if len(both) else 1
    step = max(1, math.ceil(top / _BINS))
    edges = np.arange(0, top + step, step)
    document: dict[str, Any] = {"edges": edges.tolist()}
    for name, tokens in sides.items():
        values = np.percentile(tokens, _QUANTILES) if len(tokens) else [None] * len(_QUANTILES)
        counts = np.histogram(np.minimum(tokens, edges[-1] - 1), edges)[0]
        document[name] = {
            "mean": round(float(np.mean(tokens)), 2) if len(tokens) else None,
            "quantiles": {
                str(q): None if v is None else round(float(v), 1)
                for q, v in zip(_QUANTILES, values, strict=True)
            },
            "counts": counts.tolist(),
        }
    document |= {"longer": None, "low": None, "high": None, "holds": False}
    if enough:
        split = len(reference)
        found = []
        for half in (~held, held):
            first, second = half[:split], half[split:]
            numbers = groups[:split][first], groups[split:][second]
            found.append(domain.ordering(reference.tokens[first], current.tokens[second], numbers, seed))
        fitted, area = found
        holds = (area.low > 0.5 and fitted.value > 0.5) or (area.high < 0.5 and fitted.value < 0.5)
        document |= {"longer": round(area.value, 4), "low": round(area.low, 4), "high": round(area.high, 4)}
        document["holds"] = bool(holds)
    return document


def _files(sample: Sample) -> list[str | None]:
    """The file of each row, of places such as ``data/a.csv:12``."""
    return [place.rpartition(":")[0] or place for place in sample.places]


def _shares(
    reference: Sequence[str | None], current: Sequence[str | None], held: np.ndarray, enough: bool
) -> list[dict[str, Any]]:
    """Every value with its share of both sides, those that changed most first; rare ones as OTHER."""
    columns = [[MISSING if value is None else value for value in side] for side in (reference, current)]
    totals = [Counter(side) for side in columns]
    size = [max(1, len(side)) for side in columns]

    def weight(value: str) -> tuple[float, str]:
        return -max(totals[0][value] / size[0], totals[1][value] / size[1]), value

    kept = set(sorted({*totals[0], *totals[1]}, key=weight)[:_VALUES])
    names = [np.array([value if value in kept else OTHER for value in side], object) for side in columns]
    split = len(reference)
    halves = [(half[:split], half[split:]) for half in (~held, held)]
    values = sorted({*names[0], *names[1]})
    found = []
    for value in values:
        where = [side == value for side in names]
        shares = [float(mask.mean()) if len(mask) else None for mask in where]
        fitted, checked = (
            _difference(where[0][first], where[1][second], len(values)) for first, second in halves
        )
        holds = enough and fitted[0] * checked[0] > 0 and checked[1] * checked[2] > 0
        low, high = (round(bound, 4) if enough else None for bound in checked[1:])
        entry = {"value": value, "rows": [int(mask.sum()) for mask in where]}
        entry |= {
            name: share if share is None else round(share, 4)
            for name, share in zip(("reference", "current"), shares, strict=True)
        }
        found.append(entry | {"low": low, "high": high, "holds": bool(holds)})
    return sorted(found, key=lambda e: (-abs((e["current"] or 0.0) - (e["reference"] or 0.0)), e["value"]))


def _difference(reference: np.ndarray, current: np.ndarray, tests: int) -> tuple[float, float, float]:
    """Share of current less share of reference, with the 95% interval of Newcombe (1998, method 10),
    Bonferroni-corrected for so many ``tests``; [-1, 1] when a side has no row."""
    if not len(reference) or not len(current):
        return 0.0, -1.0, 1.0
    z = NormalDist().inv_cdf(1 - _ALPHA / (2 * tests))
    (p, p_low, p_high), (q, q_low, q_high) = (
        _wilson(float(s.mean()), len(s), z) for s in (reference, current)
    )
    low = q - p - math.hypot(q - q_low, p_high - p)
    return q - p, low, q - p + math.hypot(q_high - q, p - p_low)


def _wilson(share: float, rows: int, z: float) -> tuple[float, float, float]:
    """A share with Wilson's interval (1927)."""
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    return share, centre - half, centre + half


def _clusters(
    points: np.ndarray, side: np.ndarray, held: np.ndarray, texts: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """The groups whose share changed in both halves in the same direction, largest change first."""
    member, distance = domain.clusters(points, ~held, seed)
    places = np.unique(member)
    found: list[dict[str, Any]] = []
    for place in places:
        inside = member == place
        fitted, (change, low, high) = (
            _difference(inside[half & ~side], inside[half & side], len(places)) for half in (~held, held)
        )
        if fitted[0] * change <= 0 or low * high <= 0:
            continue
        shares = [round(float(inside[held & whose].mean()), 4) for whose in (~side, side)]
        # What the group is about is shown by texts of the side that has more of it.
        rows = np.flatnonzero(inside & held & (side if change > 0 else ~side))
        nearest = rows[np.argsort(distance[rows], kind="stable")]
        examples = list(dict.fromkeys(_cut(texts[row], _EXAMPLE) for row in nearest[:50]))[:3]
        found.append(
            {"reference": shares[0], "current": shares[1], "low": round(low, 4), "high": round(high, 4)}
            | {"texts": examples}
        )
    return sorted(found, key=lambda e: -abs(e["current"] - e["reference"]))[:_GROUPS]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
