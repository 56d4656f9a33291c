"""The only file that knows ranks; the API, the pages and the admin all ask here.

A WeChat group holds at most 500 people (WeCom: 2,000), so a ranking reads its group whole, the
members and their scores in a query each, and everything asked of it is arithmetic on one sorted
list: ranks, pages, my place, the window around me, movement, totals. They cannot contradict each
other.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Self
from zlib import crc32

from django.db.models import Case, F, FilteredRelation, Q, When
from django.db.models import Window as Over
from django.db.models.functions import RowNumber
from django.utils import timezone
from django.utils.translation import gettext

from accounts.avatars.storage import SMALL, avatar_path
from accounts.models import WeChatUser
from core.signed import UnreadableSignature, sign, unsign

from .errors import UnreadableCursor
from .models import (
    ALL_GROUPS,
    EVERY_APP,
    NAMES_IN_A_TITLE,
    Board,
    Group,
    Membership,
    Score,
    choose,
    title_of,
)
from .periods import Period, UnreadablePeriod, Window

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
DEFAULT_AROUND, MAX_AROUND = 5, 25
PREVIEW, SAMPLE_LEVELS = 10, 7

COLUMNS = (
    *("user_id", "joined_at", "hidden", "withheld", "user__avatar_seed"),
    *("alias", "alias_draft", "user__nickname", "user__nickname_draft"),
    *("user__avatar", "user__avatar_draft"),
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Movement = int | Literal["new"] | None
SortKey = tuple[int, ...]

# Of a user's id and a period's key: value and time, or the default where there is no score.
_Scores = Callable[[tuple[int, str | None], tuple[None, None]], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Standing:
    """One listed member's place. Without a score in this period, `rank` and `score` are None.

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
    """A stretch of a group's ranking, and what the viewer asks about themselves.

    `total` counts the listed members, those without a score too; `percentile` is the share of the
    others who rank below me; `absent` says why I am not listed; `next` is the cursor of the page
    after this one.
    """

    group: Group
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
    """A member as the viewer sees them: others as approved, oneself as drafted."""

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
class _Row:
    """A member of the group with their scores of this period and the one before."""

    member: Member
    joined_at: datetime
    hidden: bool
    score: int | None
    achieved_at: datetime | None

    def sort_key(self, board: Board) -> SortKey:
        """Best first, then the earlier achiever, who joined earlier, the smaller id; all whole
        numbers, so that a cursor holds the place exactly."""
        if self.score is None or self.achieved_at is None:
            return (1, 0, 0, _microseconds(self.joined_at), self.member.id)
        return (
            0,
            _badness(board, self.score),
            _microseconds(self.achieved_at),
            _microseconds(self.joined_at),
            self.member.id,
        )


def standings(
    group: Group,
    board: Board,
    period: str | None = None,
    viewer: WeChatUser | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Ranking:
    """A page of the ranking: from the top, or after `cursor`.

    `period` is a window's name, a period's key, or None for the board's default window; a cursor
    holds on to the period its walk began in. Raises UnreadablePeriod, UnreadableCursor.
    """
    place = _Cursor.read(cursor, group, board) if cursor else None
    table = _Table.of(group, board, _choose_period(board, period, place), viewer)
    first = bisect_right(table.keys, place.key) if place else 0
    return table.ranking(first, first + limit)


def around(
    group: Group,
    board: Board,
    viewer: WeChatUser,
    period: str | None = None,
    size: int = DEFAULT_AROUND,
) -> Ranking:
    """The part of the ranking with `size` neighbours on each side of the viewer.

    Empty where the viewer is not listed. Raises UnreadablePeriod.
    """
    table = _Table.of(group, board, _choose_period(board, period), viewer)
    mine = table.place_of(viewer.pk)
    if mine is None:
        return table.ranking(0, 0)
    return table.ranking(max(0, mine - size), mine + size + 1)


class UnfinishedPeriod(ValueError):
    """The period has not ended yet, or never will."""


def winners(group: Group, board: Board, period: str, places: int) -> Ranking:
    """Everybody on one of the first `places` ranks of a finished period, ties included.

    Raises UnreadablePeriod, UnfinishedPeriod.
    """
    chosen = _choose_period(board, period)
    if chosen.end is None or chosen.end > timezone.now():
        raise UnfinishedPeriod(period)
    table = _Table.of(group, board, chosen)
    return table.ranking(0, sum(1 for rank in table.ranks.values() if rank <= places))


def whole(group: Group, board: Board, period: str | None = None) -> Ranking:
    """Everybody who is listed, on one page. Raises UnreadablePeriod."""
    table = _Table.of(group, board, _choose_period(board, period))
    return table.ranking(0, len(table.listed))


def top(groups: Collection[Group], places: int = 3) -> dict[int, list[Member]]:
    """By group, the first members of its default ranking, as `standings` lists them, in two queries
    however many groups: the database sorts, by `_Row.sort_key` in its own words."""
    now, boards = timezone.now(), _default_boards(groups)
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
        .annotate(best=FilteredRelation("user__scores", condition=_counted(boards, now)))
        .annotate(place=place)
        .filter(place__lte=places)
        .order_by("group", "place")
    )
    found: dict[int, list[Member]] = {}
    for group, user_id, _joined, _hidden, _withheld, seed, *faces in rows.values_list(
        "group", *COLUMNS
    ):
        alias, name, avatar = _faces(faces, drafted=False)
        found.setdefault(group, []).append(Member(user_id, alias, name, avatar, seed))
    return found


