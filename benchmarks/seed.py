"""Invented groups in bulk.

Many by Zipf's law, from 3 to 500 members, so 20,000 of them have 1 M memberships; and besides them
groups of exact sizes, the ones that are asked: their first members have tokens.
"""

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
from wechat.sandbox import openid_of

from . import APP_ID, SESSION_KEY

SMALLEST, LARGEST, EXPONENT = 3, 500, 0.6
MEMBERSHIPS_A_PERSON = 5
# How many groups there are of each exact size. Enough that a walk through those of 50 or of 500
# comes back to a group only after the seconds for which a cache may remember it.
SIZED = {5: 200, 50: 2000, 500: 500, 2000: 40}
VIEWERS = 50  # of each of them who have a token
STRANGERS = 10_000  # people in no group: they log in, which changes the key that opens envelopes
SCORED, SCORED_BEFORE = 0.9, 0.8  # of the people: in the current periods, and of these last week
SEEN_FROM = timedelta(days=60)
PROGRESS_EVERY = 100_000

Progress = Callable[[str, int, int], None]


def sizes(count: int, chance: random.Random) -> list[int]:
    """Return the sizes of `count` groups: P(size > s) = (3 / s) ** 0.6, ≤ 500, 54 on average."""
    drawn = (SMALLEST / chance.random() ** (1 / EXPONENT) for _ in range(count))
    return [min(LARGEST, int(size)) for size in drawn]


def numbers_of(size: int, groups: int, sized: Mapping[int, int] = SIZED) -> range:
    """Return the numbers of the groups of an exact size, which follow the `groups` by Zipf."""
    first = groups + 1
    for each, count in sized.items():
        if each == size:
            return range(first, first + count)
        first += count
    raise KeyError(size)


def open_gid(number: int) -> str:
    """Return the openGId of the group of that number."""
    return f"tG-benchmark-group-{number:09}"


def token_of(number: int, viewer: int) -> str:
    """Return the text of the token that a viewer of the group of that number has."""
    return f"bench-viewer-{viewer}-of-{number}"


def strangers(people: int) -> range:
    """Return the numbers of the people who are in no group."""
    return range(people - STRANGERS + 1, people + 1)


def code_of(person: int) -> str:
    """Return a log-in code of a person, which the sandbox always accepts."""
    return f"demo-person-{person}"


def seed(
    groups: int, chance: random.Random, progress: Progress, sized: Mapping[int, int] = SIZED
) -> int:
    """Write people, groups, memberships, tokens and scores into an empty database; return how many
    people there are."""
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
    crowds = sizes(groups, chance)
    all_sizes = crowds + [size for size, count in sized.items() for _group in range(count)]
    joined = max(2 * max(all_sizes), sum(all_sizes) // MEMBERSHIPS_A_PERSON)
    people = joined + STRANGERS
    write(WeChatUser, make_people(people, now), people, progress)
    write(Group, make_groups(len(all_sizes), now), len(all_sizes), progress)
    users, first = keys_of(WeChatUser, people), keys_of(Group, len(all_sizes)).start
    members = {
        first + place: chance.sample(users[:joined], size) for place, size in enumerate(all_sizes)
    }
    asked = {
        number: members[first + number - 1][:VIEWERS]
        for number in range(groups + 1, len(all_sizes) + 1)
    }
    write(Token, make_tokens(asked, now), sum(map(len, asked.values())), progress)
    write(Membership, make_memberships(members, now), sum(all_sizes), progress)
    write(Score, make_scores(board, users, now, chance), 0, progress)
    entered = {group: members[group] for group in range(first, first + groups)}
    active_days = Board.objects.active_days()
    write(Score, make_days(active_days, entered, now), sum(crowds) * len(Window), progress)
    with connection.cursor() as cursor:
        can_vacuum = connection.vendor == "postgresql" and connection.get_autocommit()
        cursor.execute("VACUUM ANALYZE" if can_vacuum else "ANALYZE")
    return people


def keys_of(model: Any, count: int) -> range:
    """Return the primary keys just written: consecutive, but not from 1 in a used database."""
    last = model.objects.latest("pk").pk
    return range(last - count + 1, last + 1)


def make_people(count: int, now: datetime) -> Iterator[WeChatUser]:
    key = encrypt(SESSION_KEY)
    for number in range(1, count + 1):
        yield WeChatUser(
            app_id=APP_ID,
            openid=openid_of(APP_ID, code_of(number)),
            nickname=f"成员{number}",
            created_at=now,
            session_key=key,
            session_key_at=now,
        )


def make_tokens(asked: Mapping[int, Sequence[int]], now: datetime) -> Iterator[Token]:
    ends = now + timedelta(days=30)
    for number, viewers in asked.items():
        for place, user in enumerate(viewers):
            digest = digest_of(token_of(number, place))
            yield Token(user_id=user, digest=digest, created_at=now, expires_at=ends)


def make_groups(count: int, now: datetime) -> Iterator[Group]:
    for number in range(1, count + 1):
        yield Group(
            app_id=APP_ID, open_gid=open_gid(number), created_at=now, seen_from=now - SEEN_FROM
        )


def make_memberships(members: Mapping[int, Sequence[int]], now: datetime) -> Iterator[Membership]:
    for group, users in members.items():
        for place, user in enumerate(users):
            joined = now - timedelta(days=1, seconds=place)
            yield Membership(group_id=group, user_id=user, joined_at=joined, verified_at=now)


def make_scores(
    board: Board, users: Iterable[int], now: datetime, chance: random.Random
) -> Iterator[Score]:
    """Let nine in ten have a score now, most of them last week too."""
    periods = current_periods(now)
    week = Period.current(Window.WEEK, now).previous
    assert week is not None
    before = {"window": Window.WEEK, "period": week.key}
    for user in users:
        if chance.random() >= SCORED:
            continue
        at = now - timedelta(seconds=chance.randrange(86_400))
        value = chance.randrange(10_000)
        had = [before] if chance.random() < SCORED_BEFORE else []
        for each in periods:
            yield Score(board=board, **each, user_id=user, value=value, achieved_at=at)
        for each in had:
            value = chance.randrange(10_000)
            yield Score(board=board, **each, user_id=user, value=value, achieved_at=at)


def make_days(board: Board, members: Mapping[int, Sequence[int]], now: datetime) -> Iterator[Score]:
    """Let every member have entered each of their groups today."""
    periods = current_periods(now)
    for group, users in members.items():
        for user in users:
            for each in periods:
                yield Score(
                    board=board, **each, scope=group, user_id=user, value=1, achieved_at=now
                )


def current_periods(now: datetime) -> list[dict[str, str]]:
    """Return the window and the period of the scores that count at `now`."""
    return [{"window": each, "period": Period.current(each, now).key} for each in Window]


def write(model: Any, rows: Iterable[Any], total: int, progress: Progress) -> None:
    """Write rows, by COPY where the database has it: a million in seconds. Not on SQLite.

    A `total` of 0 is not known before.
    """
    if connection.vendor == "sqlite":
        model.objects.bulk_create(rows, batch_size=PROGRESS_EVERY)
        return
    fields = [f for f in model._meta.concrete_fields if not f.primary_key]
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    table = connection.ops.quote_name(model._meta.db_table)
    name, done = str(model._meta.db_table), 0
    names = [field.attname for field in fields]
    statement = f"COPY {table} ({columns}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for done, row in enumerate(rows, start=1):
            copy.write_row([getattr(row, attname) for attname in names])
            if done % PROGRESS_EVERY == 0:
                progress(name, done, total or done)
    if done % PROGRESS_EVERY:
        progress(name, done, total or done)
