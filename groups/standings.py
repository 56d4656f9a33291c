"""What rankings are made of: a group's members with their scores, read in one statement, and what
was made of them, kept for two seconds.

A group opens the card together, in the same minute: everyone asks for the same ranking. What is
kept is the group as others see it. It is used again as long as nothing but others' scores, and who
lapsed, can have changed: see `Recent`.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import OuterRef, Subquery, Value

from core.database import fetch_prepared
from core.metrics import Counter

from .models import (
    Board,
    Group,
    Membership,
    MembershipQuerySet,
    Score,
    proven_since,
)
from .periods import Period

MAX_AGE = timedelta(seconds=2)  # for which others' scores may lag
MOST_KEPT = 10_000  # members, of all groups together: about a kilobyte and a half each

# An id and a seed, then pairs of what is approved and what is drafted, then WeChat's id of the
# member within the group.
MEMBER_COLUMNS = (
    "user_id",
    "user__avatar_seed",
    "alias",
    "alias_draft",
    "user__nickname",
    "user__nickname_draft",
    "user__avatar",
    "user__avatar_draft",
    "group_openid",
)
COLUMNS = ("verified_at", "joined_at", "hidden", "withheld", *MEMBER_COLUMNS)
SCORE_COLUMNS = ("value_now", "at_now", "value_before", "at_before")

RANKINGS = Counter(
    "groupsite_rankings_total", "Rankings by source: kept, waited for, or read anew", "source"
)

OwnScore = tuple[int, datetime] | None

# PostgreSQL's form of `read_rows`. Its conditions are those of `is_current`; each LATERAL is a
# look-up in the index of scores, whatever the database believes about how many scores a board or a
# week has: a join may read all of a board that is new to its statistics.
_ROWS = """
SELECT m.verified_at, m.joined_at, m.hidden, m.withheld, m.user_id, u.avatar_seed,
       m.alias, m.alias_draft, u.nickname, u.nickname_draft, u.avatar, u.avatar_draft,
       m.group_openid, now.value, now.achieved_at, before.value, before.achieved_at
FROM groups_membership m
JOIN accounts_wechatuser u ON u.id = m.user_id
LEFT JOIN LATERAL (
    SELECT value, achieved_at FROM groups_score
    WHERE board_id = %(board)s AND period = %(period)s AND scope = %(scope)s AND user_id = m.user_id
    LIMIT 1
) now ON true
LEFT JOIN LATERAL (
    SELECT value, achieved_at FROM groups_score
    WHERE board_id = %(board)s AND period = %(before)s AND scope = %(scope)s AND user_id = m.user_id
    LIMIT 1
) before ON true
WHERE m.group_id = %(group)s AND m.left_at IS NULL AND m.verified_at >= %(since)s
  AND u.status = 'active'
"""

_OWN = """
SELECT value, achieved_at FROM groups_score
WHERE board_id = %(board)s AND period = %(period)s AND scope = %(scope)s AND user_id = %(user)s
"""


def read_rows(
    group: Group, board: Board, period: Period, before: Period | None, now: datetime
) -> Iterable[tuple[Any, ...]]:
    """Read COLUMNS and SCORE_COLUMNS of those who are in the group.

    One statement, so that no answer holds a newcomer without the score that they came with.
    """
    if connection.vendor == "postgresql":
        asked = _place(group, board, period) | {
            "before": before.key if before else "",
            "group": group.pk,
            "since": proven_since(now),
        }
        return fetch_prepared(_ROWS, asked)
    members = Membership.objects.current(now).filter(group=group)
    rows = with_scores(members, group, board, period, before)
    return rows.values_list(*COLUMNS, *SCORE_COLUMNS)


def own_score(user: int, group: Group, board: Board, period: Period) -> OwnScore:
    """Return the value and time of a member's score; None without one."""
    if connection.vendor == "postgresql":
        rows = fetch_prepared(_OWN, _place(group, board, period) | {"user": user})
        return (rows[0][0], rows[0][1]) if rows else None
    scores = scores_in(group, board, period).filter(user=user)
    found: OwnScore = scores.values_list("value", "achieved_at").first()
    return found


