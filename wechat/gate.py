"""The cap on calls to WeChat that are under way at once, and the breaker that stops them.

Threads are few, and a call may take its whole deadline. So only WECHAT_MAX_IN_FLIGHT calls of a
process are under way, whatever they are for; as many again wait for a place, at most PATIENCE
seconds, log-ins first. Everyone else hears at once that WeChat cannot be reached, without a call.

The breaker opens after BREAK_AFTER failures in a row of a kind that says WeChat itself is away.
Then no call waits for it: REST seconds later one call finds out whether it is back, and so on.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from django.conf import settings

from core.database import hand_back_connection
from core.gates import Crowded, Gate

from .alarms import OUTAGE
from .errors import UnavailableError

PATIENCE = 0.3  # seconds that a call waits for a place
BREAK_AFTER = 5  # failures in a row
REST = 2.0  # seconds from a failure to the next probe of an open breaker

CROWDED, RESTING = "crowded", "resting"  # the `reason` of a call that was not made
AWAY = {"unreachable", "proxy", "timeout", "broken", "http"}  # reasons for which the breaker opens


class Breaker:
    """Counts failures in a row, and lets through one call at a time while WeChat is away."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._failures = 0
        self._probe_at = 0.0
        self._probing = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count how a call within ends. Raises UnavailableError instead of a call while open."""
        with self._lock:
            probes = self._is_open()
            if probes:
                self._refuse()
                self._probing = True
        failed = ""
        try:
            yield
        except UnavailableError as error:
            failed = error.reason if error.errcode is None and error.reason in AWAY else ""
            raise
        finally:
            self._note(failed=bool(failed), probed=probes)
            if failed and self._is_open():
                OUTAGE.ring(facts={"reason": failed})

    def refuse_while_resting(self) -> None:
        """Raise UnavailableError where `watch` would at this moment."""
        with self._lock:
            if self._is_open():
                self._refuse()

    def _is_open(self) -> bool:
        return self._failures >= BREAK_AFTER

    def _refuse(self) -> None:
        if self._probing or time.monotonic() < self._probe_at:
            raise _refusal(RESTING)

    def _note(self, *, failed: bool, probed: bool) -> None:
        with self._lock:
            if probed:
                self._probing = False
            self._failures = self._failures + 1 if failed else 0
            if self._is_open():
                self._probe_at = time.monotonic() + REST


def _refusal(reason: str) -> UnavailableError:
    return UnavailableError("The call to WeChat was not made", reason=reason)


# For the process: its threads are shared by all mini-programs. Breakers by base URL.
_gate = Gate(lambda: settings.WECHAT_MAX_IN_FLIGHT, PATIENCE)
_breakers: dict[str, Breaker] = {}


def forget_failures() -> None:
    """Close all breakers."""
    _breakers.clear()


def breaker_of(base_url: str) -> Breaker:
    """Return the breaker of a platform: WeChat's, or a sandbox's."""
    return _breakers.setdefault(base_url, Breaker())


@contextmanager
def one_call(base_url: str, *, is_urgent: bool = False) -> Iterator[None]:
    """Hold a place for one thing asked of WeChat, with all attempts and renewals it takes.

    The thread's database connection is handed back first: others may need it meanwhile. Raises
    UnavailableError where the call is not to be made.
    """
    breaker = breaker_of(base_url)
    breaker.refuse_while_resting()  # rather than wait for a place first
    hand_back_connection()
    with ExitStack() as held:
        try:
            held.enter_context(_gate.place(is_urgent=is_urgent))
        except Crowded:
            raise _refusal(CROWDED) from None
        held.enter_context(breaker.watch())
        yield
