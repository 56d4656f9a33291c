"""Verbs that cross models: bind a member to a group, leave it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core import signing
from django.db import transaction
from django.db.models import Count, Min
from django.utils import timezone

from accounts.models import GroupProof, Remnant, WeChatUser
from accounts.services import judge_name, write_name
from wechat.crypto import Envelope

from .errors import FoundedTooMany, GroupNotProven, NotAGroup
from .models import Board, Group, Membership, Score
from .periods import Period, Window, day_of

TICKET_LIFETIME = timedelta(seconds=300)
TICKET_SALT = "groups.ticket"
FOUNDING_LIMIT = 100
FOUNDING_WINDOW = timedelta(days=1)


@dataclass(frozen=True)
class Entry:
    """What WeChat has proven: this group, and whether its word carried a watermark."""

    open_gid: str
    watermarked: bool


@dataclass(frozen=True)
class Bound:
    """A membership after `bind`; `created` where the person was not in the group just before,
    be it the first time or after leaving."""

    membership: Membership
    created: bool


def resolve(user: WeChatUser, envelope: Envelope) -> Entry:
    """The group an envelope names, if WeChat made it for `user`; binds nothing.

    Raises SessionStale, BindLocked, and NotAGroup for genuine data of a single chat or of no chat.
    """
    proof: GroupProof = user.unseal_group(envelope)
    if proof.open_gid is None:
        raise NotAGroup
    return Entry(proof.open_gid, proof.watermarked)


def ticket_for(user: WeChatUser, entry: Entry) -> str:
    """A signed memory of `resolve`: good for this user, this group and 300 seconds."""
    proof = {"user": user.pk, "group": entry.open_gid, "watermarked": entry.watermarked}
    return signing.dumps(proof, salt=TICKET_SALT)


def redeem(user: WeChatUser, open_gid: str, openid: str, ticket: str) -> Entry:
    """The proof in a ticket. Raises GroupNotProven unless all of it fits, BindLocked as resolve."""
    user.refuse_when_locked(timezone.now())
    try:
        proof: Mapping[str, Any] = signing.loads(ticket, salt=TICKET_SALT, max_age=TICKET_LIFETIME)
    except signing.BadSignature:
        raise GroupNotProven from None
    if (user.pk, user.openid, open_gid) != (proof["user"], openid, proof["group"]):
        raise GroupNotProven
    return Entry(open_gid, proof["watermarked"])


def bind(user: WeChatUser, entry: Entry, scene: int | None = None) -> Bound:
    """Make `user` a member of the proven group, or renew that; the day's first entry counts.

    One transaction, safe against itself running elsewhere at the same moment. Raises
    FoundedTooMany when this would be the user's 101st new group within a day.
    """
    now = timezone.now()
    with transaction.atomic():
        # First of all locks, so that one person's binds come one after another: the cap is exact,
        # a day counts once, and nobody holds a row that another of them waits for.
        WeChatUser.objects.lock(user.pk)
        group = _find_or_found(user, entry.open_gid, now)
        seen = {"verified_at": now, "scene": scene, "watermarked": entry.watermarked}
        membership, created = Membership.objects.get_or_create(
            group=group, user=user, defaults={"joined_at": now, **seen}
        )
        counts = created or day_of(membership.verified_at) < day_of(now)
        if not created:
            created = _renew(membership, now, seen)
        if counts:
            periods = [Period.current(window, now) for window in Window]
            Score.objects.add(Board.objects.active_days(), user, group, periods, now)
    return Bound(membership, created)


def _renew(membership: Membership, now: datetime, seen: Mapping[str, Any]) -> bool:
    """Note a further entry; whether it brings back somebody who had left."""
    came_back = membership.left_at is not None
    if came_back:
        membership.left_at = None
        membership.joined_at = now
    # Never earlier: a clock that goes back must not make the same day count twice.
    latest = max(membership.verified_at, now)
    for name, value in {**seen, "verified_at": latest}.items():
        setattr(membership, name, value)
    membership.save(update_fields=["left_at", "joined_at", *seen])
    return came_back


def _find_or_found(user: WeChatUser, open_gid: str, now: datetime) -> Group:
    known = Group.objects.filter(app_id=user.app_id, open_gid=open_gid).first()
    if known:
        return known
    lately = founded_lately(user, now)
    if lately.count >= FOUNDING_LIMIT:
        raise FoundedTooMany(wait=(lately.until - now).total_seconds())
    group, _founded = Group.objects.get_or_create(
        app_id=user.app_id,
        open_gid=open_gid,
        defaults={"founded_by": user, "created_at": now},
    )
    return group


@dataclass(frozen=True)
class Foundings:
    """How many groups somebody founded within the last day, and when the first of them lapses."""

    count: int
    until: datetime


def founded_lately(user: WeChatUser, now: datetime) -> Foundings:
    """Those of `user`, and those from before an erasure."""
    lately = Group.objects.filter(founded_by=user, created_at__gt=now - FOUNDING_WINDOW)
    found = lately.aggregate(count=Count("pk"), first=Min("created_at"))
    before = Remnant.objects.of(user.app_id, user.openid)
    ends = [found["first"] + FOUNDING_WINDOW] if found["first"] else []
    count = found["count"]
    if before and before.expires_at > now:
        ends.append(before.expires_at)
        count += before.foundings
    return Foundings(count, min(ends, default=now))


def change_membership(membership: Membership, changes: Mapping[str, Any]) -> Membership:
    """Hide or show oneself (`hidden`), take another name in the group (`alias`, "" for none), or
    begin that name's review; the membership as it now is.

    Raises RiskyName, and WeChatError as WeChat refuses; nothing is changed then.
    """
    alias = changes.get("alias")
    if alias is not None:
        suggestion = judge_name(membership.user, "alias", alias, known=membership.alias)
    with transaction.atomic():
        WeChatUser.objects.lock(membership.user_id)
        membership.refresh_from_db()
        if alias is not None:
            write_name(membership, "alias", alias, suggestion)
        if "hidden" in changes:
            membership.hidden = changes["hidden"]
            membership.save(update_fields=["hidden"])
    return membership


def leave(membership: Membership) -> None:
    """Gone from the group's next read; entering again from the group brings everything back."""
    Membership.objects.filter(pk=membership.pk).update(left_at=timezone.now())
