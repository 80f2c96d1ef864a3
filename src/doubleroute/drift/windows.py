"""A dated history cut into windows: what the first model learned from, and what came after it, in parts."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import MAXYEAR, datetime, timedelta
from itertools import pairwise

from doubleroute.drift.policy import moment
from doubleroute.drift.replay import Window
from doubleroute.errors import InputError

#: Months of each calendar length; a week is cut on Mondays.
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
#: A window with fewer rows is joined with its neighbour: its score would say nothing.
LEAST = 20


def cut(times: Sequence[str], every: str, first: str, least: int = LEAST) -> list[Window]:
    """Cut rows dated ``times`` [n] (ISO, any order) into windows, oldest first.

    ``every``: week, month, quarter, year, or a number of rows. ``first``: what comes before window 0, a
    date or a share of the rows in (0, 1); with a share, calendar windows begin at the next Monday or
    first of a month. Rows of one moment stay together. Raises InputError for words that are neither, for a
    row of the year 9999, after which no window ends, and when fewer than ``least`` rows come before window 0
    or fewer than two windows come out.
    """
    ordered = sorted(moment(each) for each in times)
    if ordered and ordered[-1].year == MAXYEAR:
        raise InputError(
            f"a row is dated {_day(ordered[-1])}, and no window can end after it; correct its date, or leave "
            "the row out"
        )
    if len(ordered) < 3 * least:
        raise InputError(f"a replay needs at least {3 * least} dated rows; there are {len(ordered)}")
    start = _start(ordered, every, first)
    ends = _ends(ordered, every, start)
    before = bisect_left(ordered, start)
    if before < least:
        raise InputError(
            f"only {before} rows come before {_day(start)}, where the replay begins; give a later --first"
        )
    bounds = _joined(ordered, [start, *ends], least)
    if len(bounds) < 3:
        raise InputError(
            f"--every {every} cuts the {len(ordered) - before} rows since {_day(start)} into fewer than two "
            f"windows of at least {least} rows; give a shorter one or an earlier --first"
        )
    return [
        Window(
            _name(begin, end, every),
            _iso(begin),
            _iso(end),
            bisect_left(ordered, end) - bisect_left(ordered, begin),
        )
        for begin, end in pairwise(bounds)
    ]


def _start(ordered: Sequence[datetime], every: str, first: str) -> datetime:
    try:
        share = float(first)
    except ValueError:
        return _date(first, ordered[-1])
    if not 0 < share < 1:
        raise InputError(f"--first {first} is no share of the rows: it must lie between 0 and 1")
    found = ordered[int(share * len(ordered))]
    if every.isdecimal():
        return found
    begin = _calendar(found, every)
    return begin if begin == found else _next(begin, every)


def _date(first: str, newest: datetime) -> datetime:
    try:
        begin = moment(first)
    except (ValueError, OverflowError):
        raise InputError(
            f"--first '{first}' is neither a date such as 2021-04-01 nor a share such as 0.3"
        ) from None
    if begin.year == MAXYEAR:
        raise InputError(f"--first {first} comes after the newest row, which is of {_day(newest)}")
    return begin


def _ends(ordered: Sequence[datetime], every: str, start: datetime) -> list[datetime]:
    last = ordered[-1] + timedelta(seconds=1)
    if every.isdecimal() and int(every):
        places = range(bisect_left(ordered, start) + int(every), len(ordered), int(every))
        return [*dict.fromkeys(each for each in (ordered[place] for place in places) if each > start), last]
    ends = [_next(_calendar(start, every), every)]
    while ends[-1] < last:
        ends.append(_next(ends[-1], every))
    return ends


def _joined(ordered: Sequence[datetime], bounds: list[datetime], least: int) -> list[datetime]:
    """The bounds without those that would close a window of too few rows."""
    kept = [bounds[0]]
    for bound in bounds[1:]:
        if bisect_left(ordered, bound) - bisect_left(ordered, kept[-1]) >= least:
            kept.append(bound)
    if kept[-1] != bounds[-1] and len(kept) > 1:
        kept[-1] = bounds[-1]
    return kept


def _calendar(time: datetime, every: str) -> datetime:
    """The beginning of the week, month, quarter or year that this time is in."""
    day = time.replace(hour=0, minute=0, second=0, microsecond=0)
    if every == "week":
        return day - timedelta(days=day.weekday())
    if every not in _MONTHS:
        raise InputError(f"--every '{every}' is neither week, month, quarter, year nor a number of rows")
    months = _MONTHS[every]
    return day.replace(day=1, month=(day.month - 1) // months * months + 1)


def _next(begin: datetime, every: str) -> datetime:
    if every == "week":
        return begin + timedelta(days=7)
    months = begin.year * 12 + begin.month - 1 + _MONTHS[every]
    return begin.replace(year=months // 12, month=months % 12 + 1)


def _name(begin: datetime, end: datetime, every: str) -> str:
    last = end - timedelta(seconds=1)
    names = [_period(begin, every), _period(last, every)] if not every.isdecimal() else [_day(begin)]
    return " to ".join(dict.fromkeys(names))


def _period(time: datetime, every: str) -> str:
    if every == "quarter":
        return f"{time.year:04}Q{(time.month + 2) // 3}"
    if every == "week":
        return _day(_calendar(time, every))
    return time.date().isoformat()[: 4 if every == "year" else 7]


def _day(time: datetime) -> str:
    return time.date().isoformat()


def _iso(time: datetime) -> str:
    """As rows are dated; strftime would write the year 800 without its zero, which sorts after 1900."""
    return time.replace(tzinfo=None).isoformat(timespec="seconds")
