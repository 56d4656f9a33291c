"""Server-rendered pages: the operators' list and ranking, and the members' behind a signed link."""

from typing import Any

from django.contrib.admin.views.decorators import staff_member_required
from django.contrib.auth.decorators import permission_required
from django.core import signing
from django.core.paginator import Paginator
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.models import WeChatUser

from . import ranking
from .links import Link
from .models import Board, Group, describe
from .periods import CURRENT_TITLES, UnreadablePeriod

GROUPS_PER_PAGE = 50


@require_safe
@staff_member_required
@permission_required("groups.view_group", raise_exception=True)
def group_list(request: HttpRequest) -> HttpResponse:
    """Every group, the one last entered first."""
    now = timezone.now()
    groups = Group.objects.with_activity(now).order_by(
        F("last_entry_at").desc(nulls_last=True), "-pk"
    )
    page = Paginator(groups, GROUPS_PER_PAGE).get_page(request.GET.get("page"))
    page.object_list = list(page.object_list)
    describe(page.object_list, now)
    return render(request, "groups/list.html", {"page": page})


@require_safe
@staff_member_required
@permission_required("groups.view_group", raise_exception=True)
def group_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One group's ranking, as nobody in particular sees it."""
    group = get_object_or_404(Group, pk=pk)
    return render(request, "groups/group.html", _ranking_context(request, group))


@require_safe
def member_page(request: HttpRequest, signed: str) -> HttpResponse:
    """A group's ranking for whoever holds the link, as the member who asked for it sees it."""
    try:
        link = Link.open(signed)
    except signing.SignatureExpired:
        return render(request, "groups/expired.html", status=410)
    except signing.BadSignature:
        raise Http404 from None
    viewer = get_object_or_404(WeChatUser, pk=link.user_id)
    group = get_object_or_404(Group.objects.visible_to(viewer, timezone.now()), pk=link.group_id)
    context = _ranking_context(request, group, viewer, link.board)
    return render(request, "groups/member.html", context)


def _ranking_context(
    request: HttpRequest,
    group: Group,
    viewer: WeChatUser | None = None,
    board_key: str | None = None,
) -> dict[str, Any]:
    try:
        board = Board.objects.choose(group.app_id, board_key)
        found = ranking.standings(
            group,
            board,
            request.GET.get("period"),
            viewer,
            cursor=request.GET.get("cursor"),
        )
    except (Board.DoesNotExist, UnreadablePeriod, ranking.UnreadableCursor):
        raise Http404 from None
    return {"ranking": found, "windows": CURRENT_TITLES.items()}
