"""What awaits review: nicknames, avatars and names in groups, the longest waiting first.

An operator decides on what they have seen. Each item carries a digest of its draft, which is
compared under the lock on the member: a newer draft is not approved, nor refused, unseen.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Self

from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import transaction
from django.db.models import Count, F, Min, QuerySet, Value
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.avatars.storage import avatar_path
from accounts.models import AvatarCheck, WeChatUser
from accounts.review import State
from audit.actors import Actor
from groups.models import GroupCard, Membership, describe

from .actions import ACTIONS, DECISIONS, Action, Text

ITEMS_PER_PAGE = 24
VERDICTS = ("approve", "refuse", "reset")
TOKEN = re.compile(r"(nickname|avatar|alias)-(\d{1,18})-([0-9a-f]{32})", re.ASCII)

# WeChat's numbers for what it sees in a picture.
LABELS: dict[str, Text] = {
    "10001": pgettext_lazy("content safety", "advertising"),
    "20001": pgettext_lazy("content safety", "politics"),
    "20002": pgettext_lazy("content safety", "pornography"),
    "20003": pgettext_lazy("content safety", "abuse"),
    "20006": pgettext_lazy("content safety", "crime"),
    "20008": pgettext_lazy("content safety", "fraud"),
    "20012": pgettext_lazy("content safety", "vulgarity"),
    "20013": pgettext_lazy("content safety", "copyright"),
}


@dataclass(frozen=True)
class ReviewKind:
    """A value under review: the column's name, and the model that has it."""

    name: str
    title: Text
    model: type[WeChatUser] | type[Membership]

    def action(self, verdict: str) -> Action:
        return (ACTIONS | DECISIONS)[f"{verdict}_{self.name}"]

    def decided_by(self, operator: User) -> bool:
        return self.action("approve").allowed(operator)

    def pending(self) -> QuerySet[Any]:
        return self.model._default_manager.filter(**{f"{self.name}_state": State.PENDING})


KINDS = {
    kind.name: kind
    for kind in (
        ReviewKind("nickname", _("nickname"), WeChatUser),
        ReviewKind("avatar", _("avatar"), WeChatUser),
        ReviewKind("alias", _("name in this group"), Membership),
    )
}


@dataclass(frozen=True)
class WaitingCount:
    """How many of a kind wait, and since when the first of them has, where that is known."""

    count: int = 0
    since: datetime | None = None


def waiting(kinds: Iterable[ReviewKind]) -> dict[str, WaitingCount]:
    """Count what waits by kind; one query, over an index of each."""
    rows = union(
        kind.pending()
        .values(kind=Value(kind.name))
        .annotate(count=Count("pk"), since=Min("review_since"))
        .values_list("kind", "count", "since")
        for kind in kinds
    )
    return {kind: WaitingCount(count, since) for kind, count, since in rows}


def union(queries: Iterable[QuerySet[Any, Any]]) -> QuerySet[Any, Any]:
    """Join queries into one that keeps every row."""
    first, *others = queries
    return first.union(*others, all=True) if others else first


def waiting_time(since: datetime | None, now: datetime) -> str:
    """Return such as "3 hours"; "" where it is not known since when something waits."""
    return timesince(since, now, depth=1) if since else ""


@dataclass(frozen=True)
class ReviewItem:
    """One value that waits, with what others see now.

    `card` is the group of a name in a group, `check` is WeChat's check of an avatar.
    """

    kind: ReviewKind
    row: Any
    now: datetime
    card: GroupCard | None = None
    check: AvatarCheck | None = None

    @property
    def user(self) -> WeChatUser:
        user: WeChatUser = getattr(self.row, "user", self.row)
        return user

    @property
    def draft(self) -> str:
        return str(getattr(self.row, f"{self.kind.name}_draft"))

    @property
    def shown_name(self) -> str:
        return getattr(self.row, "alias", "") or self.user.display_name

    @property
    def new_face(self) -> str:
        return avatar_path(self.draft, self.user.avatar_seed)

    @property
    def age(self) -> str:
        return waiting_time(self.row.review_since, self.now)

    @property
    def token(self) -> str:
        """Say which value this is, and what it was when it was shown."""
        return f"{self.kind.name}-{self.row.pk}-{draft_digest(self.draft)}"

    @property
    def doubt(self) -> Text:
        """Return what WeChat finds in the picture, where it says."""
        return LABELS.get(self.check.label, "") if self.check else ""


