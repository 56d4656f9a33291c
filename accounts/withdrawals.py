"""Consent taken back, by the person or by WeChat's push: what it was for is deleted at once."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from django.db import transaction
from django.utils import timezone

from audit.actors import Actor
from audit.models import MEMBER, WECHAT
from wechat.push import Withdrawal

from .models import Consent, Erasure, WeChatUser
from .privacy import erase
from .services import delete_after_commit

# What other apps keep for a purpose: each drops it as far as it was set up to a moment, under the
# lock on the member, and returns whether there was anything. Whichever changes something first
# announces that, of the whole member: see `WeChatUserManager.announce`.
DROPPERS: dict[str, list[Callable[[WeChatUser, datetime], bool]]] = {}


def on_withdrawal(purpose: str, drop: Callable[[WeChatUser, datetime], bool]) -> None:
    """Register what another app keeps for a purpose."""
    DROPPERS.setdefault(purpose, []).append(drop)


def withdraw(user: WeChatUser, purpose: str) -> list[Consent]:
    """Take back what `user` agreed to for a purpose, and delete what it was for.

    Return the consents that are left, the oldest first. Withdrawing twice changes once. Raises
    WeChatUser.DoesNotExist after an erasure meanwhile.
    """
    withdraw_up_to(None, user.pk, [purpose], MEMBER)
    return list(user.consents.order_by("given_at", "pk"))


def obey(app_id: str, heard: Withdrawal) -> None:
    """Do what a pushed withdrawal asks; a repetition, and one of a stranger, change nothing.

    What was set after the second of the event stays, however late the push comes. Raises
    StorageUnavailable, with everything as it was.
    """
    user = WeChatUser.objects.filter(app_id=app_id, openid=heard.openid).first()
    if user is None:
        return
    until = datetime.fromtimestamp(heard.until, UTC).replace(microsecond=999_999)
    with suppress(WeChatUser.DoesNotExist):  # erased meanwhile
        if not heard.closes_account:
            withdraw_up_to(until, user.pk, sorted(heard.purposes), WECHAT)
        elif user.created_at <= until:
            _close(user)


def _close(user: WeChatUser) -> None:
    with transaction.atomic():
        Actor(None, who=WECHAT).record("close_account", user, app_id=user.app_id, member=user.pk)
        erase(user)


def withdraw_up_to(until: datetime | None, pk: int, purposes: list[str], who: str) -> list[str]:
    """Delete consents and what they were for up to a moment, or None for now, in one transaction
    with their audit. Return the purposes for which there was anything.
    """
    with transaction.atomic():
        user = WeChatUser.objects.lock(pk)
        until = until or timezone.now()
        dropped = [purpose for purpose in purposes if _drop(user, purpose, until)]
        for purpose in dropped:
            Actor(None, who=who).record(
                "withdraw_consent", user, app_id=user.app_id, member=user.pk, purpose=purpose
            )
            Erasure.objects.keep(user, purpose, until)
    return dropped


def _drop(user: WeChatUser, purpose: str, until: datetime) -> bool:
    """Delete the consents to a purpose, and what is kept for it; return whether there was any."""
    deleted, _rows = user.consents.filter(purpose=purpose, given_at__lte=until).delete()
    found = bool(deleted)
    if purpose in user.reviewed and (values := user.withdraw(purpose, until)):
        user.save_value(purpose)
        found = True
        if purpose == Consent.Purpose.AVATAR:
            user.avatar_checks.filter(avatar__in=values).delete()
            delete_after_commit(*values)
    for drop in DROPPERS.get(purpose, ()):
        found |= drop(user, until)
    return found
