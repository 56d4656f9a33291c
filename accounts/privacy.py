"""The erasure of a person."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from .avatars.storage import delete_avatar
from .models import STALE_WINDOW, Erasure, Tombstone, WeChatUser


@dataclass(frozen=True)
class LastingCount:
    """A count that an erasure must not reset, as it is now, and how long it still matters."""

    count: int
    until: datetime


# By name; the app that counts registers it, and finds it again in `Tombstone.counts`.
LASTING_COUNTS: dict[str, Callable[[WeChatUser, datetime], LastingCount]] = {}

# What other apps do first, under the lock on the person, where rows of theirs lose one.
BEFORE_ERASURE: list[Callable[[WeChatUser], None]] = []


def erase(user: WeChatUser) -> None:
    """Remove a person from the storage and the database, immediately and permanently.

    What stays is a keyed digest: where a block or a lock must not be lost (Tombstone), and for as
    long as a backup could bring the person back (Erasure). Raises StorageUnavailable, with the
    database as it was, and WeChatUser.DoesNotExist if they were erased meanwhile.
    """
    for key in (user.avatar, user.avatar_draft):
        delete_avatar(key)
    with transaction.atomic():
        user = WeChatUser.objects.lock(user.pk)
        for prepare in BEFORE_ERASURE:
            prepare(user)
        now = timezone.now()
        lasting = {name: count(user, now) for name, count in LASTING_COUNTS.items()}
        counts = {name: each.count for name, each in lasting.items()}
        until = max([now + STALE_WINDOW, *(each.until for each in lasting.values())])
        Tombstone.objects.replace(user, counts, until)
        Erasure.objects.keep(user, "", now)
        user.delete()
    # Another avatar may have been sent meanwhile; mostly there is nothing left.
    for key in (user.avatar, user.avatar_draft):
        delete_avatar(key)
