"""How log-ins and binds went, step by step, for operators: the exact cause behind a refusal.

A call runs within `record`; the code that does the work calls `passed` after each step; an
exception ends the attempt at the first step not passed, with its `cause` and `facts`. The row is
written after the call's own transaction, whether it was committed or rolled back.

Failures are always kept: nothing says beforehand which request id an operator will look up.
Successes are kept while someone watches, since most calls succeed and an INSERT for each would
cost too much. No code, key, token, envelope or openid is kept; members are known by our number. All
of it ends after 24 hours, and is bounded at each INSERT: KEPT_EACH rows a member (or the unknown
callers of a mini-program), KEPT_ALL in all, MAX_A_SECOND a process.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, models, transaction
from django.http import UnreadablePostError
from django.utils import timezone
from django.utils.functional import Promise
from rest_framework.exceptions import APIException, ValidationError

from core.context import KEPT_OF_ID, caller, request_id
from core.database import database_is_away
from core.metrics import Counter
from wechat.errors import WeChatError

from .actors import Actor
from .causes import CAUSES
from .models import Attempt, Watch

logger = logging.getLogger(__name__)

KEPT = timedelta(hours=24)
KEPT_EACH = 200
KEPT_ALL = 50_000
MAX_A_SECOND = 10
FEW = 20  # rows deleted at an INSERT, at most
LOOK_AGAIN = 2.0  # seconds for which a process remembers the watches

ATTEMPTS = Counter(
    "groupsite_attempts_total",
    "Log-ins and binds, by outcome: ok, again, or a code",
    "kind",
    "outcome",
)

Facts = dict[str, Any]


@dataclass(frozen=True)
class AttemptKind:
    """A call whose attempts are recorded.

    `steps` maps the names of its steps, in order, to their labels; `fields` maps a field of the
    body to the step it belongs to and the cause of a wrong value.
    """

    key: str
    label: str | Promise
    steps: Mapping[str, str | Promise]
    fields: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    claims_watch: bool = False  # a watch for "the next who …" becomes that of this caller


KINDS: dict[str, AttemptKind] = {}


def register(*kinds: AttemptKind) -> None:
    """Add kinds of attempts to KINDS."""
    KINDS.update({kind.key: kind for kind in kinds})


# What DRF raises for a body that cannot be read, and the cause that this is.
UNREADABLE_BODIES = {
    "parse_error": "not_json",
    "unsupported_media_type": "form",
    "too_large": "too_large",
}


def wechat_failures(since: datetime) -> models.QuerySet[Attempt]:
    """Return the log-ins that failed since then because of WeChat or of the set-up with it."""
    return Attempt.objects.filter(at__gte=since, outcome="wechat_unavailable")


# Recording


@dataclass
class _Recording:
    """A call under way: the steps it has passed, and who sent it as far as that is known."""

    kind: AttemptKind
    app_id: str = ""
    user_id: int | None = None
    passed: dict[str, Facts] = field(default_factory=dict)
    cause: str = ""
    outcome: str = ""
    failure: Facts = field(default_factory=dict)

    def fail(self, error: Exception) -> None:
        """Note at which step it failed, and why. The steps before that one count as passed."""
        steps = list(self.kind.steps)
        step, self.cause, facts = _read(error, self.kind)
        step = step or next((name for name in steps if name not in self.passed), steps[-1])
        before = steps[: steps.index(step)]
        self.passed = {name: self.passed.get(name, {}) for name in before}
        self.outcome = "unavailable" if database_is_away(error) else CAUSES[self.cause].code
        self.failure = {"step": step, "ok": False, "cause": self.cause, **facts}
        if isinstance(error, ObjectDoesNotExist):
            self.user_id = None

    @property
    def result(self) -> str:
        """Return the code of a refusal; "ok", or "again" where nothing had to be created."""
        known = any(facts.get("created") is False for facts in self.passed.values())
        return self.outcome or ("again" if known else "ok")

    def row(self) -> Attempt:
        """Return the row to be written."""
        steps = [{"step": name, "ok": True, **facts} for name, facts in self.passed.items()]
        return Attempt(
            app_id=self.app_id or caller.get().app_id or "",
            user_id=self.user_id,
            kind=self.kind.key,
            outcome=self.outcome,
            cause=self.cause,
            steps=[*steps, self.failure] if self.failure else steps,
            request_id=request_id.get()[:KEPT_OF_ID],
        )


def _read(error: Exception, kind: AttemptKind) -> tuple[str, str, Facts]:
    """Return the step, "" if the error does not know it, the cause, and the facts worth keeping."""
    facts = dict(getattr(error, "facts", {}))
    if wait := getattr(error, "wait", None):
        facts["wait"] = int(wait)
    match error:
        case WeChatError():
            return "", *wechat_cause(error)
        case _ if getattr(error, "cause", "") in CAUSES:
            return "", str(error.cause), facts  # type: ignore[attr-defined]
        case ValidationError():
            # Our own names only: an unknown key may be a secret in the wrong place.
            sent = error.detail if isinstance(error.detail, dict) else {}
            wrong = [name for name in kind.fields if name in sent]
            step, cause = kind.fields[wrong[0]] if wrong else ("", "invalid")
            return step, cause, {"fields": wrong} if wrong else {}
        case APIException() if error.default_code in UNREADABLE_BODIES:
            return "", UNREADABLE_BODIES[error.default_code], {}
        case UnreadablePostError():
            return "", "not_json", {}
        case ObjectDoesNotExist():
            return "", "erased", {}
    return "", "crash", {"error": type(error).__name__}


def wechat_cause(error: WeChatError) -> tuple[str, Facts]:
    """Return the cause of WeChat's refusal, and the facts that its support asks for."""
    errcode = {} if error.errcode is None else {"errcode": error.errcode}
    return error.cause if error.cause in CAUSES else "wechat_other", errcode | error.facts


