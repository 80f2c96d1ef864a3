"""A document of `doubleroute compare`, made up."""

from typing import Any


def difference(model: str, against: str, value: float | None, verdict: str = "cannot tell") -> dict[str, Any]:
    bounds = {"low": None, "high": None} if value is None else {"low": value - 0.02, "high": value + 0.02}
    p = 0.0004 if verdict != "cannot tell" else 0.4
    return {"model": model, "against": against, "value": value, **bounds, "p": p, "p_holm": min(1.0, 5 * p),
            "verdict": verdict}  # fmt: skip


def model(
    name: str, role: str, layer: int, task: str | None = None, like: str | None = None
) -> dict[str, Any]:
    return {
        "name": name, "role": role, "task": task, "like": like, "router": {"kind": "none"},
        "router_parameters": layer, "parameters": 1_000_000 + layer, "trained_parameters": 500_000 + layer,
        "steps": [90, 95] if task else [100, 100], "rows": [1600, 1600] if task else [3200, 3200],
        "seconds": [10.0, 12.0], "fits": ["a", "b"],
    }  # fmt: skip


def task(**verdicts: str) -> dict[str, Any]:
    """One task; ``verdicts`` by the couple's names, as in experts_shared="helps"."""
    couples = [("experts", "shared"), ("experts", "dense"), ("experts", "single"), ("dense", "shared")]
    gains = {"helps": 0.05, "hurts": -0.05, "cannot tell": 0.005}
    compared = []
    for ours, theirs in [*couples, ("shared", "single")]:
        verdict = verdicts.get(f"{ours}_{theirs}", "cannot tell")
        compared.append(difference(ours, theirs, gains[verdict], verdict))
    return {
        "kind": "classification", "metric": "accuracy", "higher_is_better": True, "rows": 200,
        "scores": {name: [0.8, 0.82] for name in ("single", "shared", "dense", "experts")},
        "comparisons": compared,
        "routing": {"experts": {"verdict": "cannot tell", "why": "not certainly better than shared"}},
    }  # fmt: skip


def comparison(**tasks: dict[str, Any]) -> dict[str, Any]:
    single = [model("single", "single", 0, task=name) for name in tasks]
    return {
        "project": "tiny",
        "seeds": [3, 4],
        "epochs": 1.5,
        "models": [
            *single,
            model("shared", "shared", 0),
            model("dense", "dense", 297, like="experts"),
            model("experts", "router", 300),
        ],
        "tasks": tasks,
        "negative_transfer": [],
    }
