"""What is compared in a group, and how."""

import json
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.models import F
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from core.database import fetch_prepared
from core.fields import OpaqueIdField
from groups.periods import Window
from wechat.crypto import OPAQUE_ID

ACTIVE_DAYS = "active-days"
EVERY_APP = ""
ALL_GROUPS = 0
MAX_SCORE = 2**53 - 1  # the largest integer that JavaScript holds exactly

PkOrF = TypeVar("PkOrF", int, F)


class BoardManager(models.Manager["Board"]):
    def of_apps(self, app_ids: Collection[str]) -> dict[str, list["Board"]]:
        """Return the boards of each of these mini-programs, in the order they were made.

        One a key: a mini-program's own takes the place of the one that every mini-program has.
        """
        boards = list(self.filter(app_id__in=[*app_ids, EVERY_APP]).order_by("pk"))
        return {app_id: of_app(boards, app_id) for app_id in app_ids}

    def of_app(self, app_id: str) -> list["Board"]:
        """Return the boards of one mini-program, as `of_apps` does, to be read only."""
        if connection.vendor == "postgresql":
            [(text,)] = fetch_prepared(
                f"SELECT {BOARDS_IN_JSON.format('%(app)s')}", {"app": app_id}
            )
            return of_app(boards_in(text), app_id)
        return self.of_apps([app_id])[app_id]

    def defaults(self, app_ids: Collection[str]) -> dict[str, "Board"]:
        """Return the default board of each of these mini-programs."""
        return {app: choose(boards, app) for app, boards in self.of_apps(app_ids).items()}

    def active_days(self) -> "Board":
        """Return the board that every mini-program has."""
        return self.get(app_id=EVERY_APP, key=ACTIVE_DAYS)

    def choose(self, app_id: str, key: str | None = None) -> "Board":
        """Return the mini-program's board of that key, or its default one.

        Raises Board.DoesNotExist.
        """
        return choose(self.of_app(app_id), app_id, key)


# All boards that a mini-program may use, as they stand: the same text, the same boards.
BOARDS_IN_JSON = """(
    SELECT json_agg(b ORDER BY b.id)::text FROM groups_board b WHERE b.app_id IN ({}, '')
)"""


@lru_cache(maxsize=256)
def boards_in(text: str | None) -> list["Board"]:
    """Return the boards of a text in JSON, which all who ask share: to be read only."""
    fields = Board._meta.concrete_fields
    names = [field.attname for field in fields]
    return [
        Board.from_db(
            DEFAULT_DB_ALIAS, names, [field.to_python(row[str(field.column)]) for field in fields]
        )
        for row in json.loads(text or "[]")
    ]


def of_app(boards: Iterable["Board"], app_id: str) -> list["Board"]:
    """Return those of `boards` that a mini-program has, one a key."""
    theirs = [board for board in boards if board.app_id in (app_id, EVERY_APP)]
    own = {board.key for board in theirs if board.app_id == app_id}
    return [board for board in theirs if board.app_id == app_id or board.key not in own]


def choose(boards: Iterable["Board"], app_id: str, key: str | None = None) -> "Board":
    """Do as `BoardManager.choose`, with a mini-program's boards that have been read."""
    by_key = {board.key: board for board in boards}
    default = (board for board in by_key.values() if board.default_for == app_id and not key)
    board = next(default, by_key.get(key or ACTIVE_DAYS))
    if board is None:
        raise Board.DoesNotExist
    return board


def every_window() -> str:
    """Return the names of all windows, for new boards."""
    return ",".join(Window.values)


