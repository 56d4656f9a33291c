"""The throttles of the site: one by address before everything else, one of the API by caller."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.models import WeChatUser
from core.limits import client_address, limiter, limits_in

from .api import answer
from .errors import Throttled
from .middleware import GetResponse

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module


class AddressThrottleMiddleware:
    """Refuses an address that asks too often, before anything that costs something.

    It also sees what DRF's throttles never see: pages, refused tokens, paths that do not exist.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.free = ("/livez", "/readyz", "/media/", "/avatars/", settings.STATIC_URL)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limit = limits_in(settings.THROTTLES).get("address")
        if limit and not request.path_info.startswith(self.free):
            count = (limit, "address", client_address(request))
            if wait := limiter().wait([count]):
                return answer(request, Throttled(wait))
        return self.get_response(request)


class CallerThrottle(BaseThrottle):
    """DRF's throttle class: by user, token and call.

    A view that does not know its users yet names a `throttle_scope`, counted by address. A view's
    `costly` names those of its methods that may be called less often.
    """

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Count the request. Raises Throttled."""
        limits = limits_in(settings.THROTTLES)
        counts = [
            (limits[scope], scope, identity)
            for scope, identity in _scopes(request, view, limits)
            if scope in limits
        ]
        if counts and (wait := limiter().wait(counts)):
            raise Throttled(wait)
        return True


def _scopes(request: Request, view: Any, limits: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield scopes, the narrowest first, and the identity that each counts: never a secret."""
    user, credential = request.user, request.auth
    if isinstance(user, WeChatUser):
        method = "GET" if request.method == "HEAD" else str(request.method)
        is_costly = method in getattr(view, "costly", ()) and "costly" in limits
        name = f"{type(view).__module__}.{type(view).__qualname__}"
        yield "costly" if is_costly else "call", f"{user.pk} {method} {name}"
        yield "user", str(user.pk)
    if credential is not None:
        yield "token", f"{type(credential).__name__} {credential.pk}"
    if scope := getattr(view, "throttle_scope", ""):
        yield scope, client_address(request)
