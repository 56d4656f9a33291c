"""A second ranking, in plain Python, written from the API's contract alone.

It imports nothing of the product. It keeps what happened in dictionaries and works each answer out
from the beginning, as slowly and plainly as it likes; tests/test_ranking_model.py compares.

A refusal is the set of reasons for which a call may be refused: where several things are wrong at
once, the contract does not say which of them is named. A reason is a code, and a field or "".
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

SHANGHAI = ZoneInfo("Asia/Shanghai")
WINDOWS = ("day", "week", "month", "all")
LARGEST = 2**53 - 1
KEYS_LIVE = timedelta(days=7)
SETTLED_AFTER = timedelta(seconds=60)
NO_ONE = 0  # in place of a group, for scores that hold in all of them

Reasons = frozenset[tuple[str, str]]
NOT_FOUND: Reasons = frozenset({("not_found", "")})
STATUS = {"invalid": 400, "permission_denied": 403, "user_blocked": 403, "not_found": 404}

# In Chinese and English.
NAMELESS = ("微信用户", "WeChat user")
TODAY = {
    "day": ("今日", "Today"),
    "week": ("本周", "This week"),
    "month": ("本月", "This month"),
}
YESTERDAY = {
    "day": ("昨日", "Yesterday"),
    "week": ("上周", "Last week"),
    "month": ("上月", "Last month"),
}
EVER = ("总榜", "All time")
MONTHS = "January February March April May June July August September October November December"
SHORT = "Jan. Feb. March April May June July Aug. Sept. Oct. Nov. Dec."


class RefusedError(Exception):
    """A call that the contract refuses, for one of these reasons."""

    def __init__(self, reasons: Iterable[tuple[str, str]]) -> None:
        super().__init__(sorted(reasons))
        self.reasons = frozenset(reasons)


def invalid(name: str) -> RefusedError:
    return RefusedError({("invalid", name)})


def stamp(moment: datetime) -> str:
    return moment.astimezone(SHANGHAI).isoformat(timespec="milliseconds")


def day_in_shanghai(moment: datetime) -> date:
    return moment.astimezone(SHANGHAI).date()


# The calendar


@dataclass(frozen=True)
class Span:
    """A day, week or month, by its first day; or all of time, without one."""

    window: str
    first: date = date.min

    @staticmethod
    def around(window: str, day: date) -> "Span":
        if window == "week":
            return Span("week", day - timedelta(days=day.weekday()))
        if window == "month":
            return Span("month", day.replace(day=1))
        return Span(window, day) if window == "day" else Span("all")

    @staticmethod
    def keyed(key: str) -> "Span":
        """Raises ValueError for what is no key."""
        if key == "all":
            return Span("all")
        if "W" in key:
            found = Span("week", date.fromisocalendar(int(key[:4]), int(key[6:]), 1))
        elif len(key) == 7:
            found = Span("month", date.fromisoformat(f"{key}-01"))
        else:
            found = Span("day", date.fromisoformat(key))
        if found.key != key:
            raise ValueError(key)
        return found

    @property
    def key(self) -> str:
        if self.window == "week":
            year, week, _weekday = self.first.isocalendar()
            return f"{year}-W{week:02}"
        return {"day": f"{self.first}", "month": f"{self.first:%Y-%m}", "all": "all"}[self.window]

    @property
    def before(self) -> "Span":
        return self.around(self.window, self.first - timedelta(days=1))

    @property
    def after(self) -> "Span":
        length = {"day": 1, "week": 7, "month": 31}[self.window]
        return self.around(self.window, self.first + timedelta(days=length))

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time(), SHANGHAI).astimezone(UTC)

    @property
    def end(self) -> datetime:
        return self.after.start

    def title(self, now: datetime) -> tuple[str, str]:
        if self.window == "all":
            return EVER
        current = self.around(self.window, day_in_shanghai(now))
        if self in {current, current.before}:
            return (TODAY if self == current else YESTERDAY)[self.window]
        first = self.first
        if self.window == "week":
            year, week, _weekday = first.isocalendar()
            return f"{year}年第{week}周", f"week {week} of {year}"
        if self.window == "month":
            name = MONTHS.split()[first.month - 1]
            return f"{first.year}年{first.month}月", f"{name} {first.year}"
        name = SHORT.split()[first.month - 1]
        return (
            f"{first.year}年{first.month}月{first.day}日",
            f"{name} {first.day}, {first.year}",
        )


# What is known


@dataclass
class BoardRules:
    """A board as an operator made it; texts in Chinese and English."""

    key: str
    order: str = "desc"
    policy: str = "sum"
    scope: str = "group"
    style: str = "competition"
    windows: tuple[str, ...] = WINDOWS
    default_window: str = "week"
    low: int | None = None
    high: int | None = None
    writer: str = "server"
    active_from: datetime | None = None
    active_to: datetime | None = None
    decimals: int = 0
    title: tuple[str, str] = ("活跃天数", "Active days")
    unit: tuple[str, str] = ("天", "days")

    @property
    def counts_days(self) -> bool:
        return self.key == "active-days"

    def write(self, value: int) -> str:
        """Write a score for people."""
        return f"{Decimal(value).scaleb(-self.decimals):,.{self.decimals}f}"

    def meets(self, old: int | None, value: int) -> int:
        if old is None or self.policy == "latest":
            return value
        if self.policy == "sum":
            return old + value
        return max(old, value) if self.order == "desc" else min(old, value)


@dataclass
class ShownText:
    """A name or face: what others see, and what its owner sees while that waits for review."""

    shown: str = ""
    draft: str = ""

    @property
    def own(self) -> str:
        return self.draft or self.shown

    def write(self, text: str, *, doubted: bool) -> None:
        if doubted:
            self.draft = text
        else:
            self.shown, self.draft = text, ""

    def settle(self, *, approved: bool) -> None:
        if self.draft and approved:
            self.shown = self.draft
        self.draft = ""

    def reset(self) -> None:
        self.shown = self.draft = ""


@dataclass
class Soul:
    """Someone with an account; `drawn` is the face of those who have none."""

    openid: str
    drawn: str
    name: ShownText = field(default_factory=ShownText)
    face: ShownText = field(default_factory=ShownText)
    blocked: bool = False


@dataclass
class Place:
    """Someone's membership in a group."""

    joined: datetime
    verified: datetime
    left: bool = False
    hidden: bool = False
    withheld: bool = False
    alias: ShownText = field(default_factory=ShownText)

    @property
    def unlisted(self) -> bool:
        return self.hidden or self.withheld


