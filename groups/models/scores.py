"""Scores, how a new one meets the old, and submissions that were answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.models import WeChatUser
from core.fields import OpaqueIdField
from groups.periods import Period, Window

from .boards import ALL_GROUPS, Board

MAX_SCORE = 2**53 - 1  # the largest integer that JavaScript holds exactly


class ScoreSource(models.TextChoices):
    """Who changed a score last."""

    ENTRY = "entry", _("an entry")
    CLIENT = "client", _("the mini-program")
    SERVER = "server", _("your server")
    OPERATOR = "operator", _("an operator")


class ScoreManager(models.Manager["Score"]):
    def submit(
        self,
        board: Board,
        user: WeChatUser,
        scope: int,
        value: int,
        now: datetime,
        source: ScoreSource,
    ) -> list["PeriodResult"]:
        """Apply `value`, by the board's policy, to the user's score in each current period.

        The caller's transaction holds the lock on the user, so no other writes these rows
        meanwhile; the database decides what is written all the same. Raises ScoreTooLarge for a
        sum: the caller then rolls the transaction back.
        """
        periods = [Period.current(window, now) for window in board.counted_windows]
        keys = [period.key for period in periods]
        rows = self.filter(board=board, user=user, scope=scope, period__in=keys)
        before = dict(rows.values_list("period", "value"))
        new = {"achieved_at": now, "source": source}
        self._update(board, rows, value, new)
        self.bulk_create(
            Score(
                board=board,
                window=period.window,
                period=period.key,
                scope=scope,
                user=user,
                value=value,
                **new,
            )
            for period in periods
            if period.key not in before
        )
        after = dict(rows.values_list("period", "value"))
        return [PeriodResult(key, after[key], before.get(key) != after[key]) for key in keys]

    @staticmethod
    def _update(board: Board, rows: Any, value: int, new: Mapping[str, Any]) -> None:
        match board.policy:
            case Board.Policy.SUM if value:
                over, under = Q(value__gt=MAX_SCORE - value), Q(value__lt=-MAX_SCORE - value)
                if rows.filter(over if value > 0 else under).exists():
                    raise ScoreTooLarge
                rows.update(value=F("value") + value, **new)
            case Board.Policy.LATEST:
                rows.exclude(value=value).update(value=value, **new)
            case Board.Policy.BEST if board.order == Board.Order.ASC:
                rows.filter(value__gt=value).update(value=value, **new)
            case Board.Policy.BEST:
                rows.filter(value__lt=value).update(value=value, **new)


class ScoreTooLarge(ValueError):
    """A sum would leave what JavaScript holds exactly."""


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
