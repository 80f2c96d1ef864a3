"""What JSON has not becomes null."""

from doubleroute.plain import without_nan


def test_nan_and_infinities_become_none_wherever_they_stand() -> None:
    nan, inf = float("nan"), float("inf")
    assert without_nan({"a": [1.5, nan, (inf, "nan")], "b": {"c": -inf}, "d": True}) == {
        "a": [1.5, None, [None, "nan"]],
        "b": {"c": None},
        "d": True,
    }
