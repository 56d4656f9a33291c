"""Groups, who is in them, and what they compare."""

from .boards import (
    ACTIVE_DAYS,
    ALL_GROUPS,
    EVERY_APP,
    Board,
    WindowsField,
    choose,
)
from .groups import (
    NAMES_IN_A_TITLE,
    Absence,
    Group,
    GroupCard,
    GroupQuerySet,
    Membership,
    Proof,
    describe,
    is_current,
)
from .scores import (
    MAX_SCORE,
    IdempotencyKey,
    PeriodResult,
    Score,
    ScoreSource,
    ScoreTooLarge,
)
from .server_keys import ServerKey
from .verification import VerificationFile

__all__ = [
    "ACTIVE_DAYS",
    "ALL_GROUPS",
    "EVERY_APP",
    "MAX_SCORE",
    "NAMES_IN_A_TITLE",
    "Absence",
    "Board",
    "Group",
    "GroupCard",
    "GroupQuerySet",
    "IdempotencyKey",
    "Membership",
    "PeriodResult",
    "Proof",
    "Score",
    "ScoreSource",
    "ScoreTooLarge",
    "ServerKey",
    "VerificationFile",
    "WindowsField",
    "choose",
    "describe",
    "is_current",
]
