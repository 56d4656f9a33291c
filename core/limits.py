"""How often an address, a user, a token and a call may come, however many processes serve them.

Moving windows, counted in Redis where REDIS_URL is set and in every process besides: so while Redis
is away each process lets through no more than the limit, and nothing fails.
"""

import logging
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from .alarms import alarm
from .gateway import cloud_caller

logger = logging.getLogger(__name__)

AWAY = alarm(
    "redis",
    _("Redis is away, so each process throttles by itself."),
    _("See whether it runs and is reachable: manage.py doctor."),
)

Answer = TypeVar("Answer")

DEFAULTS = {
    "address": "6000/minute",
    "login": "300/minute",
    "user": "600/minute",
    "token": "600/minute",
    "call": "240/minute",
    "costly": "60/minute",
    "rows": "30000/minute",
    "diagnostics": "60/minute",
    "guess": "5/15minute",
    "guess-address": "30/15minute",
    "guess-name": "20/15minute",
}
# What the contract promises to let through, a minute.
FLOORS = {
    "address": 300,
    "login": 120,
    "user": 300,
    "token": 300,
    "call": 30,
    "costly": 30,
    "rows": 12_000,
    "diagnostics": 30,
}
# They stay with THROTTLES=off, which is for benchmarks: each has to be named to be off.
GUESSES = ("guess", "guess-address", "guess-name")
# What one request may cost: a limit of fewer would never let it through.
LARGEST = {"rows": 500}

RATE = re.compile(
    r"([1-9]\d*)\s*(?:/|per)\s*([1-9]\d*)?\s*(second|minute|hour|day)s?", re.IGNORECASE
)
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}

REDIS_PAUSE = 5.0  # seconds for which a Redis that did not answer is left alone
MAX_CALLERS = 100_000  # that one process remembers
FORGET_EVERY = 60.0  # seconds between two looks at which callers have not come for long
CLOCK_SLACK = 5.0  # seconds by which a clock may be set back, and nothing is forgotten

# Count in all of KEYS, or in none. Each is a list of times, the newest first, as long as its limit.
# ARGV has the time, then of each key the limit, its seconds and what the request costs. Where one
# has no room: the time of each that has to lapse before as many as the cost have room, or 0.
TAKE = """
local now, full, times = tonumber(ARGV[1]), false, {}
for i, key in ipairs(KEYS) do
    local amount, seconds, cost = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
    times[i] = redis.call('LINDEX', key, amount - cost) or '0'
    full = full or tonumber(times[i]) > now - seconds
end
if full then
    return times
end
for i, key in ipairs(KEYS) do
    for _ = 1, ARGV[3 * i + 1] do
        redis.call('LPUSH', key, ARGV[1])
    end
    redis.call('LTRIM', key, 0, ARGV[3 * i - 1] - 1)
    redis.call('EXPIRE', key, ARGV[3 * i])
end
"""


class Limit(NamedTuple):
    """So many within so many seconds, whenever these begin."""

    amount: int
    seconds: int


class Count(NamedTuple):
    """A limit, its scope, the identity whose count is held against it, and what a request costs."""

    limit: Limit
    scope: str
    identity: str
    cost: int = 1

    @property
    def key(self) -> str:
        return f"{self.scope}/{self.identity}/{self.limit.amount}/{self.limit.seconds}"


# The setting


@cache
def limits_in(text: str) -> Mapping[str, Limit]:
    """Return the limits by scope that THROTTLES asks for, without the scopes that are off.

    Raises ValueError with a sentence about what cannot be read or falls below the contract.
    """
    if text.strip() == "off":
        return {scope: _limit(scope, DEFAULTS[scope]) for scope in GUESSES}
    rates = dict(DEFAULTS)
    for part in filter(str.strip, text.split(",")):
        scope, _equals, rate = (word.strip() for word in part.partition("="))
        if scope not in DEFAULTS:
            raise ValueError(f"THROTTLES has no scope {scope!r}.")
        rates[scope] = rate
    return {scope: _limit(scope, rate) for scope, rate in rates.items() if rate != "off"}


def _limit(scope: str, rate: str) -> Limit:
    found = RATE.fullmatch(rate.strip())
    if not found:
        raise ValueError(f"THROTTLES cannot be read at {scope}={rate}.")
    limit = Limit(int(found[1]), int(found[2] or 1) * UNITS[found[3].lower()])
    floor = FLOORS.get(scope, 0)
    if limit.amount < LARGEST.get(scope, 0):
        raise ValueError(
            f"THROTTLES never lets {LARGEST[scope]} at once through at {scope}={rate}."
        )
    if limit.amount * 60 < floor * limit.seconds:
        raise ValueError(f"THROTTLES lets fewer than {floor} a minute through at {scope}.")
    return limit


