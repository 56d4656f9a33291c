"""The members' page behind a signed link, and what it shares with the operators'."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from accounts.models import WeChatUser
from core.signed import UnreadableSignature

from . import ranking
from .errors import UnreadableCursor
from .links import Link
from .models import Board, Group, Membership, VerificationFile
from .periods import CURRENT_TITLES, UnreadablePeriod


@require_safe
def member_page(request: HttpRequest, signed: str) -> HttpResponse:
    """A group's ranking for whoever holds the link, as the member who asked for it sees it."""
    try:
        link = Link.open(signed)
    except UnreadableSignature as error:
        if error.expired:
            return render(request, "groups/expired.html", status=410)
        raise Http404 from None
    viewer = get_object_or_404(WeChatUser, pk=link.user_id)
    group = get_object_or_404(Group.objects.visible_to(viewer, timezone.now()), pk=link.group_id)
    try:
        board = Board.objects.choose(group.app_id, link.board)
    except Board.DoesNotExist:
        raise Http404 from None
    context = ranking_context(request, group, board, viewer)
    if context["ranking"].absent:
        mine = Membership.objects.filter(group=group, user=viewer)
        context["withheld"] = mine.filter(withheld=True).exists()
    return render(request, "groups/member.html", context)


def ranking_context(
    request: HttpRequest, group: Group, board: Board, viewer: WeChatUser | None = None
) -> dict[str, Any]:
    """What a page of a ranking shows: the period, and from where on, that its address asks for."""
    period, cursor = request.GET.get("period"), request.GET.get("cursor")
    try:
        found = ranking.standings(group, board, period, viewer, cursor=cursor)
    except (UnreadablePeriod, UnreadableCursor):
        raise Http404 from None
    return {"ranking": found, "windows": [(w, CURRENT_TITLES[w]) for w in board.counted_windows]}


@require_safe
@cache_control(public=True, max_age=300)
def verification_file(request: HttpRequest, name: str) -> HttpResponse:
    """Shows the platform that the domain is the mini-program's, so that a web-view may open it."""
    found = get_object_or_404(VerificationFile, name=f"{name}.txt")
    return HttpResponse(found.content, content_type="text/plain; charset=utf-8")
