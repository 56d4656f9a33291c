"""The top members of many groups at once are those of each group's own ranking."""

import random
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import WeChatUser
from groups import ranking
from groups.models import Board, Group, Membership, Score
from groups.periods import Period, Window
from tests.settings import APP_ID, OTHER_APP_ID

pytestmark = pytest.mark.django_db

BOARDS: dict[str, dict[str, Any]] = {
    "active days": {},
    "the lowest first": {"order": "asc", "default_window": "all"},
    "one score for all groups": {"scope": "app", "default_window": "month"},
}


def make_default(app_id: str, **more: Any) -> None:
    if more:
        titles = {"title_zh": "积分", "title_en": "Points"}
        Board.objects.create(app_id=app_id, key="points", default_for=app_id, **titles, **more)


def people(app_id: str, chance: random.Random) -> list[WeChatUser]:
    return [
        WeChatUser.objects.create(
            app_id=app_id,
            openid=f"o-{number}",
            nickname=chance.choice(["", f"第 {number} 位"]),
            status=chance.choice(["active"] * 6 + ["blocked"]),
        )
        for number in range(9)
    ]


def gather(app_id: str, users: list[WeChatUser], chance: random.Random) -> Group:
    """Make a group of some users, in every state there is, with ties and gaps."""
    now = timezone.now()
    number = Group.objects.count()
    group = Group.objects.create(app_id=app_id, open_gid=f"tG-{number}")
    for user in chance.sample(users, number % 3 * 3 + number // 3):
        Membership.objects.create(
            group=group,
            user=user,
            joined_at=now - timedelta(days=50, minutes=chance.randrange(3)),
            verified_at=now - timedelta(days=chance.choice([0, 0, 0, 31])),
            hidden=chance.random() < 0.1,
            withheld=chance.random() < 0.1,
            left_at=chance.choice([None] * 6 + [now]),
            alias=chance.choice(["", "", "别名"]),
        )
    return group


def play(board: Board, group: Group, users: list[WeChatUser], chance: random.Random) -> None:
    now, window = timezone.now(), Window(board.default_window)
    current = Period.current(window, now)
    for user in users:
        for period in filter(None, (current, current.previous)):
            if chance.random() < 0.6:
                Score.objects.get_or_create(
                    board=board,
                    user=user,
                    scope=board.scope_in(group.pk),
                    period=period.key,
                    defaults={
                        "value": chance.randrange(-1, 3),
                        "achieved_at": now - timedelta(microseconds=chance.randrange(3)),
                    },
                )


def random_groups(app_id: str, chance: random.Random) -> list[Group]:
    """Make groups of one mini-program, with scores on each of its boards."""
    users = people(app_id, chance)
    groups = [gather(app_id, users, chance) for _ in range(6)]
    for board in Board.objects.of_app(app_id):
        for group in groups:
            play(board, group, users, chance)
    return groups


def first_three(group: Group) -> list[ranking.Member]:
    board = Board.objects.choose(group.app_id)
    found = ranking.standings(group, board, timezone.now(), limit=3)
    return [standing.member for standing in found.entries]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", BOARDS)
def test_the_top_members_of_every_group_are_those_of_its_ranking(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    make_default(APP_ID, **BOARDS[kind])
    groups = random_groups(APP_ID, chance) + random_groups(OTHER_APP_ID, chance)
    expected = {group.pk: first_three(group) for group in groups}
    assert {0, 3} <= {len(faces) for faces in expected.values()}
    found = ranking.top(groups, timezone.now())
    assert found == {pk: faces for pk, faces in expected.items() if faces}


def test_two_queries_find_the_top_members_of_all_groups() -> None:
    chance = random.Random(2018)
    make_default(APP_ID, **BOARDS["the lowest first"])
    groups = random_groups(APP_ID, chance) + random_groups(OTHER_APP_ID, chance)
    for some in groups[:1], groups:
        with CaptureQueriesContext(connection) as queries:
            ranking.top(some, timezone.now())
        assert len(queries) == 2


def test_no_groups_have_no_top_members() -> None:
    assert ranking.top([], timezone.now()) == {}