# The counts


class Arrivals:
    """When the requests of one count came, the newest last."""

    __slots__ = ("full_until", "seconds", "suspect_until", "times")

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.times: list[float] = []
        self.full_until = self.suspect_until = 0.0  # as Redis said

    def wait(self, limit: Limit, cost: int, now: float) -> float | None:
        """Return the seconds until there is room; None if there is."""
        times, lapsed = self.times, now - self.seconds
        if times and times[0] <= lapsed:
            del times[: bisect_right(times, lapsed)]
        over = len(times) + cost - limit.amount
        if over > 0:
            return times[over - 1] - lapsed
        return self.full_until - now if now < self.full_until else None

    def is_past(self, now: float) -> bool:
        newest = self.times[-1] if self.times else 0.0
        return max(newest + self.seconds, self.suspect_until) <= now


class ProcessCounts:
    """The counts of one process, in bounded memory. Thread-safe."""

    def __init__(self) -> None:
        self.windows: dict[str, Arrivals] = {}
        self._lock = Lock()
        self._now = 0.0
        self._forget_at = 0.0

    def take(self, counts: Sequence[Count]) -> float | None:
        """Add to every count if all have room, else return the seconds until they have."""
        with self._lock:
            now = self._time()
            windows = [self._window(count) for count in counts]
            waits = [
                wait
                for window, count in zip(windows, counts, strict=True)
                if (wait := window.wait(count.limit, count.cost, now)) is not None
            ]
            if waits:
                return max(1.0, *waits)
            for window, count in zip(windows, counts, strict=True):
                window.times += [now] * count.cost
        return None

    def give_back(self, counts: Sequence[Count]) -> None:
        """Take back what `take` has added."""
        with self._lock:
            for count in counts:
                del self._window(count).times[-count.cost :]

    def note_full(self, count: Count, wait: float) -> None:
        """Note that Redis has no room for so many seconds, whatever there is in this process."""
        with self._lock:
            window = self._window(count)
            window.full_until = self._now + wait
            window.suspect_until = window.full_until + window.seconds

    def is_suspect(self, count: Count) -> bool:
        """Return whether Redis lately had no room for it."""
        window = self.windows.get(count.key)
        return window is not None and self._now < window.suspect_until

    def _window(self, count: Count) -> Arrivals:
        window = self.windows.get(count.key)
        if window is None:
            window = self.windows[count.key] = Arrivals(count.limit.seconds)
        return window

    def _time(self) -> float:
        """Return the time, which does not go back: where the clock was set back by little, it
        stands still until then, and where by more, all counts are dropped, which would hold until
        it has come to their time again. Redis drops its own after a window without a new one."""
        now = time.time()
        if now < self._now - CLOCK_SLACK:
            self.windows.clear()
            self._now = self._forget_at = now
            logger.warning("The clock was set back, so the counts of throttles begin anew.")
        self._now = max(now, self._now)
        if self._now >= self._forget_at or len(self.windows) >= MAX_CALLERS:
            self._forget_callers()
        return self._now

    def _forget_callers(self) -> None:
        """Drop those whose window has passed; all of them if too many are left."""
        self._forget_at = self._now + FORGET_EVERY
        left = {
            key: window for key, window in self.windows.items() if not window.is_past(self._now)
        }
        self.windows = left if 10 * len(left) < 9 * MAX_CALLERS else {}


class SharedCounts:
    """The counts of all processes, in Redis, which is asked once for all counts of a request.

    It connects when it is first asked. Raises ValueError for an unreadable URL, and ImportError if
    the package `redis` is missing; every other method the `error` of that package.
    """

    def __init__(self, url: str) -> None:
        import redis

        self.error = redis.RedisError
        self.client = redis.Redis.from_url(url, **settings.REDIS_OPTIONS)
        self._take = self.client.register_script(TAKE)
        database = settings.DATABASES["default"]
        place = f"{database.get('HOST')}/{database['NAME']}"
        # Ids count within one database: two sites on one Redis must not share them. In braces, so
        # that a cluster keeps all of them in one place, where one script may reach them. Under
        # another SECRET_KEY the counts begin anew: their windows are short.
        self.prefix = f"groupsite:{{{salted_hmac(__name__, place).hexdigest()[:12]}}}:"

    def take(self, counts: Sequence[Count]) -> list[float] | None:
        """Add to every count if all have room, else return the seconds until each has, if any."""
        now = time.time()
        numbers = [number for count in counts for number in (*count.limit, count.cost)]
        times = self._take([self.prefix + count.key for count in counts], [now, *numbers])
        if times is None:
            return None
        # Longer than the window only where the clock was ahead when it was counted.
        return [
            min(float(at) + count.limit.seconds - now, count.limit.seconds)
            for at, count in zip(times, counts, strict=True)
        ]

    def give_back(self, counts: Sequence[Count]) -> None:
        """Take back what `take` has added."""
        pipeline = self.client.pipeline(transaction=False)
        for count in counts:
            pipeline.ltrim(self.prefix + count.key, count.cost, -1)
        pipeline.execute()


