"""Operators' sessions: whose they are, when they end, and how they are listed and ended.

Django's database sessions with a model of ours: "Extending database-backed session engines" in
Django's documentation. SESSION_ENGINE names this module.
"""

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, UpdateError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from audit.actors import Actor
from core.database import database_is_away
from core.limits import client_address
from core.signed import digests

from .guesses import logged_name
from .models import OperatorSession

logger = logging.getLogger(__name__)

DEVICE = "device"  # where a session keeps the browser that signed in, and its address
SEEN_EVERY = timedelta(minutes=5)  # how exactly the time of last use is kept

# What a browser's name for itself holds, the more special first: Edge calls itself Chrome as well.
BROWSERS = {
    "MicroMessenger": "WeChat",
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "FxiOS": "Firefox",
    "Chrome": "Chrome",
    "CriOS": "Chrome",
    "Safari": "Safari",
}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "OpenHarmony": "HarmonyOS",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}


class SessionStore(db.SessionStore):
    """Django's, with four differences.

    A row knows its operator and when it was last used, and ends without use. A database that is
    away is not taken for a deleted session, and a key that Django cannot have made is no key
    (PostgreSQL fails at a NUL).
    """

    is_used = True  # by someone; groupsite/pages.py knows what a script asks for

    @classmethod
    def get_model_class(cls) -> Any:
        return OperatorSession

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        row: Any = super().create_model_instance(data)
        row.user_id = data.get(SESSION_KEY)
        return row

    def load(self) -> dict[str, Any]:
        rows, now = OperatorSession.objects.filter(pk=self.session_key), timezone.now()
        row = rows.first()
        if row is not None and (way := row.way_it_ended(now)):
            # At once, and not only by `clearsessions`: no clock that is set back revives it.
            if rows.filter(seen_at=row.seen_at).delete()[0] and row.user:
                facts = {"operator": logged_name(row.user.get_username()), "way": way}
                logger.info("An operator's session ended.", extra=facts)
            row = None
        if row is None:
            self._session_key = None
            return {}
        if self.is_used and row.seen_at < now - SEEN_EVERY:
            rows.update(seen_at=now)
        data: dict[str, Any] = self.decode(row.session_data)
        return data

    def _validate_session_key(self, key: str | None) -> bool:
        is_key: bool = super()._validate_session_key(key)  # type: ignore[misc]
        return is_key and set(key or "") <= set(VALID_KEY_CHARS)

    def save(self, must_create: bool = False) -> Any:
        try:
            super().save(must_create)
        except UpdateError as error:
            cause = error.__context__
            if cause is not None and database_is_away(cause):
                raise cause from None
            raise

    @classmethod
    def clear_expired(cls) -> None:
        """Delete what has ended: for `manage.py clearsessions`."""
        now = timezone.now()
        OperatorSession.objects.exclude(_lasting(now)).delete()


def _lasting(now: datetime) -> Q:
    """Return the condition of a session that has not ended."""
    idle_since = now - timedelta(seconds=settings.SESSION_IDLE_AGE)
    return Q(expire_date__gt=now, seen_at__gt=idle_since)


def session_has_ended(request: HttpRequest) -> bool:
    """Return whether a browser still names a session, and there is none of that name."""
    named = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return bool(named) and bool(request.session.is_empty())


# What a form holds beside that which someone typed, and what no page may show again.
NOT_TYPED = re.compile(r"_.*|csrfmiddlewaretoken|next|seen|language|mini_program|session|others")
SECRET = re.compile(r"password|secret|token|\bcode\b", re.IGNORECASE)


def typed_texts(request: HttpRequest) -> list[str]:
    """Return the texts in the fields of a form that was sent: what it would be a pity to lose."""
    return [
        text
        for name, values in request.POST.lists()
        if not (NOT_TYPED.fullmatch(name) or SECRET.search(name))
        for text in values
        if text.strip() and text != "on" and not text.isdecimal()
    ]


@receiver(user_logged_in)
def note_device(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Keep which browser signed in, from where, and when, for the list of sessions.

    The session ends a fixed time from now: Django would count from each change of it.
    """
    request.session.set_expiry(timedelta(seconds=settings.SESSION_COOKIE_AGE))
    request.session[DEVICE] = {
        "name": device_name(request.headers.get("User-Agent", "")),
        "address": client_address(request).replace("unknown", ""),
        "since": timezone.now().isoformat(),
    }


def device_name(user_agent: str) -> str:
    """Return such as "Chrome · Windows"; "" for a program that does not say."""
    found = (
        next((name for mark, name in names.items() if mark in user_agent), "")
        for names in (BROWSERS, SYSTEMS)
    )
    return " · ".join(filter(None, found))


@dataclass(frozen=True)
class SignedIn:
    """One session of an operator; `token` names it in a form without being its key."""

    token: str
    device: str
    address: str
    since: datetime | None
    seen_at: datetime
    is_current: bool


def lasting_sessions(operator: User) -> QuerySet[OperatorSession]:
    """Select the sessions of an operator that have not ended."""
    return operator.sessions.filter(_lasting(timezone.now()))


def sessions_of(operator: User, current_key: str | None) -> list[SignedIn]:
    """Read the sessions of an operator that have not ended; this one first, the latest next."""
    found = []
    for row in lasting_sessions(operator).order_by("-seen_at"):
        device = row.get_decoded().get(DEVICE, {})
        since = datetime.fromisoformat(device["since"]) if "since" in device else None
        found.append(
            SignedIn(
                _tokens(row.pk)[0],
                device.get("name", ""),
                device.get("address", ""),
                since,
                row.seen_at,
                row.pk == current_key,
            )
        )
    return sorted(found, key=lambda each: not each.is_current)


def end_session(operator: User, token: str) -> int:
    """End the session of this operator that `token` names; return how many ended, 0 or 1."""
    keys = operator.sessions.values_list("pk", flat=True)
    wanted = [
        key for key in keys if any(constant_time_compare(each, token) for each in _tokens(key))
    ]
    return int(operator.sessions.filter(pk__in=wanted).delete()[0])


def end_other_sessions(operator: User, current_key: str | None) -> int:
    """End all sessions of an operator but the current one, or all; return how many ended."""
    return int(operator.sessions.exclude(pk=current_key).delete()[0])


def end_all_sessions(operator: User, actor: Actor) -> bool:
    """End all sessions of an operator, for an action; return whether there were any."""
    with transaction.atomic():
        if count := end_other_sessions(operator, None):
            actor.record("end_sessions", operator, count=count)
    return count > 0


def _tokens(key: str) -> list[str]:
    """Return what names a session: the first is shown, a page that is open may have another."""
    return digests(key, "console.sessions")
