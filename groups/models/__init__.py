"""Groups, who is in them, and what they compare."""

from .boards import (
    ACTIVE_DAYS,
    ALL_GROUPS,
    EVERY_APP,
    MAX_SCORE,
    Board,
    ScoreTooLarge,
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
    MembershipQuerySet,
    Proof,
    called,
    describe,
    is_current,
    proven_since,
)
from .reports import Report, reported, reports_sent, shown_digests
from .scores import (
    IdempotencyKey,
    PeriodResult,
    Score,
    ScoreSheet,
    ScoreSource,
)
from .server_keys import ServerKey
from .transfers import Transfer
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
    "MembershipQuerySet",
    "PeriodResult",
    "Proof",
    "Report",
    "Score",
    "ScoreSheet",
    "ScoreSource",
    "ScoreTooLarge",
    "ServerKey",
    "Transfer",
    "VerificationFile",
    "WindowsField",
    "called",
    "choose",
    "describe",
    "is_current",
    "proven_since",
    "reported",
    "reports_sent",
    "shown_digests",
]
