import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from io import BytesIO
from typing import Any

from csp.constants import HEADER
from csp.middleware import CSPMiddleware
from csp.utils import build_policy
from django.conf import settings
from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware
from django.middleware.gzip import GZipMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter
from rest_framework.exceptions import APIException, NotFound, PermissionDenied

from accounts.avatars.pictures import FORM_OVERHEAD, MAX_BYTES
from console.guesses import who_and_where
from core.context import ANONYMOUS, caller, request_id
from core.database import database_is_away, drop_lost_connections, ring_for
from core.gateway import cloud_caller
from core.metrics import Histogram
from core.retries import watched

from .api import answer
from .errors import BODY_ENDED, LENGTH_REQUIRED, Invalid, TooLarge, Unavailable, of_status

TEXTS = {"text/css", "text/javascript", "image/svg+xml", "application/json"}
LARGEST_BODY = MAX_BYTES + FORM_OVERHEAD  # a form with a picture
WHOLE = ("GET", 200)  # neither a part of a file nor its headers alone

GIVEN_ID = re.compile(r"[0-9A-Za-z_-]{8,48}")

PROBES = ("/livez", "/readyz")
BY_MACHINES = (*PROBES, "/metrics")  # asked of one machine, by whatever name it has

GetResponse = Callable[[HttpRequest], HttpResponse]

logger = logging.getLogger("groupsite.request")

DATABASE_AWAY = "groupsite.database_away"

REQUESTS = Histogram(
    "groupsite_request_seconds", "Requests answered, by route", "route", "method", "status"
)
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}
# What says more than its class: who asks too often; who or what else is away.
OWN_STATUS = {429, 503}

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

    Behind a proxy the id is the proxy's, where it gives one. The line has the route's pattern,
    never the path, which may be a secret link.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Not reset afterwards: Django logs an error answer after the last middleware is done.
        request_id.set(_given_id(request) or uuid.uuid4().hex)
        caller.set(ANONYMOUS)
        start = time.perf_counter()
        response = self.get_response(request)
        response["X-Request-ID"] = request_id.get()
        seconds = time.perf_counter() - start
        facts = _facts(request, response) | {"ms": round(1000 * seconds, 1)}
        REQUESTS.observe(seconds, *_labels(facts))
        logger.info("%(method)s %(route)s %(status)s", facts, extra=facts)
        return response


def _given_id(request: HttpRequest) -> str | None:
    """Return the id that a proxy of ours gave the request; None for what is no id."""
    given = request.headers.get("X-Request-ID", "") if settings.NUM_PROXIES > 0 else ""
    return given if GIVEN_ID.fullmatch(given) else None


def _facts(request: HttpRequest, response: HttpResponse) -> dict[str, Any]:
    match = request.resolver_match
    # As far as Django has found out; asking it would be a query, and fail without a database.
    operator = getattr(request, "_cached_user", None)
    return {
        "method": request.method,
        "route": f"/{match.route}" if match else "-",
        "status": response.status_code,
        "bytes": None if response.streaming else len(response.content),
        **who_and_where(request, operator.get_username() if operator else ""),
    }


def _labels(facts: dict[str, Any]) -> tuple[str, str, str]:
    """Return route, method and class of status, of which there are only so many."""
    method, status = str(facts["method"]), facts["status"]
    kind = str(status) if status in OWN_STATUS else f"{status // 100}xx"
    return facts["route"], method if method in METHODS else "other", kind


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


class PolicyMiddleware(CSPMiddleware):
    """Puts the Content-Security-Policy on every answer, built once; a view may have its own."""

    @cached_property
    def policy(self) -> str:
        return build_policy()

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> Any:
        is_own = any(name.startswith("_csp") for name in (*vars(request), *vars(response)))
        if is_own or settings.DEBUG:
            return super().process_response(request, response)
        response.headers.setdefault(HEADER, self.policy)
        return response


class HostMiddleware(CommonMiddleware):
    """Django's, which refuses unknown hosts, except for probes: they ask by a machine's address.

    And behind WeChat's private gateway, whose name for us is its own affair, unless we would tell
    it to others for want of PUBLIC_URL.
    """

    def process_request(self, request: HttpRequest) -> Any:
        is_free = request.path_info in BY_MACHINES or bool(
            settings.WECHAT_CLOUD and settings.PUBLIC_URL
        )
        return None if is_free else super().process_request(request)

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        # Every path below /api/ is a route, so that looking for it here would be in vain.
        is_api = request.path_info.startswith("/api/")
        return not is_api and super().should_redirect_with_slash(request)


