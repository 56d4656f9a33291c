"""The only file that knows ranks; the API, the pages and the console all ask here.

A WeChat group holds at most 500 people (WeCom: 2,000), so a ranking reads its group whole, the
members and their scores in a query each. Ranks, pages, my place, the part around me, movement and
totals are arithmetic on one sorted list, so they cannot contradict each other.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Self
from zlib import crc32

from django.db.models import Case, F, FilteredRelation, Q, When
from django.db.models import Window as Over
from django.db.models.functions import RowNumber
from django.utils.translation import gettext

from accounts.avatars.storage import SMALL, avatar_path
from accounts.models import WeChatUser
from core.signed import UnreadableSignature, sign, unsign

from .errors import NOT_A_CURSOR, NOT_A_PERIOD, InvalidField
from .models import (
    NAMES_IN_A_TITLE,
    Board,
    Group,
    GroupCard,
    Membership,
    Score,
    choose,
)
from .periods import Period, UnreadablePeriod, Window

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
DEFAULT_AROUND, MAX_AROUND = 5, 25
PREVIEW, SAMPLE_LEVELS = 10, 7

# What `_member` reads: an id and a seed, then pairs of what is approved and what is drafted.
MEMBER_COLUMNS = (
    "user_id",
    "user__avatar_seed",
    "alias",
    "alias_draft",
    "user__nickname",
    "user__nickname_draft",
    "user__avatar",
    "user__avatar_draft",
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Movement = int | Literal["new"] | None
SortKey = tuple[int, ...]

# From a user's id and a period's key to value and time, or to the default without a score.
_Scores = Callable[[tuple[int, str | None], tuple[None, None]], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's place. Without a score in this period, `rank` and `score` are None.

    `movement` is in places, positive is up; "new" without a score in the period before.
    """

    member: "Member"
    rank: int | None
    movement: Movement
    score: int | None
    score_text: str | None
    achieved_at: datetime | None
    is_me: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """A part of a group's ranking, with the viewer's own standing.

    `total` counts the listed members, those without a score too; `percentile` is the share of the
    others who rank below me; `absent` says why I am not listed; `next` is the cursor of the page
    after this one.
    """

    group: GroupCard
    board: Board
    period: Period
    server_time: datetime
    total: int
    percentile: int | None
    entries: list[Standing]
    me: Standing | None
    absent: Literal["hidden"] | None
    next: str | None

    @property
    def period_title(self) -> str:
        return self.period.title(self.server_time)

    @property
    def next_period(self) -> Period | None:
        return self.period.next(self.server_time)


class Member(NamedTuple):
    """A member as the viewer sees them: others as approved, themselves as drafted."""

    id: int
    alias: str
    chosen_name: str
    avatar: str
    avatar_seed: str

    @property
    def nickname(self) -> str:
        return self.alias or self.chosen_name or gettext("WeChat user")

    @property
    def avatar_path(self) -> str:
        return avatar_path(self.avatar, self.avatar_seed)

    @property
    def small_avatar_path(self) -> str:
        return avatar_path(self.avatar, self.avatar_seed, SMALL)


@dataclass(frozen=True, slots=True)
class _MemberRow:
    """A member of the group with their score of one period."""

    member: Member
    joined_at: datetime
    hidden: bool
    score: int | None
    achieved_at: datetime | None

    def sort_key(self, board: Board) -> SortKey:
        """Sort the best first, then by the time of the score, of joining, and by id.

        All are whole numbers, so that a cursor holds the place exactly.
        """
        joined = (self.joined_at - EPOCH) // MICROSECOND
        if self.score is None or self.achieved_at is None:
            return (1, 0, 0, joined, self.member.id)
        badness = self.score if board.order == Board.Order.ASC else -self.score
        achieved = (self.achieved_at - EPOCH) // MICROSECOND
        return (0, badness, achieved, joined, self.member.id)