_current: ContextVar[_Recording | None] = ContextVar("recording", default=None)


@contextmanager
def record(kind: AttemptKind) -> Iterator[None]:
    """Record the call of this request, from its body to its end. Raises nothing of its own."""
    recording = _Recording(kind, user_id=caller.get().user_id)
    token = _current.set(recording)
    try:
        yield
    except Exception as error:
        _keep(recording, error)
        raise
    else:
        _keep(recording)
    finally:
        _current.reset(token)


def passed(step: str, **facts: Any) -> None:
    """Note that the call got past `step`; facts that are None are left out."""
    if recording := _current.get():
        recording.passed[step] = {name: fact for name, fact in facts.items() if fact is not None}


def sent_by(app_id: str, user_id: int) -> None:
    """Note who sent the call, where the token does not say it."""
    if recording := _current.get():
        recording.app_id, recording.user_id = app_id, user_id


def _keep(recording: _Recording, error: Exception | None = None) -> None:
    try:
        if error:
            recording.fail(error)
        ATTEMPTS.count(recording.kind.key, recording.result)
        # What the database fails at, it would fail to keep as well; the log has it.
        if isinstance(error, DatabaseError) or not (error or _is_watched(recording)):
            return
        if _pace.allows():
            _write(recording.row())
    except Exception as problem:
        logger.warning("an attempt was not kept: %s", type(problem).__name__)


def _write(row: Attempt) -> None:
    """Insert one row, and delete a few that are too many for this caller, too many or too old."""
    with transaction.atomic():
        row.save(force_insert=True)
        mine = Attempt.objects.filter(user=row.user_id, app_id=row.app_id).order_by("-pk")
        surplus = list(mine.values_list("pk", flat=True)[KEPT_EACH : KEPT_EACH + FEW])
        for pk, at in Attempt.objects.order_by("pk").values_list("pk", "at")[:FEW]:
            if at < row.at - KEPT or pk <= row.pk - KEPT_ALL:
                surplus.append(pk)
        if surplus:
            Attempt.objects.filter(pk__in=surplus).delete()


class _Pace:
    """At most MAX_A_SECOND rows of one process, so that a storm of failures costs no more."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_A_SECOND)
        self._lock = Lock()

    def allows(self) -> bool:
        now = time.monotonic()
        with self._lock:
            full = len(self._times) == MAX_A_SECOND
            if full and now - self._times[0] < 1:
                return False
            self._times.append(now)
        return True


_pace = _Pace()


# Watches


@dataclass
class _Remembered:
    """The watches of a moment ago, so that not every call asks the database."""

    watches: list[Watch] = field(default_factory=list)
    until: float = float("-inf")


_remembered = _Remembered()


def watch(
    actor: Actor, app_id: str, user_id: int | None = None, *, everyone: bool = False
) -> Watch:
    """Begin a watch as an operator asks, see `WatchManager.begin`; recorded."""
    with transaction.atomic():
        begun = Watch.objects.begin(app_id, user_id, everyone=everyone)
        who = "member" if user_id else "everyone" if everyone else "next"
        actor.record("watch", begun, app_id=app_id, member=user_id, who=who)
    forget_watches()
    return begun


def unwatch(actor: Actor, watching: Watch) -> None:
    """End a watch; recorded."""
    with transaction.atomic():
        actor.record("unwatch", watching, app_id=watching.app_id, member=watching.user_id)
        watching.delete()
    forget_watches()


def forget_watches() -> None:
    """Read the watches again at the next attempt."""
    global _remembered
    _remembered = _Remembered()


def _is_watched(recording: _Recording) -> bool:
    global _remembered
    if time.monotonic() >= _remembered.until:
        _remembered = _Remembered(list(Watch.objects.running()), time.monotonic() + LOOK_AGAIN)
    app_id, now = recording.app_id or caller.get().app_id, timezone.now()
    watches = [each for each in _remembered.watches if each.app_id == app_id and each.until > now]
    mine = any(each.user_id == recording.user_id for each in watches if each.user_id is not None)
    if not mine and recording.kind.claims_watch and recording.user_id is not None:
        # Also while everyone is watched: an open watch is there to find out who comes next.
        mine = any(_claim(each, recording.user_id) for each in watches if each.is_open)
    return mine or any(each.everyone for each in watches)


def _claim(watch: Watch, user_id: int) -> bool:
    """Make an open watch this member's; return whether no one else came first."""
    claimed = Watch.objects.filter(pk=watch.pk, user=None).update(user=user_id)
    forget_watches()
    return bool(claimed)
