"""How log-ins and binds went, step by step, for operators: the exact cause behind a refusal.

A call is wrapped in `attempt`; what does the work says `passed` as it gets on; an exception ends
the trail at the first step not passed, with the exception's `cause` and `facts`. The row is written
after the call's own transaction, be it through or rolled back.

Failures are kept always: nobody knows beforehand whose request id will be asked about. Successes
are kept for whoever is watched, since most calls succeed and an INSERT for each would be too dear.
No code, key, token, envelope or openid is kept; members are told by our number. All of it ends
after 24 hours, and is bounded at each INSERT: KEPT_EACH rows a member (or an app's unknown
callers), KEPT_ALL in all, MOST_A_SECOND a process.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, models, transaction
from django.http import UnreadablePostError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException, ValidationError

from wechat.errors import WeChatError

from .audit import Act
from .caller import caller, request_id
from .causes import CAUSES
from .fields import OpaqueIdField

if TYPE_CHECKING:
    from .models import WeChatUser

logger = logging.getLogger(__name__)

KEPT = timedelta(hours=24)
KEPT_EACH = 200
KEPT_ALL = 50_000
MOST_A_SECOND = 10
FEW = 20
WATCHED = timedelta(minutes=30)
LOOK_AGAIN = 2.0  # seconds for which a process remembers who is watched

Facts = dict[str, Any]


class Kind(models.TextChoices):
    LOGIN = "login", _("log-in")
    RESOLVE = "resolve", _("decode")
    BIND = "bind", _("bind")
    REDEEM = "redeem", _("bind by ticket")


STEPS: dict[str, tuple[str, ...]] = {
    Kind.LOGIN: ("code", "openid"),
    Kind.RESOLVE: ("envelope", "watermark", "group"),
    Kind.BIND: ("scene", "envelope", "watermark", "group", "membership"),
    Kind.REDEEM: ("scene", "ticket", "membership"),
}

# Where a field of the body belongs, and what it is called to have it wrong.
FIELDS = {
    "code": ("code", "invalid"),
    "appid": ("code", "unknown_app"),
    "scene": ("scene", "invalid"),
    "encryptedData": ("envelope", "malformed"),
    "iv": ("envelope", "malformed"),
    "ticket": ("ticket", "invalid"),
    "openid": ("ticket", "invalid"),
    "openGId": ("ticket", "invalid"),
}
BODIES = {"parse_error": "not_json", "unsupported_media_type": "form", "too_large": "too_large"}


class Attempt(models.Model):
    """One log-in or bind. `outcome` is the code that the client heard, "" where it went well."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    app_id = OpaqueIdField(blank=True)
    user = models.ForeignKey(
        "accounts.WeChatUser", models.CASCADE, null=True, related_name="attempts"
    )
    kind = models.CharField(max_length=7, choices=Kind.choices)
    outcome = models.CharField(max_length=30, blank=True)
    cause = models.CharField(max_length=20, blank=True)
    steps = models.JSONField(default=list)
    request_id = models.CharField(max_length=32, db_index=True)

    class Meta:
        verbose_name = verbose_name_plural = _("log-in and bind")
        permissions = [("test_credentials", _("Can test a mini-program's credentials"))]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"


class WatchManager(models.Manager["Watch"]):
    def running(self) -> models.QuerySet["Watch"]:
        return self.filter(until__gt=timezone.now())

    def begin(
        self,
        app_id: str,
        user: "WeChatUser | None" = None,
        *,
        everybody: bool = False,
        lasting: timedelta = WATCHED,
    ) -> "Watch":
        """Watch that member, or everybody of the app, or else the next who logs in; the same
        watch once more goes on for longer."""
        self.filter(until__lte=timezone.now()).delete()
        asked = {"app_id": app_id, "user": user, "everybody": everybody}
        watch = self.filter(**asked).first() or Watch(**asked)
        watch.until = timezone.now() + lasting
        watch.save()
        forget()
        return watch


