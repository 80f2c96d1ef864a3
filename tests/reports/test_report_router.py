"""What a report says about the router's gate."""

from typing import Any

import pytest
from evaluations import HOSTILE, classification, evaluation

from doubleroute.reports import router
from doubleroute.reports.evaluation import page, sections_of
from doubleroute.reports.markdown import markdown_report


def entry(gate: str, value: float, verdict: str) -> dict[str, Any]:
    bounds = {"value": value, "low": value - 0.01, "high": value + 0.01}
    return {"gate": gate, "metric": "accuracy", "score": 0.8 - value, "verdict": verdict, **bounds}


def studied(**tasks: tuple[float, str]) -> dict[str, Any]:
    found = evaluation(**{task: classification() for task in tasks})
    found["router"] = {
        task: [entry("uniform", *told), entry("shuffled", 0.0, "cannot tell")] for task, told in tasks.items()
    }
    return found


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (
            {"one": (0.004, "cannot tell"), "two": (-0.002, "cannot tell")},
            "Nothing here shows that the gate does anything: with equal weights for all experts no task's "
            "score differs for certain.",
        ),
        (
            {"one": (0.0, "cannot tell")},
            "The gate does nothing here: with equal weights for all experts every score is the same.",
        ),
        (
            {"one": (0.05, "better"), "two": (-0.03, "worse"), "three": (0.0, "cannot tell")},
            "The gate helps one: equal weights score worse; the gate harms two: equal weights score better; "
            "for three equal weights score the same, as far as can be told.",
        ),
        ({"two": (-0.03, "worse")}, "The gate harms two: equal weights score better."),
    ],
)
def test_the_report_says_plainly_what_the_gate_is_worth(
    tasks: dict[str, tuple[float, str]], said: str
) -> None:
    found = studied(**tasks)
    assert router.statement(found) == said
    section = next(each for each in sections_of(found, {}, {}, {}) if each.title == "Router")
    assert getattr(section.blocks[0], "text", None) == said


def test_each_replacement_is_a_row_with_its_interval() -> None:
    (table,) = router.replaced_tables(studied(one=(0.05, "better")))
    assert table.rows[0] == (
        "one",
        "equal weights for all experts",
        "accuracy",
        "better",
        "0.750",
        "+0.050 [0.040, 0.060]",
    )


def test_without_a_gate_there_is_nothing_to_say() -> None:
    for found in (evaluation(one=classification()), evaluation(one=classification()) | {"router": None}):
        assert router.statement(found) == ""
        assert router.replaced_tables(found) == []
        assert not any(each.title == "Router" for each in sections_of(found, {}, {}, {}))


def test_how_alike_the_tasks_gates_are_stands_beside_what_an_expert_says_about_its_task() -> None:
    found = evaluation(one=classification())
    task = {"tokens": 90, "load": [0.7, 0.3], "entropy": 0.5}
    found["models"]["routed"]["gate"] = {
        "experts": 2, "names": ["1", HOSTILE], "dead": [1], "tasks": {"two": task, "one": task},
        "information": 0.25, "similarity": {"two": {"two": 1.0, "one": 0.5}, "one": {"two": 0.5, "one": 1.0}},
    }  # fmt: skip
    loads, alike = router.gate_tables(found)
    assert [row[0] for row in loads.rows] == ["one", "two"]
    assert all(cell.isprintable() for cell in (*loads.header, loads.note))
    assert alike.rows == [("one", "1.000", "0.500"), ("two", "0.500", "1.000")]
    assert "0.250 bits" in alike.note


def test_example_rows_show_each_token_with_its_strongest_expert() -> None:
    found = evaluation(one=classification())
    weights = [[0.2, 0.8], [0.9, 0.1]]
    row = {"file": HOSTILE, "row": 7, "tokens": ["film", HOSTILE], "experts": ["1", "own 1"]}
    found["ways"] = {"one": [row | {"weights": weights}], "two": []}
    (ways,) = router.ways_of(found)
    tokens = ways.items[0].tokens
    assert [(token.expert, token.colour, token.weight) for token in tokens] == [
        ("own 1", 1, "0.80"),
        ("1", 0, "0.90"),
    ]
    sections = [each for each in sections_of(found, {}, {}, {}) if each.title == "Router"]
    html = page("title", [], sections)
    assert "<script>document.title" not in html
    assert 'title="expert own 1, weight 0.80">film<sub>own 1</sub>' in html
    assert "film(own 1)" in markdown_report("title", [], sections)


def test_a_mixture_of_layers_is_a_table_by_task() -> None:
    found = evaluation(one=classification())
    task = {"weights": [0.25, 0.75], "strength": 0.5, "entropy": 0.811}
    found["models"]["routed"]["layers"] = {
        "layers": ["embeddings", "1"],
        "tasks": {"two": task, "one": task},
        "information": 0.0,
    }
    (table,) = router.layer_tables(found)
    assert table.header == ("task", "strength", "entropy", "embeddings", "1")
    assert table.rows[0] == ("one", "0.500", "0.811", "0.250", "0.750")
