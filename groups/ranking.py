"""The only file that knows ranks; the API, the pages and the console all ask here.

A WeChat group holds at most 500 people (WeCom: 2,000), so a ranking reads its group whole: see
groups/standings.py, which also keeps the table that is made of it for two seconds. Ranks, pages, my
place, the part around me, movement and totals are arithmetic on one sorted list, so they cannot
contradict each other.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from heapq import nsmallest
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self

from django.db.models import (
    BooleanField,
    Case,
    Count,
    F,
    Max,
    OrderBy,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)
from django.db.models import Window as Over
from django.db.models.functions import Coalesce, DenseRank, NullIf, Rank, RowNumber
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from accounts.avatars.storage import SMALL, avatar_path
from accounts.models import WeChatUser
from core.signed import UnreadableSignature, sign, unsign

from .errors import NOT_A_CURSOR, InvalidField
from .models import NAMES_IN_A_TITLE, Board, Group, GroupCard, Membership, Score, is_current
from .periods import CALENDAR, Period, UnreadablePeriod, Window
from .samples import sampled_rows
from .standings import (
    COLUMNS,
    SCORE_COLUMNS,
    Recent,
    own_score,
    read_rows,
    score_of,
    with_scores,
)

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
DEFAULT_AROUND, MAX_AROUND = 5, 25
PREVIEW = 10
SETTLING = timedelta(seconds=60)  # from the end of a period until its winners are known
PLACES = 3  # of a group in a list of groups

# What no list of operators reads: long, or secret.
UNREAD = tuple(
    f"user__{name}"
    for name in (
        *("session_key", "previous_session_key", "session_key_at"),
        *("openid", "unionid", "stale_count", "stale_since", "review_since"),
    )
)

# What a summary reads: the narrower the rows, the sooner the database has sorted them.
SUMMARIZED = (
    *("alias", "alias_draft", "joined_at", "verified_at", "left_at", "hidden", "withheld"),
    *("user__nickname", "user__status", "user__avatar", "user__avatar_seed"),
    *("group__label", "group__open_gid", "group__app_id", "group__hidden", "group__created_at"),
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Movement = int | Literal["new"] | None
SortKey = tuple[int, int, datetime, datetime, int]


class Standing(NamedTuple):
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

    # What was written of the entries of others, by the ids of members, and by how and where to it
    # was written: kept as long as these standings are.
    written: dict[Any, dict[int, Any]] = field(compare=False, repr=False)

    @property
    def period_title(self) -> str:
        return self.period.title(self.server_time)

    @property
    def previous_period(self) -> Period | None:
        return _period_before(self.period, self.group.group)

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
    group_openid: str = ""

    @property
    def nickname(self) -> str:
        return self.alias or self.chosen_name or gettext("WeChat user")

    @property
    def avatar_path(self) -> str:
        return avatar_path(self.avatar, self.avatar_seed)

    @property
    def small_avatar_path(self) -> str:
        return avatar_path(self.avatar, self.avatar_seed, SMALL)


class _MemberRow(NamedTuple):
    """COLUMNS and SCORE_COLUMNS: a member of the group, what they show as approved and as drafted,
    and their score of one period and of the one before."""

    entered_at: datetime
    joined_at: datetime
    hidden: bool
    withheld: bool
    id: int
    avatar_seed: str
    alias: str
    alias_draft: str
    chosen_name: str
    chosen_name_draft: str
    avatar: str
    avatar_draft: str
    group_openid: str
    score: int | None
    achieved_at: datetime | None
    score_before: int | None
    achieved_before: datetime | None

    @property
    def is_unlisted(self) -> bool:
        return self.hidden or self.withheld

    @property
    def name(self) -> str:
        return self.alias or self.chosen_name

    @property
    def member(self) -> Member:
        """Return the member as others see them."""
        face = self.avatar, self.avatar_seed, self.group_openid
        return Member(self.id, self.alias, self.chosen_name, *face)

    @property
    def own(self) -> Member:
        """Return the member as they see themselves."""
        alias, name = self.alias_draft or self.alias, self.chosen_name_draft or self.chosen_name
        face = self.avatar_draft or self.avatar, self.avatar_seed, self.group_openid
        return Member(self.id, alias, name, *face)


def _sort_key(board: Board, row: _MemberRow) -> SortKey:
    """Sort the best first, then by the time of the score, of joining, and by id."""
    return _sort_key_of(board, row, row.score, row.achieved_at)


def _sort_key_before(board: Board, row: _MemberRow) -> SortKey:
    return _sort_key_of(board, row, row.score_before, row.achieved_before)


def _sort_key_of(
    board: Board, row: _MemberRow, score: int | None, achieved_at: datetime | None
) -> SortKey:
    if score is None or achieved_at is None:
        return (1, 0, EPOCH, row.joined_at, row.id)
    badness = score if board.order == Board.Order.ASC else -score
    return (0, badness, achieved_at, row.joined_at, row.id)


class _Ranks:
    """The ranks of one period, in the board's style: how many are better."""

    def __init__(self, board: Board, keys: Iterable[SortKey]) -> None:
        scored = [key for key in keys if not key[0]]
        self._is_by_time = board.rank_style == Board.RankStyle.ORDINAL
        self._values: list[Any] = sorted(map(self._value, scored))
        is_dense = board.rank_style == Board.RankStyle.DENSE
        self._better = sorted(set(self._values)) if is_dense else self._values

    def _value(self, key: SortKey) -> Any:
        return key if self._is_by_time else key[1]

    def rank(self, key: SortKey) -> int | None:
        """Return the rank of a sort key; None without a score."""
        return None if key[0] else 1 + bisect_left(self._better, self._value(key))

    def count_not_below(self, key: SortKey) -> int:
        """Return how many rank as the sort key of a score does, or better."""
        return bisect_right(self._values, self._value(key))


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
    view = _view(group, board, _choose_period(board, now, period, place), now, viewer)
    first = view.table.after(place.key) if place else 0
    return view.ranking(first, first + limit)


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
    view = _view(group, board, _choose_period(board, now, period), now, viewer)
    if not view.me or view.me.is_unlisted:
        return view.ranking(0, 0)
    mine = view.table.after(_sort_key(board, view.me)) - 1
    return view.ranking(max(0, mine - size), mine + size + 1)


