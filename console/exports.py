"""Downloads: a group's ranking, and what the lists of the admin show, as CSV or XLSX.

What a list filters is what is downloaded. Openids go along only for those who may see them, and
only when asked for. Every download is in the audit. How far one has come is in the cache, for the
page that began it.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.models import WeChatUser
from audit.actors import Actor
from audit.models import AuditEvent
from groups import ranking
from groups.models import Board, Group, Score
from groups.periods import UnreadablePeriod

from .actions import RECORDED
from .paging import KeysetList
from .site import operator_of, operators_only
from .spreadsheets import CONTENT_TYPES, WRITERS, XLSX_MOST_ROWS, Cell, Column

CHUNK = 1000  # rows read at once
JOB = re.compile(r"[A-Za-z0-9]{12}")
PROGRESS_KEPT = 10 * 60  # seconds
OWN_PARAMETERS = ("openids", "job", "p", "all", "o")  # not the list's, or of no account to a file


class Field(NamedTuple):
    """A column, and how it is read from a row."""

    title: str | Promise
    read: Callable[[Any], Cell]
    width: int = 12


NAME, MOMENT, OPENID = 24, 20, 32  # widths


@dataclass(frozen=True)
class Source:
    """A list of the admin as a table: `openids` are its further columns for who may see them."""

    model: type[Model]
    fields: tuple[Field, ...]
    openids: tuple[Field, ...] = ()


SOURCES = {
    "members": Source(
        WeChatUser,
        (
            Field(_("member's id"), attrgetter("pk")),
            Field(_("nickname"), attrgetter("display_name"), NAME),
            Field(_("status"), lambda user: str(user.get_status_display())),
            Field(_("appid"), attrgetter("app_id"), NAME),
            Field(_("first seen"), attrgetter("created_at"), MOMENT),
        ),
        (
            Field("openid", attrgetter("openid"), OPENID),
            Field("unionid", attrgetter("unionid"), OPENID),
        ),
    ),
    "scores": Source(
        Score,
        (
            Field(_("member's id"), attrgetter("user_id")),
            Field(_("nickname"), attrgetter("user.display_name"), NAME),
            Field(_("board"), attrgetter("board.key"), NAME),
            Field(_("period"), attrgetter("period")),
            Field(_("group's number"), lambda score: score.scope or None),
            Field(_("score"), attrgetter("value")),
            Field(_("score as shown"), lambda score: score.board.score_text(score.value)),
            Field(_("achieved"), attrgetter("achieved_at"), MOMENT),
            Field(_("source"), lambda score: str(score.get_source_display())),
        ),
        (Field("openid", attrgetter("user.openid"), OPENID),),
    ),
    "audit": Source(
        AuditEvent,
        (
            Field(_("when"), attrgetter("at"), MOMENT),
            Field(_("operator"), attrgetter("operator_name")),
            Field(_("action"), lambda event: str(RECORDED.get(event.action, event.action)), NAME),
            Field(_("appid"), attrgetter("app_id"), NAME),
            Field(_("what"), attrgetter("target")),
            Field(_("its number"), attrgetter("target_id")),
            Field(_("member's number"), attrgetter("member_id")),
            Field(_("group's number"), attrgetter("group_id")),
            Field(_("reason"), attrgetter("reason"), NAME),
            Field(_("details"), lambda event: json.dumps(event.details, ensure_ascii=False), NAME),
            Field(_("request's id"), attrgetter("request_id"), OPENID),
        ),
    ),
}

RANKING = (
    Field(_("rank"), attrgetter("rank")),
    Field(_("member's id"), attrgetter("member.id")),
    Field(_("nickname"), attrgetter("member.nickname"), NAME),
    Field(_("score"), attrgetter("score")),
    Field(_("score as shown"), attrgetter("score_text")),
    Field(_("achieved"), attrgetter("achieved_at"), MOMENT),
)


@operators_only()
@require_safe
def choose(request: HttpRequest, what: str) -> HttpResponse:
    """How many rows it will be, as what, with openids or without: `/admin/export/members/?…`."""
    source, rows = _wanted(request, what)
    filters = [(name, value) for name, values in request.GET.lists() for value in values]
    may_see = bool(source.openids) and request.user.has_perm("accounts.see_openids")
    context = {**admin.site.each_context(request), "what": what, "filters": filters}
    context |= {"title": _("Export"), "opts": source.model._meta, "count": rows.count()}
    context |= {"may_see_openids": may_see, "most_rows": XLSX_MOST_ROWS}
    context |= {"job": get_random_string(12)}
    return TemplateResponse(request, "console/export.html", context)


@operators_only()
@require_safe
def export(request: HttpRequest, what: str, form: str) -> HttpResponseBase:
    """What a list shows with these filters, all pages of it: `/admin/export/members.csv?…`."""
    with_openids, job = _openids_asked(request), request.GET.get("job", "")
    source, rows = _wanted(request, what)
    if form not in WRITERS:
        raise Http404
    count = rows.count()
    if form == "xlsx" and count > XLSX_MOST_ROWS:
        messages.error(request, str(_("This is too long for Excel. Take CSV.")))
        return redirect("export-choose", what=what)
    fields = source.fields + (source.openids if with_openids else ())
    kind = str(source.model._meta.model_name)
    facts: dict[str, Any] = {"format": form, "rows": count, "openids": with_openids}
    facts |= {"filters": sorted(request.GET)}
    Actor(operator_of(request)).record("export", kind, **facts)
    found = _in_chunks(rows)
    if JOB.fullmatch(job):
        found = _told(found, _job(request, job))
    answer = StreamingHttpResponse(_written(form, fields, found))
    answer["X-Accel-Buffering"] = "no"  # nginx: hand it on as it comes
    return _as_download(answer, f"{what}-{timezone.localdate()}", form)


@operators_only()
@require_safe
def progress(request: HttpRequest, job: str) -> HttpResponse:
    """How many rows of a download are done: `{"rows": 3000}`, or null where nobody knows."""
    rows = None
    with suppress(Exception):  # a cache that is gone
        rows = cache.get(_job(request, job))
    return JsonResponse({"rows": rows})


@operators_only("groups.view_group", "groups.view_membership")
@require_safe
def export_ranking(request: HttpRequest, pk: int, form: str) -> HttpResponseBase:
    """One period of a group's ranking, whole: as long as a chat's members, so made at once."""
    with_openids = _openids_asked(request)
    group = get_object_or_404(Group, pk=pk)
    try:
        board = Board.objects.choose(group.app_id, request.GET.get("board"))
        found = ranking.whole(group, board, request.GET.get("period"))
    except (Board.DoesNotExist, UnreadablePeriod):
        raise Http404 from None
    if form not in WRITERS:
        raise Http404
    fields = (*RANKING, _openid_of_member(found)) if with_openids else RANKING
    facts: dict[str, Any] = {"format": form, "rows": len(found.entries), "openids": with_openids}
    facts |= {"board": board.key, "period": found.period.key}
    act = Actor(operator_of(request))
    act.record("export", group, app_id=group.app_id, group=group.pk, **facts)
    answer = HttpResponse(b"".join(_written(form, fields, found.entries)))
    return _as_download(answer, f"{group.open_gid}-{board.key}-{found.period.key}", form)


class _Filtered(KeysetList):
    """A list of which nothing but its filters is wanted."""

    def get_results(self, request: HttpRequest) -> None:
        """No page is read, and nothing is counted."""


def _wanted(request: HttpRequest, what: str) -> tuple[Source, QuerySet[Any]]:
    """The source of that name, and the rows that its list in the admin shows of it."""
    if (source := SOURCES.get(what)) is None:
        raise Http404
    model_admin = admin.site.get_model_admin(source.model)
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    query = request.GET.copy()
    for name in OWN_PARAMETERS:
        query.pop(name, None)
    request.GET = query  # type: ignore[assignment]
    listed = copy(model_admin)
    listed.get_changelist = lambda *_args, **_more: _Filtered  # type: ignore[method-assign]
    try:
        return source, listed.get_changelist_instance(request).queryset
    except IncorrectLookupParameters:
        raise Http404 from None


def _openids_asked(request: HttpRequest) -> bool:
    """Whether openids shall go along. Raises PermissionDenied where they may not."""
    asked = request.GET.get("openids") == "1"
    if asked and not request.user.has_perm("accounts.see_openids"):
        raise PermissionDenied
    return asked


def _openid_of_member(found: ranking.Ranking) -> Field:
    members = [standing.member.id for standing in found.entries]
    rows = WeChatUser.objects.filter(pk__in=members).values_list("pk", "openid")
    openids: dict[int, str] = dict(rows)
    return Field("openid", lambda standing: openids.get(standing.member.id), OPENID)


def _in_chunks(rows: QuerySet[Any]) -> Iterator[Any]:
    """The newest first, a page at a time by key: no driver holds all of them, no cursor is open."""
    rows = rows.order_by("-pk")
    page = list(rows[:CHUNK])
    while page:
        yield from page
        page = list(rows.filter(pk__lt=page[-1].pk)[:CHUNK])


def _job(request: HttpRequest, job: str) -> str:
    """Nobody learns of another's download."""
    return f"export:{operator_of(request).pk}:{job}"


def _told(rows: Iterable[Any], key: str) -> Iterator[Any]:
    """The same rows; how many have been handed on is told as they go."""
    done = 0
    _tell(key, done)
    for done, row in enumerate(rows, start=1):
        yield row
        if done % CHUNK == 0:
            _tell(key, done)
    _tell(key, done)


def _tell(key: str, done: int) -> None:
    with suppress(Exception):  # a cache that is gone breaks no download
        cache.set(key, done, PROGRESS_KEPT)


def _written(form: str, fields: tuple[Field, ...], rows: Iterable[Any]) -> Iterator[bytes]:
    head = [Column(str(field.title), field.width) for field in fields]
    return WRITERS[form](head, ([field.read(row) for field in fields] for row in rows))


def _as_download(answer: HttpResponseBase, name: str, form: str) -> HttpResponseBase:
    answer["Content-Type"] = CONTENT_TYPES[form]
    answer["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    return answer
