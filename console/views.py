"""The console's pages outside the admin's own."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from audit.actors import Actor
from audit.models import MAX_REASON

from .actions import ACTIONS, Action
from .site import operator_of, operators_only
from .subjects import page_of

REASON_HELP = _("Kept in the audit. Write no names, numbers or openids.")


class ReasonForm(forms.Form):
    """Why an operator does something; kept in the audit."""

    reason = forms.CharField(
        label=_("reason"),
        max_length=MAX_REASON,
        help_text=REASON_HELP,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, needed: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = needed


def reason_of(request: HttpRequest) -> str:
    """The same where a page asks it beside something else; "" where none was given."""
    return request.POST.get("reason", "").replace("\0", "").strip()[:MAX_REASON]


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only()
def act(request: HttpRequest, key: str, pk: int) -> HttpResponse:
    """Ask before something is done to a row, and do it: `/admin/act/hide/5/?next=…`."""
    action = ACTIONS.get(key)
    if action is None:
        raise Http404
    if not action.allowed(operator_of(request)):
        raise PermissionDenied
    row = get_object_or_404(action.model, pk=pk)
    back = way_back(request, row)
    form = ReasonForm(request.POST or None, needed=action.needs_reason)
    if request.method == "POST" and form.is_valid():
        return _done(request, action, row, form.cleaned_data["reason"], back)
    context = {**admin.site.each_context(request), "title": action.label, "action": action}
    context |= {"row": row, "form": form, "back": back, "fits": action.fits(row)}
    return TemplateResponse(request, "console/act.html", context)


def _done(
    request: HttpRequest, action: Action, row: Model, reason: str, back: str
) -> HttpResponseRedirect:
    pk, own = row.pk, page_of(action.model, row.pk)
    try:
        done = action.run(row, Actor(operator_of(request), reason))
    except ObjectDoesNotExist:
        raise Http404 from None
    if not done:
        messages.info(request, _("It was so already; nothing has been changed."))
    elif action.undo:
        address = f"{reverse('console-act', args=[action.undo, pk])}?{urlencode({'next': back})}"
        undo = ACTIONS[action.undo].label
        messages.success(request, format_html('{} <a href="{}">{}</a>', action.done, address, undo))
    else:
        messages.success(request, str(action.done))
    gone = not action.model._default_manager.filter(pk=pk).exists()
    return HttpResponseRedirect(way_back(request, row, gone_from=own) if gone else back)


def way_back(request: HttpRequest, row: Model, gone_from: str = "") -> str:
    """Where `next` asks to go, if that is here and not the page of a row that is gone; else the
    row's list."""
    wanted, opts = wanted_page(request), row._meta
    if wanted and not (gone_from and wanted.startswith(gone_from)):
        return wanted
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")


def wanted_page(request: HttpRequest) -> str:
    """Where `next` asks to go, if that is here; else ""."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    hosts = {request.get_host()}
    here = url_has_allowed_host_and_scheme(wanted, hosts, require_https=request.is_secure())
    return wanted if here else ""
