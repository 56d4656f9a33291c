"""What only an operator can fix, said in the log in words, with its fix.

An alarm is one line at level ERROR, in English and in Chinese, at most once a minute for each thing
that it is about and each process, however many requests meet it. docs/operating.md lists them all.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from django.utils import translation
from django.utils.functional import Promise

logger = logging.getLogger(__name__)

PAUSE = 60.0  # seconds
NOTHING: Mapping[str, object] = {}

_quiet_until: dict[tuple[str, str], float] = {}
_lock = Lock()


@dataclass(frozen=True)
class Alarm:
    """One thing that goes wrong: what it means, and what an operator does about it."""

    key: str
    means: str | Promise
    todo: str | Promise

    def ring(
        self,
        about: str = "",
        facts: Mapping[str, object] = NOTHING,
        error: BaseException | None = None,
    ) -> None:
        """Log it, unless that was done within the last minute.

        `about` says which of several it is, such as an appid; what else is known comes as `facts`.
        None of it may be a secret or personal.
        """
        now = time.monotonic()
        with _lock:
            if now < _quiet_until.get((self.key, about), 0.0):
                return
            _quiet_until[self.key, about] = now + PAUSE
        details = [about, *(f"{name} {value}" for name, value in facts.items())]
        known = ", ".join(filter(None, details))
        logger.error(
            "%s%s",
            " ".join(self._in(language) for language in ("en", "zh-hans")),
            f" ({known})" if known else "",
            extra={"alarm": self.key, **facts},
            exc_info=error,
        )

    def _in(self, language: str) -> str:
        with translation.override(language):
            return f"{self.means} {self.todo}"


ALARMS: dict[str, Alarm] = {}


def alarm(key: str, means: str | Promise, todo: str | Promise) -> Alarm:
    """Make an alarm. Raises ValueError for a key that is taken."""
    if key in ALARMS:
        raise ValueError(f"Two alarms are called {key}.")
    ALARMS[key] = made = Alarm(key, means, todo)
    return made


def forget_alarms() -> None:
    """Let each alarm ring again at once."""
    _quiet_until.clear()
