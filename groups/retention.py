"""How long data about people is kept. docs/privacy.md says the same; change both together.

A purge works in batches, each a transaction of its own: it can be stopped at any moment, and the
site serves requests meanwhile.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.avatars.storage import FOLDER
from accounts.erasures import ERASURES_KEPT
from accounts.models import AvatarCheck, Erasure, Token, Tombstone, WeChatUser
from accounts.privacy import erase
from audit import attempts, diagnostics
from audit.models import Attempt, PhoneFailure, Watch

from .models import Board, Group, IdempotencyKey, Membership, Report, Score
from .periods import DATED, Period, Window, day_of
from .services import KEYS_REMEMBERED

SCORES_KEPT = MEMBERSHIPS_KEPT = PEOPLE_KEPT = timedelta(days=400)  # a year, and time to look back
CHECKS_KEPT = timedelta(days=30)
REPORTS_KEPT = timedelta(days=90)  # after the decision: of one thing a report counts once
UPLOADS_KEPT = timedelta(hours=1)  # a picture is stored before the row that names it
BATCH = 500

Expired = Callable[[datetime], QuerySet[Any]]
Remove = Callable[[QuerySet[Any]], int]


def delete(rows: QuerySet[Any]) -> int:
    """Delete rows on which no others depend; return how many."""
    return rows.delete()[0]


@dataclass(frozen=True)
class Rule:
    """Rows that `expired` finds at a moment, and `remove` deletes; it returns how many."""

    expired: Expired
    remove: Remove = delete

    def count(self, now: datetime) -> int:
        return self.expired(now).count()

    def purge(self, now: datetime) -> Iterator[int]:
        """Delete the rows batch after batch, and yield the number deleted in each."""
        last = 0
        while True:
            rows = self.expired(now).filter(pk__gt=last).order_by("pk")
            pks = list(rows.values_list("pk", flat=True)[:BATCH])
            if not pks:
                return
            yield self.remove(self.expired(now).filter(pk__in=pks))
            last = pks[-1]


class ScoreRule:
    """Scores of periods that ended more than SCORES_KEPT ago.

    Looked for board by board, and by the order of periods as texts: so an index finds them, and the
    largest of all tables is not read for them each night.
    """

    def count(self, now: datetime) -> int:
        return sum(rows.count() for rows in self._parts(now))

    def purge(self, now: datetime) -> Iterator[int]:
        """Delete the rows batch after batch, and yield the number deleted in each."""
        for rows in self._parts(now):
            while pks := list(rows.values_list("pk", flat=True)[:BATCH]):
                yield delete(Score.objects.filter(pk__in=pks))

    def _parts(self, now: datetime) -> Iterator[QuerySet[Score]]:
        day = day_of(now - SCORES_KEPT)
        for board, window in product(list(Board.objects.order_by("pk")), DATED):
            first_kept = Period.holding(window, day).key
            year = first_kept[:4]
            # "2025-12-31" stands before "2025-W01": the days of this year are not to be read.
            same_year = f"{year}-W" if window == Window.WEEK else f"{year}-"
            rows = board.scores.filter(window=window).order_by("period", "scope", "user")
            yield rows.filter(period__lt=year)
            yield rows.filter(period__gte=same_year, period__lt=first_kept)


def stale_memberships(now: datetime) -> QuerySet[Membership]:
    """Find those that were left, or last proven, more than MEMBERSHIPS_KEPT ago."""
    since = now - MEMBERSHIPS_KEPT
    return Membership.objects.filter(Q(left_at__lt=since) | Q(verified_at__lt=since))


def delete_memberships(rows: QuerySet[Membership]) -> int:
    """Delete memberships with the scores in their groups, unless just proven again."""
    people = set(rows.values_list("user", flat=True))
    with transaction.atomic():
        WeChatUser.objects.lock_all(people)
        # Where a proof counts for longer than it is kept, they are listed until now.
        staying = rows.filter(left_at=None)
        Group.objects.raise_versions(staying.values_list("group_id", flat=True))
        pairs = list(rows.values_list("group", "user"))
        for group, user in pairs:
            Score.objects.filter(scope=group, user=user).delete()
        return delete(rows)


def absent_people(now: datetime) -> QuerySet[WeChatUser]:
    """Find the users who are in no group and have not logged in for PEOPLE_KEPT."""
    since = now - PEOPLE_KEPT
    return WeChatUser.objects.filter(
        Q(session_key_at__lt=since) | Q(session_key_at=None, created_at__lt=since), memberships=None
    )


def erase_people(rows: QuerySet[WeChatUser]) -> int:
    people = list(rows)
    for user in people:
        erase(user)
    return len(people)


class OrphanRule:
    """Files that no row names, after an upload or a deletion that failed."""

    def count(self, now: datetime) -> int:
        return len(self._orphans(now))

    def purge(self, now: datetime) -> Iterator[int]:
        for name in self._orphans(now):
            default_storage.delete(name)
            yield 1

    def _orphans(self, now: datetime) -> list[str]:
        try:
            _folders, files = default_storage.listdir(FOLDER)
        except FileNotFoundError:
            return []
        named = WeChatUser.objects.exclude(avatar="", avatar_draft="")
        keys = {key for row in named.values_list("avatar", "avatar_draft") for key in row}
        names = [f"{FOLDER}/{file}" for file in files if file.rpartition("-")[0] not in keys]
        since = now - UPLOADS_KEPT
        return [name for name in names if default_storage.get_modified_time(name) < since]


# Memberships before people: a user without memberships may be deleted next.
RULES: dict[str, Rule | ScoreRule | OrphanRule] = {
    "scores": ScoreRule(),
    "memberships": Rule(stale_memberships, delete_memberships),
    "people": Rule(absent_people, erase_people),
    "tokens": Rule(lambda now: Token.objects.filter(expires_at__lte=now)),
    "checks": Rule(lambda now: AvatarCheck.objects.filter(created_at__lt=now - CHECKS_KEPT)),
    "idempotency-keys": Rule(
        lambda now: IdempotencyKey.objects.filter(created_at__lte=now - KEYS_REMEMBERED)
    ),
    "reports": Rule(lambda now: Report.objects.filter(settled_at__lt=now - REPORTS_KEPT)),
    "tombstones": Rule(lambda now: Tombstone.objects.filter(blocked=False, expires_at__lte=now)),
    "erasures": Rule(lambda now: Erasure.objects.filter(at__lt=now - ERASURES_KEPT)),
    "attempts": Rule(lambda now: Attempt.objects.filter(at__lt=now - attempts.KEPT)),
    "diagnostics": Rule(lambda now: PhoneFailure.objects.filter(hour__lt=now - diagnostics.KEPT)),
    "watches": Rule(lambda now: Watch.objects.filter(until__lte=now)),
    "files": OrphanRule(),
}
