"""Rows whose label a model contradicts become one finding."""

import numpy as np

from doubleroute.config import Review
from doubleroute.review.contradicted import Contradiction
from doubleroute.review.doubts import doubts
from doubleroute.review.rows import Changes, version_rows
from doubleroute.review.versions import Versions


def versions() -> Versions:
    def side(labels: list[str]) -> dict[str, dict[str, list[object]]]:
        texts = ["one", "two", "three"][: len(labels)]
        rows = {"file": ["a.csv"] * len(labels), "row": [1, 2, 3][: len(labels)]}
        return {"train": {**rows, "text": texts, "label": labels}}

    base = version_rows("classification", side(["x", "x"]))
    head = version_rows("classification", side(["y", "x", "y"]))
    pairs = np.array([[0, 0], [1, 1], [-1, 2]])
    changes = Changes(pairs, [("relabelled",), (), ("added",)], np.array([1, 1, np.nan]), {})
    return Versions("mood", base, head, changes)


def test_the_finding_says_what_the_model_prefers_and_what_the_row_was() -> None:
    rows = [
        Contradiction(0, 0, "y", "x", None, "x", 0.97, 0.001),
        Contradiction(2, 2, "y", None, None, "x", 0.9, 0.002),
    ]
    (found,) = doubts(versions(), rows, {2: "x 0.88"}, Review())
    assert (found.name, found.severity, found.count) == ("contradicted", "look", 2)
    assert found.title == (
        "1 relabelled row and 1 new or edited row whose label a model contradicts that did not learn "
        "from them"
    )
    assert [each["note"] for each in found.examples] == [
        "the model prefers x (0.97); it was x",
        "the model prefers x (0.90); the champion: x 0.88",
    ]
    assert len(found.rows) == 2


def test_no_contradiction_is_no_finding() -> None:
    assert doubts(versions(), [], {}, Review()) == []
