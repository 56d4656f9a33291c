"""Rankings against a model: a few dozen lines of plain Python, written from the contract alone.

Hypothesis binds, leaves, hides, blocks, erases, submits and moves the clock, in any order, and
compares whole rankings with the model's as it goes. 5,000 steps by default;
`MODEL_STEPS=100000` for more, chosen anew each time.
"""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from accounts.models import WeChatUser
from accounts.privacy import erase
from groups import ranking
from groups.models import Board, Group, Membership, ScoreSource
from groups.services import GroupEntry, Submission, bind, change_membership, leave, submit_score
from tests.settings import APP_ID

STEPS = int(os.environ.get("MODEL_STEPS", "5000"))
STEPS_AN_EXAMPLE = 50

SHANGHAI = ZoneInfo("Asia/Shanghai")
WINDOWS = ("day", "week", "month", "all")
PROOF = timedelta(days=30)

# key, order, policy, scope, rank style
BOARDS = (
    ("active-days", "desc", "sum", "group", "competition"),
    ("best", "desc", "best", "app", "competition"),
    ("fastest", "asc", "best", "group", "dense"),
    ("latest", "desc", "latest", "app", "ordinal"),
    ("total", "asc", "sum", "group", "competition"),
)
PEOPLE, GROUPS = 6, 2

person_of = st.integers(0, PEOPLE - 1)
group_of = st.integers(0, GROUPS - 1)
game_of = st.sampled_from(BOARDS[1:])


def some(what: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(what, min_size=1, max_size=PEOPLE)


# The model


def period_of(window: str, moment: datetime) -> str:
    day = moment.astimezone(SHANGHAI).date()
    year, week, _weekday = day.isocalendar()
    keys = {"day": f"{day}", "week": f"{year}-W{week:02}", "month": f"{day:%Y-%m}", "all": "all"}
    return keys[window]


def period_before(window: str, moment: datetime) -> str:
    """Return the key of the period before the one that `moment` is in."""
    midnight = moment.astimezone(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)
    first = {
        "day": midnight,
        "week": midnight - timedelta(days=midnight.weekday()),
        "month": midnight.replace(day=1),
        "all": moment,
    }[window]
    return period_of(window, first - timedelta(hours=1))


@dataclass
class Member:
    joined: datetime
    verified: datetime
    left: bool = False
    hidden: bool = False


@dataclass
class Model:
    """What the contract says, held in dictionaries; people are known by their pk."""

    members: dict[tuple[int, int], Member] = field(default_factory=dict)
    scores: dict[tuple[str, str, Any, int], tuple[int, datetime]] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)

    def bind(self, who: int, group: int, now: datetime) -> None:
        member = self.members.get((group, who))
        first_today = member is None or period_of("day", member.verified) < period_of("day", now)
        if member is None or member.left:
            hidden = member.hidden if member else False
            verified = member.verified if member else now
            member = self.members[group, who] = Member(now, verified, hidden=hidden)
        member.verified = max(member.verified, now)
        if first_today:
            self.submit(who, BOARDS[0], 1, group, now)

    def submit(self, who: int, board: Any, value: int, group: int, now: datetime) -> set[bool]:
        key, order, policy, scope, _style = board
        where = group if scope == "group" else None
        mine = [
            at for (b, _p, w, u), (_v, at) in self.scores.items() if (b, w, u) == (key, where, who)
        ]
        now = max([now, *mine])
        changed = set()
        for window in WINDOWS:
            place = (key, period_of(window, now), where, who)
            old = self.scores.get(place, (None, now))[0]
            new = value if old is None else self.meet(order, policy, old, value)
            if new != old:
                self.scores[place] = (new, now)
            changed.add(new != old)
        return changed

    @staticmethod
    def meet(order: str, policy: str, old: int, value: int) -> int:
        if policy == "sum":
            return old + value
        if policy == "latest":
            return value
        return max(old, value) if order == "desc" else min(old, value)

    def erase(self, who: int) -> None:
        self.members = {at: member for at, member in self.members.items() if at[1] != who}
        self.scores = {at: score for at, score in self.scores.items() if at[3] != who}
        self.blocked.discard(who)

    def current(self, group: int, now: datetime) -> dict[int, Member]:
        return {
            who: member
            for (where, who), member in self.members.items()
            if where == group
            and not member.left
            and member.verified >= now - PROOF
            and who not in self.blocked
        }

    def ranked(self, group: int, board: Any, period: str, now: datetime) -> list[tuple[int, Any]]:
        """Return (pk, rank) of all who are listed, in their order."""
        key, order, _policy, scope, style = board
        where = group if scope == "group" else None
        with_score, without = [], []
        for who, member in self.current(group, now).items():
            if member.hidden:
                continue
            found = self.scores.get((key, period, where, who))
            if found is None:
                without.append((member.joined, who))
            else:
                value, at = found
                with_score.append((-value if order == "desc" else value, at, member.joined, who))
        with_score.sort()
        values = [row[0] for row in with_score]
        ranks = {
            "competition": [values.index(value) + 1 for value in values],
            "dense": [len(set(values[: values.index(value)])) + 1 for value in values],
            "ordinal": list(range(1, len(values) + 1)),
        }[style]
        listed: list[tuple[int, Any]] = [
            (row[3], rank) for row, rank in zip(with_score, ranks, strict=True)
        ]
        return listed + [(who, None) for _joined, who in sorted(without)]


