"""The operators' console: Django's admin, with our name, our front page and our way in."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import dashboard

View = Callable[..., HttpResponseBase]


class ConsoleSite(admin.AdminSite):
    site_header = _("Group rankings")
    site_title = _("Group rankings")
    index_title = _("Console")

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        """Django's list of everything there is, below what is going on."""
        found = dashboard.read(request.user, timezone.now())  # type: ignore[arg-type]
        return super().index(request, {**(extra_context or {}), "dashboard": found})


def operators_only(*permissions: str) -> Callable[[View], View]:
    """A page of the console outside the admin's own: who may enter the admin, and holds all of
    `permissions`, sees it; nobody else does, and no cache keeps it."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.has_perms(permissions):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        @wraps(view)
        def entered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return admin.site.admin_view(guarded)(request, *args, **kwargs)

        return entered

    return decorate
