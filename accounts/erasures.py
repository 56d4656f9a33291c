"""The list of what was erased: so that no backup that is restored, and no old file, brings it back.

An entry is a keyed digest of a person, what was erased, and when. It stands in the database, from
the transaction that erases; but a database that is restored has the list of its own day. So the
list is saved outside of it as well, one entry a line (groupsite/backups.py), and each entry is
logged in the same form. `manage.py erase_again` reads such lines and erases once more.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from core.vault import decrypt

from .models import EVERYTHING, Consent, Erasure, Tombstone, TombstoneKey, WeChatUser
from .privacy import erase
from .withdrawals import withdraw_up_to

# So long may a backup be kept: docs/backup.md and docs/privacy.md say so.
ERASURES_KEPT = timedelta(days=90)
CHUNK = 2000
COMMAND = "manage.py"  # who withdraws, in the audit

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"
WHAT = "|".join([EVERYTHING, *Consent.Purpose])
LINE = re.compile(rf"({MOMENT}) ([0-9a-f]{{64}}) ({WHAT})\b")

# (digest, purpose) → when
Entries = dict[tuple[str, str], datetime]


class UnreadableKey(Exception):
    """No key of FIELD_KEYS opens the key of the digests, or the database has none."""


def entries_in(lines: Iterable[str]) -> Entries:
    """Read the entries that stand in lines: of a saved list, or of a log. The latest counts."""
    found: Entries = {}
    for line in lines:
        for moment, digest, what in LINE.findall(line):
            at, place = datetime.fromisoformat(moment), (digest, what.replace(EVERYTHING, ""))
            found[place] = max(at, found.get(place, at))
    return found


def entries_here() -> Entries:
    rows = Erasure.objects.values_list("digest", "purpose", "at")
    return {(digest, purpose): at for digest, purpose, at in rows}


def lines_of(entries: Entries) -> Iterator[str]:
    """Return entries as lines, the oldest first."""
    for (digest, purpose), at in sorted(entries.items(), key=lambda entry: (entry[1], entry[0])):
        yield f"{Erasure(digest=digest, purpose=purpose, at=at)}\n"


def learn(entries: Entries) -> int:
    """Enter into the database what it does not know yet, or not so late; return how many."""
    here = entries_here()
    news = [
        Erasure(digest=digest, purpose=purpose, at=at)
        for (digest, purpose), at in entries.items()
        if (digest, purpose) not in here or here[digest, purpose] < at
    ]
    Erasure.objects.put(news)
    return len(news)


def erase_again() -> Counter[str]:
    """Erase once more what the list names, as far as it is older than its entry: who has come back
    since is a new member. Return how many people, and how often each purpose.

    Raises UnreadableKey, and StorageUnavailable with what is through erased.
    """
    listed: defaultdict[str, dict[str, datetime]] = defaultdict(dict)
    for (digest, purpose), at in entries_here().items():
        listed[digest][purpose] = at
    done: Counter[str] = Counter()
    for pk, erased in list(_people_in(listed)):
        user = WeChatUser.objects.filter(pk=pk).first()
        if user is None:
            continue
        if "" in erased and user.created_at <= erased[""]:
            with suppress(WeChatUser.DoesNotExist):  # erased meanwhile
                erase(user)
                done[""] += 1
            continue
        for purpose in sorted(erased.keys() - {""}):
            done.update(withdraw_up_to(erased[purpose], pk, [purpose], COMMAND))
    return done


def _people_in(
    listed: dict[str, dict[str, datetime]],
) -> Iterator[tuple[int, dict[str, datetime]]]:
    people = WeChatUser.objects.order_by("pk").values_list("pk", "app_id", "openid")
    if not listed or not people.exists():
        return
    sealed = TombstoneKey.objects.values_list("sealed", flat=True)
    keys = [decrypt(each) for each in sealed]
    if not keys or None in keys:
        raise UnreadableKey
    for pk, app_id, openid in people.iterator(CHUNK):
        for digest in Tombstone.objects.digests(app_id, openid, filter(None, keys)):
            if digest in listed:
                yield pk, listed[digest]
