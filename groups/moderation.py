"""What an operator does to members, scores and groups; see accounts/moderation.py for the rules."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import WeChatUser
from accounts.moderation import clear, settle
from audit.actors import Actor

from .models import Group, Membership, Score, ScoreSource, ServerKey


def hide(membership: Membership, act: Actor) -> bool:
    """Take a member off one group's ranking, whatever they themselves choose; `show` undoes it."""
    return _withhold(membership, act, "hide", True)


def show(membership: Membership, act: Actor) -> bool:
    return _withhold(membership, act, "show", False)


def _withhold(membership: Membership, act: Actor, action: str, withheld: bool) -> bool:
    with transaction.atomic():
        WeChatUser.objects.lock(membership.user_id)
        rows = Membership.objects.filter(pk=membership.pk, withheld=not withheld)
        done = bool(rows.update(withheld=withheld))
        if done:
            _record(act, action, membership)
    return done


def reset_alias(membership: Membership, act: Actor) -> bool:
    """Take away the name a member has in this group, and the one that waits."""
    return _review(membership, act, "reset_alias")


def approve_alias(membership: Membership, act: Actor) -> bool:
    return _review(membership, act, "approve_alias", approved=True)


def refuse_alias(membership: Membership, act: Actor) -> bool:
    return _review(membership, act, "refuse_alias", approved=False)


def _review(membership: Membership, act: Actor, action: str, approved: bool | None = None) -> bool:
    with transaction.atomic():
        WeChatUser.objects.lock(membership.user_id)
        locked = Membership.objects.select_related("user").get(pk=membership.pk)
        done = clear(locked, "alias") if approved is None else settle(locked, "alias", approved)
        if done:
            _record(act, action, locked)
    return done


def _record(act: Actor, action: str, membership: Membership) -> None:
    app_id, member = membership.user.app_id, membership.user_id
    act.record(action, membership, app_id=app_id, member=member, group=membership.group_id)


def remove_score(score: Score, act: Actor) -> bool:
    """Delete one score, of one period; the others, and the member, stay."""
    with transaction.atomic():
        user = WeChatUser.objects.lock(score.user_id)
        done = bool(Score.objects.filter(pk=score.pk).delete()[0])
        if done:
            _record_score(act, "remove_score", score, user)
    return done


def change_score(score: Score, value: int, act: Actor) -> bool:
    """Correct one score: the one way in which a finished period changes. The audit keeps neither
    the old value nor the new one. Raises ObjectDoesNotExist for one that is gone."""
    with transaction.atomic():
        user = WeChatUser.objects.lock(score.user_id)
        before = Score.objects.values_list("value", flat=True).get(pk=score.pk)
        done = before != value
        if done:
            Score.objects.filter(pk=score.pk).update(value=value, source=ScoreSource.OPERATOR)
        if done:
            _record_score(act, "change_score", score, user)
    return done


def _record_score(act: Actor, action: str, score: Score, user: WeChatUser) -> None:
    whose: dict[str, Any] = {"app_id": user.app_id, "member": user.pk, "group": score.scope or None}
    act.record(action, score, **whose, board=score.board.key, period=score.period)


def hide_group(group: Group, act: Actor) -> bool:
    """Take a group away from its members, who cannot enter it either; `show_group` undoes it."""
    return _hide_group(group, act, "hide_group", True)


def show_group(group: Group, act: Actor) -> bool:
    return _hide_group(group, act, "show_group", False)


def _hide_group(group: Group, act: Actor, action: str, hidden: bool) -> bool:
    with transaction.atomic():
        done = bool(Group.objects.filter(pk=group.pk, hidden=not hidden).update(hidden=hidden))
        if done:
            act.record(action, group, app_id=group.app_id, group=group.pk)
    return done


def label(groups: Iterable[Group], text: str, act: Actor) -> int:
    """Give groups a label, or take it back with ""; how many had another."""
    with transaction.atomic():
        locked = Group.objects.select_for_update().filter(pk__in=[group.pk for group in groups])
        others = [group for group in locked.order_by("pk") if group.label != text]
        for group in others:
            group.label = text
            group.save(update_fields=["label"])
            act.record("label", group, app_id=group.app_id, group=group.pk)
    return len(others)


def revoke(key: ServerKey, act: Actor) -> bool:
    """End a server key for good."""
    with transaction.atomic():
        rows = ServerKey.objects.filter(pk=key.pk, revoked_at=None)
        done = bool(rows.update(revoked_at=timezone.now()))
        if done:
            act.record("revoke", key, app_id=key.app_id)
    return done
