"""The operators' pages below /groups/: every group, and one's ranking with what can be done."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Case, F, Model, OuterRef, QuerySet, Subquery, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from groups import ranking
from groups.models import Board, Group, Membership, Score, choose, describe
from groups.ranking import Ranking, Standing
from groups.views import ranking_context

from .actions import Action, Text, offered
from .site import operators_only

GROUPS_PER_PAGE = 50
LONGEST_SEARCH = 100

ORDERS: dict[str, tuple[Text, list[Any]]] = {
    "entry": (_("Last entry"), [F("last_entry_at").desc(nulls_last=True)]),
    "members": (_("Most members"), ["-size"]),
    "created": (_("Newest"), ["-created_at"]),
    "label": (_("By label"), [Case(When(label="", then=1), default=0), "label"]),
}


# Every group


@dataclass(frozen=True)
class Wanted:
    """Which groups an operator asks for, in which order; what cannot be read is not asked for."""

    text: str
    app_id: str
    order: str

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        text = request.GET.get("q", "").replace("\0", "").strip()[:LONGEST_SEARCH]
        app_id, order = request.GET.get("app", ""), request.GET.get("sort", "")
        return cls(
            text,
            app_id if app_id in settings.WECHAT_APPS else "",
            order if order in ORDERS else "entry",
        )

    def groups(self, now: datetime) -> QuerySet[Group]:
        groups = Group.objects.with_activity(now)
        if self.text:
            groups = groups.matching(self.text)
        if self.app_id:
            groups = groups.filter(app_id=self.app_id)
        if self.order == "members":
            groups = groups.with_size(now)
        return groups.order_by(*ORDERS[self.order][1], "-pk")


@require_safe
@operators_only("groups.view_group")
def group_list(request: HttpRequest) -> HttpResponse:
    """Every group with its first faces: searched, sorted, by mini-program."""
    now, wanted = timezone.now(), Wanted.of(request)
    page = Paginator(wanted.groups(now), GROUPS_PER_PAGE).get_page(request.GET.get("page"))
    groups = list(page.object_list)
    describe(groups, now)
    faces = ranking.top(groups)
    context = {"page": page, "wanted": wanted, "apps": settings.WECHAT_APPS}
    context |= {"orders": {key: label for key, (label, _order) in ORDERS.items()}}
    context |= {"rows": [(group, faces.get(group.pk, [])) for group in groups]}
    return render(request, "console/groups.html", context)


# One group


@dataclass(frozen=True)
class Offer:
    """An action on one row, as a link to the page that asks before it is done."""

    action: Action
    url: str

    @classmethod
    def each(cls, operator: User, row: Model, keys: Sequence[str], back: str) -> Iterator[Self]:
        for action in offered(operator, row, *keys):
            address = reverse("console-act", args=[action.key, row.pk])
            yield cls(action, f"{address}?{urlencode({'next': back})}")


@require_safe
@operators_only("groups.view_group")
def group_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One group's ranking, as nobody in particular sees it, and what can be done to its rows."""
    group = get_object_or_404(Group, pk=pk)
    boards = list(Board.objects.of_app(group.app_id).order_by("pk"))
    board = chosen(boards, group, request)
    context = ranking_context(request, group, board)
    operator, back = request.user, request.get_full_path()
    context |= {"boards": own_first(boards), "rows": rows(operator, context["ranking"], back)}  # type: ignore[arg-type]
    context |= {"offers": list(Offer.each(operator, group, [], back))}  # type: ignore[arg-type]
    return render(request, "console/group.html", context)


def chosen(boards: Sequence[Board], group: Group, request: HttpRequest) -> Board:
    try:
        return choose(boards, group.app_id, request.GET.get("board"))
    except Board.DoesNotExist:
        raise Http404 from None


def own_first(boards: Sequence[Board]) -> list[Board]:
    """One a key: where a mini-program has its own, that of every mini-program is not shown."""
    own = {board.key for board in boards if board.app_id}
    return [board for board in boards if board.app_id or board.key not in own]


def rows(operator: User, found: Ranking, back: str) -> list[tuple[Standing, list[Offer]]]:
    """Each entry with what `operator` can do to the person, their membership and this score."""
    members = [standing.member.id for standing in found.entries]
    memberships = {row.user_id: row for row in with_score(found).filter(user__in=members)}
    return [
        (standing, list(offers(operator, memberships.get(standing.member.id), back)))
        for standing in found.entries
    ]


def with_score(found: Ranking) -> QuerySet[Membership]:
    """The group's memberships, each with its person and the `score` it has in this ranking."""
    scores = Score.objects.filter(
        board=found.board,
        period=found.period.key,
        scope=found.board.scope_in(found.group),
        user=OuterRef("user"),
    )
    memberships = Membership.objects.filter(group=found.group).select_related("user")
    return memberships.annotate(score=Subquery(scores.values("pk")[:1]))


def offers(operator: User, membership: Any, back: str) -> Iterator[Offer]:
    """Hiding and blocking come first: they stand in the row itself where there is room."""
    if membership is None:  # gone since the ranking was read
        return
    of_member, of_membership = ["reset_nickname", "reset_avatar"], ["reset_alias"]
    yield from Offer.each(operator, membership, ["hide"], back)
    yield from Offer.each(operator, membership.user, ["block"], back)
    yield from Offer.each(operator, membership, of_membership, back)
    yield from Offer.each(operator, membership.user, of_member, back)
    if membership.score is not None:
        yield from Offer.each(operator, Score(pk=membership.score), ["remove_score"], back)
