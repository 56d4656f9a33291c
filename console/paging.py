"""The console's lists: one mini-program at a time, and tables that may grow without end.

A numbered page makes the database walk everything before it, and an exact count everything there
is. "The rows after this one" is a step down an index, and the database knows about how many rows
a table has.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.text import capfirst
from django.utils.translation import gettext

from .miniprograms import chosen_app

LONGEST_SEARCH = 100  # characters
LONGEST_VALUE = 64
BIGGEST = 2**63 - 1
EXACT_UP_TO = 10_000  # rows of a whole table
COUNTED_UP_TO = 1_000  # rows that a search or a filter finds

ESTIMATES = {
    "postgresql": "SELECT reltuples FROM pg_class WHERE oid = %s::regclass",
    "mysql": (
        "SELECT table_rows FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name = %s"
    ),
}


def is_plain(value: str) -> bool:
    """Whether any database takes it, as a text, a number or a moment of our time."""
    if "\0" in value or len(value) > LONGEST_VALUE:
        return False
    if value.isdecimal():
        return int(value) <= BIGGEST
    try:
        moment = parse_datetime(value)
    except ValueError:
        return False
    return moment is None or 2000 <= moment.year < 3000


@dataclass(frozen=True)
class Count:
    """How many rows there are: exactly, or about, or at least so many."""

    number: int
    about: bool = False
    at_least: bool = False

    def __str__(self) -> str:
        number = f"{self.number:,}"
        if self.about:
            return gettext("about %(number)s") % {"number": number}
        return gettext("more than %(number)s") % {"number": number} if self.at_least else number


def count_table(model: type[Model]) -> Count:
    """The rows of a whole table; an estimate where they are many and the database has one."""
    if statement := ESTIMATES.get(connection.vendor):
        with connection.cursor() as cursor:
            cursor.execute(statement, [model._meta.db_table])
            found = cursor.fetchone()
        # -1 or nothing: the table has not been analysed yet.
        if found and found[0] and found[0] > EXACT_UP_TO:
            return Count(int(found[0]), about=True)
    return Count(model._default_manager.count())


def count_found(rows: QuerySet[Any]) -> Count:
    """What a search or a filter finds; beyond a thousand nobody needs to know."""
    number = rows.order_by()[: COUNTED_UP_TO + 1].count()
    return Count(min(number, COUNTED_UP_TO), at_least=number > COUNTED_UP_TO)


class AppList(ChangeList):
    """A list that keeps to the mini-program its operator has chosen, and is called after what it
    shows."""

    def __init__(self, request: HttpRequest, model: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, model, *args, **kwargs)
        self.opts = self.model_admin.opts
        self.title = capfirst(str(self.opts.verbose_name_plural))

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        rows = super().get_queryset(request, *args, **kwargs)
        app, path = chosen_app(request), getattr(self.model_admin, "app_path", None)
        # "": what belongs to every mini-program, such as a board.
        return rows.filter(**{f"{path}__in": [app, ""]}) if app and path else rows


class KeysetList(AppList):
    """The newest first, a page after another."""

    count: Count
    next_page: str | None
    first_page: str | None

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        after = self.page_num if self.page_num > 1 else None
        rows = self.queryset.filter(pk__lt=after) if after else self.queryset
        page = list(rows[: self.list_per_page + 1])
        more = len(page) > self.list_per_page
        self.result_list = page[: self.list_per_page]
        self.first_page = self.get_query_string() if after else None
        self.next_page = (
            self.get_query_string({PAGE_VAR: self.result_list[-1].pk}) if more else None
        )
        self.count = self._count() if page or after else Count(0)
        self.model_admin.prepare(self.result_list)  # type: ignore[attr-defined]
        self._tell_the_admin()

    def _count(self) -> Count:
        narrowed = self.queryset.query.where
        return count_found(self.queryset) if narrowed else count_table(self.model)

    def _tell_the_admin(self) -> None:
        """What Django's templates ask; they offer nothing that goes beyond this page."""
        self.result_count = len(self.result_list)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator = None
