"""What `manage.py export` writes: the rows of each kind, as `import` reads them.

By natural keys and in their order, byte by byte, so that two sites with the same data write the
same files whatever their database.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Case, F, OuterRef, QuerySet, Subquery, When
from django.db.models.functions import Collate

from accounts.models import WeChatUser
from groups.models import Board, Group, Membership, Score

from .rows import KINDS, Kind
from .writers import BoardsWriter

CHUNK = 2000  # rows read at once

# MariaDB's columns of ids are so by themselves.
_BYTES = {"postgresql": "C", "sqlite": "BINARY"}


def by_bytes(column: str) -> Any:
    """Return what sorts by a column of ids as bytes, whatever the database's language."""
    collation = _BYTES.get(connection.vendor)
    return Collate(F(column), collation) if collation else F(column)


def own(name: str) -> Any:
    """Return what the owner sees as their `nickname` or `alias`: the draft, where there is one."""
    return Case(When(**{f"{name}_draft": ""}, then=F(name)), default=F(f"{name}_draft"))


@dataclass(frozen=True)
class Export:
    """The rows of one kind: how many, and each as values in the order of the kind's columns."""

    kind: Kind
    count: int
    rows: Callable[[], Iterator[tuple[Any, ...]]]


def exports(app_id: str) -> list[Export]:
    """Return everything that `import` reads, of one mini-program."""
    boards = sorted(Board.objects.of_apps([app_id])[app_id], key=lambda board: board.key)
    people = WeChatUser.objects.filter(app_id=app_id)
    groups = Group.objects.filter(app_id=app_id)
    # A foreign key leads to no other mini-program.
    memberships = Membership.objects.filter(group__app_id=app_id)
    scores = [(board, scores_of(board, app_id)) for board in boards]
    return [
        _export("people", people, _people),
        _export("groups", groups, _groups),
        Export(KINDS["boards"], len(boards), lambda: (_board(board, app_id) for board in boards)),
        _export("memberships", memberships, _memberships),
        Export(
            KINDS["scores"],
            sum(rows.count() for _board, rows in scores),
            lambda: (row for board, rows in scores for row in _scores(board, rows)),
        ),
    ]


def _export(
    name: str, rows: QuerySet[Any], read: Callable[[Any], Iterator[tuple[Any, ...]]]
) -> Export:
    return Export(KINDS[name], rows.count(), lambda: read(rows))


def _read(rows: QuerySet[Any], *columns: Any, order: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    return rows.order_by(*order).values_list(*columns).iterator(chunk_size=CHUNK)


def _people(rows: QuerySet[Any]) -> Iterator[tuple[Any, ...]]:
    found = _read(rows, "openid", "unionid", own("nickname"), "status", order=(by_bytes("openid"),))
    for openid, unionid, nickname, status in found:
        yield openid, unionid, nickname, status == WeChatUser.Status.BLOCKED


def _groups(rows: QuerySet[Any]) -> Iterator[tuple[Any, ...]]:
    return _read(rows, "open_gid", "label", "seen_from", "hidden", order=(by_bytes("open_gid"),))


def _memberships(rows: QuerySet[Any]) -> Iterator[tuple[Any, ...]]:
    return _read(
        rows,
        "user__openid",
        "group__open_gid",
        "joined_at",
        "verified_at",
        "left_at",
        "hidden",
        "withheld",
        own("alias"),
        order=(by_bytes("user__openid"), by_bytes("group__open_gid")),
    )


def _board(board: Board, app_id: str) -> tuple[Any, ...]:
    values = {column: getattr(board, name) for column, name in BoardsWriter.FIELDS.items()}
    values |= {"key": board.key, "isDefault": board.default_for == app_id}
    values["windows"] = ",".join(board.counted_windows)  # in the order of all
    return tuple(values[column] for column in KINDS["boards"].by_name)


def scores_of(board: Board, app_id: str) -> QuerySet[Any]:
    """Return a mini-program's scores on a board, of the windows that it counts.

    Those of groups that are no more are left out.
    """
    groups = Group.objects.filter(pk=OuterRef("scope")).values("open_gid")
    counted = Score.objects.filter(board=board, window__in=board.counted_windows)
    rows: QuerySet[Any] = counted.filter(user__app_id=app_id).annotate(open_gid=Subquery(groups))
    return rows.exclude(open_gid=None) if board.scope == Board.Scope.GROUP else rows


def _scores(board: Board, rows: QuerySet[Any]) -> Iterator[tuple[Any, ...]]:
    order = (by_bytes("user__openid"), by_bytes("open_gid"), by_bytes("period"))
    columns = ("user__openid", "value", "open_gid", "period", "achieved_at")
    for openid, value, open_gid, period, achieved_at in _read(rows, *columns, order=order):
        yield openid, board.key, value, open_gid, period, achieved_at