def winners(group: Group, board: Board, now: datetime, period: str, places: int) -> Ranking:
    """Return everyone on one of the first `places` ranks of a finished period, ties included.

    Raises InvalidField, also for a period that ended less than SETTLING ago: a score that counts
    for its last moments may still be being written.
    """
    chosen = _choose_period(board, now, period, begun=False)
    if chosen.end is None:
        raise InvalidField("period", _("All time never ends, so it has no winners."))
    if (ready := chosen.end + SETTLING) > now:
        at = f"{ready.astimezone(CALENDAR):%Y-%m-%d %H:%M}"
        sentence = _("The winners of this period are known from %(moment)s on, Beijing time.")
        raise InvalidField("period", sentence % {"moment": at})
    view = _view(group, board, chosen, now)
    ranks = map(view.table.rank, view.table.listed)
    return view.ranking(0, sum(1 for rank in ranks if rank and rank <= places))


def whole(group: Group, board: Board, now: datetime, period: str | None = None) -> Ranking:
    """Return everyone who is listed, on one page. Raises InvalidField."""
    view = _view(group, board, _choose_period(board, now, period), now)
    return view.ranking(0, len(view.table.listed))


@dataclass(frozen=True, slots=True)
class Roster:
    """Everyone of a group, for operators: the whole ranking, and by member's id the memberships and
    the primary keys of the scores, also of those who are not listed."""

    ranking: Ranking
    memberships: dict[int, Membership]
    score_pks: dict[int, int]


