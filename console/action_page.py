"""The page that asks before an action is done to a row, and the buttons that lead there."""

from dataclasses import dataclass

from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from audit.actors import Actor

from .access import operator_of, operators_only
from .actions import ACTIONS, Action, Place, Text, offered
from .audit_targets import row_url
from .reasons import ReasonForm
from .redirects import next_or_list


@dataclass(frozen=True)
class Button:
    """A link to the page of an action."""

    label: Text
    url: str
    is_harsh: bool
    in_row: bool


def buttons(request: HttpRequest, row: Model) -> list[Button]:
    """Return what the operator can do to `row`, for its own page."""
    return [_button(request, action, row) for action in offered(operator_of(request), row)]


def row_buttons(request: HttpRequest, *rows: Model) -> list[Button]:
    """Return what the operator can do to `rows` where they are one line of a page.

    Those that stand in the line itself come first, each in the order of `rows`.
    """
    found = [
        _button(request, action, row)
        for row in rows
        for action in offered(operator_of(request), row)
        if action.place is not Place.OWN_PAGE
    ]
    return sorted(found, key=lambda button: not button.in_row)


def _button(request: HttpRequest, action: Action, row: Model) -> Button:
    """Return the button of an action; its page leads back to this one."""
    url = reverse("console-act", args=[action.key, row.pk])
    back = urlencode({"next": request.get_full_path()})
    return Button(action.label, f"{url}?{back}", action.is_harsh, action.place is Place.ROW)


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only()
def action_page(request: HttpRequest, key: str, pk: int) -> HttpResponse:
    """Ask before something is done to a row, then do it: `/admin/act/hide/5/?next=…`."""
    action = ACTIONS.get(key)
    if action is None:
        raise Http404
    if not action.allowed(operator_of(request)):
        raise PermissionDenied
    row = get_object_or_404(action.model, pk=pk)
    form = ReasonForm(request.POST or None, required=action.needs_reason)
    if request.method == "POST" and form.is_valid():
        return _run(request, action, row, form.cleaned_data["reason"])
    context = {**admin.site.each_context(request), "title": action.label, "action": action}
    context |= {"row": row, "form": form, "back": next_or_list(request, row)}
    context |= {"fits": action.fits(row)}
    return TemplateResponse(request, "console/action.html", context)


def _run(request: HttpRequest, action: Action, row: Model, reason: str) -> HttpResponseRedirect:
    """Do it, say so with a link that undoes it, and lead back."""
    pk, own_page, back = row.pk, row_url(action.model, row.pk), next_or_list(request, row)
    try:
        done = action.run(row, Actor(operator_of(request), reason))
    except ObjectDoesNotExist:
        raise Http404 from None
    if not done:
        messages.info(request, _("It was so already; nothing has been changed."))
    elif action.undo:
        url = f"{reverse('console-act', args=[action.undo, pk])}?{urlencode({'next': back})}"
        undo = ACTIONS[action.undo].label
        messages.success(request, format_html('{} <a href="{}">{}</a>', action.done, url, undo))
    else:
        messages.success(request, str(action.done))
    if not action.model._default_manager.filter(pk=pk).exists():
        back = next_or_list(request, row, deleted_url=own_page)
    return HttpResponseRedirect(back)