@dataclass
class Chat:
    """A group, since its first entry."""

    seen: datetime
    label: str = ""
    hidden: bool = False


@dataclass
class Mark:
    """A score in one period."""

    value: int
    at: datetime


@dataclass(frozen=True)
class Answered:
    """What was answered to an idempotency key."""

    body: tuple[Any, ...]
    answer: list[dict[str, Any]]
    at: datetime


@dataclass
class Oracle:
    """All that has happened in a mini-program, and what the contract makes of it at `now`."""

    now: datetime
    boards: dict[str, BoardRules]  # by key, in the order they were made
    default: str = "active-days"
    proof: timedelta = timedelta(days=30)
    souls: dict[int, Soul] = field(default_factory=dict)
    chats: dict[str, Chat] = field(default_factory=dict)
    places: dict[tuple[str, int], Place] = field(default_factory=dict)
    scores: dict[tuple[str, Any, int], dict[str, Mark]] = field(default_factory=dict)
    keys: dict[tuple[int, str, str], Answered] = field(default_factory=dict)

    # People

    def erase(self, who: int) -> None:
        del self.souls[who]
        for known in (self.places, self.scores, self.keys):
            for place in [place for place in known if who in place]:
                del known[place]  # type: ignore[attr-defined]

    def refuse_blocked(self, who: int) -> None:
        if self.souls[who].blocked:
            raise RefusedError({("user_blocked", "")})

    def server_names(self, who: int, name: str) -> None:
        """Take a name from the team's server: no one has checked it."""
        known = self.souls[who].name
        if name not in {"", known.own}:
            known.write(name, doubted=name != known.shown)

    # Groups

    def is_current(self, group: str, who: int) -> bool:
        place = self.places.get((group, who))
        return (
            place is not None
            and not place.left
            and place.verified >= self.now - self.proof
            and not self.souls[who].blocked
        )

    def sees(self, group: str, who: int) -> bool:
        return self.is_current(group, who) and not self.chats[group].hidden

    def members(self, group: str) -> list[int]:
        return [who for where, who in self.places if where == group and self.is_current(group, who)]

    def enter(self, who: int, group: str) -> bool:
        """Return whether it is the first time, or the first after leaving."""
        self.refuse_blocked(who)
        chat = self.chats.setdefault(group, Chat(self.now))
        if chat.hidden:
            raise RefusedError(NOT_FOUND)
        place = self.places.get((group, who))
        first_today = place is None or (day_in_shanghai(place.verified) < day_in_shanghai(self.now))
        created = place is None or place.left
        if place is None:
            place = self.places[group, who] = Place(self.now, self.now)
        if place.left:
            place.left, place.joined = False, self.now
        place.verified = max(place.verified, self.now)
        if first_today:
            self.put(who, self.boards["active-days"], group, 1)
        return created

    def place(self, who: int, group: str) -> Place:
        """Return a membership that its owner may use."""
        self.refuse_blocked(who)
        if not self.sees(group, who):
            raise RefusedError(NOT_FOUND)
        return self.places[group, who]

    def leave(self, who: int, group: str) -> None:
        self.place(who, group).left = True

    # Scores

    def put(self, who: int, board: BoardRules, scope: Any, value: int) -> list[dict[str, Any]]:
        """Let a value meet the scores of all current periods. Raises RefusedError for a sum."""
        marks = self.scores.setdefault((board.key, scope, who), {})
        # A clock that was set back does not reach into a period that has ended.
        now = max([self.now, *(mark.at for mark in marks.values())])
        answer, written = [], {}
        for window in board.windows:
            key = Span.around(window, day_in_shanghai(now)).key
            old = marks[key].value if key in marks else None
            new = board.meets(old, value)
            if abs(new) > LARGEST:
                raise invalid("value")
            if new != old:
                written[key] = Mark(new, now)
            answer.append({"key": key, "value": new, "changed": new != old})
        marks |= written
        return answer

    def submit(
        self, source: str, who: int, key: str, value: int, group: str | None, name: str | None
    ) -> list[dict[str, Any]]:
        """Return what is answered to a score of `who`, sent under the idempotency key `name`."""
        board = self.boards.get(key)
        reasons = set()
        if source == "client":
            self.refuse_blocked(who)
        if self.souls[who].blocked:
            reasons.add(("user_blocked", ""))
        if group is not None and not self.sees(group, who):
            reasons.add(("not_found", "openGId"))
        if board is None:
            raise RefusedError(reasons | {("not_found", "board")})
        if board.counts_days or (source == "client" and board.writer == "server"):
            reasons.add(("permission_denied", ""))
        if (group is None) == (board.scope == "group"):
            reasons.add(("invalid", "openGId"))
        if reasons:
            raise RefusedError(reasons)
        known = self.keys.get((who, source, name or ""))
        body = (key, value, group)
        if known and known.at > self.now - KEYS_LIVE:
            if known.body == body:
                return known.answer
            reasons.add(("invalid", "idempotencyKey"))
        begun = board.active_from is None or board.active_from <= self.now
        if not begun or (board.active_to is not None and board.active_to <= self.now):
            reasons.add(("invalid", "board"))
        if board.low is not None and value < board.low:
            reasons.add(("invalid", "value"))
        if board.high is not None and value > board.high:
            reasons.add(("invalid", "value"))
        if reasons:
            raise RefusedError(reasons)
        answer = self.put(who, board, group or NO_ONE, value)
        if name:
            self.keys[who, source, name] = Answered(body, answer, self.now)
        return answer

    def marks_of(self, who: int, board: BoardRules, group: str) -> dict[str, Mark]:
        scope = group if board.scope == "group" else NO_ONE
        return self.scores.get((board.key, scope, who), {})

    # Rankings

    def chosen(self, key: str | None) -> BoardRules:
        if (key or self.default) not in self.boards:
            raise RefusedError(NOT_FOUND)
        return self.boards[key or self.default]

    def period(self, board: BoardRules, text: str | None, *, begun: bool = True) -> Span:
        text = text or board.default_window
        try:
            today = day_in_shanghai(self.now)
            span = Span.around(text, today) if text in WINDOWS else Span.keyed(text)
        except ValueError:
            raise invalid("period") from None
        if span.window not in board.windows:
            raise invalid("period")
        if begun and span.window != "all" and span.start > self.now:
            raise invalid("period")
        return span

    def previous(self, group: str, span: Span) -> Span | None:
        if span.window == "all" or span.before.end <= self.chats[group].seen:
            return None
        return span.before

    def listed(self, group: str, board: BoardRules, span: Span) -> list[tuple[Any, ...]]:
        """Return a sort key for each listed member, the best first; it ends with their id."""
        rows: list[tuple[Any, ...]] = []
        for who in self.members(group):
            place = self.places[group, who]
            if place.unlisted:
                continue
            mark = self.marks_of(who, board, group).get(span.key)
            if mark is None:
                rows.append((1, 0, place.joined, place.joined, who))
            else:
                worth = mark.value if board.order == "asc" else -mark.value
                rows.append((0, worth, mark.at, place.joined, who))
        return sorted(rows)

    def ranks(self, group: str, board: BoardRules, span: Span) -> dict[int, int | None]:
        """Return the rank of each listed member, in their order."""
        rows = self.listed(group, board, span)
        worths = [worth for scoreless, worth, *_rest in rows if not scoreless]
        found: dict[int, int | None] = {}
        for number, (scoreless, worth, *_rest, who) in enumerate(rows, 1):
            found[who] = {
                "competition": 1 + sum(each < worth for each in worths),
                "dense": 1 + len({each for each in worths if each < worth}),
                "ordinal": number,
            }[board.style]
            if scoreless:
                found[who] = None
        return found

    def ranking(
        self, group: str, board: BoardRules, span: Span, viewer: int | None, language: int
    ) -> dict[str, Any]:
        """Return the answer of `ranking` with everyone on one page."""
        ranks = self.ranks(group, board, span)
        earlier = self.previous(group, span)
        before = self.ranks(group, board, earlier) if earlier else None

        def movement(who: int) -> Any:
            if ranks.get(who) is None or before is None:
                return None
            was, rank = before.get(who), ranks[who]
            return "new" if was is None or rank is None else was - rank

        def entry(who: int) -> dict[str, Any]:
            mark = self.marks_of(who, board, group).get(span.key)
            return {
                "rank": ranks.get(who),
                "movement": movement(who),
                "member": self.member(group, who, viewer, language),
                "score": mark.value if mark else None,
                "scoreText": board.write(mark.value) if mark else None,
                "achievedAt": stamp(mark.at) if mark else None,
                "isMe": who == viewer,
            }

        mine = viewer is not None and self.is_current(group, viewer)
        unlisted = mine and self.places[group, viewer].unlisted  # type: ignore[index]
        return {
            "group": self.head(group, language),
            "board": self.board_head(board, language),
            "period": self.period_json(group, span, language),
            "serverTime": stamp(self.now),
            "total": len(ranks),
            "percentile": self.percentile(ranks, viewer),
            "entries": [entry(who) for who in ranks],
            "me": entry(viewer) if mine and viewer is not None else None,
            "absent": "hidden" if unlisted else None,
            "next": None,
        }

    @staticmethod
    def percentile(ranks: dict[int, int | None], viewer: int | None) -> int | None:
        rank = ranks.get(viewer) if viewer is not None else None
        if rank is None:
            return None
        others = [other for who, other in ranks.items() if who != viewer]
        below = [other for other in others if other is None or other > rank]
        return 100 * len(below) // len(others) if others else 100

    def member(self, group: str, who: int, viewer: int | None, language: int) -> dict[str, Any]:
        soul, alias = self.souls[who], self.places[group, who].alias
        seen = (lambda text: text.own) if who == viewer else (lambda text: text.shown)
        return {
            "id": str(who),
            "nickname": seen(alias) or seen(soul.name) or NAMELESS[language],
            "avatar": seen(soul.face) or soul.drawn,
        }

    def head(self, group: str, language: int) -> dict[str, Any]:
        members = self.members(group)
        return {
            "openGId": group,
            "title": self.chats[group].label or self.title(group, members, language),
            "memberCount": len(members),
        }

    def title(self, group: str, members: list[int], language: int) -> str:
        named = []
        for who in members:
            place = self.places[group, who]
            name = place.alias.shown or self.souls[who].name.shown
            if name and not place.unlisted:
                named.append((place.joined, who, name))
        names = [name for _joined, _who, name in sorted(named)[:2]]
        some = ("、", ", ")[language].join(names)
        if not names:
            return (f"{len(members)} 人的群", f"Group of {len(members)}")[language]
        if len(members) == len(names):
            return some
        return (f"{some}等 {len(members)} 人", f"{some} and others ({len(members)})")[language]

    def board_head(self, board: BoardRules, language: int) -> dict[str, Any]:
        return {
            "key": board.key,
            "title": board.title[language],
            "order": board.order,
            "unit": board.unit[language],
            "decimals": board.decimals,
            "scope": board.scope,
        }

    def board_json(self, board: BoardRules, language: int) -> dict[str, Any]:
        return self.board_head(board, language) | {
            "policy": board.policy,
            "rankStyle": board.style,
            "windows": [window for window in WINDOWS if window in board.windows],
            "defaultWindow": board.default_window,
            "writer": board.writer,
        }

    def period_json(self, group: str, span: Span, language: int) -> dict[str, Any]:
        previous, is_all = self.previous(group, span), span.window == "all"
        is_over = not is_all and span.end <= self.now
        return {
            "key": span.key,
            "window": span.window,
            "title": span.title(self.now)[language],
            "start": None if is_all else stamp(span.start),
            "end": None if is_all else stamp(span.end),
            "previous": previous.key if previous else None,
            "next": span.after.key if is_over else None,
        }

    def membership(self, group: str, who: int) -> dict[str, Any]:
        place = self.places[group, who]
        return {
            "joinedAt": stamp(place.joined),
            "verifiedAt": stamp(place.verified),
            "hidden": place.unlisted,
            "alias": place.alias.own,
        }

    def groups_of(self, who: int, language: int) -> list[dict[str, Any]]:
        """Return the groups of a member, the latest visit first."""
        mine = [group for group, whose in self.places if whose == who and self.sees(group, who)]
        mine.sort(key=lambda group: self.places[group, who].verified, reverse=True)
        return [
            self.head(group, language) | {"membership": self.membership(group, who)}
            for group in mine
        ]

    def settled_period(self, board: BoardRules, text: str) -> Span:
        """Return a period whose winners are known. Raises RefusedError."""
        span = self.period(board, text, begun=False)
        if span.window == "all" or span.end + SETTLED_AFTER > self.now:
            raise invalid("period")
        return span

    def winners(
        self, group: str, board: BoardRules, span: Span, places: int, language: int
    ) -> dict[str, Any]:
        whole = self.ranking(group, board, span, None, language)
        winners = []
        for entry in whole["entries"]:
            if entry["rank"] is not None and entry["rank"] <= places:
                openid = self.souls[int(entry["member"]["id"])].openid
                names = ("rank", "score", "scoreText", "achievedAt")
                winner = {name: entry[name] for name in names}
                winners.append(winner | {"member": entry["member"] | {"openid": openid}})
        heads = ("group", "board", "period", "serverTime", "total")
        return {name: whole[name] for name in heads} | {"winners": winners}
