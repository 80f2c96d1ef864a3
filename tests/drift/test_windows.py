"""A dated history in windows."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from doubleroute.drift.windows import cut
from doubleroute.errors import InputError

#: One row a day for two years.
DAYS = [(datetime(2023, 1, 1) + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%S") for day in range(731)]


def names(every: str, first: str, times: list[str] = DAYS) -> list[str]:
    return [window.name for window in cut(times, every, first)]


def test_quarters_begin_and_end_with_the_calendar() -> None:
    windows = cut(DAYS, "quarter", "2023-07-01")

    assert [each.name for each in windows] == [
        "2023Q3", "2023Q4", "2024Q1", "2024Q2", "2024Q3", "2024Q4",
    ]  # fmt: skip
    assert (windows[0].begin, windows[0].end) == ("2023-07-01T00:00:00", "2023-10-01T00:00:00")
    assert [each.rows for each in windows] == [92, 92, 91, 91, 92, 92]


def test_a_share_begins_at_the_next_boundary() -> None:
    assert names("quarter", "0.4")[0] == "2024Q1"
    assert names("month", "0.9") == ["2024-11", "2024-12"]
    assert cut(DAYS, "200", "0.4")[0].begin == DAYS[292]


def test_every_row_after_the_first_training_is_in_exactly_one_window() -> None:
    for every in ("week", "month", "quarter", "year", "37", "200"):
        windows = cut(DAYS, every, "2023-05-10")
        counts = [sum(each.begin <= day < each.end for day in DAYS) for each in windows]

        assert counts == [each.rows for each in windows]
        assert sum(counts) == sum(day >= "2023-05-10" for day in DAYS)
        assert all(one.end == other.begin for one, other in pairwise(windows))


def test_rows_of_one_moment_stay_together() -> None:
    times = [f"2024-0{month}-01" for month in (1, 2, 3, 4) for _ in range(30)]

    assert [each.rows for each in cut(times, "20", "2024-02-01")] == [30, 30, 30]


def test_a_window_of_few_rows_is_joined_with_its_neighbour() -> None:
    times = [
        f"2024-{month:02}-05"
        for month, rows in ((1, 40), (2, 30), (3, 5), (4, 30), (5, 3))
        for _ in range(rows)
    ]

    assert names("month", "2024-02-01", times) == ["2024-02", "2024-03 to 2024-05"]
    assert [each.rows for each in cut(times, "month", "2024-02-01")] == [30, 38]


def test_the_order_of_rows_and_their_zone_do_not_count() -> None:
    shuffled = [*reversed(DAYS[:300]), *(f"{day}+00:00" for day in DAYS[300:])]

    assert cut(shuffled, "month", "0.3") == cut(DAYS, "month", "0.3")


@pytest.mark.parametrize(
    ("every", "first", "words"),
    [
        ("fortnight", "0.3", "neither week, month, quarter, year nor a number of rows"),
        ("0", "0.3", "--every '0' is neither"),
        ("month", "spring", "neither a date such as 2021-04-01 nor a share"),
        ("month", "1.5", "between 0 and 1"),
        ("month", "2023-01-10", "only 9 rows come before 2023-01-10"),
        ("year", "2024-02-01", "fewer than two windows of at least 20 rows"),
        ("month", "2030-01-01", "fewer than two windows"),
        ("month", "9999-12-01", "comes after the newest row, which is of 2024-12-31"),
    ],
)
def test_what_cannot_be_cut_is_said(every: str, first: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        cut(DAYS, every, first)


@pytest.mark.parametrize("every", ["week", "month", "year", "100"])
def test_a_row_after_which_no_window_ends_is_named(every: str) -> None:
    for late in ("9999-12-31", "9999-12-31T23:59:59"):
        with pytest.raises(InputError, match="a row is dated 9999-12-31"):
            cut([*DAYS, late], every, "0.3")


def test_windows_of_early_years_are_written_as_rows_are_dated() -> None:
    times = [f"08{number // 20:02}-03-01T00:00:00" for number in range(100)]
    windows = cut(times, "year", "0801-01-01")
    assert [each.name for each in windows] == ["0801", "0802", "0803", "0804"]
    assert (windows[0].begin, windows[0].end) == ("0801-01-01T00:00:00", "0802-01-01T00:00:00")
    assert cut(times, "20", "0.3")[0].name == "0801-03-01"


def test_a_short_history_is_refused() -> None:
    with pytest.raises(InputError, match="at least 60 dated rows; there are 59"):
        cut(DAYS[:59], "week", "0.5")
