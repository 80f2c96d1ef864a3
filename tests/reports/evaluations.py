"""Evaluations as the training writes them, small and realistic, for the tests of the reports."""

from typing import Any

MODELS = ("majority", "frozen", "plain", "routed", "champion")
_STEPS = {"majority": 0, "frozen": 0, "plain": 801, "routed": 801, "champion": 780}
HOSTILE = (
    "<script>document.title='owned'</script></style></details></main> | a | `tick` ```fence\n# head "
    "![image](http://example.invalid/x.png) [link](javascript:alert(1)) \u202eturned\u202c \x00\x07\x1b[31m "
    "{{ 7*7 }} {% raw %} &lt; $x$ www.example.invalid @someone \ud800 \ufffe"
)


def score(value: float | None, width: float = 0.025) -> dict[str, float | None]:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - width, "high": value + width}


def evaluation(**tasks: dict[str, Any]) -> dict[str, Any]:
    names = {name for task in tasks.values() for name in task["models"]}
    models = {
        name: {
            "router": {"routed": "experts", "champion": "experts", "majority": None}.get(name, "none"),
            "steps": _STEPS.get(name, 5),
            "parameters": 0 if name == "majority" else 22_713_216 + 410_000 * (name == "routed"),
            "trained_parameters": 0 if name == "majority" else 10_740_000 + 410_000 * (name == "routed"),
            "seconds": 0.0 if name == "majority" else 91.52,
        }
        for name in names
    }
    tokens = {"rows": 853, "tokens": 21_325, "truncated": 0, "unknown": 4}
    return {"split": "test", "models": models, "tasks": tasks} | {
        "tokens": {name: {"test": tokens, "train": tokens | {"truncated": 12}} for name in tasks}
    }


def _task(kind: str, metric: str, labels: list[str], **other: Any) -> dict[str, Any]:
    task: dict[str, Any] = {"kind": kind, "metric": metric, "higher_is_better": True, "rows": 853}
    return task | {"labels": labels, "models": {}, "differences": [], "errors": []} | other


def _difference(against: str, metric: str, value: float, verdict: str) -> dict[str, Any]:
    bounds = {"value": value, "low": value - 0.014, "high": value + 0.014}
    return {"model": "routed", "against": against, "metric": metric, "verdict": verdict, **bounds}


def _entry(value: float, support: int) -> dict[str, Any]:
    return {"precision": value + 0.01, "recall": value - 0.02, "f1": value, "support": support}


def reliability(value: float) -> dict[str, Any]:
    bins = [
        {"low": i / 10, "high": (i + 1) / 10, "rows": 0 if i < 5 else 40 * i, "confidence": i / 10 + 0.05}
        | {"accuracy": None if i < 5 else i / 10 + 0.02 * value}
        for i in range(10)
    ]
    return {"bins": bins, "ece": 0.031}


def classification(
    labels: list[str] | None = None, models: tuple[str, ...] = MODELS, verdict: str = "cannot tell"
) -> dict[str, Any]:
    labels = labels or ["negative", "positive"]
    task = _task("classification", "accuracy", labels)
    size = len(labels)
    for place, name in enumerate(models):
        value = (0.5, 0.781, 0.825, 0.829, 0.828)[place] if len(models) == 5 else 0.829
        confusion = [[350 if i == j else (i * 7 + j * 3) % 5 for j in range(size)] for i in range(size)]
        task["models"][name] = {
            "scores": {"accuracy": score(value), "macro_f1": score(value - 0.002), "mcc": score(value - 0.17)}
            | {"weighted_f1": score(value + 0.001), "ece": score(0.031, 0.008)},
            "details": {
                "confusion": confusion,
                "per_label": {label: _entry(value, 400 + i) for i, label in enumerate(labels)},
                "reliability": reliability(value),
            },
            "slices": {
                "source": {
                    "rotten_tom": {"rows": 700, **score(value + 0.01)},
                    "imdb": {"rows": 153, **score(value - 0.06, 0.08)},
                }
            },
        }
    if "routed" in models and "plain" in models:
        task["differences"].append(_difference("plain", "accuracy", 0.004, verdict))
    if "routed" in models and "champion" in models:
        task["differences"].append(_difference("champion", "accuracy", 0.001, "cannot tell"))
    task["errors"] = [
        {"file": "data/sentiment/test.jsonl", "row": 1204 + i, "truth": labels[0], "answer": labels[-1]}
        | {"text": text, "confidence": 0.998 - i / 1000}
        for i, text in enumerate(
            ("a masterpiece of nothing , beautifully shot and entirely hollow .", "not bad at all")
        )
    ]
    return task