def _place(group: Group, board: Board, period: Period) -> dict[str, Any]:
    """Return what names the scores of one board in one period, with which a group is ranked."""
    return {"board": board.pk, "period": period.key, "scope": board.scope_in(group.pk)}


def scores_in(group: Group, board: Board, period: Period) -> Any:
    """Return the scores with which a group is ranked on a board in a period."""
    return Score.objects.filter(**_place(group, board, period))


def score_of(board: Board, group: Group, period: Period, column: str) -> Subquery:
    """Select a column of the score that a membership's member has there: a look-up for each."""
    scores = scores_in(group, board, period).filter(user=OuterRef("user"))
    return Subquery(scores.values(column)[:1])


def with_scores(
    members: MembershipQuerySet, group: Group, board: Board, period: Period, before: Period | None
) -> MembershipQuerySet:
    """Annotate SCORE_COLUMNS: value and time in `period`, and in the one before."""

    def column(of: Period | None, name: str) -> Any:
        field: Any = Score._meta.get_field(name)
        return score_of(board, group, of, name) if of else Value(None, field)

    return members.annotate(
        value_now=column(period, "value"),
        at_now=column(period, "achieved_at"),
        value_before=column(before, "value"),
        at_before=column(before, "achieved_at"),
    )


Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Made]):
    made: Made
    version: int
    at: datetime
    size: int


@dataclass(eq=False)
class _Maker:
    """The thread that makes something, for those who wait for it: and how it failed, if it did."""

    lock: Any = field(default_factory=Lock)
    failure: Exception | None = None


class Recent(Generic[Made]):
    """What was made of groups within the last two seconds, in this process. Thread-safe.

    It is used again where the group's version has not risen since before it was read, which every
    change of what a ranking shows raises, but for scores; where `fits` finds the asker's own score
    in it as it is; and where it is not older than MAX_AGE. So what I wrote, what operators did, who
    came or left and what others are called shows at once, and a score costs nothing but itself.
    """

    def __init__(self, size: Callable[[Made], int]) -> None:
        """Keep what is of MOST_KEPT members together, as `size` counts them."""
        self._size = size
        self._kept: OrderedDict[Hashable, _Kept[Made]] = OrderedDict()
        self._kept_size = 0
        self._lock = Lock()
        self._makers: dict[Hashable, _Maker] = {}

    def get(
        self,
        key: Hashable,
        version: int,
        now: datetime,
        fits: Callable[[Made], bool],
        make: Callable[[], Made],
    ) -> Made:
        """Return what was made of `key`, or make it: one thread at a time, the others wait for it.

        `version` has been read before this is called, and `make` reads after it: what changes
        between can only be made once more. Raises what `make` raises, also for those who wait: one
        after the other they would wait for a locked table for as long as they are many.
        """
        if (found := self._find(key, version, now, fits)) is not None:
            RANKINGS.count("kept")
            return found
        with self._lock:
            maker = self._makers.setdefault(key, _Maker())
        with maker.lock:
            if maker.failure:
                raise maker.failure
            if (found := self._find(key, version, now, fits)) is not None:
                RANKINGS.count("waited")
                return found
            RANKINGS.count("read")
            try:
                made = make()
                self._keep(key, _Kept(made, version, now, self._size(made)))
            except Exception as failure:
                maker.failure = failure
                raise
            finally:
                self._makers.pop(key, None)
        return made

    def _find(
        self, key: Hashable, version: int, now: datetime, fits: Callable[[Made], bool]
    ) -> Made | None:
        kept = self._kept.get(key)
        if kept is None or kept.version < version or abs(now - kept.at) >= MAX_AGE:
            return None
        return kept.made if fits(kept.made) else None

    def _keep(self, key: Hashable, kept: _Kept[Made]) -> None:
        with self._lock:
            if before := self._kept.pop(key, None):
                self._kept_size -= before.size
            self._kept[key] = kept
            self._kept_size += kept.size
            while len(self._kept) > 1 and (self._kept_size > MOST_KEPT or self._is_over(kept.at)):
                self._kept_size -= self._kept.popitem(last=False)[1].size

    def _is_over(self, now: datetime) -> bool:
        """Tell whether the oldest cannot be used any more."""
        return abs(now - next(iter(self._kept.values())).at) >= MAX_AGE

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._kept_size = 0
