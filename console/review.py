"""What awaits review: nicknames, avatars and names in groups, and what members have reported; the
longest waiting first.

An operator decides on what they have seen. Each item carries a digest of its draft, or of what is
reported, which is compared under the lock on the member: what is newer is not decided unseen.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, ClassVar, Self

from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import transaction
from django.db.models import Count, F, Min, OuterRef, Q, QuerySet, Subquery, Value
from django.http import HttpRequest
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from accounts.avatars.storage import avatar_path
from accounts.models import AvatarCheck, WeChatUser
from accounts.review import State
from audit.actors import Actor
from audit.models import AuditEvent
from core.signed import digests
from groups.models import GroupCard, Membership, Report, describe, reported, shown_digests

from .access import operator_of
from .actions import ACTIONS, DECISIONS, MODERATE, Action, Text
from .roles import may_view

ITEMS_PER_PAGE = 24
DECISIONS_SHOWN = 8
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VERDICTS = ("approve", "refuse", "reset")
TOKEN = re.compile(r"(nickname|avatar|alias|report)-(\d{1,18})-([0-9a-f]{32})", re.ASCII)

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

    verdicts: ClassVar[tuple[str, ...]] = VERDICTS

    name: str
    title: Text
    model: type[WeChatUser] | type[Membership]

    def action(self, verdict: str) -> Action:
        return (ACTIONS | DECISIONS)[f"{verdict}_{self.name}"]

    @property
    def actions(self) -> list[Action]:
        """Return what the audit knows of decisions about this kind."""
        return [self.action(verdict) for verdict in self.verdicts]

    def decided_by(self, operator: User) -> bool:
        return self.action("approve").allowed(operator)

    def allows(self, verdict: str, operator: User) -> bool:
        return self.decided_by(operator)

    def pending(self) -> QuerySet[Any]:
        waiting = {f"{self.name}_state": State.PENDING}
        rows: QuerySet[Any] = self.model._default_manager.filter(**waiting)
        return rows

    def counted(self) -> QuerySet[Any, Any]:
        """Select one row: the name of the kind, how many wait, and since when the first has."""
        rows = self.pending().order_by().values(kind=Value(self.name))
        counted: QuerySet[Any, Any] = rows.annotate(count=Count("pk"), since=Min("review_since"))
        return counted

    def waits(self, row: Any) -> bool:
        return bool(getattr(row, f"{self.name}_state") == State.PENDING)

    def digests(self, row: Any) -> list[str]:
        """Return digests of what there is to decide about: the one to show, then those that were
        shown under former values of SECRET_KEY.
        """
        return draft_digests(getattr(row, f"{self.name}_draft"))

    def decide(self, row: Any, verdict: str, actor: Actor) -> None:
        self.action(verdict).run(row, actor)


# What each verdict about something reported deletes; "name" is the one that the group sees.
DELETED: dict[str, tuple[str, ...]] = {
    "dismiss": (),
    "reset_name": ("name",),
    "reset_face": ("avatar",),
    "reset_both": ("avatar", "name"),  # of all their groups, then of one of these: locked in order
}


class ReportKind(ReviewKind):
    """What members report of another in a group: a membership, however many did.

    An operator dismisses the reports, or deletes what the group sees; both close them.
    """

    verdicts: ClassVar[tuple[str, ...]] = tuple(DELETED)

    @property
    def actions(self) -> list[Action]:
        resets = [ACTIONS[f"reset_{name}"] for name in ("nickname", "avatar", "alias")]
        return [DECISIONS["dismiss_reports"], *resets]

    def decided_by(self, operator: User) -> bool:
        return DECISIONS["dismiss_reports"].allowed(operator)

    def allows(self, verdict: str, operator: User) -> bool:
        deletes = bool(DELETED.get(verdict))
        return self.decided_by(operator) and (not deletes or operator.has_perm(MODERATE))

    def counted(self) -> QuerySet[Any, Any]:
        rows = Report.objects.open().order_by().values(kind=Value(self.name))
        count = Count("membership", distinct=True)
        return rows.annotate(count=count, since=Min("created_at"))

    def waits(self, row: Membership) -> bool:
        return Report.objects.open().filter(membership=row).exists()

    def digests(self, row: Membership) -> list[str]:
        return shown_digests(row)

    def decide(self, row: Membership, verdict: str, actor: Actor) -> None:
        for what in DELETED[verdict]:
            named = "alias" if row.alias else "nickname"
            action = ACTIONS[f"reset_{named if what == 'name' else what}"]
            action.run(row if action.model is Membership else row.user, actor)
        if verdict == "dismiss":
            DECISIONS["dismiss_reports"].run(row, actor)
        else:
            Report.objects.settle(row, Report.Outcome.UPHELD, timezone.now())


KINDS = {
    kind.name: kind
    for kind in (
        ReviewKind("nickname", _("nickname"), WeChatUser),
        ReviewKind("avatar", _("avatar"), WeChatUser),
        ReviewKind("alias", _("name in this group"), Membership),
    )
}
REPORTS = ReportKind("report", _("reports"), Membership)
QUEUE: dict[str, ReviewKind] = {**KINDS, REPORTS.name: REPORTS}


@dataclass(frozen=True)
class WaitingCount:
    """How many of a kind wait, and since when the first of them has, where that is known."""

    count: int = 0
    since: datetime | None = None


def waiting(kinds: Iterable[ReviewKind]) -> dict[str, WaitingCount]:
    """Count what waits by kind; one query, over an index of each."""
    rows = union(kind.counted().values_list("kind", "count", "since") for kind in kinds)
    return {kind: WaitingCount(count, since) for kind, count, since in rows}


def waiting_for(request: HttpRequest) -> dict[str, WaitingCount]:
    """Count what waits of each kind that the operator may see; one query a request."""
    found: dict[str, WaitingCount] | None = getattr(request, "_waiting", None)
    if found is None:
        operator = operator_of(request)
        kinds = [kind for kind in QUEUE.values() if may_view(operator, kind.model)]
        found = waiting(kinds) if kinds else {}
        request._waiting = found  # type: ignore[attr-defined]
    return found


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

    `card` is the group of a name in a group.
    """

    kind: ReviewKind
    row: Any
    now: datetime
    card: GroupCard | None = None

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
    def since(self) -> datetime | None:
        since: datetime | None = self.row.review_since
        return since

    @property
    def age(self) -> str:
        return waiting_time(self.since, self.now)

    @property
    def token(self) -> str:
        """Say which value this is, and what it was when it was shown."""
        return f"{self.kind.name}-{self.row.pk}-{self.kind.digests(self.row)[0]}"

    @property
    def doubt(self) -> Text:
        """Return what WeChat finds in the picture, where it says."""
        return LABELS.get(self.row.doubt or "", "") if self.kind.name == "avatar" else ""


