"""People's rights over what is held about them: to see all of it, and to have it erased."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.media import delete_avatar
from accounts.models import Remnant, WeChatUser

from .models import Group, Score
from .services import FOUNDING_WINDOW, founded_lately


def data_about(user: WeChatUser) -> dict[str, Any]:
    """Every row that is about `user`, by what the API calls it; the latest last."""
    memberships = list(user.memberships.select_related("group").order_by("joined_at", "pk"))
    for membership in memberships:
        membership.founded = membership.group.founded_by_id == user.pk  # type: ignore[attr-defined]
    return {
        "user": user,
        "tokens": user.tokens.order_by("created_at", "pk"),
        "consents": user.consents.order_by("given_at", "pk"),
        "avatar_checks": user.avatar_checks.order_by("created_at", "pk"),
        "memberships": memberships,
        "scores": _scores_of(user),
        "idempotency_keys": user.idempotency_keys.order_by("created_at", "pk"),
        "attempts": user.attempts.order_by("pk"),
        "watches": user.watches.order_by("pk"),
    }


def _scores_of(user: WeChatUser) -> list[Score]:
    scores = list(user.scores.select_related("board").order_by("board", "scope", "period"))
    groups = Group.objects.in_bulk({score.scope for score in scores})
    for score in scores:
        group = groups.get(score.scope)
        score.open_gid = group.open_gid if group else None  # type: ignore[attr-defined]
    return scores


def erase(user: WeChatUser) -> None:
    """Remove a person from the storage and the database, at once and for good.

    What stays is a keyed digest, where a block or a lock must not be shed (accounts.Remnant).
    Raises StorageUnavailable, with the database as it was, and WeChatUser.DoesNotExist for
    somebody erased meanwhile.
    """
    for key in (user.avatar, user.avatar_draft):
        delete_avatar(key)
    now = timezone.now()
    with transaction.atomic():
        user = WeChatUser.objects.lock(user.pk)
        foundings = founded_lately(user, now)
        Remnant.objects.replace(user, foundings.count, now + FOUNDING_WINDOW)
        user.delete()
    # Where another avatar was sent meanwhile; mostly there is nothing left.
    for key in (user.avatar, user.avatar_draft):
        delete_avatar(key)