def roster(group: Group, board: Board, now: datetime, period: str | None = None) -> Roster:
    """Return everyone who is or was in a group, in one statement. Raises InvalidField."""
    chosen = _choose_period(board, now, period)
    members = Membership.objects.filter(group=group).select_related("user").defer(*UNREAD)
    rows: Any = with_scores(members, group, board, chosen, _period_before(chosen, group))
    rows = rows.annotate(score_pk=score_of(board, group, chosen, "pk"))
    memberships = {row.user_id: row for row in rows}
    read = attrgetter(*(column.replace("__", ".") for column in (*COLUMNS, *SCORE_COLUMNS)))
    for row in memberships.values():
        row.group = group
    current = [read(row) for row in memberships.values() if row.is_current(now)]
    view = _View(_Table.of(group, board, chosen, current), group, board, now)
    pks = {row.user_id: row.score_pk for row in memberships.values() if row.score_pk}
    return Roster(view.ranking(0, len(view.table.listed)), memberships, pks)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member stands in a group's default ranking, of `total` who are listed.

    `rank` is None without a score and for those who are not listed.
    """

    membership: Membership
    board: Board
    period: Period
    total: int
    is_listed: bool
    rank: int | None
    score: int | None

    @property
    def member(self) -> Member:
        return _approved(self.membership)

    @property
    def score_text(self) -> str:
        return "" if self.score is None else self.board.score_text(self.score)


@dataclass(frozen=True, slots=True)
class Summary:
    """A group in a list: its card, the first of its default ranking, and the places asked for."""

    card: GroupCard
    top: list[Member]
    places: list[Place]


def summarize(
    groups: Q,
    boards: Mapping[str, Board],
    now: datetime,
    wanted: Q | None = None,
    places: int = PLACES,
) -> dict[int, Summary]:
    """Return, by group, what a list shows of it: the first `places` of its default ranking, and as
    many of the memberships that are `wanted`, the best first.

    `groups` matches memberships by their group, `boards` are the default ones by appid. One query
    however many groups: the database ranks, by `_MemberRow.sort_key` in its own words, and its
    rules are those of `standings`.
    """
    ascending = [app_id for app_id, board in boards.items() if board.order == Board.Order.ASC]
    score, achieved = (_on_default_board(boards, now, name) for name in ("value", "achieved_at"))
    badness: Any = -score
    if ascending:
        badness = Case(When(group__app_id__in=ascending, then=score), default=badness)
    current, shown = is_current(now), Q(hidden=False, withheld=False)
    listed = current & shown
    chosen = Coalesce(NullIf("alias", Value("")), "user__nickname")
    ranked: list[Any] = [
        Case(When(listed, then=0), default=1),
        OrderBy(badness, nulls_last=True),
    ]
    order = [*ranked, achieved, F("joined_at"), F("user")]
    nameless = Case(When(current, then=Case(When(name="", then=1), default=0)), default=2)
    flag: Any = {"output_field": BooleanField()}
    rows: Any = (
        Membership.objects.filter(groups)
        .alias(name=Case(When(shown, then=chosen), default=Value("")))
        .annotate(score=score)
        .annotate(is_listed=Case(When(listed, then=True), default=False, **flag))
        .annotate(
            size=Over(Count("pk", filter=current), "group"),
            last=Over(Max("verified_at", filter=current), "group"),
            named=Over(RowNumber(), "group", [nameless, F("joined_at"), F("user")]),
            place=Over(RowNumber(), "group", order),
        )
    )
    needed = Q(named__lte=NAMES_IN_A_TITLE) | Q(place__lte=places)
    if wanted:
        rows = rows.annotate(is_wanted=Case(When(wanted, then=True), default=False, **flag))
        rows = rows.annotate(
            total=Over(Count("pk", filter=listed), "group"),
            nth=Over(Count("pk", filter=Q(is_wanted=True)), "group", order),
            **{style: Over(RANKS[style], "group", ranked) for style in RANKS},
        )
        needed |= Q(is_wanted=True, nth__lte=places)
    rows = rows.filter(needed).select_related("user", "group").only(*SUMMARIZED)
    rows = rows.order_by("group", "place")
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.group_id, []).append(row)
    asked = places if wanted else 0
    return {pk: _summary(each, boards, now, places, asked) for pk, each in found.items()}


# How a rank is counted in SQL, by `Board.rank_style`; the third style is the place itself.
RANKS = {"competition": Rank(), "dense": DenseRank()}


def _summary(
    rows: list[Any], boards: Mapping[str, Board], now: datetime, places: int, asked: int
) -> Summary:
    """Make a summary of the rows that were found of one group, the best first."""
    group, board = rows[0].group, boards[rows[0].group.app_id]
    period = Period.current(Window(board.default_window), now)

    first = [row for row in rows if row.named <= NAMES_IN_A_TITLE and row.is_current(now)]
    names = [
        row.alias or row.user.nickname
        for row in sorted(first, key=attrgetter("named"))
        if not row.is_unlisted
    ]
    top = [_approved(row) for row in rows if row.is_listed and row.place <= places]
    wanted = [
        Place(row, board, period, row.total, row.is_listed, _rank_of(row, board), row.score)
        for row in (rows if asked else [])
        if row.is_wanted and row.nth <= asked
    ]
    names = [name for name in names if name]
    return Summary(GroupCard.of(group, names, rows[0].size, rows[0].last), top, wanted)


def _approved(row: Membership) -> Member:
    """Return the member of a membership as others see them."""
    user = row.user
    return Member(user.pk, row.alias, user.nickname, user.avatar, user.avatar_seed)


def _rank_of(row: Any, board: Board) -> int | None:
    if not row.is_listed or row.score is None:
        return None
    return int(getattr(row, board.rank_style, row.place))


def _on_default_board(boards: Mapping[str, Board], now: datetime, column: str) -> Case:
    """Select a column of a member's score on their mini-program's board in its current period.

    A look-up for each member, for the reason that `_score_of` names.
    """
    chosen = []
    for app_id, board in boards.items():
        scores = Score.objects.filter(
            board=board,
            period=Period.current(Window(board.default_window), now).key,
            scope=board.scope_in(OuterRef("group")),
            user=OuterRef("user"),
        )
        chosen.append(When(group__app_id=app_id, then=Subquery(scores.values(column)[:1])))
    field: Any = Score._meta.get_field(column)
    return Case(*chosen, output_field=field)


def preview(group: Group, board: Board, now: datetime, *, sampled: bool) -> Ranking:
    """Return the top of what `board`, saved or not, would show of a group's real members.

    It shows the scores that there are, or samples, some of them equal.
    """
    period = Period.current(Window(board.default_window), now)
    if not sampled:
        return _view(group, board, period, now).ranking(0, PREVIEW)
    rows = sampled_rows(group, board, now)
    return _View(_Table.of(group, board, period, rows), group, board, now).ranking(0, PREVIEW)


@dataclass(frozen=True)
class _Cursor:
    """The place after which a page begins, signed for one group and board.

    Its moments are written as whole microseconds, so that it holds the place exactly.
    """

    period: str
    key: SortKey

    @classmethod
    def read(cls, text: str, group: Group, board: Board) -> Self:
        try:
            period, unscored, badness, *times, id = unsign(text, cls.salt(group, board))
        except UnreadableSignature:
            raise InvalidField("cursor", NOT_A_CURSOR) from None
        achieved, joined = (EPOCH + time * MICROSECOND for time in times)
        return cls(period, (unscored, badness, achieved, joined, id))

    def write(self, group: Group, board: Board) -> str:
        *first, achieved, joined, id = self.key
        times = ((time - EPOCH) // MICROSECOND for time in (achieved, joined))
        return sign([self.period, *first, *times, id], self.salt(group, board))

    @staticmethod
    def salt(group: Group, board: Board) -> str:
        return f"groups.ranking.{group.pk}.{board.pk}"


def _choose_period(
    board: Board,
    now: datetime,
    text: str | None,
    cursor: _Cursor | None = None,
    *,
    begun: bool = True,
) -> Period:
    """Return the period of that name or key, or the cursor's. Raises InvalidField."""
    read = Period.parse if begun else Period.named
    try:
        asked = read(text or board.default_window, now)
        walked = read(cursor.period, now) if cursor else None
    except UnreadablePeriod:
        raise InvalidField("period", _not_a_period(board, now)) from None
    if walked is None and asked.window not in board.counted_windows:
        raise InvalidField("period", _not_a_period(board, now))
    if walked and text and text != walked.window and asked != walked:
        raise InvalidField("cursor", NOT_A_CURSOR)
    return walked or asked