def _default_boards(groups: Iterable[Group]) -> dict[str, Board]:
    """By mini-program."""
    app_ids = {group.app_id for group in groups}
    boards = list(Board.objects.filter(app_id__in=[*app_ids, EVERY_APP]))
    return {
        app_id: choose([b for b in boards if b.app_id in (app_id, EVERY_APP)], app_id)
        for app_id in app_ids
    }


def _counted(boards: Mapping[str, Board], now: datetime) -> Q:
    """Of a member's scores, the one on their mini-program's board in its current period."""
    counted = Q()
    for app_id, board in boards.items():
        period = Period.current(Window(board.default_window), now).key
        scope = F("group") if board.scope == Board.Scope.GROUP else ALL_GROUPS
        score = {"board": board, "period": period, "scope": scope}
        its = {f"user__scores__{name}": value for name, value in score.items()}
        counted |= Q(user__app_id=app_id, **its)
    return counted


def preview(group: Group, board: Board) -> Ranking:
    """The top of what `board`, saved or not, would show of a group's real members.

    With the scores it has, or with samples: the same for the same member, ties among them.
    """
    period = Period.current(Window(board.default_window), timezone.now())
    samples = None if board.has_scores else _samples(board)
    return _Table.of(group, board, period, scores=samples).ranking(0, PREVIEW)


def _samples(board: Board) -> _Scores:
    low = 0 if board.min_value is None else board.min_value
    high = low + 9_000 if board.max_value is None else max(board.max_value, low)
    now = timezone.now()

    def score(whose: tuple[int, str | None], default: Any) -> tuple[int, datetime]:
        level = crc32(repr(whose).encode()) % SAMPLE_LEVELS
        return low + level * (high - low) // (SAMPLE_LEVELS - 1), now

    return score


def standing_of(
    group: Group, board: Board, user: WeChatUser, period: str | None = None
) -> Standing | None:
    """One member's standing; None for somebody who is not in the group."""
    return _Table.of(group, board, _choose_period(board, period), user).my_standing()


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
            raise UnreadableCursor from None
        return cls(period, tuple(key))

    def write(self, group: Group, board: Board) -> str:
        return sign([self.period, *self.key], self.salt(group, board))

    @staticmethod
    def salt(group: Group, board: Board) -> str:
        return f"groups.ranking.{group.pk}.{board.pk}"


def _choose_period(board: Board, text: str | None, cursor: _Cursor | None = None) -> Period:
    now = timezone.now()
    if cursor is None:
        period = Period.parse(text or board.default_window, now)
        if period.window not in board.counted_windows:
            raise UnreadablePeriod(text)
        return period
    walked = Period.parse(cursor.period, now)
    if text and text != walked.window and Period.parse(text, now) != walked:
        raise UnreadableCursor
    return walked


