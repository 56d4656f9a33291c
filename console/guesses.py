"""The limit on guessing operators' passwords and codes."""

import logging
import unicodedata
from collections.abc import Callable
from contextvars import ContextVar
from math import ceil
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from core.limits import Count, client_address, limiter, limits_in
from core.signed import digests

logger = logging.getLogger(__name__)

# The views at which a wrong password or code can be tried, and those that sign an operator in.
GUESSED_AT = {"admin:login", "console-otp", "admin:password_change"}
SIGNED_IN_BY = {"admin:login", "console-otp", "sign-in"}
KNOWN_DEVICE, KNOWN_FOR = f"{settings.COOKIE_PREFIX}operator_device", 180 * 24 * 3600

# What this request counted before its guess was tried; empty once the guess was wrong.
_counted: ContextVar[tuple[Count, ...]] = ContextVar("counted", default=())


class GuessLimitMiddleware:
    """Counts wrong passwords and codes: by name and address, by address, and by name.

    The last would let anyone shut an operator out from elsewhere, so a browser by which they once
    signed in is not held to it (OWASP's device cookie). A one-time sign-in link cannot be guessed,
    and always works.

    Each guess is counted before it is tried, and given back unless it was wrong: a password takes
    long to try, and many guesses at the same moment must not be more than one after another.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = _counted.set(())
        try:
            response = self.get_response(request)
            if counted := _counted.get():
                limiter().give_back(counted)
        finally:
            _counted.reset(token)
        if _view_of(request) in SIGNED_IN_BY and admin.site.has_permission(request):
            response.set_signed_cookie(
                KNOWN_DEVICE,
                "known",
                salt=_spelling(request.user.get_username()),
                max_age=KNOWN_FOR,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        return response

    def process_view(self, request: Any, *args: Any) -> HttpResponse | None:
        """Count a guess, or refuse it."""
        view = _view_of(request)
        if view not in GUESSED_AT:
            return None
        at_login = view == "admin:login"
        name = request.POST.get("username", "") if at_login else request.user.get_username()
        counts = _counts(request, name)
        if not (wait := limiter().wait(counts)):
            _counted.set(tuple(counts))
            return None
        facts = who_and_where(request, name)
        logger.warning("Too many wrong passwords or codes for the console.", extra=facts)
        context = {"minutes": ceil(wait / 60), "command": settings.SIGN_IN_COMMAND}
        page = render(request, "429_guesses.html", context, status=429)
        page["Retry-After"] = str(ceil(wait))
        return page


@receiver(user_login_failed)
def keep_guess(sender: Any, request: Any = None, **kwargs: Any) -> None:
    """Keep the count of a wrong password (Django's signal) or code (the console sends it too)."""
    if request is not None:
        name = str(kwargs.get("credentials", {}).get("username", ""))
        facts = who_and_where(request, name)
        logger.warning("A wrong password or code for the console.", extra=facts)
        _counted.set(())


def _view_of(request: HttpRequest) -> str | None:
    """Return the name of the view that a form is sent to; None for other methods."""
    match = request.resolver_match
    return match.view_name if match and request.method == "POST" else None


def _counts(request: HttpRequest, username: str) -> list[Count]:
    """Return the counts of a guess at the password or code of that name."""
    spelling, address = _spelling(username), client_address(request)
    name = digest_of_name(username)
    identities = {"guess": f"{name} {address}", "guess-address": address}
    if request.get_signed_cookie(KNOWN_DEVICE, "", salt=spelling, max_age=KNOWN_FOR) != "known":
        identities["guess-name"] = name
    limits = limits_in(settings.THROTTLES)
    return [
        Count(limits[scope], scope, who) for scope, who in identities.items() if scope in limits
    ]


def _spelling(username: str) -> str:
    """Return the one way of writing a name that stands for all of them."""
    return unicodedata.normalize("NFKC", username).strip().casefold()


def who_and_where(request: HttpRequest, username: str) -> dict[str, str]:
    """Return what a log line says of an operator: a digest of the name, and the address."""
    return {"operator": logged_name(username), "client": client_address(request)}


def logged_name(username: str) -> str:
    """Return what stands in the log for the name of an operator."""
    return digest_of_name(username)[:16] if username else ""


def digest_of_name(username: str) -> str:
    """Return a digest of a name in any spelling, of any length: neither Redis nor the log holds the
    name, which may be a password typed into the wrong field. With another SECRET_KEY it is another
    one, and what is counted under it begins anew.
    """
    return digests(_spelling(username), f"{__name__}.guess")[0]