class ReportedItem(ReviewItem):
    """What a group sees of a member, with how many have reported it, since when, and why.

    Who they are is not told: reporting must be safe in a group of people who know each other.
    """

    @property
    def since(self) -> datetime:
        since: datetime = self.row.since
        return since

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Return each reason with the number of reports that give it, the most frequent first."""
        counts = [(str(reason.label), getattr(self.row, reason)) for reason in Report.Reason]
        return sorted((each for each in counts if each[1]), key=lambda each: -each[1])

    @property
    def is_changed(self) -> bool:
        """Return whether the member shows something else than was reported last."""
        return self.row.last not in self.kind.digests(self.row)

    @property
    def has_name(self) -> bool:
        """Return whether there is a name to delete: not so where WeChat's own stands for one."""
        return bool(self.row.alias or self.user.nickname)


def draft_digests(draft: str) -> list[str]:
    """Return the digests by which a draft is known again."""
    return [digest[:32] for digest in digests(draft, "console.review")]


def items_of(kinds: Iterable[ReviewKind], first: int = 0) -> list[ReviewItem]:
    """Read the page that begins with the item at place `first`, the longest waiting first.

    At most four queries, however many items there are.
    """
    kinds, last, now = list(kinds), first + ITEMS_PER_PAGE, timezone.now()
    found: list[tuple[ReviewKind, Any]] = []
    if REPORTS in kinds:
        found += [(REPORTS, row) for row in reported()[:last]]
        kinds.remove(REPORTS)
    for model in {kind.model: None for kind in kinds}:
        theirs = [kind for kind in kinds if kind.model is model]
        rows = _pending(theirs)[:last]
        found += [(kind, row) for row in rows for kind in theirs if kind.waits(row)]
    groups = {row.group_id: row.group for _kind, row in found if isinstance(row, Membership)}
    cards = {card.group.pk: card for card in describe(groups.values(), now)}
    items = [
        (ReportedItem if kind == REPORTS else ReviewItem)(
            kind, row, now, cards.get(getattr(row, "group_id", 0))
        )
        for kind, row in found
    ]
    items.sort(key=lambda item: (item.since or EPOCH, item.row.pk))
    return items[first:last]


