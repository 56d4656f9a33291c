"""People's rights over what is held about them: to see all of it, and to have it erased."""

from typing import Any

from accounts.models import WeChatUser

from .models import Group, Score


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
