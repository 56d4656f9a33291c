"""Every list takes as many queries for thirty rows as for three."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Token, WeChatUser
from groups import ranking
from groups.links import Link
from groups.models import ACTIVE_DAYS, Board, Group, Membership, Score
from groups.periods import Period, Window
from tests.query_counts import (
    at_both_sizes,
    count_queries,
    make_boards,
    make_group,
    make_members,
    make_rows,
    serial,
)
from tests.settings import APP_ID

RANKING_LIMIT = 8

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> WeChatUser:
    return make_members(1)[0]


def api_queries(user: WeChatUser, path: str) -> int:
    token, _row = Token.objects.issue(user, timezone.now())
    return count_queries(Browser(), f"/api/v1/{path}", Authorization=f"Bearer {token}")


def test_my_groups_take_the_same_queries_however_many_groups(alice):
    def measure(rows: int) -> int:
        for _ in range(rows):
            make_group([*make_members(2), alice])
        return api_queries(alice, "groups")

    at_both_sizes(measure)


@pytest.mark.parametrize("path", ["ranking", "ranking?limit=100", "ranking/around?size=25"])
@pytest.mark.parametrize("label", ["", "Family"])
def test_a_ranking_takes_at_most_eight_queries_however_many_members(alice, path, label):
    def measure(rows: int) -> int:
        group = make_group([*make_members(rows - 1), alice], label)
        return api_queries(alice, f"groups/{group.open_gid}/{path}")

    number = at_both_sizes(measure)
    assert number <= RANKING_LIMIT


def test_a_ranking_of_an_app_wide_board_takes_no_more_queries(alice):
    def measure(rows: int) -> int:
        board = Board.objects.create(app_id=APP_ID, key="app-wide", scope=Board.Scope.APP)
        users = [*make_members(rows - 1), alice]
        group = make_group(users)
        Score.objects.filter(scope=group.pk).update(board=board, scope=0)
        return api_queries(alice, f"groups/{group.open_gid}/ranking?board=app-wide")

    assert at_both_sizes(measure) <= RANKING_LIMIT


def test_boards_take_the_same_queries_however_many_boards(alice):
    def measure(rows: int) -> int:
        make_boards(rows)
        return api_queries(alice, "boards")

    at_both_sizes(measure)


def test_the_operators_list_takes_the_same_queries_however_many_groups(olga):
    def measure(rows: int) -> int:
        for _ in range(rows):
            make_group(make_members(3))
        return count_queries(olga, reverse("group-list"))

    at_both_sizes(measure)


def test_the_members_page_takes_the_same_queries_however_many_members(alice):
    def measure(rows: int) -> int:
        link = Link(alice.pk, make_group([*make_members(rows - 1), alice]).pk, ACTIVE_DAYS).sign()
        return count_queries(Browser(), reverse("member-page", args=[link]))

    at_both_sizes(measure)


MODELS: list[Any] = [WeChatUser, Membership, Score, Board]


@pytest.mark.parametrize("model", MODELS)
def test_the_console_lists_take_the_same_queries_however_many_rows(olga, model):
    def measure(rows: int) -> int:
        make_rows(rows)
        return count_queries(
            olga, reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        )

    at_both_sizes(measure)


@pytest.mark.parametrize("model", MODELS)
def test_the_console_pages_of_one_row_take_the_same_queries_however_many_rows(olga, model):
    def measure(rows: int) -> int:
        make_rows(rows)
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
        return count_queries(olga, reverse(name, args=[model.objects.latest("pk").pk]))

    at_both_sizes(measure)


@pytest.mark.parametrize("model", MODELS)
def test_a_search_in_the_console_takes_the_same_queries_however_many_rows(olga, model):
    def measure(rows: int) -> int:
        make_rows(rows)
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
        return count_queries(olga, reverse(name) + "?q=Person")

    at_both_sizes(measure)


SIZES = (5, 50, 500, 2000)


def crowd(size: int) -> tuple[Group, WeChatUser]:
    """Make a group of so many members with a score each, in bulk."""
    now, board = timezone.now(), Board.objects.active_days()
    users = WeChatUser.objects.bulk_create(
        WeChatUser(app_id=APP_ID, openid=f"crowd-{next(serial)}", nickname="N") for _ in range(size)
    )
    users = list(WeChatUser.objects.filter(openid__in=[user.openid for user in users]))
    group = Group.objects.create(app_id=APP_ID, open_gid=f"group-{next(serial)}")
    Membership.objects.bulk_create(
        Membership(group=group, user=user, joined_at=now, verified_at=now) for user in users
    )
    Score.objects.bulk_create(
        Score(
            board=board,
            period=Period.current(Window.WEEK, now).key,
            scope=group.pk,
            user=user,
            value=place % 9,
            achieved_at=now,
        )
        for place, user in enumerate(users)
    )
    return group, users[-1]


def test_rankings_take_the_same_queries_for_groups_of_every_size() -> None:
    board, now = Board.objects.active_days(), timezone.now()
    found = {}
    for size in SIZES:
        group, me = crowd(size)
        for name, ask in {
            "standings": lambda group=group, me=me: ranking.standings(group, board, now, viewer=me),
            "around": lambda group=group, me=me: ranking.around(group, board, now, me),
            "whole": lambda group=group: ranking.whole(group, board, now),
        }.items():
            with CaptureQueriesContext(connection) as count_queries:
                shown = ask()
            assert shown.total == size
            found.setdefault(name, set()).add(len(count_queries))
    assert all(len(numbers) == 1 for numbers in found.values()), found
