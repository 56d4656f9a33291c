"""The calendar of scores: days, ISO weeks and months, each beginning at midnight in Shanghai."""

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation
from hypothesis import example, given
from hypothesis import strategies as st

from groups.periods import CALENDAR, Period, UnreadablePeriod, Window

pytestmark = pytest.mark.no_service

DAY, WEEK, MONTH, ALL = Window.DAY, Window.WEEK, Window.MONTH, Window.ALL
DATED = [DAY, WEEK, MONTH]
CHINA = timezone(timedelta(hours=8))
TICK = timedelta(microseconds=1)
SUNDAY_NOON = datetime(2026, 11, 22, 12, tzinfo=CHINA)
FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)


def shanghai(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=CHINA)


def parse(key: str, now: datetime = FAR_FUTURE) -> Period:
    return Period.parse(key, now)


def keys_at(moment: datetime) -> list[str]:
    return [Period.current(window, moment).key for window in Window]


def test_a_moment_is_in_one_period_of_each_window():
    assert keys_at(SUNDAY_NOON) == ["2026-11-22", "2026-W47", "2026-11", "all"]


@pytest.mark.parametrize(
    ("day", "week"),
    [
        ("2020-12-31", "2020-W53"),
        ("2021-01-03", "2020-W53"),
        ("2021-01-04", "2021-W01"),
        ("2024-12-29", "2024-W52"),
        ("2024-12-30", "2025-W01"),
        ("2025-12-28", "2025-W52"),
        ("2025-12-29", "2026-W01"),
        ("2026-12-27", "2026-W52"),
        ("2026-12-28", "2026-W53"),
        ("2027-01-03", "2026-W53"),
        ("2027-01-04", "2027-W01"),
    ],
)
def test_a_week_belongs_to_the_year_of_its_thursday(day, week):
    period = Period.current(WEEK, shanghai(day))
    assert period.key == week
    assert parse(week) == period


@pytest.mark.parametrize(
    ("key", "window", "start", "end"),
    [
        ("2026-11-22", DAY, "2026-11-22", "2026-11-23"),
        ("2026-12-31", DAY, "2026-12-31", "2027-01-01"),
        ("2024-02-29", DAY, "2024-02-29", "2024-03-01"),
        ("2026-W47", WEEK, "2026-11-16", "2026-11-23"),
        ("2020-W53", WEEK, "2020-12-28", "2021-01-04"),
        ("2026-W53", WEEK, "2026-12-28", "2027-01-04"),
        ("2025-W01", WEEK, "2024-12-30", "2025-01-06"),
        ("2026-01", MONTH, "2026-01-01", "2026-02-01"),
        ("2026-02", MONTH, "2026-02-01", "2026-03-01"),
        ("2024-02", MONTH, "2024-02-01", "2024-03-01"),
        ("2026-04", MONTH, "2026-04-01", "2026-05-01"),
        ("2026-12", MONTH, "2026-12-01", "2027-01-01"),
    ],
)
def test_a_period_runs_from_midnight_to_midnight_in_shanghai(key, window, start, end):
    period = parse(key)
    assert (period.key, period.window) == (key, window)
    assert (period.start, period.end) == (shanghai(start), shanghai(end))
    assert period.start.utcoffset() == period.end.utcoffset() == timedelta(hours=8)


def test_all_of_time_has_neither_ends_nor_neighbours():
    period = parse("all")
    assert (period.key, period.window) == ("all", ALL)
    assert [period.start, period.end, period.previous, period.next(FAR_FUTURE)] == [None] * 4


@pytest.mark.parametrize("year", [2023, 2024, 2100])
def test_months_have_their_own_lengths(year):
    months = [parse(f"{year}-{month:02}") for month in range(1, 13)]
    february = 29 if year == 2024 else 28
    lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    assert [(month.end - month.start).days for month in months] == lengths


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2024-02-28", "2024-02-29"),
        ("2024-02-29", "2024-03-01"),
        ("2025-02-28", "2025-03-01"),
        ("2026-12-31", "2027-01-01"),
        ("2020-W52", "2020-W53"),
        ("2020-W53", "2021-W01"),
        ("2024-W52", "2025-W01"),
        ("2026-W53", "2027-W01"),
        ("2025-12", "2026-01"),
        ("2026-01", "2026-02"),
        ("2024-02", "2024-03"),
    ],
)
def test_previous_and_next_are_the_neighbours(first, second):
    assert parse(second).previous == parse(first)
    assert parse(first).next(FAR_FUTURE) == parse(second)


@pytest.mark.parametrize("window", DATED)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Kiritimati"])
def test_a_period_changes_at_midnight_in_shanghai_to_the_microsecond_wherever_the_clock(
    window, zone
):
    # 2029-01-01 is a Monday: a day, a week and a month begin together.
    midnight = shanghai("2029-01-01").astimezone(ZoneInfo(zone))
    before, after = (Period.current(window, at) for at in (midnight - TICK, midnight))
    assert (before.end, after.start) == (midnight, midnight)
    assert after.previous == before
    assert before.next(midnight - TICK) is None
    assert before.next(midnight) == after


