"""Downloads: a group's ranking, and what the lists of the admin show, as CSV or XLSX.

What a list filters is what is downloaded. Openids go along only for those who may see them, and
only when asked for. Every download is in the audit.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import DEFAULT_DB_ALIAS, Error
from django.db.models import Model, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.http import http_date
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts.models import WeChatUser
from audit.actors import Actor
from audit.models import AuditEvent
from core.database import unbound_connection
from core.gates import Crowded, Gate
from core.replica import age_shown, missed
from core.routing import read_from
from groups import ranking
from groups.errors import InvalidField
from groups.models import Board, Group, Score

from .access import operator_of, operators_only
from .actions import RECORDED
from .paging import OPENIDS_VAR
from .replica import from_replica
from .roles import may_view
from .spreadsheets import CONTENT_TYPES, WRITERS, XLSX_MOST_ROWS, Cell, Column

CHUNK = 1000  # rows read at once
MOST_DOWNLOADS = 2  # of lists, at once in a process
NO_FILTERS = {OPENIDS_VAR, "p", "all", "o"}  # parameters that choose no rows


# A download holds a thread, and a database connection of its own, for as long as it is read.
_gate = Gate(lambda: MOST_DOWNLOADS, patience=0, waiting=0)


class ExportField(NamedTuple):
    """A column of a file, and how it is read from a row."""

    title: str | Promise
    read: Callable[[Any], Cell]
    width: int = 12


NAME, MOMENT, OPENID = 24, 20, 32  # widths


@dataclass(frozen=True)
class ListExport:
    """A list of the admin as a table; `openids` are further columns that need a permission."""

    model: type[Model]
    fields: tuple[ExportField, ...]
    openids: tuple[ExportField, ...] = ()


EXPORTS = {
    "members": ListExport(
        WeChatUser,
        (
            ExportField(_("member's id"), attrgetter("pk")),
            ExportField(_("nickname"), attrgetter("display_name"), NAME),
            ExportField(_("status"), lambda user: str(user.get_status_display())),
            ExportField(_("appid"), attrgetter("app_id"), NAME),
            ExportField(_("first seen"), attrgetter("created_at"), MOMENT),
        ),
        (
            ExportField("openid", attrgetter("openid"), OPENID),
            ExportField("unionid", attrgetter("unionid"), OPENID),
        ),
    ),
    "scores": ListExport(
        Score,
        (
            ExportField(_("member's id"), attrgetter("user_id")),
            ExportField(_("nickname"), attrgetter("user.display_name"), NAME),
            ExportField(_("board"), attrgetter("board.key"), NAME),
            ExportField(_("period"), attrgetter("period")),
            ExportField(_("group's number"), lambda score: score.scope or None),
            ExportField(_("score"), attrgetter("value")),
            ExportField(_("score as shown"), lambda score: score.board.score_text(score.value)),
            ExportField(_("achieved"), attrgetter("achieved_at"), MOMENT),
            ExportField(_("source"), lambda score: str(score.get_source_display())),
        ),
        (ExportField("openid", attrgetter("user.openid"), OPENID),),
    ),
    "audit": ListExport(
        AuditEvent,
        (
            ExportField(_("when"), attrgetter("at"), MOMENT),
            ExportField(_("operator"), attrgetter("who")),
            ExportField(
                _("action"), lambda event: str(RECORDED.get(event.action, event.action)), NAME
            ),
            ExportField(_("appid"), attrgetter("app_id"), NAME),
            ExportField(_("what"), attrgetter("target")),
            ExportField(_("its number"), attrgetter("target_id")),
            ExportField(_("member's number"), attrgetter("member_id")),
            ExportField(_("group's number"), attrgetter("group_id")),
            ExportField(_("reason"), attrgetter("reason"), NAME),
            ExportField(
                _("details"), lambda event: json.dumps(event.details, ensure_ascii=False), NAME
            ),
            ExportField(_("request's id"), attrgetter("request_id"), OPENID),
        ),
    ),
}

RANKING = (
    ExportField(_("rank"), attrgetter("rank")),
    ExportField(_("member's id"), attrgetter("member.id")),
    ExportField(_("nickname"), attrgetter("member.nickname"), NAME),
    ExportField(_("score"), attrgetter("score")),
    ExportField(_("score as shown"), attrgetter("score_text")),
    ExportField(_("achieved"), attrgetter("achieved_at"), MOMENT),
)


@operators_only()
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show what can be downloaded: `/admin/export/`."""
    operator = operator_of(request)
    found = {name: each for name, each in EXPORTS.items() if may_view(operator, each.model)}
    if not found:
        raise PermissionDenied
    context = {**admin.site.each_context(request), "title": _("Downloads")}
    admins = {name: admin.site.get_model_admin(each.model) for name, each in found.items()}
    context |= {"lists": admins}
    return TemplateResponse(request, "console/exports.html", context)


@operators_only()
@require_safe
@from_replica
def choose(request: HttpRequest, what: str) -> HttpResponse:
    """Say how many rows it will be, and ask for the format: `/admin/export/members/?…`."""
    source, rows = _listed(request, what)
    filters = [
        (name, value)
        for name, values in request.GET.lists()
        if name not in NO_FILTERS
        for value in values
    ]
    may_see = bool(source.openids) and request.user.has_perm("accounts.see_openids")
    context = {**admin.site.each_context(request), "what": what, "filters": filters}
    context |= {"title": _("Export"), "opts": source.model._meta, "count": rows.count()}
    context |= {"may_see_openids": may_see, "most_rows": XLSX_MOST_ROWS}
    return TemplateResponse(request, "console/export.html", context)


