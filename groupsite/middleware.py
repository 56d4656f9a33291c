import logging
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware
from rest_framework.exceptions import APIException

from core.context import ANONYMOUS, caller, request_id

from .api import answer
from .errors import Unavailable, of_status
from .outage import database_is_away

GetResponse = Callable[[HttpRequest], HttpResponse]

logger = logging.getLogger("groupsite.request")

DATABASE_AWAY = "groupsite.database_away"

# What no page of ours needs, and no page that slips in may use.
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "browsing-topics",
        "camera",
        "display-capture",
        "geolocation",
        "microphone",
        "payment",
        "usb",
    )
)


class RequestLogMiddleware:
    """Gives each request an id, in its log lines and in `X-Request-ID`, and logs its access line.

    The line has the route's pattern, never the path, which may be a secret link.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Not reset afterwards: Django logs an error answer after the last middleware is done.
        request_id.set(uuid.uuid4().hex)
        caller.set(ANONYMOUS)
        start = time.perf_counter()
        response = self.get_response(request)
        response["X-Request-ID"] = request_id.get()
        facts = _facts(request, response) | {"ms": round(1000 * (time.perf_counter() - start), 1)}
        logger.info("%(method)s %(route)s %(status)s", facts, extra=facts)
        return response


def _facts(request: HttpRequest, response: HttpResponse) -> dict[str, Any]:
    match = request.resolver_match
    return {
        "method": request.method,
        "route": f"/{match.route}" if match else "-",
        "status": response.status_code,
        "bytes": None if response.streaming else len(response.content),
    }


class SecurityHeadersMiddleware(SecurityMiddleware):
    """Puts Django's security headers and a Permissions-Policy on every answer.

    SecurityMiddleware itself comes later as well: it does not see an answer that another middleware
    gives before it, such as the refusal of a host.
    """

    def process_request(self, request: HttpRequest) -> None:
        pass

    def process_response(self, request: HttpRequest, response: HttpResponse) -> Any:
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return super().process_response(request, response)


class ErrorsMiddleware:
    """Gives every error below /api/ the shape of the API, also those raised outside of DRF, and
    answers 503 everywhere while the database is away.

    Django's handler404 and handler500 are no place for this: they do not run with DEBUG on.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code == 500 and DATABASE_AWAY in request.META:
            error: APIException = Unavailable(wait=3)
        elif _is_shapeless(request, response):
            error = of_status(response.status_code, str(request.method))
        else:
            return response
        shaped = answer(request, error)
        for name, value in response.items():
            if name not in {"Content-Type", "Content-Length"}:
                shaped.headers.setdefault(name, value)
        return shaped


def _is_shapeless(request: HttpRequest, response: HttpResponse) -> bool:
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    return response.status_code >= 400 and not is_json and request.path_info.startswith("/api/")


@receiver(got_request_exception)
def note_outage(sender: Any, request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Mark a request that crashed because of the database.

    This is the one place that sees what a view, a template or any other middleware did not catch.
    """
    error = sys.exception()
    if request is not None and database_is_away(error):
        request.META[DATABASE_AWAY] = True
        logger.warning("%s: %s", type(error).__name__, error)


class PrivateCacheMiddleware:
    """Keeps answers that depend on the caller out of shared caches, errors included.

    A member's page is for the holder of its link: not for search engines, not for the next site.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path_info.startswith(("/api/", "/groups/", "/g/")):
            response.headers.setdefault("Cache-Control", "private, no-store")
        if request.path_info.startswith("/g/"):
            response.headers["X-Robots-Tag"] = "noindex"
            response.headers["Referrer-Policy"] = "no-referrer"
        return response
