"""What an operator does to a person, or to a key. Each returns whether it changed anything, and
says so in an AuditEvent of the same transaction; doing it twice does it once."""

from collections.abc import Callable

from django.db import transaction

from accounts import privacy
from audit.actors import Actor

from .models import WeChatUser
from .review import Reviewed, State
from .services import decide, delete_after_commit

Change = Callable[[WeChatUser], bool]


def block(user: WeChatUser, act: Actor) -> bool:
    """End what a person can do, and take them off every ranking; `unblock` restores it."""
    return _set_status(user, act, "block", WeChatUser.Status.BLOCKED)


def unblock(user: WeChatUser, act: Actor) -> bool:
    return _set_status(user, act, "unblock", WeChatUser.Status.ACTIVE)


def _set_status(user: WeChatUser, act: Actor, action: str, status: WeChatUser.Status) -> bool:
    def change(locked: WeChatUser) -> bool:
        if locked.status == status:
            return False
        locked.status = status
        locked.save(update_fields=["status"])
        return True

    return changed(user, act, action, change)


def reset_nickname(user: WeChatUser, act: Actor) -> bool:
    """Take a nickname away, with the one that waits; others see what WeChat calls a stranger."""
    return changed(user, act, "reset_nickname", lambda locked: clear(locked, "nickname"))


def reset_avatar(user: WeChatUser, act: Actor) -> bool:
    """Delete an avatar, and the one that waits; others see a drawn one."""

    def change(locked: WeChatUser) -> bool:
        files = (locked.avatar, locked.avatar_draft)
        if not clear(locked, "avatar"):
            return False
        delete_after_commit(*files)
        return True

    return changed(user, act, "reset_avatar", change)


def approve_nickname(user: WeChatUser, act: Actor) -> bool:
    return changed(user, act, "approve_nickname", lambda row: settle(row, "nickname", True))


def refuse_nickname(user: WeChatUser, act: Actor) -> bool:
    return changed(user, act, "refuse_nickname", lambda row: settle(row, "nickname", False))


def approve_avatar(user: WeChatUser, act: Actor) -> bool:
    return changed(user, act, "approve_avatar", lambda row: settle(row, "avatar", True))


def refuse_avatar(user: WeChatUser, act: Actor) -> bool:
    return changed(user, act, "refuse_avatar", lambda row: settle(row, "avatar", False))


def changed(user: WeChatUser, act: Actor, action: str, change: Change) -> bool:
    """Do `change` to the locked row, and record it where it changed anything.

    Raises WeChatUser.DoesNotExist for somebody erased meanwhile.
    """
    with transaction.atomic():
        locked = WeChatUser.objects.lock(user.pk)
        done = change(locked)
        if done:
            act.record(action, locked, app_id=locked.app_id, member=locked.pk)
    return done


def clear(record: Reviewed, name: str) -> bool:
    """Leave nothing of a value under review; whether there was anything."""
    if not record.own(name):
        return False
    record.reset(name)
    record.save(update_fields=record.columns_of(name))
    return True


def settle(record: Reviewed, name: str, approved: bool) -> bool:
    """Approve or refuse what waits; whether anything did."""
    if getattr(record, f"{name}_state") != State.PENDING:
        return False
    decide(record, name, approved=approved)
    return True


def erase(user: WeChatUser, act: Actor) -> bool:
    """Erase a person as `DELETE me` does. Raises StorageUnavailable; nothing is changed then."""
    with transaction.atomic():
        act.record("erase", user, app_id=user.app_id, member=user.pk)
        privacy.erase(user)
    return True