def _not_a_period(board: Board, now: datetime) -> str:
    """Say which windows a board counts, each with the key that it has now: "day (2026-11-22)"."""
    named = []
    for window in board.counted_windows:
        key = Period.current(window, now).key
        named.append(window.value if key == window else f"{window.value} ({key})")
    counted = pgettext("between names", ", ").join(named)
    sentence = gettext("Not a period of this board that has begun. It counts: %(windows)s.")
    return sentence % {"windows": counted}


def _period_before(period: Period, group: Group) -> Period | None:
    """Return the period before, unless it ended before the group was first seen, or just then.

    By `seen_from` and not by `created_at`, which is that of the row: an imported group has a past.
    """
    before = period.previous
    return before if before and before.end and before.end > group.seen_from else None


@dataclass(frozen=True)
class _Table:
    """A group's whole ranking in one period, as others see it: nothing in it is a viewer's, or of
    this moment, so that it can be kept (`Recent`)."""

    board: Board
    period: Period
    rows: dict[int, _MemberRow]  # of all who are in the group, by the ids of members
    listed: list[_MemberRow]
    ranks: _Ranks
    ranks_before: _Ranks | None  # None where there is no period before
    names: list[str]
    last_entry_at: datetime | None
    written: dict[Any, dict[int, Any]] = field(default_factory=dict)
    standings: dict[int, Standing] = field(default_factory=dict)

    @classmethod
    def of(
        cls, group: Group, board: Board, period: Period, read: Iterable[tuple[Any, ...]]
    ) -> Self:
        """Make it of COLUMNS and SCORE_COLUMNS of those who are in the group."""
        rows = {row.id: row for row in map(_MemberRow._make, read)}
        shown = [row for row in rows.values() if not row.is_unlisted]
        keyed = sorted([(_sort_key(board, row), row) for row in shown])
        named = [(row.joined_at, row.id, name) for row in shown if (name := row.name)]
        return cls(
            board,
            period,
            rows,
            listed=[row for _key, row in keyed],
            ranks=_Ranks(board, [key for key, _row in keyed]),
            ranks_before=_Ranks(board, [_sort_key_before(board, row) for row in shown])
            if _period_before(period, group)
            else None,
            names=[name for _joined, _id, name in nsmallest(NAMES_IN_A_TITLE, named)],
            last_entry_at=max((row.entered_at for row in rows.values()), default=None),
        )

    def after(self, key: SortKey) -> int:
        """Return the place of the first who comes after this one."""
        return bisect_right(self.listed, key, key=partial(_sort_key, self.board))

    def standing(self, row: _MemberRow) -> Standing:
        """Return a member's standing as others see it."""
        found = self.standings.get(row.id)
        if found is None:
            found = self.standings[row.id] = Standing(
                member=row.member,
                rank=self.rank(row),
                movement=self.movement(row),
                score=row.score,
                score_text=None if row.score is None else self.board.score_text(row.score),
                achieved_at=row.achieved_at,
                is_me=False,
            )
        return found

    def rank(self, row: _MemberRow) -> int | None:
        return None if row.is_unlisted else self.ranks.rank(_sort_key(self.board, row))

    def movement(self, row: _MemberRow) -> Movement:
        rank = self.rank(row)
        if rank is None or self.ranks_before is None:
            return None
        before = self.ranks_before.rank(_sort_key_before(self.board, row))
        return "new" if before is None else before - rank

    def percentile(self, row: _MemberRow) -> int | None:
        if self.rank(row) is None:
            return None
        others = len(self.listed) - 1
        not_below = self.ranks.count_not_below(_sort_key(self.board, row)) - 1
        return 100 * (others - not_below) // others if others else 100


