"""Drift documents as a check makes them, small and realistic, for the tests of the drift report."""

from typing import Any


def one_test(scope: str, what: str, verdict: str, p: float | None, effect: float | None) -> dict[str, Any]:
    told = "cannot tell" if p is None else f"D {effect} of {what}; p {p} over all tests"
    made = {"scope": scope, "what": what, "method": "KS", "statistic": effect, "p": p, "p_adjusted": p}
    return made | {
        "effect": effect,
        "effect_name": "D",
        "rows": [2000, 1500],
        "verdict": verdict,
        "why": told,
    }


def word(name: str, times: float) -> dict[str, Any]:
    bounds = {"low": times * 0.7, "high": times * 1.4, "fitted_times": times * 1.2}
    return {"word": name, "reference": 1.0, "current": times, "rows": [40, 90], "times": times, **bounds}


def value(name: str, before: float, now: float, holds: bool) -> dict[str, Any]:
    change = now - before
    entry = {"value": name, "rows": [int(2000 * before), int(1500 * now)], "reference": before}
    return entry | {"current": now, "low": change - 0.03, "high": change + 0.03, "holds": holds}


def attribution() -> dict[str, Any]:
    side = {"mean": 20.9, "quantiles": {"5": 7.0, "25": 14.0, "50": 20.0, "75": 27.0, "95": 38.0}}
    points = [[i % 7 / 7, i % 11 / 11] for i in range(60)]
    row = {"score": 4.388, "reference_above": 0, "copies": 3, "place": "data/arrivals/sentiment.csv:1086"}
    check = {"auc": 0.626, "low": 0.601, "high": 0.651, "tail": None, "better_than_chance": True}
    return {
        "seed": 17,
        "rows": {"reference": 2000, "current": 1500},
        "held_out": check | {"said": "a classifier gives the current one the higher score in 62.6% of pairs"},
        "words": {
            "candidates": 61,
            "more": [word("br", 33.5), word("i", 5.5)],
            "less": [word("performances", 0.3)],
        },
        "lengths": {
            "edges": [0, 10, 20, 30],
            "reference": side | {"counts": [500, 900, 600]},
            "current": side | {"quantiles": side["quantiles"] | {"50": 26.5}, "counts": [300, 500, 700]},
            "longer": 0.62,
            "low": 0.6,
            "high": 0.64,
            "holds": True,
        },
        "segments": {
            "source": [value("imdb", 0.0, 0.3, True), value("rotten_tom", 1.0, 0.7, True)],
            "language": [value("en", 0.97, 0.96, False)],
        },
        "files": [value("data/arrivals/sentiment.csv", 0.0, 1.0, True)],
        "clusters": [
            {
                "reference": 0.007,
                "current": 0.26,
                "low": 0.208,
                "high": 0.301,
                "texts": ["i loved it", "seen twice"],
            }
        ],
        "responsible": [row | {"text": "this movie must have been the worst movie i have ever seen ."}],
        "projection": {"explained": [0.08, 0.05], "reference": points, "current": points[:40]},
    }


def drift(**other: Any) -> dict[str, Any]:
    tests = [
        one_test("inputs", "embeddings", "moved", 0.0071, 0.081),
        one_test("inputs", "length", "moved", 6.2e-63, 0.292),
        one_test("inputs", "unknown tokens", "not seen", 1.0, 0.0),
        one_test("sentiment", "predictions", "moved", 0.00002, 0.086),
        one_test("entities", "labels", "cannot tell", None, None),
    ]
    labels = {
        "positive": {"reference": 0.495, "current": 0.63, "low": 0.58, "high": 0.68},
        "negative": {"reference": 0.505, "current": 0.37, "low": 0.32, "high": 0.42},
    }
    document = {
        "rows": {"reference": 2000, "current": 1500},
        "alpha": 0.05,
        "seed": 17,
        "tests": tests,
        "label_shift": {"sentiment": {"method": "BBSE", "labels": labels, "why": None}},
        "verdict": "moved",
        "moved": ["inputs", "sentiment"],
        "attribution": attribution(),
    }
    return document | other


def score(number: float, rows: int) -> dict[str, Any]:
    return {"value": number, "low": number - 0.025, "high": number + 0.025, "rows": rows}


def performance() -> dict[str, Any]:
    nothing = dict.fromkeys(("current", "estimated", "estimate_error", "fall"))
    return {
        "sentiment": {
            "metric": "accuracy",
            "higher_is_better": True,
            "reference": score(0.829, 853),
            "current": score(0.781, 1500),
            "estimated": score(0.802, 1500),
            "estimate_error": {"estimated": 0.802, "measured": 0.781, "rows": 400},
            "fall": {"value": 0.048, "low": 0.011, "high": 0.085},
        },
        "stars": {"metric": "mae", "higher_is_better": False, "reference": score(0.58, 300), **nothing},
    }


DECISION = {
    "verdict": "retrain",
    "reasons": ["moved: inputs, sentiment", "sentiment: 1500 new labelled training rows"],
    "numbers": {"drift": {"verdict": "moved", "alpha": 0.05}, "sentiment": {"new_labels": 1500}},
}
ABOUT = {
    "project": "reviews-and-tweets",
    "data_version": {"git": "0f3c2d9", "md5": "5e0c3b9d1a7f4c2e8b6d0f9a3c1e5b7d.dir"},
    "champion": {"version": "7", "registered": "2026-11-01T08:30:00Z"},
    "time": "2026-11-23T08:30:00Z",
    "counts": {"reference": 2000, "current": 1500},
}
