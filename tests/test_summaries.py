"""What lists say of many groups at once is what each group's own ranking says."""

import random
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import WeChatUser
from groups import ranking
from groups.models import Board, Group, Membership, Score, describe
from groups.periods import Period, Window
from tests.settings import APP_ID, OTHER_APP_ID

pytestmark = pytest.mark.django_db

BOARDS: dict[str, dict[str, Any]] = {
    "active days": {},
    "the lowest first": {"order": "asc", "default_window": "all"},
    "one score for all groups": {"scope": "app", "default_window": "month"},
    "dense": {"rank_style": "dense"},
    "ordinal": {"rank_style": "ordinal", "order": "asc"},
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


def summaries(groups: list[Group], **more: Any) -> dict[int, ranking.Summary]:
    boards = Board.objects.defaults({group.app_id for group in groups})
    return ranking.summarize(Q(group__in=groups), boards, timezone.now(), **more)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", BOARDS)
def test_a_summary_says_what_the_groups_own_ranking_says(kind: str, seed: int) -> None:
    chance = random.Random(seed)
    make_default(APP_ID, **BOARDS[kind])
    groups = random_groups(APP_ID, chance) + random_groups(OTHER_APP_ID, chance)
    now = timezone.now()
    found = summaries(groups, wanted=Q(pk__gt=0), places=20)
    cards = {card.group.pk: card for card in describe(groups, now)}
    lengths = set()
    for group in groups:
        if group.pk not in found:
            assert not group.memberships.exists()
            continue
        summary = found[group.pk]
        board = Board.objects.choose(group.app_id)
        expected = ranking.standings(group, board, now, limit=20)
        assert summary.card == cards[group.pk]
        assert summary.top == [standing.member for standing in expected.entries]
        ranks = {each.member.id: (each.rank, each.score) for each in expected.entries}
        lengths.add(len(ranks))
        assert len(summary.places) == group.memberships.count()
        for place in summary.places:
            assert place.total == expected.total
            user_id, absent = place.membership.user_id, place.membership.absences(now)
            assert (user_id in ranks) == (not absent)
            if user_id in ranks:
                assert (place.rank, place.score) == ranks[user_id]
            else:
                assert place.rank is None
    assert len(lengths) > 2


def test_those_asked_for_are_found_beside_the_first_three() -> None:
    chance = random.Random(2018)
    groups = random_groups(APP_ID, chance)
    wanted = Q(user__nickname__contains="3") & Q(left_at=None)
    found = summaries(groups, wanted=wanted, places=2)
    for group in groups:
        rows = group.memberships.filter(wanted)
        places = found[group.pk].places if group.pk in found else []
        members = {place.membership.user_id for place in places}
        assert members <= set(rows.values_list("user", flat=True))
        assert len(places) == min(2, rows.count())
    assert any(summary.places for summary in found.values())


def test_two_queries_find_the_summaries_of_all_groups() -> None:
    chance = random.Random(2018)
    make_default(APP_ID, **BOARDS["the lowest first"])
    groups = random_groups(APP_ID, chance) + random_groups(OTHER_APP_ID, chance)
    for some in groups[-1:], groups:
        with CaptureQueriesContext(connection) as queries:
            summaries(some, wanted=Q(user__nickname__contains="位"))
        assert len(queries) == 2


def test_a_roster_has_everyone_with_the_same_ranks() -> None:
    chance = random.Random(7)
    make_default(APP_ID, **BOARDS["dense"])
    now = timezone.now()
    for group in random_groups(APP_ID, chance):
        board = Board.objects.choose(group.app_id)
        found, expected = ranking.roster(group, board, now), ranking.whole(group, board, now)
        assert found.ranking == expected
        assert set(found.memberships) == set(group.memberships.values_list("user", flat=True))
        listed = {standing.member.id for standing in expected.entries}
        absent = {pk for pk, each in found.memberships.items() if each.absences(now)}
        assert absent == set(found.memberships) - listed
