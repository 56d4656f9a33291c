"""How often an address, a user, a token and a call may come, however many processes serve them.

Moving windows from `limits`, counted in Redis where REDIS_URL is set and in every process besides:
so while Redis is away each process lets through no more than the limit, and nothing fails.
"""

import logging
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.crypto import salted_hmac
from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.models import WeChatUser

from .api import answer
from .errors import Throttled
from .middleware import GetResponse

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module

logger = logging.getLogger(__name__)

DEFAULTS = {
    "address": "6000/minute",
    "login": "300/minute",
    "user": "600/minute",
    "token": "600/minute",
    "call": "240/minute",
    "costly": "60/minute",
    "guess": "5/15minute",
    "guess-address": "30/15minute",
    "guess-name": "20/15minute",
}
# What the contract promises to let through, a minute.
FLOORS = {"address": 300, "login": 120, "user": 300, "token": 300, "call": 30, "costly": 30}

REDIS_TIMEOUT = 0.5  # seconds that a request waits for Redis
REDIS_PAUSE = 5.0  # seconds for which a Redis that did not answer is left alone
MOST_CALLERS = 100_000  # that one process remembers

# A limit, its scope, and whose count is held against it.
Count = tuple[RateLimitItem, str, str]
Ask = Callable[[MovingWindowRateLimiter, Sequence[Count]], float]


# The setting


@cache
def limits_in(text: str) -> Mapping[str, RateLimitItem]:
    """The limits by scope that THROTTLES asks for; a scope that is off is not among them.

    Raises ValueError with a sentence about what cannot be read or falls below the contract.
    """
    if text.strip() == "off":
        return {}
    chosen = DEFAULTS | dict(_part(part) for part in text.split(",") if part.strip())
    return {scope: _limit(scope, rate) for scope, rate in chosen.items() if rate != "off"}


def _part(text: str) -> tuple[str, str]:
    scope, _equals, rate = (word.strip() for word in text.partition("="))
    if scope not in DEFAULTS:
        raise ValueError(f"THROTTLES has no scope {scope!r}.")
    return scope, rate


def _limit(scope: str, rate: str) -> RateLimitItem:
    try:
        [limit] = parse_many(rate)
    except ValueError:
        raise ValueError(f"THROTTLES cannot be read at {scope}={rate}.") from None
    floor = FLOORS.get(scope, 0)
    if limit.amount * 60 < floor * limit.get_expiry():
        raise ValueError(f"THROTTLES lets fewer than {floor} a minute through at {scope}.")
    return limit


# The counting


class Memory(MemoryStorage):
    """As `limits` has it, but what was counted can be given back, and of bounded size: that one
    keeps an empty list for all who came."""

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if len(self.events) >= MOST_CALLERS:
            self._forget()
        return super().acquire_entry(key, limit, expiry, amount)

    def _forget(self) -> None:
        """Drops those whose window has passed; all, where these are too few to be worth it."""
        now, everybody = time.time(), list(self.events.items())
        gone = [key for key, entries in everybody if not entries or entries[0].expiry <= now]
        if 10 * len(gone) < len(everybody):
            gone = [key for key, _entries in everybody]
        for key in gone:
            with self.locks[key]:
                self.events.pop(key, None)
            self.locks.pop(key, None)

    def give_back(self, key: str) -> None:
        with self.locks[key]:
            if entries := self.events.get(key):
                entries.pop(0)


class Redis(RedisStorage):
    """As `limits` has it, but what was counted can be given back."""

    def give_back(self, key: str) -> None:
        try:
            self.storage.lpop(self.prefixed_key(key))
        except self.base_exceptions as error:
            raise StorageError(error) from error