class Watch(models.Model):
    """That successes are kept too, until a moment: of one member, of an app, or of the next who
    logs in there, who then becomes the member."""

    app_id = OpaqueIdField()
    user = models.ForeignKey(
        "accounts.WeChatUser", models.CASCADE, null=True, related_name="watches"
    )
    everybody = models.BooleanField(default=False)
    until = models.DateTimeField(db_index=True)

    objects: ClassVar[WatchManager] = WatchManager()

    class Meta:
        verbose_name = verbose_name_plural = _("watch")

    def __str__(self) -> str:
        return f"watch {self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether it waits for the next who logs in."""
        return self.user_id is None and not self.everybody


def watch(
    act: Act, app_id: str, user: "WeChatUser | None" = None, *, everybody: bool = False
) -> Watch:
    """As an operator wishes; recorded."""
    with transaction.atomic():
        begun = Watch.objects.begin(app_id, user, everybody=everybody)
        whom = "member" if user else "everybody" if everybody else "next"
        act.record("watch", begun, app_id=app_id, member=user.pk if user else None, whom=whom)
    return begun


def unwatch(act: Act, watching: Watch) -> None:
    with transaction.atomic():
        act.record("unwatch", watching, app_id=watching.app_id, member=watching.user_id)
        watching.delete()
    forget()


def wechat_errors(since: datetime) -> models.QuerySet["Attempt"]:
    """The log-ins that failed since then because of WeChat or of the set-up with it."""
    return Attempt.objects.filter(at__gte=since, outcome="wechat_unavailable")


# Recording


@dataclass
class _Trail:
    """A call under way: what it has passed, and who it turned out to be by."""

    kind: Kind
    app_id: str = ""
    user_id: int | None = None
    passed: dict[str, Facts] = field(default_factory=dict)
    cause: str = ""
    outcome: str = ""
    failure: Facts = field(default_factory=dict)

    def end(self, error: Exception) -> None:
        """Where and why it ended. Steps before that one count as passed."""
        steps = STEPS[self.kind]
        step, self.cause, facts = _reading(error)
        step = step or next((name for name in steps if name not in self.passed), steps[-1])
        before = steps[: steps.index(step)]
        self.passed = {name: self.passed.get(name, {}) for name in before}
        self.outcome = CAUSES[self.cause].code
        self.failure = {"step": step, "ok": False, "cause": self.cause, **facts}
        if isinstance(error, ObjectDoesNotExist):
            self.user_id = None

    def row(self) -> Attempt:
        steps = [{"step": name, "ok": True, **facts} for name, facts in self.passed.items()]
        return Attempt(
            app_id=self.app_id or caller.get().app_id or "",
            user_id=self.user_id,
            kind=self.kind,
            outcome=self.outcome,
            cause=self.cause,
            steps=[*steps, self.failure] if self.failure else steps,
            request_id=request_id.get(),
        )


def _reading(error: Exception) -> tuple[str, str, Facts]:
    """The step, where the error knows it, its cause, and the facts worth keeping."""
    facts = dict(getattr(error, "facts", {}))
    if wait := getattr(error, "wait", None):
        facts["wait"] = int(wait)
    match error:
        case WeChatError():
            return "", *wechat_cause(error)
        case _ if getattr(error, "cause", "") in CAUSES:
            return "", str(error.cause), facts  # type: ignore[attr-defined]
        case ValidationError():
            return _wrong_field(error)
        case APIException() if error.default_code in BODIES:
            return "", BODIES[error.default_code], {}
        case UnreadablePostError():
            return "", "not_json", {}
        case ObjectDoesNotExist():
            return "", "erased", {}
    return "", "crash", {"error": type(error).__name__}


def wechat_cause(error: WeChatError) -> tuple[str, Facts]:
    """The cause that WeChat's refusal is, and what its support asks for."""
    errcode = {} if error.errcode is None else {"errcode": error.errcode}
    return error.cause if error.cause in CAUSES else "wechat_other", errcode | error.facts


