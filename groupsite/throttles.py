"""The throttles of the site: one by address before everything else, one of the API by caller."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.models import WeChatUser
from core.limits import Count, limiter, limits_in, sender_of

from .api import answer
from .errors import Throttled
from .middleware import BY_MACHINES, GetResponse

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module

OWED = "groupsite.owed"  # where a request keeps the counts that it owes to Redis


class AddressThrottleMiddleware:
    """Refuses an address that asks too often, before anything that costs something.

    It also sees what DRF's throttles never see: pages, refused tokens, paths that do not exist.
    Redis counts the address together with the caller, or where there is none when the request has
    been answered: one call of Redis for each request.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.of_rows = {f"/api/v1/server/{name}" for name in ("scores", "users", "sessions")}
        self.free = (*BY_MACHINES, "/media/", "/avatars/", settings.STATIC_URL)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # A server that logs its members in one by one has a single address.
        is_row = request.path_info in self.of_rows
        limit = limits_in(settings.THROTTLES).get("rows" if is_row else "address")
        if not limit or request.path_info.startswith(self.free):
            return self.get_response(request)
        scope = "address-rows" if is_row else "address"
        owed = [Count(limit, scope, sender_of(request))]
        if wait := limiter().enter(owed):
            return answer(request, partial(Throttled, wait))
        request.META[OWED] = owed
        response = self.get_response(request)
        limiter().leave(owed)
        return response


class CallerThrottle(BaseThrottle):
    """DRF's throttle class: by user, token and call.

    A view that does not know its users yet names a `throttle_scope`, counted by address. A view's
    `costly` names those of its methods that may be called less often. What a view's `count_rows`
    returns is counted in place of the call.
    """

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Count the request. Raises Throttled."""
        limits = limits_in(settings.THROTTLES)
        counts = [
            Count(limits[scope], scope, *rest)
            for scope, *rest in _scopes(request, view, limits)
            if scope in limits
        ]
        if counts and (wait := limiter().wait(counts, request.META.get(OWED))):
            raise Throttled(wait)
        return True


def _scopes(request: Request, view: Any, limits: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield scopes, the narrowest first, the identity that each counts, which is never a secret,
    and what the request costs where that is not 1."""
    user, credential = request.user, request.auth
    if isinstance(user, WeChatUser):
        method = "GET" if request.method == "HEAD" else str(request.method)
        is_costly = method in getattr(view, "costly", ()) and "costly" in limits
        name = f"{type(view).__module__}.{type(view).__qualname__}"
        yield "costly" if is_costly else "call", f"{user.pk} {method} {name}"
        yield "user", str(user.pk)
    if credential is not None:
        who = f"{type(credential).__name__} {credential.pk}"
        if count_rows := getattr(view, "count_rows", None):
            yield "rows", who, count_rows()
        else:
            yield "token", who
    if scope := getattr(view, "throttle_scope", ""):
        yield scope, sender_of(request)
