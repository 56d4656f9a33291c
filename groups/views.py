"""The members' page behind a signed link, and domain files."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
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
from .models import Board, Group, Membership, VerificationFile, choose
from .periods import Period
from .ranking import Standing
from .visits import visit_by_link


@require_safe
def member_page(request: HttpRequest, signed: str) -> HttpResponse:
    """Show a group's ranking to anyone with the link, as the member who made it sees it."""
    try:
        link = Link.open(signed)
    except UnreadableSignature as error:
        if error.expired:
            return render(request, "groups/expired.html", status=410)
        raise Http404 from None
    now = timezone.now()
    visit = visit_by_link(link, now)
    if visit is None or visit.group is None:
        raise Http404
    try:
        board = choose(visit.boards, visit.user.app_id, link.board)
    except Board.DoesNotExist:
        raise Http404 from None
    context = ranking_context(request, visit.group, board, now, visit.user)
    if context["ranking"].absent:
        mine = Membership.objects.filter(group=visit.group, user=visit.user)
        context["withheld"] = mine.filter(withheld=True).exists()
    return render(request, "groups/member.html", context)


def ranking_context(
    request: HttpRequest, group: Group, board: Board, now: datetime, viewer: WeChatUser
) -> dict[str, Any]:
    """Return what the page shows: the period, and the part of the ranking that its address names.

    That is the top, what follows a cursor, or with `?around` as many rows around the viewer; there
    is nothing around someone who is not listed, so they see the top.
    """
    period, cursor = request.GET.get("period"), request.GET.get("cursor")
    found = None
    try:
        if "around" in request.GET:
            found = ranking.around(group, board, now, viewer, period, ranking.MAX_AROUND)
        is_part = bool(cursor or (found and found.entries))
        if not found or not found.entries:
            found = ranking.standings(group, board, now, period, viewer, cursor=cursor)
    except InvalidField:
        raise Http404 from None
    windows = [(each, Period.current(each, now).title(now)) for each in board.counted_windows]
    return {
        "ranking": found,
        "windows": windows,
        "is_part": is_part,
        "above_me": _above_me(found.entries),
        "own": [found.me] if found.me else [],
    }


def _above_me(entries: Sequence[Standing]) -> Standing | None:
    """Return who stands above the viewer on this page, where the link to my place leads.

    It cannot lead to my own row: that one sticks to the edge, so that it is in view already.
    """
    return next((above for above, each in pairwise(entries) if each.is_me), None)


@require_safe
@cache_control(public=True, max_age=300)
def verification_file(request: HttpRequest, name: str) -> HttpResponse:
    """Prove to the platform that the domain belongs to the mini-program, for its web-view."""
    found = get_object_or_404(VerificationFile, name=f"{name}.txt")
    return HttpResponse(found.content, content_type="text/plain; charset=utf-8")
