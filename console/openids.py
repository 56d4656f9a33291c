"""A member's whole openid, shown on request and recorded in the audit."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _

from accounts.models import WeChatUser
from audit.actors import Actor

from .access import operator_of, operators_only
from .audit_targets import row_url
from .redirects import next_or_list


@operators_only("accounts.see_openids")
def show_openid(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a whole openid in this one answer, and record that."""
    member = get_object_or_404(WeChatUser, pk=pk)
    if request.method != "POST":
        return HttpResponseRedirect(row_url(WeChatUser, pk))
    actor = Actor(operator_of(request))
    actor.record("see_openid", member, app_id=member.app_id, member=member.pk)
    context = {**admin.site.each_context(request), "title": _("openid"), "member": member}
    context |= {"back": next_or_list(request, member)}
    response = TemplateResponse(request, "console/openid.html", context)
    patch_cache_control(response, no_store=True, private=True)
    return response
