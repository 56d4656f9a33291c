"""Invented groups in bulk: sizes by Zipf from 3 to 500, so 20,000 groups have 1 M memberships."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts.models import Token, WeChatUser
from core.vault import digest_of, encrypt
from groups.models import Board, Group, Membership, Score
from groups.periods import Period, Window

from . import APP_ID, SESSION_KEY

SMALLEST, LARGEST, EXPONENT = 3, 500, 0.6
MEMBERSHIPS_A_PERSON = 5
PROGRESS_EVERY = 50_000

Progress = Callable[[str, int, int], None]


def sizes(count: int, chance: random.Random) -> list[int]:
    """Return the sizes of `count` groups: P(size > s) = (3 / s) ** 0.6, ≤ 500, 54 on average."""
    drawn = (SMALLEST / chance.random() ** (1 / EXPONENT) for _ in range(count))
    return [min(LARGEST, int(size)) for size in drawn]


def token_of(user: int) -> str:
    """Return the text of the one token that a seeded person has."""
    return f"bench-token-of-{user}"


def seed(groups: int, chance: random.Random, progress: Progress) -> None:
    """Write people, groups, memberships, tokens and scores into an empty database."""
    board = Board.objects.create(
        app_id=APP_ID,
        key="points",
        title_zh="积分",
        title_en="Points",
        policy=Board.Policy.SUM,
        scope=Board.Scope.APP,
        writer=Board.Writer.CLIENT,
    )
    now = timezone.now()
    big = sizes(groups, chance)
    people = max(LARGEST * 2, sum(big) // MEMBERSHIPS_A_PERSON)
    write(WeChatUser, make_people(people, now), people, progress)
    write(Group, make_groups(groups, now), groups, progress)
    users, first = numbers_of(WeChatUser, people), numbers_of(Group, groups).start
    members = {first + place: chance.sample(users, size) for place, size in enumerate(big)}
    write(Token, make_tokens(users, now), people, progress)
    write(Membership, make_memberships(members, now), sum(big), progress)
    write(Score, make_scores(board, users, now, chance), people * len(Window), progress)
    active_days = Board.objects.active_days()
    write(Score, make_days(active_days, members, now), sum(big) * len(Window), progress)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def numbers_of(model: Any, count: int) -> range:
    """Return the primary keys just written: consecutive, but not from 1 in a used database."""
    last = model.objects.latest("pk").pk
    return range(last - count + 1, last + 1)


def make_people(count: int, now: datetime) -> Iterator[WeChatUser]:
    key = encrypt(SESSION_KEY)
    for number in range(1, count + 1):
        yield WeChatUser(
            app_id=APP_ID,
            openid=f"person-{number}",
            nickname=f"成员{number}",
            created_at=now,
            session_key=key,
            session_key_at=now,
        )


def make_tokens(users: Iterable[int], now: datetime) -> Iterator[Token]:
    for user in users:
        digest, ends = digest_of(token_of(user)), now + timedelta(days=30)
        yield Token(user_id=user, digest=digest, created_at=now, expires_at=ends)


def make_groups(count: int, now: datetime) -> Iterator[Group]:
    for number in range(1, count + 1):
        yield Group(app_id=APP_ID, open_gid=f"group-{number}", created_at=now)


def make_memberships(members: Mapping[int, Sequence[int]], now: datetime) -> Iterator[Membership]:
    for group, users in members.items():
        for place, user in enumerate(users):
            joined = now - timedelta(days=1, seconds=place)
            yield Membership(group_id=group, user_id=user, joined_at=joined, verified_at=now)


def make_scores(
    board: Board, users: Iterable[int], now: datetime, chance: random.Random
) -> Iterator[Score]:
    keys = [Period.current(window, now).key for window in Window]
    for user in users:
        value, at = chance.randrange(10_000), now - timedelta(seconds=chance.randrange(86_400))
        for key in keys:
            yield Score(board=board, period=key, user_id=user, value=value, achieved_at=at)


def make_days(board: Board, members: Mapping[int, Sequence[int]], now: datetime) -> Iterator[Score]:
    """Let every member have entered each of their groups today."""
    keys = [Period.current(window, now).key for window in Window]
    for group, users in members.items():
        for user in users:
            for key in keys:
                yield Score(
                    board=board, period=key, scope=group, user_id=user, value=1, achieved_at=now
                )


def write(model: Any, rows: Iterable[Any], total: int, progress: Progress) -> None:
    """Write rows, by COPY where the database has it: a million in seconds."""
    fields = [f for f in model._meta.concrete_fields if not f.primary_key]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    table = connection.ops.quote_name(model._meta.db_table)
    name = str(model._meta.db_table)
    statement = f"COPY {table} ({columns}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for done, row in enumerate(rows, start=1):
            copy.write_row([getattr(row, field.attname) for field in fields])
            if done % PROGRESS_EVERY == 0 or done == total:
                progress(name, done, total)
