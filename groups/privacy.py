"""What is held about a member, for them to see: `GET me/data`."""

from dataclasses import dataclass
from typing import Any

from accounts.models import WeChatUser

from .models import Group, Score


@dataclass(frozen=True)
class ScoreRecord:
    """A score with the openGId of its group; None where it counts in all groups."""

    score: Score
    open_gid: str | None


def data_about(user: WeChatUser) -> dict[str, Any]:
    """Return every row that is about `user`, by what the API calls it; the latest last."""
    return {
        "user": user,
        "tokens": user.tokens.order_by("created_at", "pk"),
        "consents": user.consents.order_by("given_at", "pk"),
        "avatar_checks": user.avatar_checks.order_by("created_at", "pk"),
        "memberships": user.memberships.select_related("group").order_by("joined_at", "pk"),
        "scores": _scores_of(user),
        "idempotency_keys": user.idempotency_keys.order_by("created_at", "pk"),
        "reports": user.reports.select_related("membership__group").order_by("created_at", "pk"),
        "attempts": user.attempts.order_by("pk"),
        "watches": user.watches.order_by("pk"),
    }


def _scores_of(user: WeChatUser) -> list[ScoreRecord]:
    scores = user.scores.select_related("board").order_by("board", "scope", "period")
    groups = Group.objects.in_bulk({score.scope for score in scores})
    open_gids = {pk: group.open_gid for pk, group in groups.items()}
    return [ScoreRecord(score, open_gids.get(score.scope)) for score in scores]
