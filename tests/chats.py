"""A group under construction, made by the ORM while time stands still: every tie is meant."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from django.test import Client as Browser
from django.utils import timezone as clock

from accounts.models import Token, WeChatUser
from groups import ranking
from groups.models import Board, Group, Membership, Score
from tests.settings import APP_ID

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone(timedelta(hours=8)))
THIS_WEEK, LAST_WEEK = "2026-W47", "2026-W46"


@dataclass
class Chat:
    """A group under construction; members join in the order they are added, a minute apart."""

    group: Group
    board: Board
    people: dict[str, WeChatUser] = field(default_factory=dict)

    def add(self, name: str, value: int | None = None, at: int = 0, **more: Any) -> WeChatUser:
        """Add a member with a score of this week, achieved `at` minutes after noon.

        More: `joined` (minutes), `before` (last week's value), and fields of the membership.
        """
        joined = more.pop("joined", len(self.people))
        before = more.pop("before", None)
        user = self.people[name] = more.pop("user", None) or person(name)
        moments = {"joined_at": NOW + minutes(joined) - timedelta(days=9), "verified_at": NOW}
        Membership.objects.create(group=self.group, user=user, **(moments | more))
        self.score(name, value, at=at)
        self.score(name, before, LAST_WEEK)
        return user

    def score(
        self, name: str, value: int | None, period: str = THIS_WEEK, at: int = 0
    ) -> Score | None:
        if value is None:
            return None
        whose = {"board": self.board, "user": self.people[name], "period": period}
        achieved = NOW + minutes(at) - timedelta(hours=1)
        score, _created = Score.objects.update_or_create(
            **whose,
            scope=self.board.scope_in(self.group.pk),
            defaults={"value": value, "achieved_at": achieved},
        )
        return score

    def membership(self, name: str) -> Membership:
        return Membership.objects.get(group=self.group, user=self.people[name])

    def standings(self, **asked: Any) -> ranking.Ranking:
        return ranking.standings(self.group, self.board, clock.now(), **asked)

    def ask(self, name: str, path: str = "ranking", **query: Any) -> Any:
        """Call the API as this member, about this group's board."""
        query.setdefault("board", self.board.key)
        return call(self.people[name], f"groups/{self.group.open_gid}/{path}", **query)

    def read(self, name: str, path: str = "ranking", **query: Any) -> Any:
        answer = self.ask(name, path, **query)
        assert answer.status_code == 200, answer.content
        return answer.json()


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


def person(name: str, app_id: str = APP_ID) -> WeChatUser:
    return WeChatUser.objects.create(app_id=app_id, openid=name, nickname=name)


def call(user: WeChatUser, path: str, **query: Any) -> Any:
    ranking.recent.clear()  # rows are made by the ORM here, which raises no version
    token, _row = Token.objects.issue(user, clock.now())
    headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en"}
    return Browser().get(f"/api/v1/{path}", query, headers=headers)


def found(open_gid: str = "the-group", label: str = "") -> Group:
    seen = NOW - timedelta(days=800)
    return Group.objects.create(app_id=APP_ID, open_gid=open_gid, label=label, seen_from=seen)


def make_board(key: str = "points", **more: Any) -> Board:
    more = {"app_id": APP_ID, "title_zh": "积分", "title_en": "Points", **more}
    return Board.objects.create(key=key, **more)
