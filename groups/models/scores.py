"""Scores, how a new one meets the old, and submissions that were answered."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import connection, models
from django.db.models import F, FilteredRelation, Q
from django.db.models import Window as Over
from django.db.models.functions import RowNumber
from django.utils.translation import gettext_lazy as _

from accounts.models import WeChatUser
from core.database import columns_of, fetch_prepared, row_of, update_rows
from core.fields import OpaqueIdField
from groups.periods import Period, Window, day_of

from .boards import ALL_GROUPS, EVERY_APP, Board, of_app


class ScoreSource(models.TextChoices):
    """Who changed a score last."""

    ENTRY = "entry", _("an entry")
    CLIENT = "client", _("the mini-program")
    SERVER = "server", _("your server")
    OPERATOR = "operator", _("an operator")
    IMPORT = "import", _("an import")


class ScoreManager(models.Manager["Score"]):
    def latest_of(self, user: WeChatUser, number: int) -> tuple[list[Board], list["Score"]]:
        """Return all boards of a member's mini-program, and the member's latest scores on them.

        One query: a board without a score stands in a row of its own.
        """
        mine: Any = F("mine__pk").desc(nulls_last=True)
        columns = ("window", "period", "scope", "value", "achieved_at", "source")
        rows: Any = (
            Board.objects.filter(app_id__in=[user.app_id, EVERY_APP])
            .annotate(mine=FilteredRelation("scores", condition=Q(scores__user=user)))
            .annotate(score_pk=F("mine__pk"))
            .annotate(**{f"score_{name}": F(f"mine__{name}") for name in columns})
            .annotate(nth=Over(RowNumber(), order_by=mine), of_board=Over(RowNumber(), "pk", mine))
            .filter(Q(nth__lte=number) | Q(of_board=1))
            .order_by("nth")
        )
        boards: dict[int, Board] = {}
        scores = []
        for row in rows:
            boards.setdefault(row.pk, row)
            if row.score_pk and row.nth <= number:
                facts = {name: getattr(row, f"score_{name}") for name in columns}
                board = boards[row.pk]
                scores.append(Score(pk=row.score_pk, board=board, user=user, **facts))
        return of_app([boards[pk] for pk in sorted(boards)], user.app_id), scores

    def beside(self, score: "Score", now: datetime) -> list["Score"]:
        """Return the member's scores of the other periods on this board: of the current ones, and
        of those that hold the first or the last day of `score`; the shortest first.
        """
        days = [day_of(now)]
        period = Period.parse(score.period, now)
        if period.first and period.following and period.following.first:
            days += [period.first, period.following.first - timedelta(days=1)]
        keys = [Period.holding(window, day).key for window in Window for day in days]
        rows = self.filter(board=score.board_id, user=score.user_id, scope=score.scope)
        found = rows.filter(period__in={*keys} - {score.period}).select_related("board")
        return sorted(found, key=lambda each: keys.index(each.period))


@dataclass(frozen=True)
class PeriodResult:
    """The score in one period after a submission, and whether it differs from the one before."""

    key: str
    value: int
    changed: bool


class Score(models.Model):
    """A member's value on a board within one period: an exact integer, never a float."""

    board = models.ForeignKey(
        Board, models.PROTECT, related_name="scores", verbose_name=_("board"), db_index=False
    )
    window = models.CharField(_("window"), max_length=8, choices=Window.choices)
    period = OpaqueIdField(_("period"), max_length=24)
    scope = models.BigIntegerField(
        _("scope"),
        default=ALL_GROUPS,
        help_text=_("The group's id, or 0 on boards where a member has one score for all groups."),
    )
    user = models.ForeignKey(
        WeChatUser,
        models.CASCADE,
        related_name="scores",
        verbose_name=_("member"),
        db_index=False,
    )
    value = models.BigIntegerField(_("score"))
    achieved_at = models.DateTimeField(_("achieved"))
    source = models.CharField(
        _("source"),
        max_length=8,
        choices=ScoreSource.choices,
        default=ScoreSource.ENTRY,
    )

    objects: ClassVar[ScoreManager] = ScoreManager()

    class Meta:
        verbose_name = verbose_name_plural = _("score")
        constraints = [
            # Scope before user: the scores of one group lie side by side, and those of an
            # app-wide board are found one by one.
            models.UniqueConstraint(
                fields=["board", "period", "scope", "user"], name="one_score_per_period"
            )
        ]
        # For the console's front page: which of the new members came back.
        indexes = [models.Index(fields=["user", "board", "period"], name="scores_of_a_person")]

    def __str__(self) -> str:
        return f"{self.period}: {self.value}"  # no name: the operators' log outlives an erasure

    @property
    def period_title(self) -> str:
        """Return the period's key, which people can read, or the name of "all"."""
        return str(Window.ALL.label) if self.period == Window.ALL else self.period


