"""How often an address, a user, a token and a call may come, however many processes serve them.

Moving windows from `limits`, counted in Redis where REDIS_URL is set and in every process besides:
so while Redis is away each process lets through no more than the limit, and nothing fails.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

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
MAX_CALLERS = 100_000  # that one process remembers

# A limit, its scope, and the identity whose count is held against it.
Count = tuple[RateLimitItem, str, str]
Ask = Callable[[MovingWindowRateLimiter, Sequence[Count]], float | None]


# The setting


@cache
def limits_in(text: str) -> Mapping[str, RateLimitItem]:
    """Return the limits by scope that THROTTLES asks for, without the scopes that are off.

    Raises ValueError with a sentence about what cannot be read or falls below the contract.
    """
    if text.strip() == "off":
        return {}
    rates = dict(DEFAULTS)
    for part in filter(str.strip, text.split(",")):
        scope, _equals, rate = (word.strip() for word in part.partition("="))
        if scope not in DEFAULTS:
            raise ValueError(f"THROTTLES has no scope {scope!r}.")
        rates[scope] = rate
    return {scope: _limit(scope, rate) for scope, rate in rates.items() if rate != "off"}


def _limit(scope: str, rate: str) -> RateLimitItem:
    try:
        [limit] = parse_many(rate)
    except ValueError:
        raise ValueError(f"THROTTLES cannot be read at {scope}={rate}.") from None
    floor = FLOORS.get(scope, 0)
    if limit.amount * 60 < floor * limit.get_expiry():
        raise ValueError(f"THROTTLES lets fewer than {floor} a minute through at {scope}.")
    return limit


# The counts


class BoundedMemoryStorage(MemoryStorage):
    """The memory of `limits`, of bounded size, from which a count can be taken back.

    That of `limits` keeps an empty list for every caller it has ever seen.
    """

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if len(self.events) >= MAX_CALLERS:
            self._forget_callers()
        return super().acquire_entry(key, limit, expiry, amount)

    def _forget_callers(self) -> None:
        """Drop those whose window has passed; all of them if these are too few to help."""
        now, known = time.time(), list(self.events.items())
        passed = [key for key, entries in known if not entries or entries[0].expiry <= now]
        if 10 * len(passed) < len(known):
            passed = [key for key, _entries in known]
        for key in passed:
            with self.locks[key]:
                self.events.pop(key, None)
            self.locks.pop(key, None)

    def give_back(self, key: str) -> None:
        """Take one count of `key` back."""
        with self.locks[key]:
            if entries := self.events.get(key):
                entries.pop(0)


class SharedRedisStorage(RedisStorage):
    """The Redis of `limits`, from which a count can be taken back."""

    def give_back(self, key: str) -> None:
        """Take one count of `key` back. Raises StorageError."""
        try:
            self.storage.lpop(self.prefixed_key(key))
        except self.base_exceptions as error:
            raise StorageError(error) from error


class Limiter:
    """The counts of this process, and with Redis those of all of them. Thread-safe."""

    def __init__(self, redis_url: str) -> None:
        self.local = MovingWindowRateLimiter(BoundedMemoryStorage())
        self.shared = MovingWindowRateLimiter(redis_storage(redis_url)) if redis_url else None
        self._lock = Lock()
        self._redis_away = False
        self._ask_redis_at = 0.0

    def wait(self, counts: Sequence[Count]) -> float | None:
        """Count a request, or return the seconds until one that adds to these counts may pass.

        None if it passes now; only then is it counted.
        """
        if not all(self.local.test(*count) for count in counts):
            return _wait(self.local, counts)
        return self._ask_redis(_take, counts) or _take(self.local, counts)

    def give_back(self, counts: Sequence[Count]) -> None:
        """Take back what `wait` counted for a request that should not count after all."""
        _give_back(self.local, counts)
        self._ask_redis(_give_back, counts)

    def _ask_redis(self, ask: Ask, counts: Sequence[Count]) -> float | None:
        """Ask the shared counts; None also while there are none."""
        was_away = self._redis_away
        if self.shared is None or (was_away and self._is_pausing()):
            return None
        try:
            wait = ask(self.shared, counts)
        except StorageError as error:
            self._lose_redis(error)
            return None
        if was_away:
            self._redis_away = False
            logger.warning("Redis answers again.")
        return wait

    def _is_pausing(self) -> bool:
        """Return whether to leave Redis alone; after a pause only one request tries it."""
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


def _take(limiter: MovingWindowRateLimiter, counts: Sequence[Count]) -> float | None:
    """Add to every count if all have room, else return the seconds until they have."""
    # Tested first, so that what one count refuses has not been added to another.
    if all(limiter.test(*count) for count in counts[1:]) and all(
        limiter.hit(*count) for count in counts
    ):
        return None
    return _wait(limiter, counts)


def _give_back(limiter: MovingWindowRateLimiter, counts: Sequence[Count]) -> None:
    storage: Any = limiter.storage
    for limit, *identity in counts:
        storage.give_back(limit.key_for(*identity))


def _wait(limiter: MovingWindowRateLimiter, counts: Sequence[Count]) -> float:
    now = time.time()
    stats = [limiter.get_window_stats(*count) for count in counts]
    return max([1.0, *(stat.reset_time - now for stat in stats if stat.remaining <= 0)])


def redis_storage(url: str) -> SharedRedisStorage:
    """Return a storage that connects when it is first asked.

    Raises ValueError for an unreadable URL, and the errors of `limits` if the package `redis` is
    missing.
    """
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    database = settings.DATABASES["default"]
    place = f"{database.get('HOST')}/{database['NAME']}"
    return SharedRedisStorage(
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
    """Return this process's one limiter."""
    with _first_use:  # or several threads would each begin with one of their own
        return limiter_on(settings.REDIS_URL)


# Addresses


def client_address(request: HttpRequest) -> str:
    """Return where a request comes from: an IPv4 address, or the /64 of an IPv6 one.

    With proxies, the entry of X-Forwarded-For that the outermost of ours has added, the
    NUM_PROXIES-th from the right; what stands left of it is the client's own invention. Without
    such an entry, the address of the peer.
    """
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    given = forwarded[-settings.NUM_PROXIES :] if settings.NUM_PROXIES > 0 else []
    client = _address(given[0]) if len(given) == settings.NUM_PROXIES > 0 else None
    return client or _address(request.META.get("REMOTE_ADDR", "")) or "unknown"


def _address(text: str) -> str | None:
    """Return an address in one spelling, without a port; None if it is not one."""
    text = text.strip()
    try:
        # Some proxies write `192.0.2.1:4711` and `[2001:db8::1]:4711`.
        if text.startswith("[") or text.count(":") == 1:
            text = urlsplit(f"//{text}").hostname or ""
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((int(address), 64), strict=False))
    return str(address)