def _pending(kinds: Iterable[ReviewKind]) -> Any:
    """Select the rows with a value of these kinds, all of one model, that waits."""
    kinds = list(kinds)
    pending, names = Q(), [kind.name for kind in kinds]
    for name in names:
        pending |= Q(**{f"{name}_state": State.PENDING})
    model: Any = kinds[0].model
    rows = model._default_manager.filter(pending)
    rows = rows.order_by(F("review_since").asc(nulls_first=True), "pk")
    if "alias" in names:
        return rows.select_related("user", "group")
    checks = AvatarCheck.objects.filter(user=OuterRef("pk"), avatar=OuterRef("avatar_draft"))
    return rows.annotate(doubt=Subquery(checks.values("label")[:1]))


# What was decided


@dataclass(frozen=True)
class Decision:
    """What an operator decided about a value, and about whose."""

    event: AuditEvent
    label: Text
    name: str
    is_known: bool  # the member is still here


def decided_lately(kinds: Iterable[ReviewKind]) -> list[Decision]:
    """Read the latest decisions about these kinds, in one query."""
    actions = {action.key: action for kind in kinds for action in kind.actions}
    members = WeChatUser.objects.filter(pk=OuterRef("member_id"))
    events: Any = (
        AuditEvent.objects.filter(action__in=list(actions))
        .annotate(name=Subquery(members.values("nickname")[:1]))
        .order_by("-pk")[:DECISIONS_SHOWN]
    )
    found = []
    for event in events:
        name = event.name or gettext("WeChat user") + f" #{event.member_id}"
        found.append(Decision(event, actions[event.action].label, name, event.name is not None))
    return found


# Deciding


class Outcome(Enum):
    DONE = "done"
    DECIDED = "decided"
    CHANGED = "changed"


@dataclass(frozen=True)
class SeenDraft:
    """What an operator saw: which value, and the digest of its draft or of what was reported."""

    kind: ReviewKind
    pk: int
    digest: str

    @classmethod
    def read(cls, token: str) -> Self:
        """Read the token of an item. Raises PermissionDenied for one that no page of ours shows."""
        parts = TOKEN.fullmatch(token)
        if parts is None:
            raise PermissionDenied
        return cls(QUEUE[parts[1]], int(parts[2]), parts[3])


def settle(seen: SeenDraft, verdict: str, actor: Actor) -> Outcome:
    """Decide about a value; do nothing where it is no longer what the operator saw."""
    with transaction.atomic():
        row = _locked(seen.kind, seen.pk)
        if row is None or not seen.kind.waits(row):
            return Outcome.DECIDED
        if seen.digest not in seen.kind.digests(row):
            return Outcome.CHANGED
        seen.kind.decide(row, verdict, actor)
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
