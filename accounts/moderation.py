"""What an operator does to a member.

Each function returns whether it changed anything, and records it in an AuditEvent of the same
transaction; calling it twice changes once. Each raises WeChatUser.DoesNotExist after an erasure
meanwhile.
"""

from collections.abc import Callable
from functools import partial

from django.db import transaction

from audit.actors import Actor

from . import privacy
from .models import WeChatUser
from .review import Reviewed, State
from .services import decide, delete_after_commit


def change(
    user: WeChatUser, actor: Actor, action: str, apply: Callable[[WeChatUser], bool]
) -> bool:
    """Apply a change to the locked row, and record `action` if it changed anything."""
    with transaction.atomic():
        locked = WeChatUser.objects.lock(user.pk)
        done = apply(locked)
        if done:
            actor.record(action, locked, app_id=locked.app_id, member=locked.pk)
    return done


def block(user: WeChatUser, actor: Actor) -> bool:
    """Stop everything a member can do, and take them off every ranking; `unblock` restores it."""
    return change(user, actor, "block", partial(_set_status, status=WeChatUser.Status.BLOCKED))


def unblock(user: WeChatUser, actor: Actor) -> bool:
    """Let a blocked member do everything again, with their scores."""
    return change(user, actor, "unblock", partial(_set_status, status=WeChatUser.Status.ACTIVE))


def _set_status(user: WeChatUser, status: WeChatUser.Status) -> bool:
    if user.status == status:
        return False
    user.announce()
    user.status = status
    user.save(update_fields=["status"])
    return True


def reset_nickname(user: WeChatUser, actor: Actor) -> bool:
    """Delete a nickname and its draft; others see WeChat's name for a member without one."""
    return change(user, actor, "reset_nickname", partial(clear, name="nickname"))


def reset_avatar(user: WeChatUser, actor: Actor) -> bool:
    """Delete an avatar and its draft; others see a drawn one."""

    def apply(locked: WeChatUser) -> bool:
        files = (locked.avatar, locked.avatar_draft)
        if not clear(locked, "avatar"):
            return False
        delete_after_commit(*files)
        return True

    return change(user, actor, "reset_avatar", apply)


def approve_nickname(user: WeChatUser, actor: Actor) -> bool:
    """Show the new nickname to everyone."""
    return change(user, actor, "approve_nickname", partial(settle, name="nickname", approved=True))


def refuse_nickname(user: WeChatUser, actor: Actor) -> bool:
    """Drop the new nickname; others still see the previous one."""
    return change(user, actor, "refuse_nickname", partial(settle, name="nickname", approved=False))


def approve_avatar(user: WeChatUser, actor: Actor) -> bool:
    """Show the new avatar to everyone."""
    return change(user, actor, "approve_avatar", partial(settle, name="avatar", approved=True))


def refuse_avatar(user: WeChatUser, actor: Actor) -> bool:
    """Delete the new avatar; others still see the previous one."""
    return change(user, actor, "refuse_avatar", partial(settle, name="avatar", approved=False))


def clear(record: Reviewed, name: str) -> bool:
    """Delete a value under review and its draft; return whether there was anything."""
    if not record.own(name):
        return False
    record.reset(name)
    record.save_value(name)
    return True


def settle(record: Reviewed, name: str, approved: bool) -> bool:
    """Approve or refuse what waits; return whether anything did."""
    if getattr(record, f"{name}_state") != State.PENDING:
        return False
    decide(record, name, approved=approved)
    return True


def erase(user: WeChatUser, actor: Actor) -> bool:
    """Erase a member as `DELETE me` does. Raises StorageUnavailable; nothing is changed then."""
    with transaction.atomic():
        actor.record("erase", user, app_id=user.app_id, member=user.pk)
        privacy.erase(user)
    return True
