"""The calendar of scores: days, ISO 8601 weeks and months of Asia/Shanghai, and all of time."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
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


KEYS = {
    Window.DAY: re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII),
    Window.WEEK: re.compile(r"\d{4}-W\d{2}", re.ASCII),
    Window.MONTH: re.compile(r"\d{4}-\d{2}", re.ASCII),
}

# What `Period.parse` can read, for a JSON schema; that it exists and has begun is not said.
PATTERN = f"^(?:{'|'.join([*Window.values, *(key.pattern for key in KEYS.values())])})$"


def day_of(moment: datetime) -> date:
    """The day it is in Asia/Shanghai."""
    return moment.astimezone(CALENDAR).date()


class UnreadablePeriod(ValueError):
    """Neither a window's name nor the key of a period that has begun."""


@dataclass(frozen=True)
class Period:
    """One stretch of the calendar; `first` and `last` are its days in Asia/Shanghai, inclusive.

    Keys: `2026-11-22`, `2026-W47` (ISO 8601), `2026-11`, and `all`, which has no days.
    """

    window: Window
    first: date | None = None

    @classmethod
    def current(cls, window: Window, now: datetime) -> "Period":
        """The period of that window that `now` falls in."""
        return cls.holding(window, day_of(now))

    @classmethod
    def holding(cls, window: Window, day: date) -> "Period":
        match window:
            case Window.DAY:
                return cls(window, day)
            case Window.WEEK:
                return cls(window, day - timedelta(days=day.weekday()))
            case Window.MONTH:
                return cls(window, day.replace(day=1))
        return cls(Window.ALL)

    @classmethod
    def parse(cls, text: str, now: datetime) -> "Period":
        """From a window's name (its current period) or a key. Raises UnreadablePeriod."""
        if text in Window.values:
            return cls.current(Window(text), now)
        period = cls._from_key(text)
        if period.start is None or period.start > now:
            raise UnreadablePeriod(text)
        return period

    @classmethod
    def _from_key(cls, text: str) -> "Period":
        for window, pattern in KEYS.items():
            if pattern.fullmatch(text):
                try:
                    return cls(window, cls._first_day(window, text))
                except ValueError:
                    break
        raise UnreadablePeriod(text)

    @staticmethod
    def _first_day(window: Window, key: str) -> date:
        if not FIRST_YEAR <= int(key[:4]) <= LAST_YEAR:
            raise ValueError(key)
        if window is Window.WEEK:
            return date.fromisocalendar(int(key[:4]), int(key[6:]), 1)
        return date.fromisoformat(key if window is Window.DAY else f"{key}-01")

    @property
    def key(self) -> str:
        if self.first is None:
            return Window.ALL.value
        match self.window:
            case Window.WEEK:
                year, week, _day = self.first.isocalendar()
                return f"{year}-W{week:02}"
            case Window.MONTH:
                return f"{self.first:%Y-%m}"
        return self.first.isoformat()

    @property
    def start(self) -> datetime | None:
        """The first moment; None for `all`."""
        return _midnight(self.first) if self.first else None

    @property
    def end(self) -> datetime | None:
        """The first moment after it; None for `all`."""
        following = self._following_day()
        return _midnight(following) if following else None

    @property
    def previous(self) -> "Period | None":
        """The one before; None for `all`, and where the calendar of scores begins."""
        if self.first is None:
            return None
        before = self.holding(self.window, self.first - timedelta(days=1))
        return before if before.first and before.first.year >= FIRST_YEAR else None

    def next(self, now: datetime) -> "Period | None":
        """The one after, unless it has yet to begin at `now`."""
        following = self._following_day()
        if following is None or _midnight(following) > now:
            return None
        return self.holding(self.window, following)

    def _following_day(self) -> date | None:
        if self.first is None:
            return None
        match self.window:
            case Window.DAY:
                return self.first + timedelta(days=1)
            case Window.WEEK:
                return self.first + timedelta(days=7)
        return (self.first + timedelta(days=31)).replace(day=1)

    def title(self, now: datetime) -> str:
        """What a tab or heading says: "this week", "last week", else its dates."""
        current = self.current(self.window, now)
        if self == current:
            return str(CURRENT_TITLES[self.window])
        if self == current.previous:
            return str(PREVIOUS_TITLES[self.window])
        return self._dates()

    def _dates(self) -> str:
        if self.first is None:
            return self.key
        match self.window:
            case Window.DAY:
                return date_format(self.first, "DATE_FORMAT")
            case Window.WEEK:
                year, week, _day = self.first.isocalendar()
                return gettext("week %(week)d of %(year)d") % {"week": week, "year": year}
        return date_format(self.first, "YEAR_MONTH_FORMAT")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, CALENDAR)


CURRENT_TITLES = {
    Window.DAY: _("Today"),
    Window.WEEK: _("This week"),
    Window.MONTH: _("This month"),
    Window.ALL: _("All time"),
}
PREVIOUS_TITLES = {
    Window.DAY: _("Yesterday"),
    Window.WEEK: _("Last week"),
    Window.MONTH: _("Last month"),
}
