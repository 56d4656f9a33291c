"""A cap on how many threads do the same slow thing at once.

A server has few threads. Where many of them wait for WeChat, or decode pictures, the others have
none left for what would take a millisecond.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock


class Crowded(Exception):
    """A gate that had no place in time: the thing was not begun."""


@dataclass(eq=False)
class _Waiter:
    """A thread that waits to be called: with a place, or to be sent away without one."""

    is_urgent: bool
    called: Event = field(default_factory=Event)
    has_place: bool = False


class Gate:
    """Places for `most()` threads of this process; some more wait up to `patience` seconds.

    As many again wait, or `waiting` of them where that is given. First come, first served; those
    who are urgent before the others, whose place in the queue they take where it is full.
    Thread-safe.
    """

    def __init__(
        self, most: Callable[[], int], patience: float, waiting: int | None = None
    ) -> None:
        self._most = most
        self._may_wait = waiting
        self._patience = patience
        self._lock = Lock()
        self._inside = 0
        self._waiting: list[_Waiter] = []

    @contextmanager
    def place(self, *, is_urgent: bool = False) -> Iterator[None]:
        """Hold a place within. Raises Crowded where none is free in time."""
        self._take(is_urgent)
        try:
            yield
        finally:
            self._leave()

    def _take(self, is_urgent: bool) -> None:
        most = self._most()
        with self._lock:
            if self._inside < most:
                self._inside += 1
                return
            may_wait = most if self._may_wait is None else self._may_wait
            if len(self._waiting) >= may_wait and not (is_urgent and self._send_one_away()):
                raise Crowded
            waiter = _Waiter(is_urgent)
            self._waiting.append(waiter)
        if not waiter.called.wait(self._patience):
            with self._lock:
                # It may have been called between the wait and the lock.
                if not waiter.called.is_set():
                    self._waiting.remove(waiter)
        if not waiter.has_place:
            raise Crowded

    def _send_one_away(self) -> bool:
        """Refuse the last in the queue who is not urgent; return whether there was one."""
        patient = [waiter for waiter in self._waiting if not waiter.is_urgent]
        if patient:
            self._waiting.remove(patient[-1])
            patient[-1].called.set()
        return bool(patient)

    def _leave(self) -> None:
        """Hand the place to the thread that waits longest, an urgent one first."""
        with self._lock:
            urgent = (waiter for waiter in self._waiting if waiter.is_urgent)
            heir = next(urgent, None) or next(iter(self._waiting), None)
            if heir is None:
                self._inside -= 1
                return
            self._waiting.remove(heir)
            heir.has_place = True
            heir.called.set()