class Limiter:
    """The counts of this process, and with Redis those of all of them. Thread-safe."""

    def __init__(self, redis_url: str) -> None:
        self.local = ProcessCounts()
        self.shared = SharedCounts(redis_url) if redis_url else None
        self._lock = Lock()
        self._redis_away = False
        self._ask_redis_at = 0.0

    def wait(self, counts: Sequence[Count], owed: list[Count] | None = None) -> float | None:
        """Count a request, or return the seconds until one that adds to these counts may pass.

        None if it passes now; only then is it counted. What the request still owes to Redis
        (`enter`) goes there in the same call, and is then owed no more.
        """
        return self.local.take(counts) or self._share(counts, [] if owed is None else owed)

    def enter(self, owed: list[Count]) -> float | None:
        """Count a request in this process alone; return as `wait` does.

        It then owes these counts to Redis: `wait` pays with the others of the request, and `leave`
        what no `wait` has paid. Until a window has passed since Redis had no room, it is asked
        at once.
        """
        wait = self.local.take(owed)
        if wait is None and any(map(self.local.is_suspect, owed)):
            wait = self._share([], owed)
        return wait

    def leave(self, owed: list[Count]) -> None:
        """Count in Redis what a request still owes, when it has been answered."""
        if owed:
            waits = self._ask_redis(lambda shared: shared.take(owed))
            self._note_full(owed, waits or [])

    def give_back(self, counts: Sequence[Count]) -> None:
        """Take back what `wait` counted for a request that should not count after all."""
        self.local.give_back(counts)
        self._ask_redis(lambda shared: shared.give_back(counts))

    def _share(self, counts: Sequence[Count], owed: list[Count]) -> float | None:
        """Count in Redis what this process has counted, or take it back; return as `wait` does."""
        waits = self._ask_redis(lambda shared: shared.take([*owed, *counts]))
        if waits is None:
            owed.clear()
            return None
        self.local.give_back(counts)
        if self._note_full(owed, waits):
            self.local.give_back(owed)
            owed.clear()
        return max(1.0, *waits)

    def _note_full(self, owed: Sequence[Count], waits: Sequence[float]) -> bool:
        """Note which of these counts are full in Redis; return whether any is."""
        full = [pair for pair in zip(owed, waits, strict=False) if pair[1] > 0]
        for count, wait in full:
            self.local.note_full(count, wait)
        return bool(full)

    def _ask_redis(self, ask: Callable[[SharedCounts], Answer]) -> Answer | None:
        """Ask the shared counts; None also while there are none."""
        was_away = self._redis_away
        if self.shared is None or (was_away and self._is_pausing()):
            return None
        try:
            answer = ask(self.shared)
        except self.shared.error as error:
            self._lose_redis(error)
            return None
        if was_away:
            self._redis_away = False
            logger.warning("Redis answers again.")
        return answer

    def _is_pausing(self) -> bool:
        """Return whether to leave Redis alone; after a pause only one request tries it."""
        now = time.monotonic()
        with self._lock:
            if now < self._ask_redis_at:
                return True
            self._ask_redis_at = now + REDIS_PAUSE
            return False

    def _lose_redis(self, error: Exception) -> None:
        with self._lock:
            is_news, self._redis_away = not self._redis_away, True
            self._ask_redis_at = time.monotonic() + REDIS_PAUSE
        if is_news:
            AWAY.ring(facts={"error": error})


limiter_on = cache(Limiter)
_first_use = Lock()


def limiter() -> Limiter:
    """Return this process's one limiter."""
    with _first_use:  # or several threads would each begin with one of their own
        return limiter_on(settings.REDIS_URL)


# Addresses


def sender_of(request: HttpRequest) -> str:
    """Return what is counted for a request whose caller is not known yet: its address.

    Behind WeChat's private gateway all have the gateway's: there each person counts for themselves.
    """
    person = cloud_caller(request)
    return f"{person.app_id} {person.openid}" if person else client_address(request)


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
