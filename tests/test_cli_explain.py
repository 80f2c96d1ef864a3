"""What `doubleroute predict --explain` prints for people."""

import io

from doubleroute.cli.shows import show_way
from doubleroute.console import Terminal


def shown(explanation: dict[str, object]) -> list[str]:
    out = io.StringIO()
    show_way(Terminal(as_json=False, pure=True, out=out), explanation)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_a_mixture_of_layers_is_a_column_for_each_task_with_its_strength_below() -> None:
    tasks = {
        "mood": {"weights": [0.25, 0.75], "strength": 0.5, "entropy": 0.8},
        "topic": {"weights": [0.5, 0.5], "strength": -0.125, "entropy": 1.0},
    }
    lines = shown({"tokens": ["a"], "layers": {"layers": ["embeddings", "1"], "tasks": tasks}})
    assert lines[2] == "layer mood topic"
    assert lines[4:] == ["embeddings 0.25 0.50", "1 0.75 0.50", "strength +0.500 -0.125"]


def test_of_many_experts_the_eight_that_carry_most_are_shown_and_the_strongest_is_named() -> None:
    weights = [[0.9, *[0.1 / 9] * 9], [0.0, 0.0, *[1 / 8] * 8]]
    gate = {"weights": weights, "task": None, "token": None}
    explanation = {
        "tokens": ["good", "film"],
        "experts": [str(n) for n in range(10)],
        "tasks": {"mood": gate},
    }
    lines = shown(explanation)
    assert lines[1] == "mood: weights of the experts, the 8 of 10 that carry most"
    assert lines[2] == "token most 0 2 3 4 5 6 7 8"
    assert lines[4].startswith("good 0 0.90 0.01")
    assert len(lines) == 6
