"""The console's lists: one mini-program at a time, and tables that may grow without end.

A numbered page makes the database walk everything before it, and an exact count everything there
is. "The rows after this one" is a step down an index, and the database knows about how many rows
a table has.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db import connections
from django.db.models import DateTimeField, Model, QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext

from core.routing import read_from

from .access import operator_of
from .dates import moment
from .mini_programs import chosen_app

OPENIDS_VAR = "openids"  # asks an export for openids
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
    """Return whether any database takes a value, as a text, a number or a time of this age."""
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
class RowCount:
    """How many rows there are: exactly, or about, or at least so many."""

    number: int
    about: bool = False
    at_least: bool = False

    def __str__(self) -> str:
        number = f"{self.number:,}"
        if self.about:
            return gettext("about %(number)s") % {"number": number}
        return gettext("more than %(number)s") % {"number": number} if self.at_least else number


def count_table(model: type[Model]) -> RowCount:
    """Count the rows of a whole table; estimate where they are many and the database can."""
    database = connections[read_from()]
    if statement := ESTIMATES.get(database.vendor):
        with database.cursor() as cursor:
            cursor.execute(statement, [model._meta.db_table])
            found = cursor.fetchone()
        # -1 or nothing: the table has not been analysed yet.
        if found and found[0] and found[0] > EXACT_UP_TO:
            return RowCount(int(found[0]), about=True)
    return RowCount(model._default_manager.count())


def count_found(rows: QuerySet[Any]) -> RowCount:
    """Count what a search or a filter finds, up to a thousand."""
    number = rows.order_by()[: COUNTED_UP_TO + 1].count()
    return RowCount(min(number, COUNTED_UP_TO), at_least=number > COUNTED_UP_TO)


class MomentColumn:
    """A column of times in the console's one style."""

    def __init__(self, field: DateTimeField[Any, Any]) -> None:
        self.__name__ = self.admin_order_field = field.name
        self.short_description = field.verbose_name

    def __call__(self, row: Model) -> str:
        return moment(getattr(row, self.__name__))


class MiniProgramChangeList(ChangeList):
    """A list that keeps to the mini-program its operator has chosen.

    A column that needs more than its own row is a method here, named like the column of the
    ModelAdmin that it stands in for, with `_column` behind.
    """

    def __init__(self, request: HttpRequest, model: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, model, *args, **kwargs)
        self.opts = self.model_admin.opts
        plural = getattr(self.model_admin, "list_title", "") or self.opts.verbose_name_plural
        self.title = capfirst(str(plural))
        self.list_display = [self._column(name) for name in self.list_display]

    def _column(self, name: Any) -> Any:
        """Return what shows a column: a method here, a time in the console's style, or `name`."""
        if (column := getattr(self, f"{name}_column", None)) is not None:
            return column
        fields = {field.name: field for field in self.model._meta.fields}
        field = fields.get(name)
        return MomentColumn(field) if isinstance(field, DateTimeField) else name

    @property
    def is_narrow(self) -> bool:
        """Return whether some rows are left out."""
        return bool(self.query) or self.has_active_filters

    @property
    def count(self) -> RowCount:
        return RowCount(self.result_count)

    @property
    def first_page(self) -> str | None:
        return self.get_query_string(remove=[PAGE_VAR]) if self.page_num > 1 else None

    @property
    def next_page(self) -> str | None:
        more = self.result_count > self.page_num * self.list_per_page
        return self.get_query_string({PAGE_VAR: self.page_num + 1}) if more else None

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        rows = super().get_queryset(request, *args, **kwargs)
        app, path = chosen_app(request), getattr(self.model_admin, "app_path", None)
        # "": what belongs to every mini-program, such as a board.
        return rows.filter(**{f"{path}__in": [app, ""]}) if app and path else rows


class KeysetChangeList(MiniProgramChangeList):
    """A list of a large table: the newest first, each page after the last row of the one before.

    A page is read when it is shown: an export asks for `queryset` alone.
    """

    # What Django's templates ask; they offer nothing that goes beyond this page.
    full_result_count = None
    show_full_result_count = False
    show_admin_actions = True
    can_show_all = multi_page = False
    paginator = None

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-pk"]

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave out what the address asks of an export."""
        found: dict[str, Any] = super().get_filters_params(params)
        found.pop(OPENIDS_VAR, None)
        return found

    def get_results(self, request: HttpRequest) -> None:
        self.operator = operator_of(request)
        self.after = self.page_num if self.page_num > 1 else None

    @cached_property
    def _rows(self) -> list[Any]:
        """Read the rows of this page, and one more if there is another page."""
        rows = self.queryset.filter(pk__lt=self.after) if self.after else self.queryset
        return list(rows[: self.list_per_page + 1])

    @cached_property
    def result_list(self) -> list[Any]:
        return self._rows[: self.list_per_page]

    @cached_property
    def result_count(self) -> int:  # type: ignore[override]
        return len(self.result_list)

    @cached_property
    def count(self) -> RowCount:
        if not (self._rows or self.after):
            return RowCount(0)
        narrowed = self.queryset.query.where
        return count_found(self.queryset) if narrowed else count_table(self.model)

    @property
    def first_page(self) -> str | None:
        return self.get_query_string() if self.after else None

    @property
    def next_page(self) -> str | None:
        if len(self._rows) <= self.list_per_page:
            return None
        return self.get_query_string({PAGE_VAR: self.result_list[-1].pk})
