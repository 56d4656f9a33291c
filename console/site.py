"""The operators' console: Django's admin, with our name, our front page and our way in."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.views import LogoutView, PasswordChangeView
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy
from django.views.decorators.http import require_http_methods

from audit.actors import Actor

from . import dashboard
from .access import operator_of
from .mini_programs import chosen_app, mini_programs
from .navigation import Navigation
from .sessions import end_other_sessions, session_has_ended, typed_texts
from .sign_in import note_sign_in

METHODS = ["GET", "HEAD", "POST"]


class SignInForm(AdminAuthenticationForm):
    """Name and password, refused in our words."""

    error_messages = {  # as Django's own
        **AdminAuthenticationForm.error_messages,
        "invalid_login": _("The name or the password is wrong. Both are case-sensitive."),
    }


class ConsoleSite(admin.AdminSite):
    """The console: rows are deleted one at a time, on a page that says what goes."""

    site_header = _("Group rankings")
    site_title = _("Group rankings")
    login_form = SignInForm
    index_title = pgettext_lazy("navigation", "Overview")

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

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Ask who it is, as Django's; to who was signed in, say first that it has ended.

        A form that is sent then is not lost without a word: the answer shows what was typed. A
        method that no page has, such as TRACE, is refused.
        """
        opened: Callable[..., HttpResponse] = super().admin_view(
            require_http_methods(METHODS)(view), cacheable
        )

        @wraps(opened)
        def entered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if self.has_permission(request) or not session_has_ended(request):
                return opened(request, *args, **kwargs)
            if request.path == reverse("admin:logout"):
                return opened(request, *args, **kwargs)
            if request.method != "POST":
                messages.info(request, _("Your session has ended. Sign in to go on."))
                return opened(request, *args, **kwargs)
            context = {"texts": typed_texts(request)}
            page = render(request, "console/session_ended.html", context, status=403)
            add_never_cache_headers(page)
            return page

        return entered

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Log in; an operator who still owes the second factor is sent to its page."""
        if self.knows(request) and not self.has_permission(request):
            wanted = urlencode({"next": request.GET.get(REDIRECT_FIELD_NAME, "")})
            return HttpResponseRedirect(f"{reverse('console-otp')}?{wanted}")
        context = {"command": settings.SIGN_IN_COMMAND, **(extra_context or {})}
        response = super().login(request, context)
        if request.method == "POST" and response.status_code == 302:
            note_sign_in(request, operator_of(request), "password")
        return response

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Change one's password, or set the first one, audited.

        A wrong old one counts as a guess, as at the log-in.
        """
        operator = operator_of(request)
        view = PasswordChangeView.as_view(
            form_class=PasswordChangeForm if operator.has_usable_password() else SetPasswordForm,
            template_name="console/password.html",
            success_url=reverse("console-account"),
            extra_context={**self.each_context(request), "title": _("Password")},
        )
        if request.method != "POST":
            return view(request)
        with transaction.atomic():
            response: Any = view(request)
            if response.status_code == 302:
                Actor(operator).record("change_password", operator)
                end_other_sessions(operator, request.session.session_key)
                messages.success(request, _("Your password has been changed."))
                return response
        if response.context_data["form"].has_error("old_password", "password_incorrect"):
            who = {"username": operator.get_username()}
            user_login_failed.send(type(self), credentials=who, request=request)
        return response

    def password_change_done(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Redirect to the account's page, which has said it."""
        return HttpResponseRedirect(reverse("console-account"))

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Sign out, and lead to where one signs in."""
        return LogoutView.as_view(next_page=reverse("admin:login"))(request)

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        """Show what is going on, or on a new site what to do first."""
        context = {**self.each_context(request), "title": self.index_title}
        context |= {"dashboard": dashboard.read(request, timezone.now())}
        return TemplateResponse(request, "admin/index.html", context)

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """Refuse: nothing of ours asks for it."""
        raise Http404

    def app_index(  # type: ignore[override]
        self, request: HttpRequest, app_label: str, extra_context: Any = None
    ) -> HttpResponse:
        """Redirect to the front page: the console goes by subject, not by our modules."""
        return HttpResponseRedirect(reverse("admin:index"))

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the frame of every page shows, in place of Django's list of all models."""
        opens = self.has_permission(request)
        return {
            "site_header": self.site_header,
            "site_title": self.site_title,
            "has_permission": opens,
            "is_popup": False,
            "is_nav_sidebar_enabled": False,
            "navigation": Navigation(request) if opens else None,
            "mini_programs": mini_programs(),
            "mini_program": chosen_app(request),
            "languages": settings.LANGUAGES,
        }
