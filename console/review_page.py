"""The page of what awaits review: one item or many at once are approved, refused or reset."""

from collections import Counter

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy
from django.views.decorators.http import require_http_methods

from audit.actors import Actor
from audit.models import MAX_REASON, AuditEvent

from .access import operator_of, operators_only
from .actions import CONTENT
from .reasons import read_reason
from .review import (
    ITEMS_PER_PAGE,
    QUEUE,
    REPORTS,
    Outcome,
    SeenDraft,
    WaitingCount,
    decided_lately,
    items_of,
    settle,
    waiting_for,
)
from .roles import may_view


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only()
def review_queue(request: HttpRequest) -> HttpResponse:
    """Show what this operator may decide, or one kind of it: `?kind=avatar`. A POST decides."""
    operator = operator_of(request)
    kinds = [kind for kind in QUEUE.values() if kind.decided_by(operator)]
    if not kinds:
        raise PermissionDenied
    if request.method == "POST":
        _decide(request)
        kept = request.GET.copy()
        kept.pop("ticked", None)
        return HttpResponseRedirect(f"{request.path}?{kept.urlencode()}" if kept else request.path)
    counts = waiting_for(request)
    chosen = [kind for kind in kinds if kind.name == request.GET.get("kind")]
    total = sum(counts[kind.name].count for kind in chosen or kinds if kind.name in counts)
    page = Paginator(range(total), ITEMS_PER_PAGE).get_page(request.GET.get("page"))
    items = items_of(chosen or kinds, (page.number - 1) * ITEMS_PER_PAGE)
    context = {
        **admin.site.each_context(request),
        "title": _("Awaiting review"),
        "page": page,
        "items": items,
        # What is reported is decided one by one: it has nothing to approve.
        "drafts": [item for item in items if item.kind != REPORTS],
        "tabs": [(kind, counts.get(kind.name, WaitingCount()).count) for kind in kinds],
        "chosen": chosen[0] if chosen else None,
        "ticked": "ticked" in request.GET,
        "total": sum(counts[kind.name].count for kind in kinds if kind.name in counts),
        "decided": decided_lately(chosen or kinds) if may_view(operator, AuditEvent) else [],
        "reasons": CONTENT,
        "max_reason": MAX_REASON,
        "several_apps": len(settings.WECHAT_APPS) > 1,
    }
    return TemplateResponse(request, "console/review.html", context)


DONE = {
    "approve": ngettext_lazy("%(count)d approved.", "%(count)d approved.", "count"),
    "refuse": ngettext_lazy("%(count)d refused.", "%(count)d refused.", "count"),
    "reset": ngettext_lazy("%(count)d reset.", "%(count)d reset.", "count"),
    "dismiss": ngettext_lazy("%(count)d dismissed.", "%(count)d dismissed.", "count"),
}
NOT_DONE = {
    Outcome.DECIDED: ngettext_lazy(
        "%(count)d had been decided already; nothing has been changed.",
        "%(count)d had been decided already; nothing has been changed.",
        "count",
    ),
    Outcome.CHANGED: ngettext_lazy(
        "%(count)d has been changed by its owner since you saw it: please look again.",
        "%(count)d have been changed by their owners since you saw them: please look again.",
        "count",
    ),
}


def _decide(request: HttpRequest) -> None:
    """Decide about the items sent, and say what came of it."""
    verdict = request.POST.get("verdict", "")
    reason = read_reason(request)
    chosen = [SeenDraft.read(token) for token in request.POST.getlist("item")]
    if not all(seen.kind.allows(verdict, operator_of(request)) for seen in chosen):
        raise PermissionDenied
    if not chosen or not all(verdict in seen.kind.verdicts for seen in chosen):
        messages.warning(request, _("Choose what to decide first."))
    elif verdict not in {"approve", "dismiss"} and not reason:
        messages.error(request, _("Say why; nothing has been changed."))
    else:
        actor = Actor(operator_of(request), reason)
        outcomes = Counter(settle(seen, verdict, actor) for seen in chosen)
        if count := outcomes[Outcome.DONE]:
            messages.success(request, DONE[verdict.partition("_")[0]] % {"count": count})
        for outcome, text in NOT_DONE.items():
            if count := outcomes[outcome]:
                messages.warning(request, text % {"count": count})