recent: Recent[_Table] = Recent(lambda table: len(table.rows))


def _view(
    group: Group, board: Board, period: Period, now: datetime, viewer: WeChatUser | None = None
) -> "_View":
    """Return a group's ranking as one viewer may see it, or as seen by no member in particular.

    For a member the table may be a recent one: see `Recent`. A team's server and operators always
    see what there is.
    """
    before = _period_before(period, group)

    def make() -> _Table:
        return _Table.of(group, board, period, read_rows(group, board, period, before, now))

    if viewer is None:
        return _View(make(), group, board, now)
    pk = viewer.pk

    def fits(table: _Table) -> bool:
        row = table.rows.get(pk)
        own = own_score(pk, group, board, period) if row else None
        return row is not None and (row.score, row.achieved_at) == (own or (None, None))

    counts = (board.order, board.rank_style, board.scope, board.decimals)
    key = (group.pk, board.pk, period, before, *counts)
    return _View(recent.get(key, group.version, now, fits, make), group, board, now, viewer)


@dataclass(frozen=True)
class _View:
    """A table as one viewer sees it now: with their own drafts, and with texts as they are now."""

    table: _Table
    group: Group
    board: Board
    now: datetime
    viewer: WeChatUser | None = None

    @cached_property
    def me(self) -> _MemberRow | None:
        return self.table.rows.get(self.viewer.pk) if self.viewer else None

    def ranking(self, first: int, last: int) -> Ranking:
        """Return the entries `first` up to, not including, `last`."""
        table, following = self.table, None
        page = table.listed[first:last]
        if page and last < len(table.listed):
            cursor = _Cursor(table.period.key, _sort_key(self.board, page[-1]))
            following = cursor.write(self.group, self.board)
        card = GroupCard.of(self.group, table.names, len(table.rows), table.last_entry_at)
        return Ranking(
            group=card,
            board=self.board,
            period=table.period,
            server_time=self.now,
            total=len(table.listed),
            percentile=table.percentile(self.me) if self.me else None,
            entries=[self.standing(row) for row in page],
            me=self.standing(self.me) if self.me else None,
            absent="hidden" if self.me and self.me.is_unlisted else None,
            next=following,
            written=table.written,
        )

    def standing(self, row: _MemberRow) -> Standing:
        standing = self.table.standing(row)
        return standing._replace(member=row.own, is_me=True) if row is self.me else standing
