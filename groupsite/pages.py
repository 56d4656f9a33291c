"""Middleware that only pages of the console need: nothing below /api/ or /g/ has a session, nor
has /metrics.

The API knows its callers by `Authorization` alone, and a member's page its reader by the link.
"""

from typing import Any

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest
from django_otp import middleware as otp

WITHOUT_SESSION = ("/api/", "/g/", "/metrics")


class PageMiddleware:
    """Passes over what has no session: the first base of a middleware."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(WITHOUT_SESSION):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class SessionMiddleware(PageMiddleware, sessions.SessionMiddleware):
    pass


class AuthenticationMiddleware(PageMiddleware, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(PageMiddleware, messages.MessageMiddleware):
    pass


class OTPMiddleware(PageMiddleware, otp.OTPMiddleware):  # type: ignore[misc]
    pass
