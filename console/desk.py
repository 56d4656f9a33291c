"""What an operator's session is about: the chosen mini-program, and openids seen one by one."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _

from accounts.models import WeChatUser
from audit.actors import Actor

from .miniprograms import SESSION_KEY, chosen_app, mini_programs
from .site import operator_of, operators_only
from .subjects import page_of
from .views import wanted_page, way_back


@operators_only()
def choose_app(request: HttpRequest) -> HttpResponse:
    """Keep the console's lists to one mini-program, or to none in particular."""
    if request.method != "POST":  # signed in anew, one comes back with a GET
        return HttpResponseRedirect(reverse("admin:index"))
    wanted = request.POST.get("mini_program", "")
    if wanted in ["", *mini_programs()] and wanted != chosen_app(request):
        request.session[SESSION_KEY] = wanted
    return HttpResponseRedirect(wanted_page(request) or reverse("admin:index"))


@operators_only("accounts.see_openids")
def see_openid(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a whole openid in this one answer, and record that."""
    member = get_object_or_404(WeChatUser, pk=pk)
    if request.method != "POST":
        return HttpResponseRedirect(page_of(WeChatUser, pk))
    act = Actor(operator_of(request))
    act.record("see_openid", member, app_id=member.app_id, member=member.pk)
    context = {**admin.site.each_context(request), "title": _("openid"), "member": member}
    context |= {"back": way_back(request, member)}
    response = TemplateResponse(request, "console/openid.html", context)
    patch_cache_control(response, no_store=True, private=True)
    return response