def standings(
    group: Group,
    board: Board,
    now: datetime,
    period: str | None = None,
    viewer: WeChatUser | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Ranking:
    """Return a page of the ranking, from the top or after `cursor`.

    `period` is a window's name, a period's key, or None for the board's default window; a cursor
    keeps to the period of its first page. Raises InvalidField.
    """
    place = _Cursor.read(cursor, group, board) if cursor else None
    table = _Table.of(group, board, _choose_period(board, now, period, place), now, viewer)
    first = bisect_right(table.keys, place.key) if place else 0
    return table.ranking(first, first + limit)


def around(
    group: Group,
    board: Board,
    now: datetime,
    viewer: WeChatUser,
    period: str | None = None,
    size: int = DEFAULT_AROUND,
) -> Ranking:
    """Return the part of the ranking with `size` neighbours on each side of the viewer.

    It is empty where the viewer is not listed. Raises InvalidField.
    """
    table = _Table.of(group, board, _choose_period(board, now, period), now, viewer)
    mine = next((place for place, row in enumerate(table.listed) if row is table.me), None)
    if mine is None:
        return table.ranking(0, 0)
    return table.ranking(max(0, mine - size), mine + size + 1)


def winners(group: Group, board: Board, now: datetime, period: str, places: int) -> Ranking:
    """Return everyone on one of the first `places` ranks of a finished period, ties included.

    Raises InvalidField, for a period that has not ended too.
    """
    chosen = _choose_period(board, now, period)
    if chosen.end is None or chosen.end > now:
        raise InvalidField("period", NOT_A_PERIOD)
    table = _Table.of(group, board, chosen, now)
    return table.ranking(0, sum(1 for rank in table.ranks.values() if rank <= places))


def whole(group: Group, board: Board, now: datetime, period: str | None = None) -> Ranking:
    """Return everyone who is listed, on one page. Raises InvalidField."""
    table = _Table.of(group, board, _choose_period(board, now, period), now)
    return table.ranking(0, len(table.listed))


def top(groups: Collection[Group], now: datetime, places: int = 3) -> dict[int, list[Member]]:
    """Return, by group, the first members of its default ranking as `standings` lists them.

    Two queries however many groups: the database sorts, by `_MemberRow.sort_key` in its own words.
    """
    of_apps = Board.objects.of_apps({group.app_id for group in groups})
    boards = {app_id: choose(each, app_id) for app_id, each in of_apps.items()}
    ascending = [board.pk for board in boards.values() if board.order == Board.Order.ASC]
    badness = Case(
        When(best__board__in=ascending, then=F("best__value")), default=-F("best__value")
    )
    unscored = Case(When(best__value=None, then=1), default=0)
    order: list[Any] = [unscored, badness, F("best__achieved_at"), F("joined_at"), F("user")]
    place = Over(RowNumber(), partition_by="group", order_by=order)
    rows = (
        Membership.objects.current(now)
        .listed()
        .filter(group__in=groups)
        .annotate(best=FilteredRelation("user__scores", condition=_on_default_board(boards, now)))
        .annotate(place=place)
        .filter(place__lte=places)
        .order_by("group", "place")
    )
    found: dict[int, list[Member]] = {}
    for group_pk, *columns in rows.values_list("group", *MEMBER_COLUMNS):
        found.setdefault(group_pk, []).append(_member(*columns, drafted=False))
    return found


def _on_default_board(boards: Mapping[str, Board], now: datetime) -> Q:
    """Match a member's score on their mini-program's board in its current period."""
    scores = Q()
    for app_id, board in boards.items():
        period = Period.current(Window(board.default_window), now).key
        score = {"board": board, "period": period, "scope": board.scope_in(F("group"))}
        columns = {f"user__scores__{name}": value for name, value in score.items()}
        scores |= Q(user__app_id=app_id, **columns)
    return scores


def preview(group: Group, board: Board, now: datetime) -> Ranking:
    """Return the top of what `board`, saved or not, would show of a group's real members.

    It shows the scores that there are, or else samples, some of them equal.
    """
    period = Period.current(Window(board.default_window), now)
    samples = None if board.has_scores else _samples(board, now)
    return _Table.of(group, board, period, now, scores=samples).ranking(0, PREVIEW)


def _samples(board: Board, now: datetime) -> _Scores:
    """Return made-up scores within the board's bounds, always the same for a member."""
    low = 0 if board.min_value is None else board.min_value
    high = low + 9_000 if board.max_value is None else max(board.max_value, low)

    def score(key: tuple[int, str | None], default: Any) -> tuple[int, datetime]:
        level = crc32(repr(key).encode()) % SAMPLE_LEVELS
        return low + level * (high - low) // (SAMPLE_LEVELS - 1), now

    return score


@dataclass(frozen=True)
class _Cursor:
    """The place after which a page begins, signed for one group and board."""

    period: str
    key: SortKey

    @classmethod
    def read(cls, text: str, group: Group, board: Board) -> Self:
        try:
            period, *key = unsign(text, cls.salt(group, board))
        except UnreadableSignature:
            raise InvalidField("cursor", NOT_A_CURSOR) from None
        return cls(period, tuple(key))

    def write(self, group: Group, board: Board) -> str:
        return sign([self.period, *self.key], self.salt(group, board))

    @staticmethod
    def salt(group: Group, board: Board) -> str:
        return f"groups.ranking.{group.pk}.{board.pk}"


def _choose_period(
    board: Board, now: datetime, text: str | None, cursor: _Cursor | None = None
) -> Period:
    try:
        asked = Period.parse(text or board.default_window, now)
        walked = Period.parse(cursor.period, now) if cursor else None
    except UnreadablePeriod:
        raise InvalidField("period", NOT_A_PERIOD) from None
    if walked is None and asked.window not in board.counted_windows:
        raise InvalidField("period", NOT_A_PERIOD)
    if walked and text and text != walked.window and asked != walked:
        raise InvalidField("cursor", NOT_A_CURSOR)
    return walked or asked


@dataclass(frozen=True)
class _Table:
    """A group's whole ranking in one period, as one viewer may see it."""

    card: GroupCard
    board: Board
    period: Period
    now: datetime
    listed: list[_MemberRow]
    keys: list[SortKey]
    ranks: dict[int, int]
    ranks_before: dict[int, int] | None  # None where there is no period before
    me: _MemberRow | None

    @classmethod
    def of(
        cls,
        group: Group,
        board: Board,
        period: Period,
        now: datetime,
        viewer: WeChatUser | None = None,
        scores: _Scores | None = None,
    ) -> Self:
        """Read the group, and its scores unless others are given."""
        scores = scores or _read_scores(group, board, period).get
        card, rows, before = _read_rows(group, period, now, viewer, scores)
        listed, listed_before = _listed(board, rows), _listed(board, before)
        return cls(
            card,
            board,
            period,
            now,
            listed,
            keys=[row.sort_key(board) for row in listed],
            ranks=_rank(board, listed),
            ranks_before=_rank(board, listed_before) if period.previous else None,
            me=next((row for row in rows if viewer and row.member.id == viewer.pk), None),
        )

    def ranking(self, first: int, last: int) -> Ranking:
        """Return the entries `first` up to, not including, `last`."""
        page, following = self.listed[first:last], None
        if page and last < len(self.listed):
            cursor = _Cursor(self.period.key, self.keys[last - 1])
            following = cursor.write(self.card.group, self.board)
        return Ranking(
            group=self.card,
            board=self.board,
            period=self.period,
            server_time=self.now,
            total=len(self.listed),
            percentile=self.percentile(),
            entries=[self.standing(row) for row in page],
            me=self.standing(self.me) if self.me else None,
            absent="hidden" if self.me and self.me.hidden else None,
            next=following,
        )

    def standing(self, row: _MemberRow) -> Standing:
        return Standing(
            member=row.member,
            rank=self.ranks.get(row.member.id),
            movement=self.movement(row),
            score=row.score,
            score_text=None if row.score is None else self.board.score_text(row.score),
            achieved_at=row.achieved_at,
            is_me=row is self.me,
        )

    def movement(self, row: _MemberRow) -> Movement:
        rank = self.ranks.get(row.member.id)
        if rank is None or self.ranks_before is None:
            return None
        before = self.ranks_before.get(row.member.id)
        return "new" if before is None else before - rank

    def percentile(self) -> int | None:
        rank = self.ranks.get(self.me.member.id) if self.me else None
        if rank is None:
            return None
        others = len(self.listed) - 1
        not_below = sum(1 for other in self.ranks.values() if other <= rank) - 1
        return 100 * (others - not_below) // others if others else 100


def _listed(board: Board, rows: Iterable[_MemberRow]) -> list[_MemberRow]:
    """Return the members that others see, best first."""
    return sorted((row for row in rows if not row.hidden), key=lambda row: row.sort_key(board))


def _read_rows(
    group: Group, period: Period, now: datetime, viewer: WeChatUser | None, scores: _Scores
) -> tuple[GroupCard, list[_MemberRow], list[_MemberRow]]:
    """Return the group's card, and its members with their scores in `period` and the one before."""
    key, key_before = period.key, period.previous.key if period.previous else None
    rows, rows_before, named, entries = [], [], [], []
    members = Membership.objects.current(now).filter(group=group)
    for entered_at, joined_at, hidden, withheld, *columns in members.values_list(
        "verified_at", "joined_at", "hidden", "withheld", *MEMBER_COLUMNS
    ):
        member = _member(*columns, drafted=False)
        is_hidden, name = hidden or withheld, member.alias or member.chosen_name
        if name and not is_hidden:
            named.append((joined_at, member.id, name))
        if viewer and member.id == viewer.pk:
            member = _member(*columns, drafted=True)
        facts = (member, joined_at, is_hidden)
        rows.append(_MemberRow(*facts, *scores((member.id, key), (None, None))))
        rows_before.append(_MemberRow(*facts, *scores((member.id, key_before), (None, None))))
        entries.append(entered_at)
    names = [name for _joined, _id, name in sorted(named)[:NAMES_IN_A_TITLE]]
    return GroupCard.of(group, names, len(rows), max(entries, default=None)), rows, rows_before


def _member(user_id: int, seed: str, *columns: str, drafted: bool) -> Member:
    """Make a member of MEMBER_COLUMNS, as approved or as drafted."""
    pairs = zip(columns[::2], columns[1::2], strict=True)
    alias, name, avatar = [(drafted and draft) or approved for approved, draft in pairs]
    return Member(user_id, alias, name, avatar, seed)


def _read_scores(
    group: Group, board: Board, period: Period
) -> dict[tuple[int, str | None], tuple[int | None, datetime | None]]:
    """Return value and time by user id and period's key, of this period and the one before."""
    keys = [each.key for each in (period, period.previous) if each]
    scores = Score.objects.filter(board=board, period__in=keys, scope=board.scope_in(group.pk))
    if board.scope == Board.Scope.APP:
        scores = scores.filter(user__memberships__group=group)
    rows = scores.values_list("user_id", "period", "value", "achieved_at")
    return {(user_id, key): (value, at) for user_id, key, value, at in rows}


def _rank(board: Board, rows: Iterable[_MemberRow]) -> dict[int, int]:
    """Return ranks by user id, in the board's style, of `rows` with a score, sorted best first."""
    ranks: dict[int, int] = {}
    rank, last = 0, None
    for place, row in enumerate(rows, start=1):
        if row.score is None:
            break  # these come last
        if row.score != last or board.rank_style == Board.RankStyle.ORDINAL:
            rank = rank + 1 if board.rank_style == Board.RankStyle.DENSE else place
        ranks[row.member.id], last = rank, row.score
    return ranks