class Limiter:
    """The counts of this process, and with Redis those of all of them. Thread-safe."""

    def __init__(self, redis_url: str) -> None:
        self.local = MovingWindowRateLimiter(Memory())
        self.shared = MovingWindowRateLimiter(redis_storage(redis_url)) if redis_url else None
        self._lock = Lock()
        self._redis_away = False
        self._ask_redis_at = 0.0

    def wait(self, counts: Sequence[Count]) -> float:
        """Seconds until a request that adds to these counts may pass.

        0 where it passes now, and only then it is counted.
        """
        if not all(self.local.test(*count) for count in counts):
            return _wait(self.local, counts)
        return self._ask_redis(_take, counts) or _take(self.local, counts)

    def give_back(self, counts: Sequence[Count]) -> None:
        """Take off these counts what `wait` added for a request that turned out to be none."""
        _give_back(self.local, counts)
        self._ask_redis(_give_back, counts)

    def _ask_redis(self, how: Ask, counts: Sequence[Count]) -> float:
        """By the shared counts; 0 also while there are none to be had."""
        was_away = self._redis_away
        if self.shared is None or (was_away and self._is_pausing()):
            return 0.0
        try:
            wait = how(self.shared, counts)
        except StorageError as error:
            self._lose_redis(error)
            return 0.0
        if was_away:
            self._redis_away = False
            logger.warning("Redis answers again.")
        return wait

    def _is_pausing(self) -> bool:
        """Whether to leave Redis alone; False once a pause, so that only one request finds out."""
        now = time.monotonic()
        with self._lock:
            if now < self._ask_redis_at:
                return True
            self._ask_redis_at = now + REDIS_PAUSE
            return False

    def _lose_redis(self, error: StorageError) -> None:
        with self._lock:
            is_news, self._redis_away = not self._redis_away, True
            self._ask_redis_at = time.monotonic() + REDIS_PAUSE
        if is_news:
            logger.error("Redis is away, so each process throttles by itself: %s", error)


def _take(limiter: MovingWindowRateLimiter, counts: Sequence[Count]) -> float:
    """0 where every count had room, and has one less; else the seconds until all have."""
    # Tested first, so that what one count refuses has not been added to another.
    if all(limiter.test(*count) for count in counts[1:]) and all(
        limiter.hit(*count) for count in counts
    ):
        return 0.0
    return _wait(limiter, counts)


def _give_back(limiter: MovingWindowRateLimiter, counts: Sequence[Count]) -> float:
    storage: Any = limiter.storage
    for limit, *whose in counts:
        storage.give_back(limit.key_for(*whose))
    return 0.0


def _wait(limiter: MovingWindowRateLimiter, counts: Sequence[Count]) -> float:
    now = time.time()
    stats = [limiter.get_window_stats(*count) for count in counts]
    return max([1.0, *(stat.reset_time - now for stat in stats if stat.remaining <= 0)])


def redis_storage(url: str) -> Redis:
    """Connects when first asked. Raises ValueError for an unreadable URL, and the errors of
    `limits` where the package `redis` is missing."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    database = settings.DATABASES["default"]
    place = f"{database.get('HOST')}/{database['NAME']}"
    return Redis(
        url,
        # Ids count within one database: two sites on one Redis must not share them.
        key_prefix=f"groupsite:{salted_hmac(__name__, place).hexdigest()[:12]}",
        wrap_exceptions=True,
        socket_timeout=REDIS_TIMEOUT,
        socket_connect_timeout=REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # handed on to redis.Redis
    )


limiter_on = cache(Limiter)
_first_use = Lock()


def limiter() -> Limiter:
    """This process's one limiter."""
    with _first_use:  # or several threads would each begin with one of their own
        return limiter_on(settings.REDIS_URL)


# Whose requests


def client_address(request: HttpRequest) -> str:
    """Where a request comes from: an IPv4 address, or the /64 that an IPv6 one stands for.

    With proxies, the entry of X-Forwarded-For that the outermost of ours has added, the
    NUM_PROXIES-th from the right; what stands left of it is the client's own invention. Without
    such an entry, the address of whoever connected.
    """
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    given = forwarded[-settings.NUM_PROXIES :] if settings.NUM_PROXIES > 0 else []
    told = _address(given[0]) if len(given) == settings.NUM_PROXIES > 0 else None
    return told or _address(request.META.get("REMOTE_ADDR", "")) or "unknown"


def _address(text: str) -> str | None:
    """In one spelling, without a port, None where it is no address."""
    try:
        address = ip_address(_without_port(text.strip()))
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((int(address), 64), strict=False))
    return str(address)