def test_nothing_changes_at_midnight_in_utc():
    midnight = datetime(2028, 12, 31, tzinfo=UTC)
    assert keys_at(midnight - TICK) == keys_at(midnight)


@given(st.datetimes(datetime(2000, 1, 5), datetime(2999, 12, 31), timezones=st.timezones()))
@example(datetime(2026, 12, 31, 16, tzinfo=UTC))
def test_every_moment_lies_within_its_periods_and_their_keys_read_back(moment):
    for window in DATED:
        period = Period.current(window, moment)
        assert period.start <= moment < period.end
        assert parse(period.key, moment) == period


@given(st.dates(date(2000, 2, 10), date(2999, 12, 31)), st.sampled_from(DATED))
def test_periods_follow_each_other_without_gap_or_overlap(day, window):
    here = Period.holding(window, day)
    chain = [here.previous, here, here.next(FAR_FUTURE)]
    assert all(first.end == second.start for first, second in pairwise(chain))


@given(st.dates(date(2000, 1, 3), date(2999, 12, 31)))
def test_weeks_are_those_of_iso_8601(day):
    assert Period.holding(WEEK, day).key == day.strftime("%G-W%V")


@pytest.mark.parametrize("window", Window)
def test_the_name_of_a_window_means_its_current_period(window):
    assert parse(window.value, SUNDAY_NOON) == Period.current(window, SUNDAY_NOON)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Week",
        "WEEK",
        " week",
        "week ",
        "week\n",
        "year",
        "none",
        "All",
        "2026",
        "2026-1",
        "2026-13",
        "2026-00",
        "2026-11-",
        "2026-11-22\n",
        " 2026-11-22",
        "2026-11-22 ",
        "2026-11-22T00:00",
        "2026/11/22",
        "20261122",
        "2026-02-29",
        "2026-02-30",
        "2026-11-00",
        "2026-11-31",
        "2026W47",
        "2026-w47",
        "2026-W7",
        "2026-W00",
        "2025-W53",
        "2026-W54",
        "2026-W47-1",
        "0000-01-01",
        "0000-01",
        "0000-W01",
        "0001-01-01",
        "1999-12-31",
        "9999-12-31",
        "9999-12",
        "9999-W52",
        "-2026-11",
        "+2026-11",
        "２０２６-11",
        "2026-1１",
        "٢٠٢٦-11",
        "2026-W４７",
        "2026-11\0",
        "2026-11-22" * 1000,
    ],
)
def test_other_texts_are_unreadable(text):
    with pytest.raises(UnreadablePeriod):
        parse(text)


@given(st.text() | st.from_regex(r"\A\d{1,5}-W?\d{1,3}(-\d{1,2})?\Z"))
def test_every_text_is_a_period_or_unreadable(text):
    try:
        period = parse(text)
    except UnreadablePeriod:
        return
    assert text == period.key or text in Window.values


@pytest.mark.parametrize(
    ("latest", "future"),
    [("2026-11-22", "2026-11-23"), ("2026-W47", "2026-W48"), ("2026-11", "2026-12")],
)
def test_a_period_is_readable_from_its_first_moment_on(latest, future):
    assert parse(latest, SUNDAY_NOON).key == latest
    start = parse(future).start
    assert parse(future, start).key == future
    with pytest.raises(UnreadablePeriod):
        parse(future, start - TICK)


@pytest.mark.parametrize("key", ["2000-01-01", "2000-W01", "2000-01"])
def test_the_calendar_begins_with_2000_and_nothing_comes_before(key):
    period = parse(key)
    assert period.previous is None
    assert period.next(FAR_FUTURE).previous == period


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("2026-11-22", "today"),
        ("2026-11-21", "yesterday"),
        ("2026-11-20", "nov. 20, 2026"),
        ("2026-W47", "this week"),
        ("2026-W46", "last week"),
        ("2026-W45", "week 45 of 2026"),
        ("2020-W53", "week 53 of 2020"),
        ("2026-11", "this month"),
        ("2026-10", "last month"),
        ("2025-11", "november 2025"),
        ("all", "all time"),
    ],
)
def test_titles_name_the_period(key, title):
    with translation.override("en"):
        assert parse(key, SUNDAY_NOON).title(SUNDAY_NOON).lower() == title


def test_titles_change_at_midnight():
    monday = shanghai("2026-11-23")
    with translation.override("en"):
        assert parse("2026-W47", monday - TICK).title(monday - TICK) == "This week"
        assert parse("2026-W47", monday).title(monday) == "Last week"


def test_the_calendar_is_that_of_shanghai():
    assert str(CALENDAR) == "Asia/Shanghai"