# The same, done by the product


class Rankings(RuleBasedStateMachine):
    """Each example is a transaction that is rolled back."""

    serial, looks = count(), count()

    def __init__(self) -> None:
        super().__init__()
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        self.model = Model()
        self.now = datetime(2026, 12, 30, 15, 30, tzinfo=UTC)  # half an hour before a midnight
        self.clock = pytest.MonkeyPatch()
        self.clock.setattr(timezone, "now", lambda: self.now)
        self.boards = {board[0]: self.make_board(board) for board in BOARDS}
        self.people = [self.make_person() for _ in range(PEOPLE)]
        self.groups = [
            Group.objects.create(app_id=APP_ID, open_gid=f"model-{next(self.serial)}")
            for _ in range(GROUPS)
        ]

    def teardown(self) -> None:
        self.clock.undo()
        transaction.set_rollback(True)
        self.transaction.__exit__(None, None, None)

    @staticmethod
    def make_board(board: tuple[str, ...]) -> Board:
        key, order, policy, scope, style = board
        if key == "active-days":
            return Board.objects.active_days()
        return Board.objects.create(
            app_id=APP_ID, key=key, order=order, policy=policy, scope=scope, rank_style=style
        )

    def make_person(self) -> WeChatUser:
        return WeChatUser.objects.create(app_id=APP_ID, openid=f"model-{next(self.serial)}")

    def membership(self, person: int, group: int) -> Membership | None:
        """Return the person's membership, if they may do something with it."""
        mine = Membership.objects.of(self.people[person], self.now)
        return mine.filter(group=self.groups[group]).first()

    @initialize()
    def everyone_has_scored(self) -> None:
        for person in range(PEOPLE):
            self.now += timedelta(seconds=1)
            for group in range(GROUPS):
                self.bind(person, group)
                for board in BOARDS[1:]:
                    self.give(person, group, board, person // 2)

    @rule(people=some(person_of), group=group_of)
    def enter(self, people: list[int], group: int) -> None:
        for person in people:
            self.bind(person, group)

    def bind(self, person: int, group: int) -> None:
        bind(self.people[person], GroupEntry(self.groups[group].open_gid, watermarked=True))
        self.model.bind(self.people[person].pk, self.groups[group].pk, self.now)

    @rule(person=person_of, group=group_of)
    def leave(self, person: int, group: int) -> None:
        if membership := self.membership(person, group):
            leave(membership)
            self.model.members[self.groups[group].pk, self.people[person].pk].left = True

    @rule(person=person_of, group=group_of, hidden=st.booleans())
    def hide(self, person: int, group: int, hidden: bool) -> None:
        if membership := self.membership(person, group):
            change_membership(membership, {"hidden": hidden})
            self.model.members[self.groups[group].pk, self.people[person].pk].hidden = hidden

    @rule(person=person_of, blocked=st.booleans())
    def block(self, person: int, blocked: bool) -> None:
        user = self.people[person]
        user.status = WeChatUser.Status.BLOCKED if blocked else WeChatUser.Status.ACTIVE
        user.save(update_fields=["status"])
        (self.model.blocked.add if blocked else self.model.blocked.discard)(user.pk)

    @rule(person=person_of)
    def erase(self, person: int) -> None:
        erase(self.people[person])
        self.model.erase(self.people[person].pk)
        self.people[person] = self.make_person()

    @rule(scores=some(st.tuples(person_of, st.integers(-2, 4))), group=group_of, board=game_of)
    def submit(self, scores: list[tuple[int, int]], group: int, board: Any) -> None:
        for person, value in scores:
            self.give(person, group, board, value)

    def give(self, person: int, group: int, board: Any, value: int) -> None:
        user, where = self.people[person], self.groups[group]
        grouped = where if board[3] == "group" else None
        submission = Submission(self.boards[board[0]], value, grouped, "", ScoreSource.SERVER)
        changed = {each.changed for each in submit_score(user, submission)}
        assert changed == self.model.submit(user.pk, board, value, where.pk, self.now)

    @rule(minutes=st.sampled_from([1, 31, 8 * 60, 24 * 60]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(days=st.sampled_from([7, 30]))
    def wait_long(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(seconds=st.integers(1, 40 * 60))
    def clock_goes_back(self, seconds: int) -> None:
        self.now -= timedelta(seconds=seconds)

    @invariant()
    def what_is_shown_is_what_the_model_says(self) -> None:
        """Compare a group, board, window and viewer in turn, in steps that combine all of them."""
        turn = next(self.looks)
        self.compare(
            turn % GROUPS,
            BOARDS[turn % len(BOARDS)],
            WINDOWS[turn // 3 % len(WINDOWS)],
            turn // 2 % PEOPLE,
            turn % 7 + 1,
        )

    def compare(self, group: int, board: Any, window: str, viewer: int, limit: int) -> None:
        where, me = self.groups[group], self.people[viewer]
        key, scope = board[0], where.pk if board[3] == "group" else None
        period = period_of(window, self.now)
        listed = self.model.ranked(where.pk, board, period, self.now)
        before = dict(self.model.ranked(where.pk, board, period_before(window, self.now), self.now))
        if window == "all":
            before = {}

        def movement(who: int, rank: Any) -> Any:
            if rank is None or window == "all":
                return None
            return "new" if before.get(who) is None else before[who] - rank

        def expected(who: int, rank: Any) -> tuple[Any, ...]:
            value, at = self.model.scores.get((key, period, scope, who), (None, None))
            return (who, rank, movement(who, rank), value, at, who == me.pk)

        rows = [expected(who, rank) for who, rank in listed]
        whole = ranking.standings(where, self.boards[key], self.now, window, viewer=me, limit=100)
        assert [seen(standing) for standing in whole.entries] == rows
        members = self.model.current(where.pk, self.now)
        assert (whole.total, whole.group.member_count) == (len(rows), len(members))
        mine = members.get(me.pk)
        assert whole.absent == ("hidden" if mine and mine.hidden else None)
        my_rank = None if mine is None or mine.hidden else dict(listed)[me.pk]
        assert (seen(whole.me) if whole.me else None) == (
            expected(me.pk, my_rank) if mine else None
        )
        assert whole.percentile == self.percentile(listed, my_rank)
        assert whole.next is None
        self.compare_pages(where, self.boards[key], window, me, limit, rows)
        self.compare_around(where, self.boards[key], window, me, limit, rows)

    @staticmethod
    def percentile(listed: list[tuple[int, Any]], rank: Any) -> int | None:
        if rank is None:
            return None
        others = len(listed) - 1
        below = sum(1 for _who, other in listed if other is None or other > rank)
        return 100 * below // others if others else 100

    @staticmethod
    def compare_pages(
        group: Group, board: Board, window: str, me: WeChatUser, limit: int, rows: list[Any]
    ) -> None:
        walked, cursor = [], None
        while True:
            page = ranking.standings(group, board, timezone.now(), window, me, limit, cursor)
            walked += [seen(standing) for standing in page.entries]
            cursor = page.next
            if cursor is None:
                break
            assert len(page.entries) == limit
        assert walked == rows

    @staticmethod
    def compare_around(
        group: Group, board: Board, window: str, me: WeChatUser, size: int, rows: list[Any]
    ) -> None:
        found = ranking.around(group, board, timezone.now(), me, window, size)
        around = [seen(standing) for standing in found.entries]
        places = [place for place, row in enumerate(rows) if row[0] == me.pk]
        if not places:
            assert around == []
        else:
            assert around == rows[max(0, places[0] - size) : places[0] + size + 1]


def seen(standing: Any) -> tuple[Any, ...]:
    return (
        standing.member.id,
        standing.rank,
        standing.movement,
        standing.score,
        standing.achieved_at,
        standing.is_me,
    )


@pytest.mark.django_db
def test_rankings_agree_with_the_model(settings: Any) -> None:
    settings.CONTENT_SAFETY = False
    run_state_machine_as_test(Rankings, settings=PLAN)


PLAN = settings(
    max_examples=STEPS // STEPS_AN_EXAMPLE,
    stateful_step_count=STEPS_AN_EXAMPLE,
    derandomize="MODEL_STEPS" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
