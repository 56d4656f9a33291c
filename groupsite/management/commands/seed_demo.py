"""`manage.py seed_demo`: fourteen groups of 1 to 500 invented people with a month of history.

The same people every time, but for when they came, which follows the day.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Model
from django.utils import timezone

from accounts.models import WeChatUser
from accounts.nicknames import clean_nickname
from groups.models import Board, Group, Membership, Score, ScoreSource
from groups.periods import CALENDAR, Period, Window
from groupsite.demo import GAME
from wechat.sandbox import open_gid_of, openid_of

GROUPS = {
    "五百人大群": 500,
    "跑步打卡群": 320,
    "三年二班家长群": 180,
    "": 120,
    "周末羽毛球": 80,
    "Python 学习小组": 50,
    "小区团购群": 36,
    "读书会": 24,
    "相亲相爱一家人": 12,
    "宿舍 404": 8,
    "出差拼车": 5,
    "三人行": 3,
}
ALONE, UNSCORED = "一个人的群", "还没有人得分的群"  # where no one else comes later
DAYS = 30
BATCH = 2000
PEOPLE = 620
OLD_FRIENDS = 0.4  # of the people: they were there before the month began
PLAYERS = 0.5
PLAYED = 0.3  # of the days
SKILLS = {
    1: 52,
    2: 101,
    4: 108,
    5: 95,
}  # of Alice, far below, and of the first three; they play every day

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕"
GIVEN = "梓涵浩然欣怡子轩雨桐思远佳琪明哲晓彤博文若曦宇航诗涵俊杰静怡志强雅婷建国秀英海燕"
NICKS = [
    "追风的少年",
    "一只特别特别特别特别长名字的小可爱",
    "👨‍👩‍👧‍👦👍🏽",
    "مرحبا بكم",
    "aVeryLongLatinNameWithoutSpaces",
    "<script>alert(1)</script>",
    "KING★彡",
    "Zoë Ünïcödé",
    "🌈🌈🌈",
    "สวัสดี",
    "葉問 (叶问)",
    "O'Brien & Söhne",
    "龘靐齉爩",
    "0️⃣1️⃣",
    "=SUM(A1:A9)",
    "さくら",
]


AWAITING_REVIEW = {
    3: "加微信领红包",
    40: "想改的新名字",
    77: "代写作业",
    150: "🌸春暖花开🌸",
    301: "Zoë2",
}


class Command(BaseCommand):
    help = "Fills an empty database with fourteen groups of invented people and a month of history."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.WECHAT_APPS:
            raise CommandError("Set WECHAT_APPS first. 请先设置 WECHAT_APPS。")
        if Group.objects.exists():
            raise CommandError("The database is not empty. 数据库不是空的。")
        app_id = next(iter(settings.WECHAT_APPS))
        with transaction.atomic():
            Seeder(app_id, random.Random(2018), timezone.now(), self.progress).run()
        self.stdout.write("")

    def progress(self, done: int, total: int, what: str) -> None:
        end = "\r" if self.stdout.isatty() else "\n"
        self.stdout.write(f"  [{done:>2}/{total}] {what:<40}", ending=end)
        self.stdout.flush()


def person(number: int) -> str:
    """Return the sandbox's name for a person: demo-alice, demo-bob, demo-3, demo-4 …"""
    return {1: "demo-alice", 2: "demo-bob"}.get(number, f"demo-{number}")


