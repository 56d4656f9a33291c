"""What operators have of their own: password, second factor, language, look and sessions."""

from django.conf import settings
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from audit.actors import Actor

from .access import operator_of, operators_only
from .grants import role_name
from .models import SecondFactor
from .sessions import end_other_sessions, end_session, sessions_of


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@operators_only()
def account(request: HttpRequest) -> HttpResponse:
    """Show the operator's own account: `/admin/account/`; a POST ends sessions of theirs."""
    operator = operator_of(request)
    if request.method == "POST":
        _end_sessions(request)
        return HttpResponseRedirect(reverse("console-account"))
    factor = SecondFactor.objects.filter(user=operator).first()
    context = {**admin.site.each_context(request), "title": _("My account")}
    context |= {
        "roles": [role_name(role.name) for role in operator.groups.order_by("name")],
        "asks_for_code": settings.OPERATOR_TOTP,
        "factor": factor,
        "codes_left": len(factor.backup_digests) if factor else 0,
        "sessions": sessions_of(operator, request.session.session_key),
        "session_hours": settings.SESSION_COOKIE_AGE // 3600,
        "idle_minutes": settings.SESSION_IDLE_AGE // 60,
    }
    return TemplateResponse(request, "console/account.html", context)


def _end_sessions(request: HttpRequest) -> None:
    """End the session that the form names, or all others."""
    operator, current = operator_of(request), request.session.session_key
    with transaction.atomic():
        if "others" in request.POST:
            count = end_other_sessions(operator, current)
        else:
            count = end_session(operator, request.POST.get("session", ""))
        if count:
            Actor(operator).record("end_sessions", operator, count=count)
    text = ngettext("%(count)d session ended.", "%(count)d sessions ended.", count)
    if count:
        messages.success(request, text % {"count": count})
    else:
        messages.info(request, _("The session had ended already."))