class WindowsField(models.CharField[str, str]):
    """Some of the windows, as their names between commas; all of them by default."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_length": 60, "default": every_window, **kwargs})


class ScoreTooLarge(ValueError):
    """A sum would leave what JavaScript holds exactly."""


class Board(models.Model):
    """What is compared, and how.

    Once there are scores, the settled fields stay as they are: they say what a score means.
    """

    class Order(models.TextChoices):
        DESC = "desc", _("highest first")
        ASC = "asc", _("lowest first")

    class Policy(models.TextChoices):
        BEST = "best", _("best")
        LATEST = "latest", _("latest")
        SUM = "sum", _("sum")

    class Scope(models.TextChoices):
        APP = "app", _("one score a member")
        GROUP = "group", _("one score a member and group")

    class RankStyle(models.TextChoices):
        COMPETITION = "competition", _("1-2-2-4: ties share a rank and leave a gap")
        DENSE = "dense", _("1-2-2-3: ties share a rank and leave no gap")
        ORDINAL = "ordinal", _("1-2-3-4: in a tie, the earlier score comes first")

    class Writer(models.TextChoices):
        SERVER = "server", _("your server, with a key")
        CLIENT = "client", _("the mini-program too: scores can be forged")

    SETTLED = ("key", "app_id", "order", "policy", "scope", "rank_style")

    app_id = OpaqueIdField(_("appid"), blank=True, help_text=_("Empty: every mini-program."))
    key = OpaqueIdField(
        _("key"),
        validators=[RegexValidator(f"^{OPAQUE_ID.pattern}$", _("Letters, digits, _ and -."))],
        help_text=_("What the mini-program calls it, such as steps."),
    )
    title_zh = models.CharField(_("title (Chinese)"), max_length=40)
    title_en = models.CharField(_("title (English)"), max_length=40)
    unit_zh = models.CharField(_("unit (Chinese)"), max_length=20, blank=True)
    unit_en = models.CharField(_("unit (English)"), max_length=20, blank=True)
    decimals = models.PositiveSmallIntegerField(
        _("decimals"),
        default=0,
        validators=[MaxValueValidator(6)],
        help_text=_("Scores are whole numbers; with 2, a score of 1250 shows as 12.50."),
    )
    order = models.CharField(_("order"), max_length=4, choices=Order.choices, default=Order.DESC)
    policy = models.CharField(
        _("policy"),
        max_length=6,
        choices=Policy.choices,
        default=Policy.BEST,
        help_text=_("How a new score changes the old one."),
    )
    scope = models.CharField(_("scope"), max_length=5, choices=Scope.choices, default=Scope.GROUP)
    rank_style = models.CharField(
        _("rank style"),
        max_length=11,
        choices=RankStyle.choices,
        default=RankStyle.COMPETITION,
    )
    windows = WindowsField(_("windows"))
    default_window = models.CharField(
        _("default window"), max_length=8, choices=Window.choices, default=Window.WEEK
    )
    min_value = models.BigIntegerField(_("smallest score"), null=True, blank=True)
    max_value = models.BigIntegerField(_("largest score"), null=True, blank=True)
    writer = models.CharField(
        _("written by"),
        max_length=6,
        choices=Writer.choices,
        default=Writer.SERVER,
    )
    active_from = models.DateTimeField(_("active from"), null=True, blank=True)
    active_to = models.DateTimeField(
        _("active to"), null=True, blank=True, help_text=_("exclusive")
    )
    # The appid whose default this is. Unique, so that there is one; MySQL knows no conditional
    # constraint.
    default_for = OpaqueIdField(null=True, unique=True, editable=False)  # type: ignore[misc]

    objects: ClassVar[BoardManager] = BoardManager()

    class Meta:
        verbose_name = verbose_name_plural = _("board")
        constraints = [models.UniqueConstraint(fields=["app_id", "key"], name="one_board_per_key")]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Refuse what does not fit together, by field."""
        problems: dict[str, Any] = {}
        if self.default_window not in self.counted_windows:
            problems["default_window"] = _("Choose one of the windows that are counted.")
        ranges: dict[str, tuple[Any, Any, Any]] = {
            "max_value": (self.min_value, self.max_value, _("Smaller than the smallest score.")),
            "active_to": (self.active_from, self.active_to, _("Before the board becomes active.")),
        }
        for name, (first, last, sentence) in ranges.items():
            if first is not None and last is not None and last < first:
                problems[name] = sentence
        for name in self.settled_changes():
            problems[name] = _("Settled: the board has scores already.")
        if problems:
            raise ValidationError(problems)

    def settled_changes(self) -> list[str]:
        """Return the settled fields that differ from what is stored, where there are scores."""
        stored = Board.objects.filter(pk=self.pk).first() if self.pk else None
        if stored is None or not stored.has_scores:
            return []
        return [name for name in self.SETTLED if getattr(self, name) != getattr(stored, name)]

    @property
    def has_scores(self) -> bool:
        return self.pk is not None and self.scores.exists()

    @property
    def counts_days(self) -> bool:
        """Tell whether this is the board that every mini-program has."""
        return self.app_id == EVERY_APP and self.key == ACTIVE_DAYS

    @property
    def counted_windows(self) -> list[Window]:
        return [window for window in Window if window in self.windows.split(",")]

    def meet(self, before: int | None, value: int) -> int:
        """Return what a score becomes when `value` meets it; it is None without one so far.

        Raises ScoreTooLarge.
        """
        if before is None or self.policy == self.Policy.LATEST:
            return value
        if self.policy == self.Policy.SUM:
            if abs(before + value) > MAX_SCORE:
                raise ScoreTooLarge
            return before + value
        return min(before, value) if self.order == self.Order.ASC else max(before, value)

    def is_active(self, now: datetime) -> bool:
        """Tell whether scores are taken at `now`."""
        begun = self.active_from is None or self.active_from <= now
        return begun and (self.active_to is None or now < self.active_to)

    @property
    def title(self) -> str:
        return self.title_en if get_language() == "en" else self.title_zh

    @property
    def unit(self) -> str:
        return self.unit_en if get_language() == "en" else self.unit_zh

    def scope_in(self, group: PkOrF) -> PkOrF | int:
        """Return the `Score.scope` of this board's scores in a group, named by its pk or column."""
        return group if self.scope == self.Scope.GROUP else ALL_GROUPS

    def score_text(self, value: int) -> str:
        """Write `value` for people, with separators and this board's decimals: "12.50"."""
        whole, rest = divmod(abs(value), 10**self.decimals)
        sign = "-" if value < 0 else ""
        return f"{sign}{whole:,}" + (f".{rest:0{self.decimals}}" if self.decimals else "")