def tagging() -> dict[str, Any]:
    types = ("company", "facility", "geo-loc", "movie", "musicartist", "other", "person", "product")
    labels = ["O", *(f"{mark}-{kind}" for mark in "BI" for kind in types)]
    task = _task("tagging", "entity_f1", labels, rows=240)
    size = len(labels)
    for place, name in enumerate(MODELS):
        value = (0.0, 0.31, 0.588, 0.571, 0.57)[place]
        task["models"][name] = {
            "scores": {
                "entity_f1": score(value),
                "token_accuracy": score(0.94),
                "token_macro_f1": score(value),
            },
            "details": {
                "entities": {kind: _entry(value, 20 + i) for i, kind in enumerate(types)},
                "tokens": {tag: _entry(value, 30 + i) for i, tag in enumerate(labels)},
                "tokens_macro_f1": value,
                "confusion": [
                    [(4_200 if i == 0 else 20) if i == j else (i + j) % 3 for j in range(size)]
                    for i in range(size)
                ],
            },
            "slices": {},
        }
    task["differences"] = [_difference("plain", "entity_f1", -0.017, "worse")]
    error = {"file": "data/entities/train.conll", "row": 77, "text": "Barack Obama in New York"}
    tags = ["B-person", "I-person", "O", "B-geo-loc", "I-geo-loc"]
    task["errors"] = [error | {"truth": tags, "answer": ["O"] * 5, "confidence": 0.91}]
    return task


def regression() -> dict[str, Any]:
    task = _task("regression", "mae", [], higher_is_better=False, rows=300)
    points = [[i / 60, i / 60 + ((i * 37) % 11 - 5) / 8] for i in range(300)]
    for name in ("majority", "plain", "routed"):
        value = {"majority": 1.45, "plain": 0.61, "routed": 0.58}[name]
        undefined = None if name == "majority" else 0.87
        task["models"][name] = {
            "scores": {"mae": score(value, 0.05), "rmse": score(value + 0.2), "pearson": score(undefined)}
            | {"spearman": score(undefined)},
            "details": {
                "points": points,
                "residuals": {"edges": [-1, -0.5, 0, 0.5, 1], "counts": [40, 110, 105, 45]},
            },
            "slices": {},
        }
    task["differences"] = [_difference("plain", "mae", 0.03, "better")]
    task["errors"] = [
        {"file": "data/r.csv", "row": 9, "text": "t", "truth": 4.5, "answer": 0.25, "confidence": None}
    ]
    return task


def multilabel() -> dict[str, Any]:
    labels = ["calm", "joy", "sadness"]
    task = _task("multilabel", "micro_f1", labels)
    for name in ("majority", "frozen", "routed"):
        task["models"][name] = {
            "scores": {"micro_f1": score(0.71), "macro_f1": score(0.65), "subset_accuracy": score(0.4)},
            "details": {
                "per_label": {label: _entry(0.7, 90) for label in labels},
                "reliability": reliability(1),
            },
            "slices": {},
        }
    against = {**_difference("majority", "micro_f1", 0.0, "cannot tell"), "scores": [0.71, 0.71]}
    task["differences"] = [against]
    task["errors"] = [
        {"file": "d.csv", "row": 3, "text": "t", "truth": ["joy", "calm"], "answer": [], "confidence": 0.8}
    ]
    return task


def history(task_metrics: dict[str, str], offset: float = 0.0, epochs: int = 3) -> dict[str, Any]:
    steps = [
        {"step": s, "loss": offset + 0.2 + 1.0 / (1 + s / 90) + ((s * 31) % 17) / 120, "learning_rate": 5e-5}
        for s in range(1, 801)
    ]
    steps[5]["loss"] = None
    return {
        "steps": steps,
        "epochs": [
            {
                "epoch": e,
                "step": 267 * e,
                "validation": {t: {m: 0.7 + 0.04 * e - offset} for t, m in task_metrics.items()},
            }
            for e in range(1, epochs + 1)
        ],
        "best_epoch": epochs,
        "precision": "float32",
        "seconds": 91.52,
    }


COUNTS = {
    "sentiment": {
        "validation": {"rows_in": 853, "rows_out": 853, "quarantined": 0, "unlabelled": 0},
        "train": {"rows_in": 6_824, "rows_out": 6_821, "quarantined": 3, "unlabelled": 0},
        "test": {"rows_in": 853, "rows_out": 853, "quarantined": 0, "unlabelled": 0},
    },
}
PROVENANCE = {
    "project": "reviews-and-tweets",
    "seed": 17,
    "git_commit": "0f3c2d9a7b6e5f4d3c2b1a09f8e7d6c5b4a39281",
    "git_dirty": False,
    "dvc_md5": "5e0c3b9d1a7f4c2e8b6d0f9a3c1e5b7d.dir",
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "machine": "x86_64, 2 cores",
    "seconds": {"validate": 6.21, "encode": 3.4, "fit routed": 91.52},
    "threads": 2,
    "project_file": "name: reviews-and-tweets\nseed: 17\ntasks:\n  sentiment:\n    kind: classification\n",
}
