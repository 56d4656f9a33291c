"""Rows in bulk, and how many queries a page takes for few of them and for many."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

from django.db import connection, transaction
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import WeChatUser
from groups.models import Board, Group, Membership, Score
from groups.periods import Period, Window
from tests.settings import APP_ID

FEW, MANY = 3, 30

serial = count()


def make_members(number: int) -> list[WeChatUser]:
    return [
        WeChatUser.objects.create(
            app_id=APP_ID, openid=f"person-{next(serial)}", nickname=f"Person {index}"
        )
        for index in range(number)
    ]


def make_group(users: list[WeChatUser], label: str = "") -> Group:
    """Make a group of these people, each with a score in this period and in the last."""
    now = timezone.now()
    group = Group.objects.create(app_id=APP_ID, open_gid=f"group-{next(serial)}", label=label)
    board = Board.objects.active_days()
    for value, user in enumerate(users):
        Membership.objects.create(group=group, user=user, joined_at=now, verified_at=now)
        for moment in now, now - timedelta(days=7):
            period = Period.current(Window.WEEK, moment).key
            Score.objects.create(
                board=board,
                period=period,
                scope=group.pk,
                user=user,
                value=value % 7,
                achieved_at=now,
            )
    return group


def make_boards(number: int) -> None:
    for _ in range(number):
        Board.objects.create(
            app_id=APP_ID, key=f"board-{next(serial)}", title_zh="板", title_en="Board"
        )


def make_rows(rows: int) -> None:
    """Make so many more of everything, no two rows about the same person and group."""
    make_boards(rows)
    for user in make_members(rows):
        make_group([user, *make_members(1)])


@contextmanager
def rolled_back() -> Iterator[None]:
    """Undo in the end what is written within."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def count_queries(browser: Browser, address: str, **headers: str) -> int:
    """Count the queries of the second reading of a page; the first may fill caches."""
    _read(browser, address, headers)
    with CaptureQueriesContext(connection) as captured:
        _read(browser, address, headers)
    assert len(captured) > 0
    return len(captured)


def _read(browser: Browser, address: str, headers: dict[str, str]) -> None:
    """Read all of an answer: a download that no one reads keeps its place among the few."""
    answer = browser.get(address, headers=headers)
    assert answer.status_code in {200, 204}, address
    if answer.streaming:
        answer.getvalue()


def at_both_sizes(measure: Callable[[int], int]) -> int:
    """Return what `measure` finds for few rows, which must be what it finds for many."""
    found = []
    for rows in FEW, MANY:
        with rolled_back():
            found.append(measure(rows))
    assert found[0] == found[1]
    return found[0]
