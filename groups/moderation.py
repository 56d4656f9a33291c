"""What an operator does to memberships, scores, groups and server keys.

The rules are those of accounts/moderation.py.
"""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import WeChatUser
from accounts.moderation import clear, settle
from audit.actors import Actor

from .models import Group, Membership, Report, Score, ScoreSource, ServerKey


def hide(membership: Membership, actor: Actor) -> bool:
    """Take a member off one group's ranking, whatever they chose; `show` undoes it."""
    return _withhold(membership, actor, "hide", True)


def show(membership: Membership, actor: Actor) -> bool:
    """Undo `hide`; a member who hides themselves stays hidden."""
    return _withhold(membership, actor, "show", False)


def _withhold(membership: Membership, actor: Actor, action: str, withheld: bool) -> bool:
    with transaction.atomic():
        WeChatUser.objects.lock(membership.user_id)
        rows = Membership.objects.filter(pk=membership.pk, withheld=not withheld)
        done = bool(rows.update(withheld=withheld))
        if done:
            Group.objects.raise_versions([membership.group_id])
            _record(actor, action, membership)
    return done


def reset_alias(membership: Membership, actor: Actor) -> bool:
    """Delete a member's name in this group, and the one that awaits review."""
    return _review(membership, actor, "reset_alias")


def approve_alias(membership: Membership, actor: Actor) -> bool:
    """Show the name that awaits review."""
    return _review(membership, actor, "approve_alias", approved=True)


def refuse_alias(membership: Membership, actor: Actor) -> bool:
    """Delete the name that awaits review."""
    return _review(membership, actor, "refuse_alias", approved=False)


def _review(
    membership: Membership, actor: Actor, action: str, approved: bool | None = None
) -> bool:
    with transaction.atomic():
        WeChatUser.objects.lock(membership.user_id)
        locked = Membership.objects.select_related("user").get(pk=membership.pk)
        done = clear(locked, "alias") if approved is None else settle(locked, "alias", approved)
        if done:
            _record(actor, action, locked)
    return done


def dismiss_reports(membership: Membership, actor: Actor) -> bool:
    """Close the reports about a member in a group; nothing else changes."""
    with transaction.atomic():
        WeChatUser.objects.lock(membership.user_id)
        now = timezone.now()
        done = bool(Report.objects.settle(membership, Report.Outcome.DISMISSED, now))
        if done:
            _record(actor, "dismiss_reports", membership)
    return done


def _record(actor: Actor, action: str, membership: Membership) -> None:
    app_id, member = membership.user.app_id, membership.user_id
    actor.record(action, membership, app_id=app_id, member=member, group=membership.group_id)


def remove_score(score: Score, actor: Actor) -> bool:
    """Delete one score, of one period; the others, and the member, stay."""
    with transaction.atomic():
        user = WeChatUser.objects.lock(score.user_id)
        done = bool(Score.objects.filter(pk=score.pk).delete()[0])
        if done:
            _show_score(score)
            _record_score(actor, "remove_score", score, user)
    return done


def change_score(score: Score, value: int, actor: Actor) -> bool:
    """Correct one score: the only way in which a finished period changes.

    The audit keeps neither the old value nor the new. Raises Score.DoesNotExist.
    """
    with transaction.atomic():
        user = WeChatUser.objects.lock(score.user_id)
        before = Score.objects.values_list("value", flat=True).get(pk=score.pk)
        done = before != value
        if done:
            _show_score(score)
            Score.objects.filter(pk=score.pk).update(value=value, source=ScoreSource.OPERATOR)
            _record_score(actor, "change_score", score, user)
    return done


def _show_score(score: Score) -> None:
    """Raise the versions of the groups in which a score counts: what an operator does to it shows
    at once, unlike a score that is sent."""
    if score.scope:
        Group.objects.raise_versions([score.scope])
    else:
        Membership.objects.filter(user=score.user_id).raise_versions()


def _record_score(actor: Actor, action: str, score: Score, user: WeChatUser) -> None:
    whose: dict[str, Any] = {"app_id": user.app_id, "member": user.pk, "group": score.scope or None}
    actor.record(action, score, **whose, board=score.board.key, period=score.period)


def hide_group(group: Group, actor: Actor) -> bool:
    """Hide a group from its members, who cannot enter it either; `show_group` undoes it."""
    return _hide_group(group, actor, "hide_group", True)


def show_group(group: Group, actor: Actor) -> bool:
    """Undo `hide_group`."""
    return _hide_group(group, actor, "show_group", False)


def _hide_group(group: Group, actor: Actor, action: str, hidden: bool) -> bool:
    with transaction.atomic():
        done = bool(Group.objects.filter(pk=group.pk, hidden=not hidden).update(hidden=hidden))
        if done:
            actor.record(action, group, app_id=group.app_id, group=group.pk)
    return done


def label(groups: Iterable[Group], text: str, actor: Actor) -> int:
    """Set the label of groups, "" for none; return how many had another."""
    with transaction.atomic():
        locked = Group.objects.select_for_update().filter(pk__in=[group.pk for group in groups])
        others = [group for group in locked.order_by("pk") if group.label != text]
        for group in others:
            group.label = text
            group.save(update_fields=["label"])
            actor.record("label", group, app_id=group.app_id, group=group.pk)
    return len(others)


def revoke(key: ServerKey, actor: Actor) -> bool:
    """End a server key; it cannot be restored."""
    with transaction.atomic():
        rows = ServerKey.objects.filter(pk=key.pk, revoked_at=None)
        done = bool(rows.update(revoked_at=timezone.now()))
        if done:
            actor.record("revoke", key, app_id=key.app_id)
    return done
