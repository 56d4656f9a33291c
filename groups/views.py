"""The members' page behind a signed link, what it shares with the operators', and domain files."""

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from accounts.models import WeChatUser
from core.signed import UnreadableSignature

from . import ranking
from .errors import InvalidField
from .links import Link
from .models import Board, Group, Membership, VerificationFile
from .periods import Period


@require_safe
def member_page(request: HttpRequest, signed: str) -> HttpResponse:
    """Show a group's ranking to anyone with the link, as the member who made it sees it."""
    try:
        link = Link.open(signed)
    except UnreadableSignature as error:
        if error.expired:
            return render(request, "groups/expired.html", status=410)
        raise Http404 from None
    viewer = get_object_or_404(WeChatUser, pk=link.user_id)
    now = timezone.now()
    group = get_object_or_404(Group.objects.visible_to(viewer, now), pk=link.group_id)
    try:
        board = Board.objects.choose(group.app_id, link.board)
    except Board.DoesNotExist:
        raise Http404 from None
    context = ranking_context(request, group, board, now, viewer)
    if context["ranking"].absent:
        mine = Membership.objects.filter(group=group, user=viewer)
        context["withheld"] = mine.filter(withheld=True).exists()
    return render(request, "groups/member.html", context)


def ranking_context(
    request: HttpRequest,
    group: Group,
    board: Board,
    now: datetime,
    viewer: WeChatUser | None = None,
) -> dict[str, Any]:
    """Return what a page of a ranking shows: the period and the part that its address names."""
    period, cursor = request.GET.get("period"), request.GET.get("cursor")
    try:
        found = ranking.standings(group, board, now, period, viewer, cursor=cursor)
    except InvalidField:
        raise Http404 from None
    windows = [(each, Period.current(each, now).title(now)) for each in board.counted_windows]
    return {"ranking": found, "windows": windows}


@require_safe
@cache_control(public=True, max_age=300)
def verification_file(request: HttpRequest, name: str) -> HttpResponse:
    """Prove to the platform that the domain belongs to the mini-program, for its web-view."""
    found = get_object_or_404(VerificationFile, name=f"{name}.txt")
    return HttpResponse(found.content, content_type="text/plain; charset=utf-8")
