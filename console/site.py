"""The operators' console: Django's admin, with our name, our front page and our way in."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.signals import user_login_failed
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from audit.actors import Actor

from . import dashboard
from .access import operator_of
from .mini_programs import chosen_app, mini_programs

# The sidebar: what operators look at most comes first. What is named nowhere stands in the last.
SECTIONS = (
    (_("Groups and members"), ("groups.Group", "accounts.WeChatUser", "groups.Membership")),
    (_("Rankings"), ("groups.Board", "groups.Score")),
    (_("Console"), ("audit.AuditEvent", "auth.User", "auth.Group", "groups.ServerKey")),
)


class ConsoleSite(admin.AdminSite):
    """The console: rows are deleted one at a time, on a page that says what goes."""

    site_header = _("Group rankings")
    site_title = _("Group rankings")
    index_title = _("Console")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.disable_action("delete_selected")

    def knows(self, request: HttpRequest) -> bool:
        """Return whether an operator came by password or link; a code may still be due."""
        return super().has_permission(request)

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the admin, and each page for `operators_only`, opens."""
        verified = getattr(request.user, "otp_device", None) is not None
        return self.knows(request) and (verified or not settings.OPERATOR_TOTP)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Log in; an operator who still owes the second factor is sent to its page."""
        if self.knows(request) and not self.has_permission(request):
            wanted = urlencode({"next": request.GET.get(REDIRECT_FIELD_NAME, "")})
            return HttpResponseRedirect(f"{reverse('console-otp')}?{wanted}")
        response = super().login(request, extra_context)
        if request.method == "POST" and response.status_code == 302:
            operator = operator_of(request)
            Actor(operator).record("sign_in", operator, way="password")
        return response

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Change one's password, audited; a wrong old one counts as a guess, as at the log-in."""
        if request.method != "POST":
            return super().password_change(request, extra_context)
        operator = operator_of(request)
        with transaction.atomic():
            response: Any = super().password_change(request, extra_context)
            if response.status_code == 302:
                Actor(operator).record("change_password", operator)
                return response
        if response.context_data["form"].has_error("old_password", "password_incorrect"):
            who = {"username": operator.get_username()}
            user_login_failed.send(type(self), credentials=who, request=request)
        return response

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        """Show what is going on above Django's list of everything there is."""
        found = dashboard.read(operator_of(request), timezone.now())
        return super().index(request, {**(extra_context or {}), "dashboard": found})

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """Refuse: nothing of ours asks for it."""
        raise Http404

    def app_index(  # type: ignore[override]
        self, request: HttpRequest, app_label: str, extra_context: Any = None
    ) -> HttpResponse:
        """Redirect to the front page: the console goes by subject, not by our modules."""
        return HttpResponseRedirect(reverse("admin:index"))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        switch = {"mini_programs": mini_programs(), "mini_program": chosen_app(request)}
        return {**super().each_context(request), **switch}

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """List by subject instead of by app, under the names on the pages themselves."""
        found = {
            model["model"]._meta.label: model
            | {"name": capfirst(str(self._registry[model["model"]].opts.verbose_name_plural))}
            for app in self._build_app_dict(request).values()
            for model in app["models"]
        }
        if "groups.Group" in found:
            found["groups.Group"]["admin_url"] = reverse("group-list")
        sections: list[Any] = [
            [name, [found.pop(x) for x in wanted if x in found]] for name, wanted in SECTIONS
        ]
        sections[-1][1] += found.values()
        return [_section(name, models) for name, models in sections if models]


def _section(name: Any, models: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a section in the shape that Django's templates expect of an app."""
    first = models[0]
    return {
        "name": name,
        "app_label": first["model"]._meta.app_label,
        "app_url": first["admin_url"] or "",
        "has_module_perms": True,
        "models": models,
    }