class ScoreSheet:
    """Scores of some people on some boards: as they are, and as new values make them.

    It is read and saved within one transaction that holds the locks on all these people, so that no
    other writes the same rows meanwhile. Nothing is written before `save`.
    """

    def __init__(
        self, boards: Iterable[Board], users: Iterable[int], scopes: Iterable[int], now: datetime
    ) -> None:
        """Read the scores of the current periods, and of later ones: the clock may have gone back.

        One query. No time that is entered may be earlier than `now`.
        """
        found = _current_scores({board.pk for board in boards}, set(users), set(scopes), now)
        self._rows = {(row.board_id, row.user_id, row.scope, row.period): row for row in found}
        self._latest: dict[tuple[int, int, int], datetime] = {}
        for row in found:
            self._move_on((row.board_id, row.user_id, row.scope), row.achieved_at)
        self._changed: dict[int, Score] = {}
        self._new: list[Score] = []

    def enter(
        self, board: Board, user: int, scope: int, value: int, now: datetime, source: ScoreSource
    ) -> list[PeriodResult]:
        """Apply `value`, by the board's policy, to a person's score in each current period.

        Raises ScoreTooLarge for a sum; nothing is changed then.
        """
        place = (board.pk, user, scope)
        # Never earlier than the last score: a clock that goes back must not write into a period
        # that has ended.
        now = max(now, self._latest.get(place, now))
        results = []
        for window in board.counted_windows:
            key = Period.current(window, now).key
            row = self._rows.get((*place, key))
            before = row.value if row else None
            after = board.meet(before, value)
            results.append((window, row, PeriodResult(key, after, changed=after != before)))
        for window, row, result in results:
            if not result.changed:
                continue
            if row is None:
                row = Score(board=board, window=window, period=result.key, scope=scope)
                row.user_id = user
                self._rows[*place, result.key] = row
                self._new.append(row)
            elif row.pk:
                self._changed[row.pk] = row
            row.value, row.achieved_at, row.source = result.value, now, source
            self._move_on(place, now)
        return [result for _window, _row, result in results]

    def save(self) -> None:
        """Write what has changed, in two statements however much it is."""
        update_rows(self._changed.values(), ["value", "achieved_at", "source"])
        Score.objects.bulk_create(self._new)

    def _move_on(self, place: tuple[int, int, int], at: datetime) -> None:
        self._latest[place] = max(at, self._latest.get(place, at))


def _current_scores(
    boards: Collection[int], users: Collection[int], scopes: Collection[int], now: datetime
) -> Iterable[Score]:
    """Read the scores there of the periods that `now` falls in, and of those after them."""
    if connection.vendor == "postgresql":
        asked: dict[str, Any] = {"boards": [*boards], "users": [*users], "scopes": [*scopes]}
        asked |= {window.value: Period.current(window, now).key for window in Window}
        return [row_of(Score, row) for row in fetch_prepared(_CURRENT, asked)]
    return Score.objects.filter(_not_ended(now), board__in=boards, user__in=users, scope__in=scopes)


# Of the names of columns and windows alone.
_PERIODS = " OR ".join(
    f"(s.window = '{each}' AND s.period >= %({each})s)" for each in Window.values
)
_CURRENT = f"""
SELECT {columns_of(Score, "s")} FROM groups_score s
WHERE s.board_id = ANY(%(boards)s) AND s.user_id = ANY(%(users)s) AND s.scope = ANY(%(scopes)s)
  AND ({_PERIODS})
"""  # noqa: S608


def _not_ended(now: datetime) -> Q:
    """Match what `_current_scores` reads."""
    periods = Q()
    for window in Window:
        periods |= Q(window=window, period__gte=Period.current(window, now).key)
    return periods


class IdempotencyKey(models.Model):
    """A submission that was answered: the same key asks for the same answer, for seven days.

    Each source has keys of its own: a mini-program cannot use up one of the server's.
    """

    user = models.ForeignKey(
        WeChatUser, models.CASCADE, related_name="idempotency_keys", db_index=False
    )
    source = models.CharField(max_length=8, choices=ScoreSource.choices)
    key = OpaqueIdField(max_length=64)
    digest = models.CharField(max_length=64)
    answer = models.JSONField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "source", "key"], name="one_answer_per_idempotency_key"
            )
        ]

    def __str__(self) -> str:
        return self.key
