"""The calendar of scores: days, ISO 8601 weeks and months of Asia/Shanghai, and all of time."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import models
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

CALENDAR = ZoneInfo("Asia/Shanghai")
FIRST_YEAR, LAST_YEAR = 2000, 9998


class Window(models.TextChoices):
    DAY = "day", _("day")
    WEEK = "week", _("week")
    MONTH = "month", _("month")
    ALL = "all", _("all time")


@dataclass(frozen=True)
class WindowRow:
    """What a window says of its periods, each of which is known by its first day."""

    pattern: str  # of a key; no key fits two windows
    key: Callable[[date], str]  # keys sort as their periods follow each other
    first_day: Callable[[str], date]  # of a key; raises ValueError
    floor: Callable[[date], date]  # the first day of the period that holds a day
    longest: timedelta  # no period is longer, and none shorter than half of it
    current: Any  # titles: of the period that holds today, and of the one before
    previous: Any
    dates: Callable[[date], str]  # the title of any other


def _title_of_week(first: date) -> str:
    year, week, _day = first.isocalendar()
    return gettext("week %(week)d of %(year)d") % {"week": week, "year": year}


DATED = {
    Window.DAY: WindowRow(
        pattern=r"\d{4}-\d{2}-\d{2}",
        key=date.isoformat,
        first_day=date.fromisoformat,
        floor=lambda day: day,
        longest=timedelta(days=1),
        current=_("Today"),
        previous=_("Yesterday"),
        dates=lambda first: date_format(first, "DATE_FORMAT"),
    ),
    Window.WEEK: WindowRow(
        pattern=r"\d{4}-W\d{2}",
        key=lambda first: "{}-W{:02}".format(*first.isocalendar()),
        first_day=lambda key: date.fromisocalendar(int(key[:4]), int(key[6:]), 1),
        floor=lambda day: day - timedelta(days=day.weekday()),
        longest=timedelta(days=7),
        current=_("This week"),
        previous=_("Last week"),
        dates=_title_of_week,
    ),
    Window.MONTH: WindowRow(
        pattern=r"\d{4}-\d{2}",
        key=lambda first: f"{first:%Y-%m}",
        first_day=lambda key: date.fromisoformat(f"{key}-01"),
        floor=lambda day: day.replace(day=1),
        longest=timedelta(days=31),
        current=_("This month"),
        previous=_("Last month"),
        dates=lambda first: date_format(first, "YEAR_MONTH_FORMAT"),
    ),
}

# What `Period.parse` can read, for a JSON schema; that it exists and has begun is not said.
PATTERN = f"^(?:{'|'.join([*Window.values, *(row.pattern for row in DATED.values())])})$"


def day_of(moment: datetime) -> date:
    """Return the day that it is in Asia/Shanghai."""
    return moment.astimezone(CALENDAR).date()


class UnreadablePeriod(ValueError):
    """Neither a window's name nor the key of a period, or of one that has not begun."""


@dataclass(frozen=True)
class Period:
    """One stretch of the calendar, known by its first day in Asia/Shanghai; `all` has none.

    Keys: `2026-11-22`, `2026-W47` (ISO 8601), `2026-11` and `all`.
    """

    window: Window
    first: date | None = None

    @classmethod
    def current(cls, window: Window, now: datetime) -> "Period":
        """Return the period of that window that `now` falls in."""
        return cls.holding(window, day_of(now))

    @classmethod
    def holding(cls, window: Window, day: date) -> "Period":
        """Return the period of that window that `day` falls in."""
        return cls(window, DATED[window].floor(day) if window in DATED else None)

    @classmethod
    def parse(cls, text: str, now: datetime) -> "Period":
        """Return the current period of a window's name, or the period of a key.

        Raises UnreadablePeriod, for one that has not begun too.
        """
        period = cls.named(text, now)
        if period.start and period.start > now:
            raise UnreadablePeriod(text)
        return period

    @classmethod
    def named(cls, text: str, now: datetime) -> "Period":
        """Do as `parse`, for periods that have not begun too."""
        if text in Window.values:
            return cls.current(Window(text), now)
        for window, row in DATED.items():
            if re.fullmatch(row.pattern, text, re.ASCII):
                try:
                    first = row.first_day(text)
                except ValueError:
                    break
                if FIRST_YEAR <= first.year <= LAST_YEAR:
                    return cls(window, first)
        raise UnreadablePeriod(text)

    @property
    def key(self) -> str:
        return DATED[self.window].key(self.first) if self.first else self.window.value

    @property
    def start(self) -> datetime | None:
        """Return the first moment; None for `all`."""
        return _midnight(self.first) if self.first else None

    @property
    def end(self) -> datetime | None:
        """Return the first moment after it; None for `all`."""
        return self.following.start if self.following else None

    @property
    def previous(self) -> "Period | None":
        """Return the one before; None for `all`, and where the calendar of scores begins."""
        if self.first is None:
            return None
        before = self.holding(self.window, self.first - timedelta(days=1))
        return before if before.first and before.first.year >= FIRST_YEAR else None

    @property
    def following(self) -> "Period | None":
        """Return the one after, begun or not; None for `all`."""
        if self.first is None:
            return None
        return self.holding(self.window, self.first + DATED[self.window].longest)

    def next(self, now: datetime) -> "Period | None":
        """Return the one after, unless it has yet to begin at `now`."""
        return self.following if self.end and self.end <= now else None

    def title(self, now: datetime) -> str:
        """Return what a tab or heading says: "this week", "last week", else its dates."""
        if self.first is None:
            return gettext("All time")
        row, current = DATED[self.window], self.current(self.window, now)
        if self == current:
            return str(row.current)
        return str(row.previous) if self == current.previous else row.dates(self.first)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, CALENDAR)