def _without_port(text: str) -> str:
    """Some proxies write `192.0.2.1:4711` and `[2001:db8::1]:4711`. May raise ValueError."""
    if text.startswith("[") or text.count(":") == 1:
        return urlsplit(f"//{text}").hostname or ""
    return text


class PerAddress:
    """A middleware in front of all that costs something: no address asks too often.

    Also what DRF's throttles never see: pages, refused tokens, paths that are none.
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


# Where a wrong password or code can be tried.
GUESSED_AT = {"admin:login", "console-otp", "admin:password_change"}
LED_IN_BY = {"admin:login", "console-otp", "sign-in"}
KNOWN_DEVICE, KNOWN_FOR = "operator_device", 180 * 24 * 3600


class PerOperator:
    """A middleware against guessing operators' passwords and codes.

    It counts those that were wrong: by name and address, by address, and by name. The last would
    let anybody shut an operator out from elsewhere, so a browser that they once came in by is not
    held to it (OWASP's device cookie). A one-time sign-in link is not guessable, and always works.

    Each is counted before it is tried, and given back unless it was wrong: a password takes long to
    try, and whoever guesses many at the same moment is to have no more of them.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if counted := getattr(request, "guess", None):
            limiter().give_back(counted)
        if _view_of(request) in LED_IN_BY and admin.site.has_permission(request):
            _remember_device(request, response)
        return response

    def process_view(self, request: Any, *args: Any) -> HttpResponse | None:
        view = _view_of(request)
        if request.method != "POST" or view not in GUESSED_AT:
            return None
        is_name_told = view == "admin:login"
        name = request.POST.get("username", "") if is_name_told else request.user.get_username()
        counts = _guesses(request, name)
        if not (wait := limiter().wait(counts)):
            request.guess = counts
            return None
        page = render(request, "429_guesses.html", {"minutes": ceil(wait / 60)}, status=429)
        page["Retry-After"] = str(ceil(wait))
        return page


@receiver(user_login_failed)
def keep_guess(sender: Any, request: Any = None, **kwargs: Any) -> None:
    """Django's own signal for a wrong password; the console sends it for a wrong code as well.

    What PerOperator counted for it stays counted.
    """
    if request is not None:
        logger.warning("A wrong password or code for the console.")
        request.guess = None


def _view_of(request: HttpRequest) -> str | None:
    """The name of the view that a form is sent to."""
    match = request.resolver_match
    return match.view_name if match and request.method == "POST" else None


def _guesses(request: HttpRequest, username: str) -> list[Count]:
    """The counts of a guess at that name's password or code."""
    name, address = _digest(username), client_address(request)
    whose = {"guess": f"{name} {address}", "guess-address": address}
    if request.get_signed_cookie(KNOWN_DEVICE, "", salt=name, max_age=KNOWN_FOR) != "known":
        whose["guess-name"] = name
    limits = limits_in(settings.THROTTLES)
    return [(limits[scope], scope, who) for scope, who in whose.items() if scope in limits]


def _remember_device(request: HttpRequest, response: HttpResponse) -> None:
    response.set_signed_cookie(
        KNOWN_DEVICE,
        "known",
        salt=_digest(request.user.get_username()),
        max_age=KNOWN_FOR,
        path=reverse("admin:index"),
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _digest(username: str) -> str:
    """A name in any spelling, of any length; nobody reads it out of Redis."""
    spelling = unicodedata.normalize("NFKC", username).strip().casefold()
    return salted_hmac(f"{__name__}.guess", spelling).hexdigest()


class PerCaller(BaseThrottle):
    """DRF's throttle class: by user, token and call; by address where a view names a
    `throttle_scope` of its own because it does not know its users yet.

    A view's `costly` names those of its methods that may be called less often.
    """

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Raises Throttled."""
        limits = limits_in(settings.THROTTLES)
        counts = [
            (limits[scope], scope, who)
            for scope, who in _scopes(request, view, limits)
            if scope in limits
        ]
        if counts and (wait := limiter().wait(counts)):
            raise Throttled(wait)
        return True


def _scopes(request: Request, view: Any, limits: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Scopes, the narrowest first, each with whose count it is: our own ids, never a secret."""
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