@dataclass(frozen=True)
class _Table:
    """A group's whole ranking in one period, as one viewer may see it."""

    group: Group
    board: Board
    period: Period
    now: datetime
    listed: list[_Row]
    keys: list[SortKey]
    ranks: dict[int, int]
    ranks_before: dict[int, int]
    me: _Row | None

    @classmethod
    def of(
        cls,
        group: Group,
        board: Board,
        period: Period,
        viewer: WeChatUser | None = None,
        scores: _Scores | None = None,
    ) -> Self:
        """With the scores there are, or others in their place."""
        now = timezone.now()
        scores = scores or _read_scores(group, board, period).get
        rows, before, names = _read_rows(group, period, now, viewer, scores)
        listed, listed_before = _listed(board, rows), _listed(board, before)
        group.member_count = len(rows)
        group.title = group.label or title_of(names, len(rows))
        return cls(
            group,
            board,
            period,
            now,
            listed,
            keys=[row.sort_key(board) for row in listed],
            ranks=_rank(board, listed),
            ranks_before=_rank(board, listed_before),
            me=next((row for row in rows if viewer and row.member.id == viewer.pk), None),
        )

    def ranking(self, first: int, last: int) -> Ranking:
        """The entries `first` up to, not including, `last`."""
        page = self.listed[first:last]
        return Ranking(
            group=self.group,
            board=self.board,
            period=self.period,
            server_time=self.now,
            total=len(self.listed),
            percentile=self.percentile(),
            entries=[self.standing(row) for row in page],
            me=self.my_standing(),
            absent="hidden" if self.me and self.me.hidden else None,
            next=self.cursor_after(page[-1]) if page and last < len(self.listed) else None,
        )

    def standing(self, row: _Row) -> Standing:
        return Standing(
            member=row.member,
            rank=self.ranks.get(row.member.id),
            movement=self.movement(row),
            score=row.score,
            score_text=None if row.score is None else self.board.score_text(row.score),
            achieved_at=row.achieved_at,
            is_me=row is self.me,
        )

    def my_standing(self) -> Standing | None:
        return self.standing(self.me) if self.me else None

    def movement(self, row: _Row) -> Movement:
        rank = self.ranks.get(row.member.id)
        if rank is None or self.period.previous is None:
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

    def place_of(self, user_id: int) -> int | None:
        return next((i for i, row in enumerate(self.listed) if row.member.id == user_id), None)

    def cursor_after(self, row: _Row) -> str:
        cursor = _Cursor(self.period.key, row.sort_key(self.board))
        return cursor.write(self.group, self.board)


def _listed(board: Board, rows: Iterable[_Row]) -> list[_Row]:
    """Those whom others see, best first."""
    return sorted((row for row in rows if not row.hidden), key=lambda row: row.sort_key(board))


def _read_rows(
    group: Group, period: Period, now: datetime, viewer: WeChatUser | None, scores: _Scores
) -> tuple[list[_Row], list[_Row], list[str]]:
    """The group's members with their scores of this period, and of the one before; and the names
    that an unlabelled group is called after."""
    before = period.previous.key if period.previous else None
    rows, rows_before, named = [], [], []
    members = Membership.objects.current(now).filter(group=group)
    for user_id, joined_at, hidden, withheld, seed, *faces in members.values_list(*COLUMNS):
        alias, name, avatar = _faces(faces, drafted=bool(viewer and user_id == viewer.pk))
        who = (Member(user_id, alias, name, avatar, seed), joined_at, hidden or withheld)
        rows.append(_Row(*who, *scores((user_id, period.key), (None, None))))
        rows_before.append(_Row(*who, *scores((user_id, before), (None, None))))
        approved_alias, approved_name, _avatar = _faces(faces, drafted=False)
        if (known_as := approved_alias or approved_name) and not (hidden or withheld):
            named.append((joined_at, user_id, known_as))
    return rows, rows_before, [known_as for *_joined, known_as in sorted(named)[:NAMES_IN_A_TITLE]]


def _faces(columns: Sequence[str], *, drafted: bool) -> list[str]:
    """Alias, nickname and avatar out of pairs of what is approved and what is drafted."""
    pairs = zip(columns[::2], columns[1::2], strict=True)
    return [(drafted and draft) or approved for approved, draft in pairs]


def _read_scores(
    group: Group, board: Board, period: Period
) -> dict[tuple[int, str | None], tuple[int | None, datetime | None]]:
    """Value and time by user id and period's key, of this period and the one before."""
    keys = [each.key for each in (period, period.previous) if each]
    scores = Score.objects.filter(board=board, period__in=keys, scope=board.scope_in(group))
    if board.scope == Board.Scope.APP:
        scores = scores.filter(user__memberships__group=group)
    rows = scores.values_list("user_id", "period", "value", "achieved_at")
    return {(user_id, key): (value, at) for user_id, key, value, at in rows}


def _rank(board: Board, rows: Iterable[_Row]) -> dict[int, int]:
    """Ranks by user id, in the board's style, of those who have a score; `rows` best first."""
    ranks: dict[int, int] = {}
    rank, last = 0, None
    for place, row in enumerate(rows, start=1):
        if row.score is None:
            break  # these come last
        if row.score != last or board.rank_style == Board.RankStyle.ORDINAL:
            rank = rank + 1 if board.rank_style == Board.RankStyle.DENSE else place
        ranks[row.member.id], last = rank, row.score
    return ranks


def _badness(board: Board, score: int) -> int:
    """A number that is smaller the better the score."""
    return score if board.order == Board.Order.ASC else -score


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND
