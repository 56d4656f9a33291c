"""Groups, who is in them, and what they compare."""

import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, ClassVar, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.db.models import Case, Count, F, Max, OuterRef, Q, Subquery, Value, When
from django.db.models import Window as Over
from django.db.models.functions import Coalesce, NullIf, RowNumber
from django.utils import timezone
from django.utils.translation import get_language, gettext, ngettext, pgettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from accounts.fields import NicknameField
from accounts.models import WeChatUser
from accounts.review import Reviewed, StateField
from core.fields import OpaqueIdField, PersonalTextField
from core.vault import digest_of
from wechat.crypto import OPAQUE_ID

from .periods import Period, Window

ACTIVE_DAYS = "active-days"
EVERY_APP = ""
ALL_GROUPS = 0
NAMES_IN_A_TITLE = 2
MAX_SCORE = 2**53 - 1  # the largest integer that JavaScript holds exactly


class GroupQuerySet(models.QuerySet["Group"]):
    def visible_to(self, user: WeChatUser, now: datetime) -> Self:
        """The groups whose members `user` may see: those they are in, proven lately."""
        return self.filter(pk__in=Membership.objects.of(user, now).values("group"))

    def with_activity(self, now: datetime) -> Self:
        """Adds `last_entry_at`, the latest proven entry; None where nobody is left."""
        entries = Max("memberships__verified_at", filter=is_current(now, "memberships__"))
        return self.annotate(last_entry_at=entries)

    def with_size(self, now: datetime) -> Self:
        """Adds `size`, how many members each has, to be sorted by."""
        current = is_current(now, "memberships__")
        return self.annotate(size=Count("memberships", filter=current))

    def matching(self, text: str) -> Self:
        """Those with `text` in their label or in the name of somebody who has not left, and the
        one of that openGId.

        Nicknames and aliases are looked through by themselves: joined, it takes four times as long.
        """
        there = Membership.objects.filter(left_at=None)
        named = there.filter(user__in=WeChatUser.objects.filter(nickname__icontains=text))
        called = there.filter(alias__icontains=text)
        theirs = Q(pk__in=named.values("group")) | Q(pk__in=called.values("group"))
        return self.filter(Q(label__icontains=text) | Q(open_gid=text) | theirs)


class Group(models.Model):
    """A WeChat chat group within one mini-program. WeChat tells a server its id, never its name."""

    app_id = OpaqueIdField(_("appid"))
    open_gid = OpaqueIdField(_("openGId"))
    label = PersonalTextField(
        _("label"),
        max_length=60,
        blank=True,
        help_text=_("WeChat does not tell a group's name; this is what you call it."),
    )
    hidden = models.BooleanField(
        _("hidden"),
        default=False,
        editable=False,
        help_text=_("By an operator: for its members it is not there."),
    )
    founded_by = models.ForeignKey(
        WeChatUser, models.SET_NULL, null=True, editable=False, related_name="+", db_index=False
    )
    created_at = models.DateTimeField(_("first seen"), default=timezone.now, editable=False)
    # Not used yet: the moment from which its periods count, earlier where a group was imported.
    seen_from = models.DateTimeField(default=timezone.now, editable=False)
    # Not used yet: raised by every change of what its rankings show, for a cache to compare.
    version = models.PositiveBigIntegerField(default=0, editable=False)

    # Set by `describe`.
    title: str
    member_count: int
    last_entry_at: datetime | None
    # Set where the group is shown to one of its members: theirs.
    membership: "Membership"

    objects: ClassVar[GroupQuerySet] = GroupQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        verbose_name = verbose_name_plural = pgettext_lazy("WeChat", "group")
        constraints = [
            models.UniqueConstraint(fields=["app_id", "open_gid"], name="one_group_per_open_gid")
        ]
        indexes = [models.Index(fields=["founded_by", "created_at"], name="group_founded")]

    def __str__(self) -> str:
        return self.label or self.open_gid


def describe(groups: Collection[Group], now: datetime) -> None:
    """Set `title`, `member_count` and `last_entry_at` on each group, in one query however many
    they are."""
    found: dict[int, list[tuple[int, datetime, str]]] = {}
    rows = Membership.objects.current(now).filter(group__in=groups).first_named(NAMES_IN_A_TITLE)
    for group_pk, *told in rows:
        found.setdefault(group_pk, []).append(told)
    for group in groups:
        first = found.get(group.pk, [])
        names = [name for _count, _last, name in first if name]
        group.member_count, group.last_entry_at = first[0][:2] if first else (0, None)
        group.title = group.label or title_of(names, group.member_count)


def title_of(names: list[str], count: int) -> str:
    """What an unlabelled group is called, after its first members: "小明、李雷等 120 人"."""
    some = pgettext("between names", ", ").join(names)
    if not names:
        return ngettext("Group of %(count)d", "Group of %(count)d", count) % {"count": count}
    if count <= len(names):
        return some
    return gettext("%(names)s and others (%(count)d)") % {"names": some, "count": count}


def proven_since(now: datetime) -> datetime:
    """The oldest proof that counts at `now`."""
    return now - timedelta(days=settings.MEMBERSHIP_PROOF_DAYS)


def is_current(now: datetime, prefix: str = "") -> Q:
    """The memberships that read, are listed and are counted at `now`."""
    return Q(
        **{
            f"{prefix}left_at": None,
            f"{prefix}verified_at__gte": proven_since(now),
            f"{prefix}user__status": WeChatUser.Status.ACTIVE,
        }
    )


class MembershipQuerySet(models.QuerySet["Membership"]):
    def current(self, now: datetime) -> Self:
        """Those that have neither left nor lapsed, of people who are not blocked."""
        return self.filter(is_current(now))

    def of(self, user: WeChatUser, now: datetime) -> Self:
        """One person's current memberships, in groups that no operator hides."""
        return self.current(now).filter(user=user, group__hidden=False)

    def listed(self) -> Self:
        """Those whom others see: hidden neither by themselves nor by an operator."""
        return self.filter(hidden=False, withheld=False)

    def unlisted(self, now: datetime) -> Self:
        """Those whom others do not see; each can say why, see `Membership.absences`."""
        return self.exclude(is_current(now) & Q(hidden=False, withheld=False))

    def with_score(self, board: "Board", group: Group, period: str) -> Self:
        """Adds `score_pk`, of the score that each has there; None without one."""
        scores = Score.objects.filter(
            board=board, period=period, scope=board.scope_in(group), user=OuterRef("user")
        )
        return self.annotate(score_pk=Subquery(scores.values("pk")[:1]))

    def first_named(self, each: int) -> models.QuerySet["Membership", Any]:
        """Of every group the first `each` members, who chose a name and do not hide before the
        others: rows of the group, how many members it has, their latest entry, and this one's name
        or ""."""
        shown = Q(hidden=False, withheld=False)
        chosen = Coalesce(NullIf("alias", Value("")), "user__nickname")
        name = Case(When(shown, then=chosen), default=Value(""))
        return (
            self.annotate(name=name, nameless=Case(When(name="", then=1), default=0))
            .annotate(
                place=Over(RowNumber(), "group", ["nameless", "joined_at", "user"]),
                size=Over(Count("pk"), "group"),
                last=Over(Max("verified_at"), "group"),
            )
            .filter(place__lte=each)
            .order_by("group", "place")
            .values_list("group", "size", "last", "name")
        )


class Absence(models.TextChoices):
    """Why a member of a group is not listed in it."""

    BLOCKED = "blocked", _("blocked")
    LEFT = "left", _("left the group")
    LAPSED = "lapsed", _("no entry lately")
    WITHHELD = "withheld", _("hidden by an operator")
    HIDDEN = "hidden", _("hides themselves")
    GROUP_HIDDEN = "group-hidden", _("the group is hidden")


class Proof(models.TextChoices):
    """How a membership was proven."""

    ENVELOPE = "envelope", _("encrypted data")
    TICKET = "ticket", _("ticket")
    CLOUD = "cloud", _("WeChat Cloud Run")
    IMPORT = "import", _("import")


class Membership(Reviewed):
    """A person in a group, as proven by an envelope only WeChat could have made.

    The alias is under review: see accounts/review.py.
    """

    group = models.ForeignKey(
        Group,
        models.CASCADE,
        related_name="memberships",
        verbose_name=pgettext_lazy("WeChat", "group"),
        db_index=False,
    )
    user = models.ForeignKey(
        WeChatUser,
        models.CASCADE,
        related_name="memberships",
        verbose_name=_("member"),
        db_index=False,
    )
    joined_at = models.DateTimeField(_("joined"))
    verified_at = models.DateTimeField(_("last proven entry"))
    left_at = models.DateTimeField(_("left"), null=True, blank=True)
    hidden = models.BooleanField(_("hidden"), default=False)
    withheld = models.BooleanField(_("hidden by an operator"), default=False, editable=False)
    alias = NicknameField(_("name in this group"))
    alias_draft = NicknameField(_("new name in this group"), default="", editable=False)
    alias_state = StateField(_("review of the name in this group"))
    scene = models.PositiveIntegerField(_("scene"), null=True, blank=True)
    watermarked = models.BooleanField(
        _("watermarked"),
        default=True,
        help_text=_("Whether the last proof carried WeChat's watermark."),
    )

    # Not used yet: how the last entry was proven, and the member's id within this very group.
    proof = models.CharField(max_length=8, choices=Proof.choices, blank=True, editable=False)
    group_openid = OpaqueIdField(blank=True, editable=False)

    objects: ClassVar[MembershipQuerySet] = MembershipQuerySet.as_manager()  # type: ignore[assignment]

    reviewed = ("alias",)

    class Meta:
        verbose_name = verbose_name_plural = _("membership")
        constraints = [
            models.UniqueConstraint(fields=["group", "user"], name="one_membership_per_person")
        ]
        indexes = [
            models.Index(fields=["user", "verified_at"], name="membership_visits"),
            models.Index(fields=["verified_at", "user"], name="latest_entries"),
            models.Index(fields=["alias_state", "review_since"], name="aliases_in_review"),
        ]

    def __str__(self) -> str:
        return f"{self.user} @ {self.group}"

    @property
    def own_alias(self) -> str:
        return self.own("alias")

    @property
    def is_unlisted(self) -> bool:
        """Whether others do not see this member, be it their own wish or an operator's."""
        return self.hidden or self.withheld

    def absences(self, now: datetime) -> list[Absence]:
        """Why others do not see this member, all reasons there are; empty while they do."""
        reasons = {
            Absence.BLOCKED: self.user.is_blocked,
            Absence.LEFT: self.left_at is not None,
            Absence.LAPSED: self.verified_at < proven_since(now),
            Absence.WITHHELD: self.withheld,
            Absence.HIDDEN: self.hidden,
            Absence.GROUP_HIDDEN: self.group.hidden,
        }
        return [reason for reason, holds in reasons.items() if holds]


class BoardManager(models.Manager["Board"]):
    def of_app(self, app_id: str) -> models.QuerySet["Board"]:
        """The boards of one mini-program: its own and those every mini-program has."""
        return self.filter(app_id__in=[app_id, EVERY_APP])

    def tabs(self, app_id: str) -> list["Board"]:
        """One a key in the order they were made, so active days first; where a mini-program has
        its own, that of every mini-program is not shown."""
        boards = list(self.of_app(app_id).order_by("pk"))
        own = {board.key for board in boards if board.app_id}
        return [board for board in boards if board.app_id or board.key not in own]

    def active_days(self) -> "Board":
        return self.get(app_id=EVERY_APP, key=ACTIVE_DAYS)

    def choose(self, app_id: str, key: str | None = None) -> "Board":
        """The mini-program's board of that key, or its default one. Raises Board.DoesNotExist.

        Where a mini-program has a board of its own under a key that every one has, its own counts.
        """
        return choose(self.of_app(app_id), app_id, key)


def choose(boards: Iterable["Board"], app_id: str, key: str | None = None) -> "Board":
    """The same among a mini-program's boards that have been read."""
    own_first = sorted(boards, key=lambda board: board.app_id, reverse=True)
    default = (board for board in own_first if board.default_for == app_id and not key)
    named = (board for board in own_first if board.key == (key or ACTIVE_DAYS))
    for board in chain(default, named):
        return board
    raise Board.DoesNotExist


class WindowsField(models.CharField[str, str]):
    """Some of the windows, as their names between commas; all of them by default."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        every = ",".join(Window.values)
        super().__init__(*args, **{"max_length": 20, "default": every, **kwargs})


class Board(models.Model):
    """What is compared, and how.

    Order, policy, scope and rank style are settled once there are scores: they say what a score
    means, and those that are there were made under the old meaning.
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
        COMPETITION = "competition", _("1-2-2-4: who ties shares a rank, and leaves a gap")
        DENSE = "dense", _("1-2-2-3: who ties shares a rank, and leaves no gap")
        ORDINAL = "ordinal", _("1-2-3-4: who achieved it earlier is before")

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
        help_text=_("How a new score meets the old one."),
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
        _("default window"), max_length=5, choices=Window.choices, default=Window.WEEK
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
        """Raises ValidationError, by field, for what does not fit together."""
        problems: dict[str, Any] = {}
        if self.default_window not in self.counted_windows:
            problems["default_window"] = _("Choose one of the windows that are counted.")
        if self._is_backward(self.min_value, self.max_value):
            problems["max_value"] = _("Smaller than the smallest score.")
        if self._is_backward(self.active_from, self.active_to):
            problems["active_to"] = _("Before the board becomes active.")
        for name in self.settled_changes():
            problems[name] = _("Settled: the board has scores already.")
        if problems:
            raise ValidationError(problems)

    @staticmethod
    def _is_backward(first: Any, last: Any) -> bool:
        return first is not None and last is not None and last < first

    def settled_changes(self) -> list[str]:
        """The settled fields that differ from what is stored, where there are scores."""
        stored = Board.objects.filter(pk=self.pk).first() if self.pk else None
        if stored is None or not stored.has_scores:
            return []
        return [name for name in self.SETTLED if getattr(self, name) != getattr(stored, name)]

    @property
    def has_scores(self) -> bool:
        return self.pk is not None and Score.objects.filter(board=self.pk).exists()

    @property
    def counts_days(self) -> bool:
        """Whether this is the board that every mini-program has."""
        return self.app_id == EVERY_APP and self.key == ACTIVE_DAYS

    @property
    def counted_windows(self) -> list[Window]:
        return [window for window in Window if window in self.windows.split(",")]

    def is_active(self, now: datetime) -> bool:
        """Whether scores are taken at `now`."""
        begun = self.active_from is None or self.active_from <= now
        return begun and (self.active_to is None or now < self.active_to)

    @property
    def title(self) -> str:
        return self.title_en if get_language() == "en" else self.title_zh

    @property
    def unit(self) -> str:
        return self.unit_en if get_language() == "en" else self.unit_zh

    def scope_in(self, group: Group) -> int:
        """The `Score.scope` of this board's scores within `group`."""
        return group.pk if self.scope == self.Scope.GROUP else ALL_GROUPS

    def score_text(self, value: int) -> str:
        """`value` for people: with separators and this board's decimals, "9,781" or "12.50"."""
        whole, rest = divmod(abs(value), 10**self.decimals)
        sign = "-" if value < 0 else ""
        return f"{sign}{whole:,}" + (f".{rest:0{self.decimals}}" if self.decimals else "")


class Source(models.TextChoices):
    """Whose word a score's last change was."""

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
        source: Source,
    ) -> list["Submitted"]:
        """Let `value` meet what `user` has in each current period of the board, by its policy.

        In a transaction whose caller holds the lock on the person, so that nobody else writes these
        rows meanwhile; what is written is decided in the database all the same. Raises
        ScoreTooLarge, for a sum, with nothing to be kept of the transaction.
        """
        periods = [Period.current(window, now) for window in board.counted_windows]
        keys = [period.key for period in periods]
        rows = self.filter(board=board, user=user, scope=scope, period__in=keys)
        before = dict(rows.values_list("period", "value"))
        new = {"achieved_at": now, "source": source}
        self._meet(board, rows, value, new)
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
        return [Submitted(key, after[key], before.get(key) != after[key]) for key in keys]

    @staticmethod
    def _meet(board: Board, rows: Any, value: int, new: Mapping[str, Any]) -> None:
        match board.policy:
            case Board.Policy.SUM if value:
                room = (
                    Q(value__gt=MAX_SCORE - value) if value > 0 else Q(value__lt=-MAX_SCORE - value)
                )
                if rows.filter(room).exists():
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
class Submitted:
    """What a submission left in one period; `changed`, if that is not what was there before."""

    key: str
    value: int
    changed: bool


class Score(models.Model):
    """A person's value on a board within one period; exact integers, never floats."""

    board = models.ForeignKey(
        Board, models.PROTECT, related_name="scores", verbose_name=_("board"), db_index=False
    )
    window = models.CharField(_("window"), max_length=5, choices=Window.choices)
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
        choices=Source.choices,
        default=Source.ENTRY,
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
        # Who came back: the console's front page asks it of everybody who is new.
        indexes = [models.Index(fields=["user", "board", "period"], name="scores_of_a_person")]

    def __str__(self) -> str:
        return f"{self.period}: {self.value}"  # no name: the operators' log outlives an erasure

    @property
    def period_title(self) -> str:
        """The period's key, which people read as it is, but for "all"."""
        return str(Window.ALL.label) if self.period == Window.ALL else self.period


class IdempotencyKey(models.Model):
    """A submission that was answered: the same key asks for the same answer, for seven days.

    Whose keys they are counts: a mini-program cannot use up one of the server's.
    """

    user = models.ForeignKey(
        WeChatUser, models.CASCADE, related_name="idempotency_keys", db_index=False
    )
    source = models.CharField(max_length=8, choices=Source.choices)
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


class VerificationFile(models.Model):
    """What the platform looks for at a domain's root before a web-view may open it (校验文件)."""

    name = OpaqueIdField(
        _("file name"),
        max_length=68,
        unique=True,
        validators=[
            RegexValidator(
                r"^[A-Za-z0-9_-]{1,64}\.txt\Z", _("Letters, digits, _ and -, then .txt.")
            )
        ],
    )
    content = models.CharField(
        _("content"),
        max_length=128,
        validators=[RegexValidator(r"^[ -~]+\Z", _("One line of printable ASCII characters."))],
    )

    class Meta:
        verbose_name = verbose_name_plural = _("verification file")

    def __str__(self) -> str:
        return self.name


class ServerKeyManager(models.Manager["ServerKey"]):
    def issue(self, app_id: str, name: str, now: datetime) -> tuple[str, "ServerKey"]:
        """A new key and its row; the text exists nowhere else afterwards."""
        key = ServerKey(app_id=app_id, name=name)
        return key.rotate(now), key

    def valid(self, text: str) -> "ServerKey | None":
        """The row of a key that has not been revoked."""
        return self.filter(digest=digest_of(text), revoked_at=None).first()


class ServerKey(models.Model):
    """What a team's own back end calls with, for one mini-program; only its SHA-256 is kept."""

    app_id = OpaqueIdField(_("appid"))
    name = models.CharField(
        _("name"), max_length=40, help_text=_("Which server or job uses it, for you to tell apart.")
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("made"), editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)
    # Not used yet: the first characters of the text, and when it was last used.
    prefix = models.CharField(max_length=8, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[ServerKeyManager] = ServerKeyManager()

    is_authenticated = True  # what DRF's IsAuthenticated asks of request.user

    class Meta:
        verbose_name = verbose_name_plural = _("server key")

    def __str__(self) -> str:
        return self.name

    def rotate(self, now: datetime) -> str:
        """A new text for this key, saved; the old one ends at once."""
        text = secrets.token_urlsafe(32)
        self.digest, self.created_at = digest_of(text), now
        self.save()
        return text