class Seeder:
    """Writes people, groups, memberships and their active days, the same every time."""

    def __init__(self, app_id: str, chance: random.Random, now: datetime, progress: Any) -> None:
        self.app_id = app_id
        self.chance = chance
        self.now = now
        self.today = now.astimezone(CALENDAR).date()
        self.progress = progress
        self.board = Board.objects.active_days()

    def run(self) -> None:
        people = self.make_people()
        others = self.make_game(people)
        groups = [(label, self.members(people, size)) for label, size in GROUPS.items()]
        groups += [(ALONE, people[:1]), (UNSCORED, others[:6])]
        for number, (label, members) in enumerate(groups, start=1):
            self.progress(number, len(groups), f"{label or '未命名的群'} ({len(members)})")
            self.make_group(label, f"demo-chat-{number}", members)

    def make_people(self) -> list[WeChatUser]:
        people = save(
            WeChatUser(
                app_id=self.app_id,
                openid=openid_of(self.app_id, person(number)),
                nickname=self.nickname(number),
                avatar_seed=person(number),
                created_at=self.first_seen(number),
            )
            for number in range(1, PEOPLE + 1)
        )
        for number, nickname in AWAITING_REVIEW.items():
            waits = people[number - 1]
            waits.propose("nickname", nickname)
            waits.review_since = self.now - timedelta(hours=number / 9)
            waits.save()
        return people

    def first_seen(self, number: int) -> datetime:
        is_old = number <= 2 or self.chance.random() < OLD_FRIENDS
        ago = self.chance.randrange(DAYS) + (DAYS if is_old else 0)
        return self.moment(self.today - timedelta(days=ago))

    def nickname(self, number: int) -> str:
        if number <= 2:
            return ["小明", "李雷"][number - 1]
        if number % 37 == 0:
            return ""
        if number % 9 == 0:
            return clean_nickname(self.chance.choice(NICKS))
        given = self.chance.choices(GIVEN, k=self.chance.choice([1, 2, 2]))
        return self.chance.choice(SURNAMES) + "".join(given)

    def members(self, people: Sequence[WeChatUser], size: int) -> list[WeChatUser]:
        """Return those who are in every group, and others; one more joins later."""
        known = people[: min(max(SKILLS), size - 1)]
        return [*known, *self.chance.sample(people[max(SKILLS) :], size - 1 - len(known))]

    def make_group(self, label: str, chat: str, members: Sequence[WeChatUser]) -> None:
        founded = self.now - timedelta(days=2 * DAYS)
        group = Group.objects.create(
            app_id=self.app_id,
            open_gid=open_gid_of(self.app_id, chat),
            label=label,
            created_at=founded,
            seen_from=founded,
        )
        visits = {user: self.visits(user, 0.5 if user in members[:2] else 0) for user in members}
        save(
            Membership(
                group=group, user=user, joined_at=times[0], verified_at=times[-1], scene=1044
            )
            for user, times in visits.items()
        )
        if label != UNSCORED:
            found = visits.items()
            save(score for user, times in found for score in self.scores(group, user, times))

    def visits(self, user: WeChatUser, at_least: float) -> list[datetime]:
        """Return when a person came first on each of their active days since they were seen."""
        eagerness = max(at_least, self.chance.betavariate(1.2, 2.4))
        days = self.days_of(user)
        came = [day for day in days if self.chance.random() < eagerness]
        moments = [self.moment(day) for day in sorted(came or [self.chance.choice(days)])]
        return [max(user.created_at, moment) for moment in moments]

    def days_of(self, user: WeChatUser) -> list[date]:
        """Return the days of the month since a person was first seen, the last one first."""
        since = user.created_at.astimezone(CALENDAR).date()
        days = [self.today - timedelta(days=ago) for ago in range(DAYS)]
        return [day for day in days if day >= since]

    def moment(self, day: date) -> datetime:
        """Return some time of that day that has passed."""
        minute = timedelta(minutes=self.chance.randrange(7 * 60, 23 * 60))
        return min(self.now, datetime.combine(day, time.min, CALENDAR) + minute)

    def make_game(self, people: Sequence[WeChatUser]) -> list[WeChatUser]:
        """Make the board of the example's game, with scores; return who does not play."""
        game = Board.objects.create(
            app_id=self.app_id,
            key=GAME,
            title_zh="十秒点点",
            title_en="Ten seconds of taps",
            unit_zh="次",
            unit_en="taps",
            scope=Board.Scope.APP,
            writer=Board.Writer.CLIENT,
            max_value=200,
        )
        players = {
            user: (SKILLS[number], 1.0)
            if number in SKILLS
            else (30 + 60 * self.chance.betavariate(2, 3), PLAYED)
            for number, user in enumerate(people, start=1)
            if number in SKILLS or self.chance.random() < PLAYERS
        }
        save(
            score
            for user, (skill, played) in players.items()
            for score in self.best_games(game, user, skill, played)
        )
        return [user for user in people if user not in players]

    def best_games(
        self, game: Board, user: WeChatUser, skill: float, played: float
    ) -> Iterator[Score]:
        """Yield a person's best game of each period: they play today, and on `played` days."""
        best: dict[tuple[Window, str], tuple[int, datetime]] = {}
        for day in self.days_of(user):
            if day != self.today and self.chance.random() > played:
                continue
            value, moment = round(self.chance.gauss(skill, 3)), self.moment(day)
            for window in Window:
                key = window, Period.current(window, moment).key
                best[key] = max((value, moment), best.get(key, (0, moment)))
        for (window, period), (value, moment) in best.items():
            yield Score(
                board=game,
                window=window,
                period=period,
                user=user,
                value=value,
                achieved_at=moment,
                source=ScoreSource.CLIENT,
            )

    def scores(self, group: Group, user: WeChatUser, times: Sequence[datetime]) -> Iterator[Score]:
        for window in Window:
            keys = [Period.current(window, moment).key for moment in times]
            latest = dict(zip(keys, times, strict=True))
            for key, count in Counter(keys).items():
                yield Score(
                    board=self.board,
                    window=window,
                    period=key,
                    scope=self.board.scope_in(group.pk),
                    user=user,
                    value=count,
                    achieved_at=latest[key],
                )


def save(rows: Iterable[Any]) -> list[Any]:
    found: list[Any] = list(rows)
    model: type[Model] = type(found[0])
    return list(model._default_manager.bulk_create(found, batch_size=BATCH))
