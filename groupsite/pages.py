"""Middleware that only pages of the console need: nothing below /api/ or /g/ has a session, nor
has /metrics.

The API knows its callers by `Authorization` alone, and a member's page its reader by the link.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django_otp import middleware as otp

WITHOUT_SESSION = ("/api/", "/g/", "/metrics")
# What an open page asks for by itself: that no one is there to see it must not keep a session.
ASKED_BY_SCRIPTS = {"/admin/check/live/"}


class PageMiddleware:
    """Passes over what has no session: the first base of a middleware."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(WITHOUT_SESSION):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class SessionMiddleware(PageMiddleware, sessions.SessionMiddleware):
    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        request.session.is_used = request.path_info not in ASKED_BY_SCRIPTS  # type: ignore[attr-defined]


class AuthenticationMiddleware(PageMiddleware, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(PageMiddleware, messages.MessageMiddleware):
    pass


class MessageCookieStorage(CookieStorage):
    cookie_name = f"{settings.COOKIE_PREFIX}messages"


class MessageStorage(FallbackStorage):
    """Django's own, under our name of the cookie."""

    storage_classes = (MessageCookieStorage, SessionStorage)


class OTPMiddleware(PageMiddleware, otp.OTPMiddleware):  # type: ignore[misc]
    pass