def draft_digest(draft: str) -> str:
    """Return a digest by which a draft is known again."""
    return salted_hmac("console.review", draft, algorithm="sha256").hexdigest()[:32]


def items_of(kinds: Iterable[ReviewKind], first: int = 0) -> list[ReviewItem]:
    """Read the page that begins with the item at place `first`, the longest waiting first.

    At most five queries, however many items there are.
    """
    keys = union(
        kind.pending().values_list("review_since", "pk", Value(kind.name)) for kind in kinds
    ).order_by(F("review_since").asc(nulls_first=True), "pk")
    found = [(kind, pk) for _since, pk, kind in keys[first : first + ITEMS_PER_PAGE]]
    return list(_read(found))


def _read(keys: Collection[tuple[str, int]]) -> Iterable[ReviewItem]:
    """Read items in that order, without those whose row has gone meanwhile."""
    now = timezone.now()
    users = WeChatUser.objects.in_bulk([pk for kind, pk in keys if kind != "alias"])
    memberships = Membership.objects.select_related("user", "group").in_bulk(
        [pk for kind, pk in keys if kind == "alias"]
    )
    groups = {membership.group_id: membership.group for membership in memberships.values()}
    cards = {card.group.pk: card for card in describe(groups.values(), now)} if groups else {}
    checks = _checks([users[pk] for kind, pk in keys if kind == "avatar" and pk in users])
    for kind, pk in keys:
        row: Any = memberships.get(pk) if kind == "alias" else users.get(pk)
        if row:
            card = cards[row.group_id] if kind == "alias" else None
            check = checks.get(row.avatar_draft) if kind == "avatar" else None
            yield ReviewItem(KINDS[kind], row, now, card, check)


def _checks(users: Collection[WeChatUser]) -> dict[str, AvatarCheck]:
    """Return WeChat's checks of the avatars of these members that await review."""
    drafts = [user.avatar_draft for user in users]
    return {
        check.avatar: check
        for check in AvatarCheck.objects.filter(user__in=users, avatar__in=drafts)
    }


# Deciding


class Outcome(Enum):
    DONE = "done"
    DECIDED = "decided"
    CHANGED = "changed"


@dataclass(frozen=True)
class SeenDraft:
    """What an operator saw: which value, and the digest of its draft."""

    kind: ReviewKind
    pk: int
    digest: str

    @classmethod
    def read(cls, token: str) -> Self:
        """Read the token of an item. Raises PermissionDenied for one that no page of ours shows."""
        parts = TOKEN.fullmatch(token)
        if parts is None:
            raise PermissionDenied
        return cls(KINDS[parts[1]], int(parts[2]), parts[3])


def settle(seen: SeenDraft, verdict: str, actor: Actor) -> Outcome:
    """Decide about a value; do nothing where it is no longer what the operator saw."""
    with transaction.atomic():
        row = _locked(seen.kind, seen.pk)
        if row is None or getattr(row, f"{seen.kind.name}_state") != State.PENDING:
            return Outcome.DECIDED
        if draft_digest(getattr(row, f"{seen.kind.name}_draft")) != seen.digest:
            return Outcome.CHANGED
        seen.kind.action(verdict).run(row, actor)
    return Outcome.DONE


def _locked(kind: ReviewKind, pk: int) -> Any:
    """Read the row under the lock on its member; None where one of them is gone."""
    try:
        if kind.model is WeChatUser:
            return WeChatUser.objects.lock(pk)
        WeChatUser.objects.lock(Membership.objects.get(pk=pk).user_id)
        return Membership.objects.select_related("user").get(pk=pk)
    except ObjectDoesNotExist:
        return None
