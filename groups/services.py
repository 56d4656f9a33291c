"""Verbs that cross models: prove and bind a group, submit a score, change a membership, leave."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Min, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException, PermissionDenied

from accounts.models import GroupProof, Tombstone, WeChatUser
from accounts.privacy import LastingCount
from accounts.services import group_behind, judge_name, write_name
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
    Proof,
    ScoreSheet,
    ScoreSource,
    ScoreTooLarge,
    describe,
    shown_digests,
)
from .periods import day_of

TICKET_LIFETIME = timedelta(seconds=300)
TICKET_SALT = "groups.ticket"
FOUNDING_LIMIT = 100
FOUNDINGS = "foundings"
FOUNDING_WINDOW = timedelta(days=1)
GROUPS_PER_PAGE = 20
KEYS_REMEMBERED = timedelta(days=7)
REPORT_LIMIT = 20  # a day, of one member
REPORT_WINDOW = timedelta(days=1)


@dataclass(frozen=True)
class GroupEntry:
    """A group that WeChat has proven, whether the proof carried a watermark, and how it came.

    `group_openid` is the user's id within that group, "" where the proof did not tell it.
    """

    open_gid: str
    watermarked: bool
    group_openid: str = ""
    proof: Proof = Proof.ENVELOPE


@dataclass(frozen=True)
class BindResult:
    """A membership after `bind`; `created` if the user was not in the group before, or had left."""

    membership: Membership
    created: bool


def resolve(user: WeChatUser, envelope: Envelope) -> GroupEntry:
    """Return the group that an envelope names, if WeChat made it for `user`; bind nothing.

    Raises SessionStale, BindLocked, and NotAGroup for genuine data of a single chat or of no chat.
    """
    return _entry(user.unseal_group(envelope), Proof.ENVELOPE)


def resolve_cloud_id(user: WeChatUser, cloud_id: str) -> GroupEntry:
    """Return the group that a cloudID of `user` stands for, as `resolve` does.

    The entry is marked: nothing that WeChat writes says that it would refuse `user` the cloudID of
    another person. Raises as `resolve`, and WeChatError as WeChat refuses.
    """
    return _entry(group_behind(user, cloud_id), Proof.CLOUD)


def _entry(proof: GroupProof, how: Proof) -> GroupEntry:
    if proof.open_gid is None:
        raise NotAGroup("single_chat" if proof.single_chat else "no_group")
    attempts.passed("group")
    return GroupEntry(proof.open_gid, proof.watermarked, proof.group_openid, how)


def ticket_for(user: WeChatUser, entry: GroupEntry) -> str:
    """Sign what `resolve` found; the ticket is valid for this user and group for 300 seconds."""
    given = [entry.group_openid] if entry.group_openid else []
    if entry.proof == Proof.CLOUD:
        given = [entry.group_openid, entry.proof.value]
    return sign([user.pk, entry.open_gid, entry.watermarked, *given], TICKET_SALT, dated=True)


def redeem(user: WeChatUser, open_gid: str, openid: str, ticket: str) -> GroupEntry:
    """Return what a ticket proves. Raises GroupNotProven unless all fits, and BindLocked."""
    user.refuse_when_locked(timezone.now())
    try:
        owner, group, watermarked, *given = unsign(ticket, TICKET_SALT, TICKET_LIFETIME)
    except UnreadableSignature as error:
        raise GroupNotProven("ticket_expired" if error.expired else "ticket_altered") from None
    if user.pk != owner:
        raise GroupNotProven("ticket_of_another")
    if user.openid != openid:
        raise GroupNotProven("other_openid")
    if open_gid != group:
        raise GroupNotProven("other_group")
    attempts.passed("ticket")
    group_openid = given[0] if given else ""
    proof = Proof.CLOUD if given[1:] == [Proof.CLOUD] else Proof.TICKET
    return GroupEntry(open_gid, watermarked, group_openid, proof)


def bind(user: WeChatUser, entry: GroupEntry, scene: int | None = None) -> BindResult:
    """Make `user` a member of the proven group, or renew it, and count the day's first entry.

    One transaction, safe if it runs twice at the same moment. Raises FoundedTooMany if this would
    be the user's 101st new group within a day, GroupHidden where an operator hides the group.
    """
    with transaction.atomic():
        # First of all locks, so that a user's binds come one after another: the cap is exact, a
        # day counts once, and none of them holds a row that another waits for.
        user = WeChatUser.objects.lock(user.pk)
        membership = Membership.objects.at(user, entry.open_gid)
        if membership is not None:
            group = membership.group
        else:
            group = _find_or_found(user, entry.open_gid, timezone.now())
        if group.hidden:
            raise GroupHidden
        # Only now: it may have waited for the lock, and for someone who founds the same group.
        now = timezone.now()
        known = membership.group_openid if membership else ""
        given = entry.group_openid or known  # wx.getShareInfo and older phones do not tell it
        seen: dict[str, Any] = {"verified_at": now, "scene": scene, "group_openid": given}
        seen |= {"watermarked": entry.watermarked, "proof": entry.proof}
        if membership is None or not membership.is_proven(now) or given != known:
            Group.objects.raise_versions([group.pk])  # before the insert, which refers to it
        counts = membership is None or day_of(membership.verified_at) < day_of(now)
        if membership is None:
            membership = Membership.objects.create(group=group, user=user, joined_at=now, **seen)
            created = True
        else:
            created = _renew(membership, now, seen)
        if counts:
            board = Board.objects.active_days()
            sheet = ScoreSheet([board], [user.pk], [group.pk], now)
            sheet.enter(board, user.pk, group.pk, 1, now, ScoreSource.ENTRY)
            sheet.save()
    attempts.passed("membership", group=group.pk, created=created)
    return BindResult(membership, created)


def _renew(membership: Membership, now: datetime, seen: Mapping[str, Any]) -> bool:
    """Record a further entry; return whether it brings back a member who had left."""
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
    """Return the group of that openGId; create it, if the user has not founded too many."""
    known = Group.objects.filter(app_id=user.app_id, open_gid=open_gid).first()
    if known:
        return known
    lately = founded_lately(user, now)
    if lately.count >= FOUNDING_LIMIT:
        raise FoundedTooMany(wait=(lately.until - now).total_seconds())
    group, _founded = Group.objects.get_or_create(
        app_id=user.app_id,
        open_gid=open_gid,
        defaults={"founded_by": user, "created_at": now, "seen_from": now},
    )
    return group


@dataclass(frozen=True)
class FoundingCount:
    """How many groups a user founded within the last day, and when the first lapses."""

    count: int
    until: datetime


def founded_lately(user: WeChatUser, now: datetime) -> FoundingCount:
    """Count the groups that `user` founded within a day, those before an erasure too."""
    lately = Group.objects.filter(founded_by=user, created_at__gt=now - FOUNDING_WINDOW)
    found = lately.aggregate(count=Count("pk"), first=Min("created_at"))
    before = Tombstone.objects.of(user.app_id, user.openid)
    ends = [found["first"] + FOUNDING_WINDOW] if found["first"] else []
    count = found["count"]
    if before and before.expires_at > now:
        ends.append(before.expires_at)
        count += before.counts.get(FOUNDINGS, 0)
    return FoundingCount(count, min(ends, default=now))


def lasting_foundings(user: WeChatUser, now: datetime) -> LastingCount:
    """Return what an erasure must not reset: see accounts/privacy.py."""
    return LastingCount(founded_lately(user, now).count, now + FOUNDING_WINDOW)


def change_membership(membership: Membership, changes: Mapping[str, Any]) -> Membership:
    """Hide or show a member (`hidden`), and set their name in the group (`alias`, "" for none).

    A name that WeChat doubts begins its review. Returns the membership as it now is. Raises
    RiskyName, and WeChatError as WeChat refuses; nothing is changed then.
    """
    alias = changes.get("alias")
    if alias is not None:
        suggestion = judge_name(membership.user, "alias", alias, known=membership.alias)
    with transaction.atomic():
        WeChatUser.objects.lock(membership.user_id)
        membership.refresh_from_db()
        if alias is not None:
            write_name(membership, "alias", alias, suggestion)
        if changes.get("hidden", membership.hidden) != membership.hidden:
            Group.objects.raise_versions([membership.group_id])
            membership.hidden = changes["hidden"]
            membership.save(update_fields=["hidden"])
    return membership


def leave(membership: Membership) -> None:
    """End a membership from the group's next read on; a new entry restores it with its scores.

    The member's id within the group is deleted: a new entry tells it again. Raises
    WeChatUser.DoesNotExist after an erasure meanwhile.
    """
    with transaction.atomic():
        # Locked, so that it is not lost inside a bind that is under way.
        WeChatUser.objects.lock(membership.user_id)
        Group.objects.raise_versions([membership.group_id])
        gone = {"left_at": timezone.now(), "group_openid": ""}
        Membership.objects.filter(pk=membership.pk).update(**gone)


def leave_all(user: WeChatUser, until: datetime) -> bool:
    """Leave every group that `user`, whose row is locked, has joined up to `until`."""
    joined = user.memberships.filter(left_at=None, joined_at__lte=until)
    if joined.exists():
        user.announce()
    return bool(joined.update(left_at=timezone.now(), group_openid=""))


def drop_aliases(user: WeChatUser, until: datetime) -> bool:
    """Delete the names in groups that `user`, whose row is locked, has set up to `until`."""
    named = user.memberships.exclude(alias="", alias_draft="")
    dropped = [each for each in named if each.withdraw("alias", until)]
    if dropped:
        user.announce()
    for membership in dropped:
        membership.save(update_fields=membership.columns_of("alias"))
    return bool(dropped)


def show_change(people: Collection[int]) -> None:
    """Raise the versions of all groups that these people, whose rows are locked, are in."""
    Membership.objects.filter(user__in=people).raise_versions()


def show_erasure(user: WeChatUser) -> None:
    """Raise the versions of all groups that `user`, whose row is locked, is in or founded.

    Those they founded lose that: locked here, all of them are locked in one order.
    """
    joined = user.memberships.filter(left_at=None).values_list("group_id", flat=True)
    founded = Group.objects.filter(founded_by=user).values_list("pk", flat=True)
    Group.objects.raise_versions([*joined, *founded])


def report(user: WeChatUser, group: Group, member: int, reason: str) -> None:
    """Take a member's report of another's name and face, as the group sees them now, for review.

    Nothing is kept, and nothing said, where the group does not list that member, where it is the
    caller, who has reported the same before, or has sent REPORT_LIMIT reports within a day: what
    comes back is the same whatever is meant. Raises WeChatUser.DoesNotExist after an erasure.
    """
    with transaction.atomic():
        locked = WeChatUser.objects.lock_all([user.pk, member])
        if user.pk not in locked:
            raise WeChatUser.DoesNotExist
        now = timezone.now()
        listed = Membership.objects.current(now).listed().select_related("user")
        reported = listed.filter(group=group, user=member).exclude(user=user).first()
        lately = user.reports.filter(created_at__gt=now - REPORT_WINDOW).count()
        if reported and lately < REPORT_LIMIT:
            shown = shown_digests(reported)
            about = {"membership": reported, "reason": reason, "created_at": now}
            if not user.reports.filter(membership=reported, shown__in=shown).exists():
                user.reports.create(shown=shown[0], **about)


@dataclass(frozen=True)
class Submission:
    """A score to be written: on which board, and in which group where the board has one for each.

    `key` is the idempotency key, "" for none; `source` is who submits it.
    """

    board: Board
    value: int
    group: Group | None
    key: str
    source: ScoreSource

    @property
    def digest(self) -> str:
        """Return what two submissions under one key must have in common."""
        group = self.group.open_gid if self.group else None
        body = json.dumps([self.board.app_id, self.board.key, self.value, group])
        return hashlib.sha256(body.encode()).hexdigest()

    @property
    def scope(self) -> int:
        return self.board.scope_in(self.group.pk if self.group else ALL_GROUPS)

    def check(self) -> None:
        """Raise PermissionDenied or InvalidField for what is never accepted."""
        if self.board.counts_days:
            raise PermissionDenied(_("Only entries count on this board: it cannot be written."))
        if self.source is ScoreSource.CLIENT and self.board.writer != Board.Writer.CLIENT:
            raise PermissionDenied
        if (self.group is None) == (self.board.scope == Board.Scope.GROUP):
            raise InvalidField("group", WHICH_GROUP[Board.Scope(self.board.scope)])

    def check_bounds(self, now: datetime) -> None:
        """Raise InvalidField for what the board does not accept at `now`."""
        low, high = self.board.min_value, self.board.max_value
        if not self.board.is_active(now):
            raise InvalidField("board", _("This board takes no scores at the moment."))
        if (low is not None and self.value < low) or (high is not None and self.value > high):
            raise InvalidField("value", _("Outside the bounds of this board."))


WHICH_GROUP = {
    Board.Scope.GROUP: _("This board has a score for each group: name the group."),
    Board.Scope.APP: _("This board has one score for all groups: do not name a group."),
}

# What became of a submission: its periods, or why it is refused.
Answer = list[PeriodResult] | APIException


def submit_score(user: WeChatUser, submission: Submission) -> list[PeriodResult]:
    """Write a score of `user`, by the board's policy, in all its current periods at once.

    One transaction. The same idempotency key with the same body gets the same answer for seven
    days, and counts once. Raises InvalidField, and PermissionDenied where only the server writes;
    nothing is changed then.
    """
    submission.check()
    with transaction.atomic():
        WeChatUser.objects.lock(user.pk)
        [answer] = write_scores([(user.pk, submission)])
    if isinstance(answer, APIException):
        raise answer
    return answer


def write_scores(submissions: Sequence[tuple[int, Submission]]) -> list[Answer]:
    """Write the scores of people whose rows are locked, in this order, and return what became of
    each. What is refused is decided before anything is written; `check` has passed each already.

    A handful of statements however many they are. The moment that a score counts for is taken here,
    after the locks: a period that has ended while this waited for them does not change any more.
    """
    now = timezone.now()
    users = {user for user, _submission in submissions}
    sheet = ScoreSheet(
        [submission.board for _user, submission in submissions],
        users,
        [submission.scope for _user, submission in submissions],
        now,
    )
    memory = _Memory(users, {submission.key for _user, submission in submissions} - {""})
    answers = [_answer(user, submission, sheet, memory) for user, submission in submissions]
    sheet.save()
    memory.save()
    return answers


def _answer(user: int, submission: Submission, sheet: ScoreSheet, memory: "_Memory") -> Answer:
    """Enter one submission into the sheet, unless it is refused or was answered before."""
    now, board = timezone.now(), submission.board
    try:
        if (known := memory.answer_to(user, submission, now)) is not None:
            return known
        submission.check_bounds(now)
        answer = sheet.enter(
            board, user, submission.scope, submission.value, now, submission.source
        )
    except ScoreTooLarge:
        return InvalidField("value", _("The sum would be too large."))
    except APIException as refusal:
        return refusal
    memory.keep(user, submission, answer, now)
    return answer


class _Memory:
    """The answers that some people's idempotency keys had, read and saved under their locks."""

    def __init__(self, users: Collection[int], keys: Collection[str]) -> None:
        rows = IdempotencyKey.objects.filter(user__in=users, key__in=keys)
        self._rows = {(row.user_id, row.source, row.key): row for row in rows}
        self._lapsed: list[int] = []
        self._new: list[IdempotencyKey] = []

    def answer_to(
        self, user: int, submission: Submission, now: datetime
    ) -> list[PeriodResult] | None:
        """Return the answer that this key had before, if any. Raises InvalidField for another
        body.
        """
        known = self._rows.get((user, submission.source, submission.key))
        if known is None or known.created_at <= now - KEYS_REMEMBERED:
            return None
        if known.digest != submission.digest:
            raise InvalidField("key", _("This key was used with another body."))
        return [PeriodResult(*row) for row in known.answer]

    def keep(
        self, user: int, submission: Submission, answer: list[PeriodResult], now: datetime
    ) -> None:
        """Remember an answer, where the submission has a key."""
        if not submission.key:
            return
        place = (user, submission.source, submission.key)
        if (lapsed := self._rows.get(place)) is not None:
            self._lapsed.append(lapsed.pk)
        self._rows[place] = row = IdempotencyKey(
            user_id=user,
            source=submission.source,
            key=submission.key,
            digest=submission.digest,
            answer=[[each.key, each.value, each.changed] for each in answer],
            created_at=now,
        )
        self._new.append(row)

    def save(self) -> None:
        if self._lapsed:
            IdempotencyKey.objects.filter(pk__in=self._lapsed).delete()
        IdempotencyKey.objects.bulk_create(self._new)


# Reading


def cards_of(memberships: Sequence[Membership], now: datetime) -> list[GroupCard]:
    """Return the cards of the groups that one person is in, each with its membership."""
    cards = describe([membership.group for membership in memberships], now)
    pairs = zip(cards, memberships, strict=True)
    return [replace(card, membership=membership) for card, membership in pairs]


@dataclass(frozen=True)
class GroupsPage:
    """A page of a user's groups, and the cursor of the one after it."""

    groups: list[GroupCard]
    next: str | None


def groups_of(user: WeChatUser, cursor: str | None, now: datetime) -> GroupsPage:
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
    return GroupsPage(cards_of(page, now), following)