class ErrorsMiddleware:
    """Gives every error below /api/ the shape of the API, also those raised outside of DRF, shows
    our page for every other address there is not, and answers 503 everywhere while the database is
    away.

    Django's handler404 and handler500 are no place for this: they do not run with DEBUG on.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code == 500 and DATABASE_AWAY in request.META:
            error: Callable[[], APIException] = partial(Unavailable, wait=3)
        elif _is_shapeless(request, response):
            error = partial(of_status, response.status_code, str(request.method))
        else:
            return response
        shaped = answer(request, error)
        for name, value in response.items():
            if name not in {"Content-Type", "Content-Length"}:
                shaped.headers.setdefault(name, value)
        shaped.cookies = response.cookies
        return shaped


class GatewayMiddleware:
    """With WECHAT_CLOUD, answers the API, the pushes and the probes, and nothing else.

    The API is for people that WeChat's gateway names, of the mini-programs configured here.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        path = request.path_info
        if settings.WECHAT_CLOUD and path not in PROBES and not path.startswith("/wechat/push/"):
            if not path.startswith("/api/v1/"):
                return answer(request, NotFound)
            if cloud_caller(request) is None:
                return answer(request, PermissionDenied)
        return self.get_response(request)


class ChunkedBodyMiddleware:
    """Reads a body that comes in chunks, without a Content-Length; Django takes it for empty.

    Only where the web server says that the body ends by itself, as gunicorn and granian do: a read
    would wait for ever elsewhere, and the answer is 411.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.headers.get("Transfer-Encoding"):
            return self.get_response(request)
        if not request.META.get("wsgi.input_terminated"):
            refused = answer(request, partial(Invalid, LENGTH_REQUIRED))
            refused.status_code = HTTPStatus.LENGTH_REQUIRED  # to the client another `invalid`
            return refused
        try:
            body = request.META["wsgi.input"].read(LARGEST_BODY + 1)
        except Exception:  # not all of Gunicorn's errors about chunks are an OSError
            return answer(request, partial(Invalid, BODY_ENDED))
        # Calls of the API refuse by their own limits, all of them smaller, what is cut off here.
        if len(body) > LARGEST_BODY and not request.path_info.startswith("/api/"):
            return answer(request, TooLarge)
        request.META["CONTENT_LENGTH"] = str(len(body))
        request._stream = BytesIO(body)
        return self.get_response(request)


class SecondTryMiddleware:
    """Answers a request anew whose database connection was lost before it had done anything, or
    which another one got in the way of (a deadlock): see core/retries.py.

    Once, since what fails twice is no accident. A body that was read in a way that cannot be
    repeated, a picture's, is not asked for again.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with watched() as watch:
            response = self.get_response(request)
            if not (response.status_code in {500, 503} and watch.allows_another):
                return response
            if getattr(request, "_read_started", False) and not hasattr(request, "_body"):
                return response
            drop_lost_connections()
            request.META.pop(DATABASE_AWAY, None)
            logger.info("The database failed before anything was done: answering anew.")
            return self.get_response(request)


def _is_shapeless(request: HttpRequest, response: HttpResponse) -> bool:
    kind = response.headers.get("Content-Type", "")
    if request.path_info.startswith("/api/"):
        return response.status_code >= 400 and not kind.startswith("application/json")
    return response.status_code == 404 and kind.startswith("text/html")


class NoReport(ExceptionReporter):
    """Says nothing. Django's report with DEBUG on looks at every variable, many of which ask the
    database anew; ErrorsMiddleware gives another answer anyway."""

    def get_traceback_html(self) -> SafeString:
        return SafeString()

    def get_traceback_text(self) -> SafeString:
        return SafeString()


@receiver(got_request_exception)
def note_outage(sender: Any, request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Mark a request that crashed because of the database.

    This is the one place that sees what a view, a template or any other middleware did not catch.
    """
    error = sys.exception()
    ring_for(error)
    if request is not None and database_is_away(error):
        request.META[DATABASE_AWAY] = True
        request.exception_reporter_class = NoReport
        logger.warning("%s: %s", type(error).__name__, error)


class StaticGZipMiddleware(GZipMiddleware):
    """Compresses the texts among our static files, which whitenoise sends as they are.

    Only these: an answer that holds a secret beside what its caller sent must not be compressed,
    or its size tells the secret (BREACH).
    """

    def __call__(self, request: HttpRequest) -> Any:
        is_static = request.path_info.startswith(settings.STATIC_URL)
        return super().__call__(request) if is_static else self.get_response(request)

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        if kind not in TEXTS or (request.method, response.status_code) != WHOLE:
            return response
        compressed = super().process_response(request, response)
        # Made weak, it would not match in whitenoise, which would send the file again instead of a
        # 304; browsers ask by Last-Modified then.
        if compressed.has_header("Content-Encoding"):
            del compressed.headers["ETag"]
        return compressed


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
