"""Verbs that cross models: prove and bind a group, submit a score, change a membership, leave."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Max, Min, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import GroupProof, Tombstone, WeChatUser
from accounts.privacy import LastingCount
from accounts.services import judge_name, write_name
from audit import attempts
from core.signed import UnreadableSignature, sign, unsign
from wechat.crypto import Envelope

from .errors import (
    NOT_A_CURSOR,
    FoundedTooMany,
    GroupHidden,
    GroupNotProven,
    InvalidField,
    NotAGroup,
)
from .models import (
    ALL_GROUPS,
    Board,
    Group,
    GroupCard,
    IdempotencyKey,
    Membership,
    PeriodResult,
    Score,
    ScoreSource,
    ScoreTooLarge,
    describe,
)
from .periods import day_of

TICKET_LIFETIME = timedelta(seconds=300)
TICKET_SALT = "groups.ticket"
FOUNDING_LIMIT = 100
FOUNDINGS = "foundings"
FOUNDING_WINDOW = timedelta(days=1)
GROUPS_PER_PAGE = 20
KEYS_REMEMBERED = timedelta(days=7)


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
        raise NotAGroup("single_chat" if proof.single_chat else "no_group")
    attempts.passed("group")
    return Entry(proof.open_gid, proof.watermarked)


def ticket_for(user: WeChatUser, entry: Entry) -> str:
    """A signed memory of `resolve`: good for this user, this group and 300 seconds."""
    return sign([user.pk, entry.open_gid, entry.watermarked], TICKET_SALT)


def redeem(user: WeChatUser, open_gid: str, openid: str, ticket: str) -> Entry:
    """The proof in a ticket. Raises GroupNotProven unless all of it fits, BindLocked as resolve."""
    user.refuse_when_locked(timezone.now())
    try:
        owner, group, watermarked = unsign(ticket, TICKET_SALT, TICKET_LIFETIME)
    except UnreadableSignature as error:
        raise GroupNotProven("ticket_expired" if error.expired else "ticket_altered") from None
    if user.pk != owner:
        raise GroupNotProven("ticket_of_another")
    if user.openid != openid:
        raise GroupNotProven("other_openid")
    if open_gid != group:
        raise GroupNotProven("other_group")
    attempts.passed("ticket")
    return Entry(open_gid, watermarked)


def bind(user: WeChatUser, entry: Entry, scene: int | None = None) -> Bound:
    """Make `user` a member of the proven group, or renew that; the day's first entry counts.

    One transaction, safe against itself running elsewhere at the same moment. Raises
    FoundedTooMany when this would be the user's 101st new group within a day, GroupHidden where an
    operator hides the group.
    """
    now = timezone.now()
    with transaction.atomic():
        # First of all locks, so that one person's binds come one after another: the cap is exact,
        # a day counts once, and nobody holds a row that another of them waits for.
        WeChatUser.objects.lock(user.pk)
        group = _find_or_found(user, entry.open_gid, now)
        if group.hidden:
            raise GroupHidden
        seen = {"verified_at": now, "scene": scene, "watermarked": entry.watermarked}
        membership, created = Membership.objects.get_or_create(
            group=group, user=user, defaults={"joined_at": now, **seen}
        )
        counts = created or day_of(membership.verified_at) < day_of(now)
        if not created:
            created = _renew(membership, now, seen)
        if counts:
            board = Board.objects.active_days()
            Score.objects.submit(board, user, board.scope_in(group.pk), 1, now, ScoreSource.ENTRY)
    attempts.passed("membership", group=group.pk, created=created)
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
    before = Tombstone.objects.of(user.app_id, user.openid)
    ends = [found["first"] + FOUNDING_WINDOW] if found["first"] else []
    count = found["count"]
    if before and before.expires_at > now:
        ends.append(before.expires_at)
        count += before.counts.get(FOUNDINGS, 0)
    return Foundings(count, min(ends, default=now))


def lasting_foundings(user: WeChatUser, now: datetime) -> LastingCount:
    """Return what an erasure must not reset: see accounts/privacy.py."""
    return LastingCount(founded_lately(user, now).count, now + FOUNDING_WINDOW)


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


@dataclass(frozen=True)
class Submission:
    """A score that somebody is to have: on which board, and in which group where it has one each.

    `key` is the idempotency key, "" for none; `source` whose word it is.
    """

    board: Board
    value: int
    group: Group | None
    key: str
    source: ScoreSource

    @property
    def digest(self) -> str:
        """What makes two submissions the same one."""
        group = self.group.open_gid if self.group else None
        body = json.dumps([self.board.app_id, self.board.key, self.value, group])
        return hashlib.sha256(body.encode()).hexdigest()

    def check(self, now: datetime) -> None:
        """Raises InvalidField where the board does not take it."""
        low, high = self.board.min_value, self.board.max_value
        if not self.board.is_active(now):
            raise InvalidField("board", _("This board takes no scores at the moment."))
        if (low is not None and self.value < low) or (high is not None and self.value > high):
            raise InvalidField("value", _("Outside the bounds of this board."))


def submit_score(user: WeChatUser, submission: Submission) -> list[PeriodResult]:
    """Give `user` a score, by the board's policy, in all its current periods at once.

    One transaction. The same idempotency key with the same body gets the same answer for seven
    days, and counts once. Raises InvalidField, PermissionDenied where only the server writes;
    nothing is changed then.
    """
    board, source = submission.board, submission.source
    if source is ScoreSource.CLIENT and board.writer != Board.Writer.CLIENT:
        raise PermissionDenied
    if (submission.group is None) == (board.scope == Board.Scope.GROUP):
        raise InvalidField("group", WHICH_GROUP[Board.Scope(board.scope)])
    now = timezone.now()
    with transaction.atomic():
        WeChatUser.objects.lock(user.pk)
        if (known := _answer_to(user, submission, now)) is not None:
            return known
        submission.check(now)
        answer = _write(user, submission, now)
        if submission.key:
            _remember(user, submission, answer, now)
    return answer


WHICH_GROUP = {
    Board.Scope.GROUP: _("This board has a score for each group: say which."),
    Board.Scope.APP: _("This board has one score for all groups: name none."),
}


def _write(user: WeChatUser, submission: Submission, now: datetime) -> list[PeriodResult]:
    board, group = submission.board, submission.group
    scope = board.scope_in(group.pk if group else ALL_GROUPS)
    mine = Score.objects.filter(board=board, user=user, scope=scope)
    # Never earlier than what is there: a clock that goes back must not write into a period that
    # has ended.
    latest = mine.aggregate(at=Max("achieved_at"))["at"] or now
    try:
        return Score.objects.submit(
            board, user, scope, submission.value, max(now, latest), submission.source
        )
    except ScoreTooLarge:
        raise InvalidField("value", _("The sum would be too large.")) from None


def _answer_to(
    user: WeChatUser, submission: Submission, now: datetime
) -> list[PeriodResult] | None:
    """What this idempotency key was answered before. Raises InvalidField for another body."""
    if not submission.key:
        return None
    known = IdempotencyKey.objects.filter(
        user=user,
        source=submission.source,
        key=submission.key,
        created_at__gt=now - KEYS_REMEMBERED,
    ).first()
    if known is None:
        return None
    if known.digest != submission.digest:
        raise InvalidField("key", _("This key was used with another body."))
    return [PeriodResult(*row) for row in known.answer]


def _remember(
    user: WeChatUser, submission: Submission, answer: list[PeriodResult], now: datetime
) -> None:
    IdempotencyKey.objects.update_or_create(
        user=user,
        source=submission.source,
        key=submission.key,
        defaults={
            "digest": submission.digest,
            "answer": [[each.key, each.value, each.changed] for each in answer],
            "created_at": now,
        },
    )


# Reading


def cards_of(memberships: Sequence[Membership], now: datetime) -> list[GroupCard]:
    """Return the cards of the groups that one person is in, each with its membership."""
    cards = describe([membership.group for membership in memberships], now)
    pairs = zip(cards, memberships, strict=True)
    return [replace(card, membership=membership) for card, membership in pairs]


def groups_of(user: WeChatUser, cursor: str | None, now: datetime) -> dict[str, Any]:
    """Return a page of a user's groups, the one visited last first. Raises InvalidField."""
    salt = f"groups.mine.{user.pk}"
    mine = Membership.objects.of(user, now).select_related("group")
    rows = mine.order_by("-verified_at", "-pk")
    if cursor:
        try:
            visited, pk = unsign(cursor, salt)
        except UnreadableSignature:
            raise InvalidField("cursor", NOT_A_CURSOR) from None
        moment = datetime.fromisoformat(visited)
        rows = rows.filter(Q(verified_at__lt=moment) | Q(verified_at=moment, pk__lt=pk))
    page, following = list(rows[: GROUPS_PER_PAGE + 1]), None
    if len(page) > GROUPS_PER_PAGE:
        page, last = page[:GROUPS_PER_PAGE], page[GROUPS_PER_PAGE - 1]
        following = sign([last.verified_at.isoformat(), last.pk], salt)
    return {"groups": cards_of(page, now), "next": following}