@operators_only()
@require_safe
@from_replica
def export(request: HttpRequest, what: str, form: str) -> HttpResponseBase:
    """Send all pages of a list with its filters: `/admin/export/members.csv?…`."""
    with_openids = _openids_asked(request)
    source, rows = _listed(request, what)
    if form not in WRITERS:
        raise Http404
    fields = source.fields + (source.openids if with_openids else ())
    kind = str(source.model._meta.model_name)
    facts: dict[str, Any] = {"format": form, "openids": with_openids}
    facts |= {"filters": sorted(set(request.GET) - NO_FILTERS)}
    record = partial(Actor(operator_of(request)).record, "export", kind, **facts)
    parts = _stream(form, fields, rows.using(read_from()), record)
    try:
        next(parts)
    except Crowded:
        return _refused(request)
    except _TooLong:
        messages.error(request, str(_("This is too long for Excel. Take CSV.")))
        return redirect("export-choose", what=what)
    answer = StreamingHttpResponse(parts)
    answer["X-Accel-Buffering"] = "no"  # nginx: hand it on as it comes
    stamp = str(timezone.localdate())
    if (age := age_shown()) and age.is_shown and age.as_of:
        answer["Last-Modified"] = http_date(age.as_of.timestamp())
        stamp = f"{timezone.localtime(age.as_of):%Y-%m-%d-%H.%M.%S}"  # for who opens it later
    return _as_download(answer, f"{what}-{stamp}", form)


@operators_only("groups.view_group", "groups.view_membership")
@require_safe
def export_ranking(request: HttpRequest, pk: int, form: str) -> HttpResponseBase:
    """Send one period of a group's ranking: no longer than a chat, so made at once."""
    with_openids = _openids_asked(request)
    group = get_object_or_404(Group, pk=pk)
    try:
        board = Board.objects.choose(group.app_id, request.GET.get("board"))
        found = ranking.whole(group, board, timezone.now(), request.GET.get("period"))
    except (Board.DoesNotExist, InvalidField):
        raise Http404 from None
    if form not in WRITERS:
        raise Http404
    fields = (*RANKING, _openid_of_member(found)) if with_openids else RANKING
    facts: dict[str, Any] = {"format": form, "rows": len(found.entries), "openids": with_openids}
    facts |= {"board": board.key, "period": found.period.key}
    actor = Actor(operator_of(request))
    actor.record("export", group, app_id=group.app_id, group=group.pk, **facts)
    answer = HttpResponse(b"".join(_written(form, fields, found.entries)))
    return _as_download(answer, f"{group.open_gid}-{board.key}-{found.period.key}", form)


def _listed(request: HttpRequest, what: str) -> tuple[ListExport, QuerySet[Any]]:
    """Return the export of that name, and the rows that its list in the admin shows."""
    if (source := EXPORTS.get(what)) is None:
        raise Http404
    model_admin = admin.site.get_model_admin(source.model)
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    try:
        return source, model_admin.get_changelist_instance(request).queryset
    except IncorrectLookupParameters:
        raise Http404 from None


def _openids_asked(request: HttpRequest) -> bool:
    """Return whether openids go along. Raises PermissionDenied where they may not."""
    asked = request.GET.get(OPENIDS_VAR) == "1"
    if asked and not request.user.has_perm("accounts.see_openids"):
        raise PermissionDenied
    return asked


def _openid_of_member(found: ranking.Ranking) -> ExportField:
    """Return the column of the openids of those who are listed; one query."""
    members = [standing.member.id for standing in found.entries]
    rows = WeChatUser.objects.filter(pk__in=members).values_list("pk", "openid")
    openids: dict[int, str] = dict(rows)
    return ExportField("openid", lambda standing: openids.get(standing.member.id), OPENID)


def _refused(request: HttpRequest) -> HttpResponse:
    """Say that others are downloading."""
    context = {"detail": _("Too many downloads are under way. Try again when one has ended.")}
    answer = render(request, "503.html", context, status=503)
    answer["Retry-After"] = "10"
    return answer


class _TooLong(Exception):
    """More rows than a sheet has."""


def _stream(
    form: str, fields: tuple[ExportField, ...], rows: QuerySet[Any], record: Callable[..., object]
) -> Generator[bytes, None, None]:
    """Yield nothing once, when the download has its place and is in the audit; then its parts.

    Closing it gives the place back. Raises Crowded where there is none, and _TooLong.
    """
    with _gate.place(), unbound_connection():
        count = rows.count()
        if form == "xlsx" and count > XLSX_MOST_ROWS:
            raise _TooLong
        record(rows=count)
        yield b""
        yield from _written(form, fields, _in_chunks(rows))


def _in_chunks(rows: QuerySet[Any]) -> Iterator[Any]:
    """Read the newest first, in pages by key: no driver holds all of them, no cursor is open.

    Where the replica fails meanwhile, the rest comes from the primary.
    """
    rows = rows.order_by("-pk")
    rest = rows
    while True:
        try:
            page = list(rest[:CHUNK])
        except Error as problem:
            if rest.db == DEFAULT_DB_ALIAS:
                raise
            missed(problem)
            rows, rest = rows.using(DEFAULT_DB_ALIAS), rest.using(DEFAULT_DB_ALIAS)
            continue
        if not page:
            return
        yield from page
        rest = rows.filter(pk__lt=page[-1].pk)


def _written(form: str, fields: tuple[ExportField, ...], rows: Iterable[Any]) -> Iterator[bytes]:
    head = [Column(str(field.title), field.width) for field in fields]
    return WRITERS[form](head, ([field.read(row) for field in fields] for row in rows))


def _as_download(answer: HttpResponseBase, name: str, form: str) -> HttpResponseBase:
    answer["Content-Type"] = CONTENT_TYPES[form]
    answer["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    return answer
