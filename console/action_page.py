"""The page that asks before an action is done to a row, and the buttons that lead there."""

from dataclasses import dataclass
from urllib.parse import quote

from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from audit.actors import Actor
from audit.models import AuditEvent
from groups.models import Score

from .access import operator_of, operators_only
from .actions import ACTIONS, Action, Place, Text, Tone, offered
from .audit_targets import row_url
from .reasons import ReasonForm
from .redirects import next_or_list
from .subjects import RELATED, Subject, effect_of, subject_of


@dataclass(frozen=True)
class Button:
    """A link to the page of an action; `tone` is a class of its style."""

    label: Text
    url: str
    tone: str
    in_row: bool


def buttons(request: HttpRequest, row: Model) -> list[Button]:
    """Return what the operator can do to `row`, for its own page."""
    return [_button(request, action, row) for action in offered(operator_of(request), row)]


def row_buttons(request: HttpRequest, *rows: Model) -> list[Button]:
    """Return what the operator can do to `rows` where they are one line of a page.

    Those that stand in the line itself come first, each in the order of `rows`.
    """
    found = []
    for row in rows:
        if isinstance(row, Score) and request.user.has_perm("groups.change_score"):
            url = f"{row_url(Score, row.pk)}?{_back(request)}"
            found.append(Button(_("Correct the score"), url, Tone.FIRM.value, in_row=False))
        found += [
            _button(request, action, row)
            for action in offered(operator_of(request), row)
            if action.place is not Place.OWN_PAGE
        ]
    return sorted(found, key=lambda button: not button.in_row)


def _button(request: HttpRequest, action: Action, row: Model) -> Button:
    """Return the button of an action; its page leads back to this one."""
    url = f"{reverse('console-act', args=[action.key, row.pk])}?{_back(request)}"
    return Button(action.label, url, action.tone.value, action.place is Place.ROW)


def _back(request: HttpRequest) -> str:
    return f"next={quote(request.get_full_path())}"


@require_http_methods(["GET", "HEAD", "POST"])
@operators_only()
def action_page(request: HttpRequest, key: str, pk: int) -> HttpResponse:
    """Ask before something is done to a row, then do it: `/admin/act/hide/5/?next=…`."""
    action = ACTIONS.get(key)
    if action is None:
        raise Http404
    if not action.allowed(operator_of(request)):
        raise PermissionDenied
    related = RELATED.get(action.model, ())
    rows = action.model._default_manager.filter(pk=pk)
    row = (rows.select_related(*related) if related else rows).first()
    if row is None:
        return _gone(request, action, pk)
    if action.beyond(row, operator_of(request)):
        raise PermissionDenied
    now = timezone.now()
    subject = subject_of(row, now)
    form = ReasonForm(request.POST or None, required=action.needs_reason)
    if request.method == "POST" and form.is_valid():
        return _run(request, action, row, subject, form.cleaned_data["reason"])
    back = next_or_list(request, row)
    context = {**admin.site.each_context(request), "title": action.label, "action": action}
    context |= {"subject": subject, "effect": effect_of(key, row, now), "form": form, "back": back}
    context |= {"fits": action.fits(row), "crumbs": [(str(subject), back)]}
    return TemplateResponse(request, "console/action.html", context)


def _gone(request: HttpRequest, action: Action, pk: int) -> HttpResponse:
    """Lead back where this action has deleted the row already, as at a double click."""
    name = str(action.model._meta.model_name)
    if request.method == "POST" and (
        AuditEvent.objects.filter(target=name, target_id=pk, action=action.key).exists()
    ):
        messages.info(request, _("It was so already; nothing has been changed."))
        own_page = row_url(action.model, pk)
        return HttpResponseRedirect(next_or_list(request, action.model, deleted_url=own_page))
    raise Http404


def _run(
    request: HttpRequest, action: Action, row: Model, subject: Subject, reason: str
) -> HttpResponseRedirect:
    """Do it, name what it was done to, offer to undo it, and lead back."""
    pk, own_page, back = row.pk, row_url(action.model, row.pk), next_or_list(request, row)
    try:
        done = action.run(row, Actor(operator_of(request), reason))
    except ObjectDoesNotExist:
        raise Http404 from None
    if done:
        undo = _undo(request, ACTIONS[action.undo], pk, back) if action.undo else ""
        said = format_html("{} {} {}", action.done, subject.html, undo)
        messages.success(request, said)
    else:
        said = format_html("{} {}", subject.html, _("It was so already; nothing has been changed."))
        messages.info(request, said)
    if not action.model._default_manager.filter(pk=pk).exists():
        back = next_or_list(request, row, deleted_url=own_page)
    return HttpResponseRedirect(back)


def _undo(request: HttpRequest, action: Action, pk: int, back: str) -> SafeString:
    """Return a button that takes back what was done, with that as the reason."""
    return format_html(
        '<form class="undo" method="post" action="{}">'
        '<input type="hidden" name="csrfmiddlewaretoken" value="{}">'
        '<input type="hidden" name="next" value="{}">'
        '<input type="hidden" name="reason" value="{}">'
        '<button type="submit" class="button">{}</button></form>',
        reverse("console-act", args=[action.key, pk]),
        get_token(request),
        back,
        gettext("Undone at once"),
        gettext("Undo"),
    )
