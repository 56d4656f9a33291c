"""The operators' pages below /groups/: every group, and one's ranking with what can be done."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Case, F, When
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.models import WeChatUser
from groups import ranking
from groups.models import Board, Group, GroupQuerySet, Membership, Score, choose, describe
from groups.ranking import Ranking, Standing
from groups.views import ranking_context

from .actions import Text
from .admin.base import Button, buttons
from .paging import LONGEST_SEARCH
from .roles import may_view
from .site import operator_of, operators_only

GROUPS_PER_PAGE = 50
FIRST = ("hide", "block")
FURTHER = ("reset_alias", "reset_nickname", "reset_avatar", "remove_score")

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

    def groups(self) -> GroupQuerySet:
        groups = Group.objects.matching(self.text) if self.text else Group.objects.all()
        return groups.filter(app_id=self.app_id) if self.app_id else groups

    def in_order(self, now: datetime) -> GroupQuerySet:
        """Only the order that needs to know every group's members asks for them."""
        groups = self.groups()
        if self.order == "entry":
            groups = groups.with_activity(now)
        if self.order == "members":
            groups = groups.with_size(now)
        return groups.order_by(*ORDERS[self.order][1], "-pk")


class Counted(Paginator[Any]):
    """Counts the groups and not what their order is computed from."""

    def __init__(self, wanted: Wanted, now: datetime) -> None:
        super().__init__(wanted.in_order(now), GROUPS_PER_PAGE)
        self.wanted = wanted

    @cached_property
    def count(self) -> int:
        return self.wanted.groups().count()


@require_safe
@operators_only("groups.view_group", "groups.view_membership")
def group_list(request: HttpRequest) -> HttpResponse:
    """Every group with its first faces: searched, sorted, by mini-program."""
    now, wanted = timezone.now(), Wanted.of(request)
    page = Counted(wanted, now).get_page(request.GET.get("page"))
    groups = list(page.object_list)
    cards = describe(groups, now)
    faces = ranking.top(groups, now)
    context = {"page": page, "wanted": wanted, "apps": settings.WECHAT_APPS}
    context |= {"orders": {key: label for key, (label, _order) in ORDERS.items()}}
    context |= {"rows": [(card, faces.get(card.group.pk, [])) for card in cards]}
    return render(request, "console/groups.html", context)


# One group


@require_safe
@operators_only("groups.view_group", "groups.view_membership")
def group_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One group's ranking, as nobody in particular sees it, and what can be done to its rows."""
    group = get_object_or_404(Group, pk=pk)
    boards = Board.objects.of_app(group.app_id)
    board = chosen(boards, group, request)
    context = ranking_context(request, group, board, timezone.now())
    context |= {"boards": boards, "rows": rows(request, context["ranking"])}
    context |= {"buttons": buttons(request, [group])}
    if may_view(operator_of(request), WeChatUser):
        context["profile"] = "admin:accounts_wechatuser_change"
    return render(request, "console/group.html", context)


def chosen(boards: Sequence[Board], group: Group, request: HttpRequest) -> Board:
    try:
        return choose(boards, group.app_id, request.GET.get("board"))
    except Board.DoesNotExist:
        raise Http404 from None


def rows(request: HttpRequest, found: Ranking) -> list[tuple[Standing, list[Button]]]:
    """Each entry with what can be done to the person, their membership and this score."""
    members = Membership.objects.filter(group=found.group.group).select_related("user")
    members = members.filter(user__in=[standing.member.id for standing in found.entries])
    scored = members.with_score(found.board, found.group.group, found.period.key)
    by_user = {membership.user_id: membership for membership in scored}
    return [
        (standing, acts(request, by_user.get(standing.member.id))) for standing in found.entries
    ]


def acts(request: HttpRequest, membership: Any) -> list[Button]:
    """Hiding and blocking come first: they stand in the row itself where there is room."""
    if membership is None:  # gone since the ranking was read
        return []
    whom = [membership, membership.user]
    score = [Score(pk=membership.score_pk)] if membership.score_pk else []
    return buttons(request, whom, *FIRST) + buttons(request, [*whom, *score], *FURTHER)