def _wrong_field(error: ValidationError) -> tuple[str, str, Facts]:
    # Names of ours only: an unknown key may be a secret in the wrong place.
    told = error.detail if isinstance(error.detail, dict) else {}
    wrong = [name for name in FIELDS if name in told]
    step, cause = FIELDS[wrong[0]] if wrong else ("", "invalid")
    return step, cause, {"fields": wrong} if wrong else {}


_current: ContextVar[_Trail | None] = ContextVar("trail", default=None)


@contextmanager
def attempt(kind: Kind) -> Iterator[None]:
    """The call of this request, from its body to its end. Never fails because of the trail."""
    trail = _Trail(kind, user_id=caller.get().user_id)
    token = _current.set(trail)
    try:
        yield
    except Exception as error:
        # What the database fails at, it would fail to keep as well; the log has it.
        if not isinstance(error, DatabaseError):
            _keep(trail, error)
        raise
    else:
        _keep(trail)
    finally:
        _current.reset(token)


def passed(step: str, **facts: Any) -> None:
    """That the call at hand got past `step`; a fact that is None is none."""
    if trail := _current.get():
        trail.passed[step] = {name: fact for name, fact in facts.items() if fact is not None}


def about(user: "WeChatUser") -> None:
    """Who the call at hand is by, where the token does not say it."""
    if trail := _current.get():
        trail.app_id, trail.user_id = user.app_id, user.pk


def _keep(trail: _Trail, error: Exception | None = None) -> None:
    try:
        if error:
            trail.end(error)
        elif not _is_watched(trail):
            return
        if _pace.allows():
            _write(trail.row())
    except Exception as problem:
        logger.warning("an attempt was not kept: %s", type(problem).__name__)


def _write(row: Attempt) -> None:
    """One INSERT; of this caller's rows, and of the oldest of all, a few that are over go."""
    with transaction.atomic():
        row.save(force_insert=True)
        mine = Attempt.objects.filter(user=row.user_id, app_id=row.app_id).order_by("-pk")
        gone = list(mine.values_list("pk", flat=True)[KEPT_EACH : KEPT_EACH + FEW])
        for pk, at in Attempt.objects.order_by("pk").values_list("pk", "at")[:FEW]:
            if at < row.at - KEPT or pk <= row.pk - KEPT_ALL:
                gone.append(pk)
        if gone:
            Attempt.objects.filter(pk__in=gone).delete()


class _Pace:
    """At most MOST_A_SECOND rows of one process, so that a storm of failures costs no more."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MOST_A_SECOND)
        self._lock = Lock()

    def allows(self) -> bool:
        now = time.monotonic()
        with self._lock:
            full = len(self._times) == MOST_A_SECOND
            if full and now - self._times[0] < 1:
                return False
            self._times.append(now)
        return True


@dataclass
class _Remembered:
    """The watches of a moment ago, lest every call asks the database."""

    watches: list[Watch] = field(default_factory=list)
    until: float = float("-inf")


_pace = _Pace()
_remembered = _Remembered()


def forget() -> None:
    """Ask anew who is watched."""
    global _remembered
    _remembered = _Remembered()


def _running() -> list[Watch]:
    global _remembered
    if time.monotonic() >= _remembered.until:
        _remembered = _Remembered(list(Watch.objects.running()), time.monotonic() + LOOK_AGAIN)
    now = timezone.now()
    return [watch for watch in _remembered.watches if watch.until > now]


def _is_watched(trail: _Trail) -> bool:
    app_id = trail.app_id or caller.get().app_id
    watches = [watch for watch in _running() if watch.app_id == app_id]
    mine = any(watch.user_id == trail.user_id for watch in watches if watch.user_id is not None)
    if not mine and trail.kind is Kind.LOGIN and trail.user_id is not None:
        # Also where everybody is followed: whoever waits for the next wants to know who it was.
        mine = any(_claim(watch, trail.user_id) for watch in watches if watch.is_open)
    return mine or any(watch.everybody for watch in watches)


def _claim(watch: Watch, user_id: int | None) -> bool:
    """Let an open watch be this member's from now on; whether nobody else came first."""
    claimed = Watch.objects.filter(pk=watch.pk, user=None).update(user=user_id)
    forget()
    return bool(claimed)
