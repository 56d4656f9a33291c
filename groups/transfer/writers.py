"""How the rows of an import are written: a piece of them at a time, by one writer for each kind.

A writer is called in a transaction, once for each piece, and takes its locks in the order of all
others: people by id, groups by id, then what is inserted. A row is known by what names it in the
file, never by an id of ours, so that a file that is imported twice changes nothing.

A dry run asks the same writers, which write nothing then, and remember what they would have made:
a score may be of someone who stands in a file before.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import Enum
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import QuerySet
from django.utils.translation import gettext

from accounts.errors import UserBlocked
from accounts.models import Consent, Erasure, Tombstone, WeChatUser
from accounts.services import UserRow, has_name, take_over
from core.database import update_rows
from groups.models import (
    ALL_GROUPS,
    Board,
    Group,
    Membership,
    Proof,
    Score,
    ScoreSource,
)
from groups.periods import CALENDAR, Period, day_of
from groups.services import WHICH_GROUP

from .rows import KINDS, Kind, Refused, Row, refused

MOMENT = timedelta(microseconds=1)  # the least between two times that are stored


class RowOutcome(Enum):
    """What became of a row that was taken."""

    MADE = "made"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    KEPT = "kept"  # it differs from what is there, which stays


Answer = RowOutcome | Refused
Named = TypeVar("Named")


@dataclass
class Import:
    """What holds for all files of an import: the mini-program, the options, and a dry run's memory.

    `as_of` takes the place of each file's own date. `conflicts` is `keep` or `replace`: what a
    score does where there is one already. With `reviewed` names show at once; else an operator has
    to look, as with those of `server/users`.
    """

    app_id: str
    as_of: datetime | None = None
    conflicts: str = "keep"
    reviewed: bool = False
    dry: bool = False
    people: dict[str, WeChatUser] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    boards: dict[str, Board] = field(default_factory=dict)
    places: set[tuple[Any, ...]] = field(default_factory=set)


class RowWriter:
    """Writes rows of one kind, as they stood on the date of their file, `as_of`."""

    kind: Kind

    def __init__(self, what: Import, as_of: datetime) -> None:
        self.what, self.as_of = what, as_of

    def write(self, rows: Sequence[Row]) -> list[Answer]:
        """Write a piece; return what became of each row, in their order."""
        raise NotImplementedError

    def check_past(self, row: Row, *names: str) -> None:
        """Raise Refused for a time that the file, being of its date, cannot know."""
        for name in names:
            if row[name] and row[name] > self.as_of:
                raise refused(name, gettext("Later than the date of the file (--as-of)."))

    def look_up_erasures(self, rows: Sequence[Row]) -> None:
        """Find who was erased, or withdrew a consent, on the day of the file or later.

        By the day: that of a file is often all that is known of its date.
        """
        day = datetime.combine(day_of(self.as_of), time.min, CALENDAR)
        openids = {row["openid"] for row in rows}
        self.erased = Erasure.objects.since(self.what.app_id, openids, day)

    def refusal_of(self, row: Row, *purposes: str) -> Refused | None:
        """Return why a row must not be written that would bring back what was erased since its file
        was: the person, or what they had agreed to for one of these purposes.
        """
        erased = self.erased.get(row["openid"], set())
        if "" in erased:
            sentence = gettext("This person was erased here on the day of the file, or later.")
            return refused("openid", sentence)
        if withdrawn := sorted(erased & set(purposes)):
            sentence = gettext(
                "This person withdrew the consent to this (%(purposes)s) on the day of the file, "
                "or later."
            )
            return Refused(sentence % {"purposes": ", ".join(withdrawn)})
        return None

    def people_of(self, rows: Sequence[Row]) -> dict[str, WeChatUser]:
        """Lock and return the people that the rows name, by openid."""
        openids = {row["openid"] for row in rows}
        named = self.named(openids)
        if self.what.dry:
            would = {
                openid: self.what.people[openid] for openid in openids & self.what.people.keys()
            }
            return would | {user.openid: user for user in named}
        locked = WeChatUser.objects.lock_all(named.values_list("pk", flat=True))
        return {user.openid: user for user in locked.values()}

    def named(self, openids: Collection[str]) -> QuerySet[WeChatUser]:
        return WeChatUser.objects.filter(app_id=self.what.app_id, openid__in=openids)

    def groups_of(self, rows: Iterable[Row]) -> dict[str, Group]:
        """Return the groups that the rows name, by openGId."""
        open_gids = {row["openGId"] for row in rows} - {None}
        found = Group.objects.filter(app_id=self.what.app_id, open_gid__in=open_gids)
        would = {each: self.what.groups[each] for each in open_gids & self.what.groups.keys()}
        return would | {group.open_gid: group for group in found}

    def would_make(self, *place: Any) -> RowOutcome:
        """Return what a dry run says of a row about something that is not there."""
        if place in self.what.places:
            return RowOutcome.UNCHANGED
        self.what.places.add(place)
        return RowOutcome.MADE

    def boards_of_app(self) -> dict[str, Board]:
        """Return the mini-program's boards by key, read for this piece."""
        found = Board.objects.of_apps([self.what.app_id])[self.what.app_id]
        return {board.key: board for board in found} | self.what.boards


def find(named: Mapping[str, Named], row: Row, column: str) -> Named:
    """Return what a row names. Raises Refused."""
    if (found := named.get(row[column])) is None:
        raise refused(column, absence(column))
    return found


def absence(column: str) -> str:
    return {
        "openid": gettext("No member has this openid. Import the people first."),
        "openGId": gettext("There is no group with this openGId. Import the groups first."),
        "board": gettext("The mini-program has no board with this key. Import the boards first."),
    }[column]


def answers_of(rows: Sequence[Row], read: Callable[[Row], RowOutcome]) -> list[Answer]:
    """Call `read` with each row; return what it returns or why it refuses."""
    answers: list[Answer] = []
    for row in rows:
        try:
            answers.append(read(row))
        except Refused as refusal:
            answers.append(refusal)
    return answers


class PeopleWriter(RowWriter):
    """Makes members, without a session and without a picture, or takes their names over."""

    kind = KINDS["people"]

    def write(self, rows: Sequence[Row]) -> list[Answer]:
        self.look_up_erasures(rows)
        openids = {row["openid"] for row in rows}
        known = {user.openid: user for user in self.named(openids)}
        kept = [row for row in rows if self.refusal(row) is None]
        self.new = {row["openid"] for row in kept} - known.keys() - self.what.people.keys()
        # Those who are known although erased have come back: a row may still say what is here.
        self.people = known | self.meet([self.newcomer(row) for row in kept])
        # Those who look or may look different, in the order of all locks.
        differing = [row for row in rows if row["openid"] in self.people and self.differs(row)]
        if differing and not self.what.dry:
            self.people |= self.people_of(differing)
        answers = answers_of(rows, self.take)
        if not self.what.dry:
            changed = [self.people[row["openid"]] for row in differing]
            unique = list({user.pk: user for user in changed}.values())
            WeChatUser.objects.announce([user.pk for user in unique if user.looks_new])
            update_rows(unique, ["unionid", *WeChatUser.columns_of("nickname")])
        return answers

    def refusal(self, row: Row) -> Refused | None:
        return self.refusal_of(row, *([Consent.Purpose.NICKNAME] if row["nickname"] else []))

    def newcomer(self, row: Row) -> WeChatUser:
        user = WeChatUser(app_id=self.what.app_id, openid=row["openid"])
        if row["blocked"]:
            user.status = WeChatUser.Status.BLOCKED
        take_over(user, self.person(row), reviewed=self.what.reviewed)
        return user

    def meet(self, people: Sequence[WeChatUser]) -> dict[str, WeChatUser]:
        """Return the members by openid, made where they were not there; a dry run makes none."""
        if not self.what.dry:
            # Within the piece's transaction, so that the piece is there or not. Where two imports
            # of the same people meet on MariaDB, one of them begins its piece again.
            return WeChatUser.objects.meet_all(people)
        tombstones = {}
        if self.new and Tombstone.objects.exists():
            tombstones = Tombstone.objects.of_all(self.what.app_id, sorted(self.new))
        for user in people:
            if user.openid in self.new and user.openid not in self.what.people:
                self.what.people[user.openid] = user.after(tombstones.get(user.openid))
        return self.people_of([{"openid": user.openid} for user in people])

    @staticmethod
    def person(row: Row) -> UserRow:
        return UserRow(row["openid"], row["unionid"], row["nickname"])

    def differs(self, row: Row) -> bool:
        """Tell whether a row says otherwise than what is here, of those who are blocked too."""
        user = self.people[row["openid"]]
        is_named = has_name(user, row["nickname"], reviewed=self.what.reviewed)
        return not is_named or row["unionid"] not in {"", user.unionid}

    def take(self, row: Row) -> RowOutcome:
        is_new_here = row["openid"] not in self.people or self.differs(row)
        if is_new_here and (refusal := self.refusal(row)):
            raise refusal
        user, is_new = find(self.people, row, "openid"), row["openid"] in self.new
        self.new.discard(row["openid"])
        if row["blocked"] and not user.is_blocked:
            raise Refused(gettext("This member is not blocked here: an operator blocks members."))
        if not self.differs(row):
            return RowOutcome.MADE if is_new else RowOutcome.UNCHANGED
        if user.is_blocked:
            raise Refused(str(UserBlocked().detail))
        take_over(user, self.person(row), reviewed=self.what.reviewed)
        return RowOutcome.CHANGED


class GroupsWriter(RowWriter):
    """Makes groups, seen from the date of the file; those there may be seen from earlier."""

    kind = KINDS["groups"]

    def write(self, rows: Sequence[Row]) -> list[Answer]:
        self.new: dict[str, Group] = {}
        self.changed: dict[str, Group] = {}
        self.groups = self.groups_of(rows)
        if not self.what.dry:
            self.lock()
        answers = answers_of(rows, self.take)
        if self.what.dry:
            self.what.groups |= self.new
            return answers
        # By openGId, so that two imports of the same groups cannot wait for each other.
        new = [self.new[open_gid] for open_gid in sorted(self.new)]
        Group.objects.bulk_create(new, ignore_conflicts=True)
        changed = self.changed.values()
        Group.objects.raise_versions([group.pk for group in changed])
        update_rows(changed, ["label", "seen_from"])
        return answers

    def lock(self) -> None:
        """Lock the groups that are there, as `raise_versions` does, so that no label is lost."""
        lock: dict[str, Any] = {}
        if connection.features.has_select_for_no_key_update:
            lock["no_key"] = True
        rows = Group.objects.select_for_update(**lock)
        pks = [group.pk for group in self.groups.values()]
        self.groups = {group.open_gid: group for group in rows.filter(pk__in=pks).order_by("pk")}

    def take(self, row: Row) -> RowOutcome:
        self.check_past(row, "seenFrom")
        open_gid, seen_from = row["openGId"], row["seenFrom"] or self.as_of
        group = self.groups.get(open_gid)
        if group is None:
            self.new[open_gid] = self.groups[open_gid] = Group(
                app_id=self.what.app_id,
                open_gid=open_gid,
                label=row["label"],
                hidden=row["hidden"],
                seen_from=seen_from,
            )
            return RowOutcome.MADE
        before = (group.label, group.seen_from)
        group.label = group.label or row["label"]
        group.seen_from = min(group.seen_from, seen_from)
        if (group.label, group.seen_from) != before:
            if open_gid not in self.new:
                self.changed[open_gid] = group
            return RowOutcome.CHANGED
        is_kept = row["label"] not in {"", group.label} or row["hidden"] != group.hidden
        return RowOutcome.KEPT if is_kept else RowOutcome.UNCHANGED


class BoardsWriter(RowWriter):
    """Makes boards. One that is there takes what the file says as long as it has no scores."""

    kind = KINDS["boards"]
    FIELDS = {
        "titleZh": "title_zh",
        "titleEn": "title_en",
        "unitZh": "unit_zh",
        "unitEn": "unit_en",
        "decimals": "decimals",
        "order": "order",
        "policy": "policy",
        "scope": "scope",
        "rankStyle": "rank_style",
        "windows": "windows",
        "defaultWindow": "default_window",
        "minValue": "min_value",
        "maxValue": "max_value",
        "writer": "writer",
        "activeFrom": "active_from",
        "activeTo": "active_to",
    }
    # What a score means: another cannot take its place.
    MEANING = ("decimals", "order", "policy", "scope", "rankStyle")

    def write(self, rows: Sequence[Row]) -> list[Answer]:
        self.boards = self.boards_of_app()
        return answers_of(rows, self.take)

    def take(self, row: Row) -> RowOutcome:
        values = {name: row[column] for column, name in self.FIELDS.items()}
        values["title_en"] = values["title_en"] or values["title_zh"]
        board = self.boards.get(row["key"])
        is_new = board is None
        if board is None:
            board = Board(app_id=self.what.app_id, key=row["key"])
        differing = [name for name, value in values.items() if getattr(board, name) != value]
        if not is_new and not differing and not self.becomes_default(row, board):
            return RowOutcome.UNCHANGED
        if board.has_scores:
            meant = [column for column in self.MEANING if self.FIELDS[column] in differing]
            if meant:
                sentence = gettext("A board with this key has scores and is otherwise.")
                raise refused(", ".join(meant), sentence)
            return RowOutcome.KEPT
        for name, value in values.items():
            setattr(board, name, value)
        self.save(board, row)
        return RowOutcome.MADE if is_new else RowOutcome.CHANGED

    def becomes_default(self, row: Row, board: Board) -> bool:
        """Tell whether a row makes a board the default one, which no other is yet."""
        taken = any(each.default_for == self.what.app_id for each in self.boards.values())
        return row["isDefault"] and not taken

    def save(self, board: Board, row: Row) -> None:
        if self.becomes_default(row, board):
            board.default_for = self.what.app_id
        try:
            board.full_clean()
        except ValidationError as error:
            columns = {name: column for column, name in self.FIELDS.items()}
            found = error.message_dict.items()
            reasons = [f"{columns.get(name, name)}: {' '.join(texts)}" for name, texts in found]
            raise Refused("; ".join(reasons)) from None
        self.boards[board.key] = board
        if self.what.dry:
            self.what.boards[board.key] = board
        else:
            board.save()


class MembershipsWriter(RowWriter):
    """Makes memberships that no one has proven to us: they count from the date of the file on.

    What is known here is newer: a proof is never made older, who left has left.
    """

    kind = KINDS["memberships"]

    def write(self, rows: Sequence[Row]) -> list[Answer]:
        self.look_up_erasures(rows)
        self.people, self.groups = self.people_of(rows), self.groups_of(rows)
        self.known = self.known_of()
        self.new: list[Membership] = []
        self.changed: dict[int, Membership] = {}
        answers = answers_of(rows, self.take)
        if not self.what.dry:
            written = [*self.new, *self.changed.values()]
            # Before the inserts, which refer to them.
            Group.objects.raise_versions({each.group_id for each in written})
            Membership.objects.bulk_create(self.new)
            columns = ["verified_at", "proof", "scene", "watermarked"]
            update_rows(self.changed.values(), columns)
        return answers

    def known_of(self) -> dict[tuple[str, str], Membership]:
        people = {user.pk: user for user in self.people.values() if user.pk}
        groups = {group.pk: group for group in self.groups.values() if group.pk}
        found = Membership.objects.filter(user__in=people, group__in=groups)
        return {
            (people[each.user_id].openid, groups[each.group_id].open_gid): each for each in found
        }

    def take(self, row: Row) -> RowOutcome:
        user, group = find(self.people, row, "openid"), find(self.groups, row, "openGId")
        self.check_past(row, "joinedAt", "verifiedAt", "leftAt")
        verified_at = row["verifiedAt"] or self.as_of
        joined_at = row["joinedAt"] or verified_at
        if joined_at > verified_at:
            raise Refused(gettext("joinedAt is later than verifiedAt."))
        place = (row["openid"], row["openGId"])
        known = self.known.get(place)
        named = [Consent.Purpose.NICKNAME] if row["alias"] else []
        if known is None and (refusal := self.refusal_of(row, Consent.Purpose.GROUPS, *named)):
            raise refusal
        if known is None and self.what.dry:
            return self.would_make("membership", *place)
        if known is None:
            made = Membership(
                user=user,
                group=group,
                joined_at=joined_at,
                left_at=row["leftAt"],
                hidden=row["hidden"],
                withheld=row["withheld"],
                **self.proven(verified_at),
            )
            if row["alias"]:
                self.name(made, row["alias"])
            self.known[place] = made
            self.new.append(made)
            return RowOutcome.MADE
        if known.left_at or row["leftAt"]:
            return RowOutcome.UNCHANGED if known.left_at == row["leftAt"] else RowOutcome.KEPT
        if known.verified_at < verified_at:
            for name, value in self.proven(verified_at).items():
                setattr(known, name, value)
            if known.pk:
                self.changed[known.pk] = known
            return RowOutcome.CHANGED
        theirs = (known.hidden, known.withheld, known.own_alias)
        is_kept = theirs != (row["hidden"], row["withheld"], row["alias"])
        return RowOutcome.KEPT if is_kept else RowOutcome.UNCHANGED

    @staticmethod
    def proven(at: datetime) -> dict[str, Any]:
        # There is no proof, so none that lacks WeChat's watermark, which alerts the operators.
        return {"verified_at": at, "proof": Proof.IMPORT, "scene": None, "watermarked": True}

    def name(self, membership: Membership, alias: str) -> None:
        if settings.CONTENT_SAFETY and not self.what.reviewed:
            membership.propose("alias", alias)
        else:
            membership.approve("alias", alias)


class ScoresWriter(RowWriter):
    """Sets scores of periods, past ones too: it is a correction, not a submission.

    So neither a board's policy nor its bounds count, and `active-days` is written too.
    """

    kind = KINDS["scores"]

    def write(self, rows: Sequence[Row]) -> list[Answer]:
        self.look_up_erasures(rows)
        self.people, self.groups = self.people_of(rows), self.groups_of(rows)
        self.boards = self.boards_of_app()
        self.known = self.known_of(rows)
        self.new: list[Score] = []
        self.changed: dict[int, Score] = {}
        answers = answers_of(rows, self.take)
        if not self.what.dry:
            written = [*self.new, *self.changed.values()]
            Group.objects.raise_versions(self.groups_showing(written))
            Score.objects.bulk_create(self.new)
            update_rows(self.changed.values(), ["value", "achieved_at", "source"])
        return answers

    def known_of(self, rows: Sequence[Row]) -> dict[tuple[Any, ...], Score]:
        boards = {self.boards[row["board"]].pk for row in rows if row["board"] in self.boards}
        scopes = {group.pk for group in self.groups.values() if group.pk} | {ALL_GROUPS}
        found = Score.objects.filter(
            board__in=boards - {None},
            user__in=[user.pk for user in self.people.values() if user.pk],
            scope__in=scopes,
            period__in={row["period"].key for row in rows},
        )
        return {(each.board_id, each.user_id, each.scope, each.period): each for each in found}

    @staticmethod
    def groups_showing(scores: Sequence[Score]) -> set[int]:
        """Return the groups whose rankings show these scores."""
        everywhere = {each.user_id for each in scores if each.scope == ALL_GROUPS}
        joined = Membership.objects.filter(user__in=everywhere, left_at=None)
        pks = set(joined.values_list("group_id", flat=True)) if everywhere else set()
        return pks | {each.scope for each in scores} - {ALL_GROUPS}

    def take(self, row: Row) -> RowOutcome:
        user, board = find(self.people, row, "openid"), find(self.boards, row, "board")
        is_named = row["openGId"] is not None
        if is_named != (board.scope == Board.Scope.GROUP):
            raise refused("openGId", WHICH_GROUP[Board.Scope(board.scope)])
        group = find(self.groups, row, "openGId") if is_named else None
        value, achieved_at = row["value"], self.achieved(row, board)
        scope = board.scope_in(group.pk if group else ALL_GROUPS)
        key = row["period"].key
        place = (board.pk, user.pk, scope, key)
        # In a dry run what is not there yet has no id.
        known = None if None in place else self.known.get(place)
        is_kept = known is not None and self.what.conflicts == "keep"
        if not is_kept and (refusal := self.refusal_of(row)):
            raise refusal
        if known is None and self.what.dry:
            return self.would_make("score", row["openid"], row["board"], row["openGId"], key)
        if known is None:
            score = Score(board=board, user=user, scope=scope, period=key)
            score.window = row["period"].window
            self.set(score, value, achieved_at)
            self.known[place] = score
            self.new.append(score)
            return RowOutcome.MADE
        # A time that the file does not give is not compared.
        is_same = known.achieved_at == achieved_at or row["achievedAt"] is None
        if known.value == value and is_same:
            return RowOutcome.UNCHANGED
        if is_kept:
            return RowOutcome.KEPT
        self.set(known, value, achieved_at)
        if known.pk:
            self.changed[known.pk] = known
        return RowOutcome.CHANGED

    @staticmethod
    def set(score: Score, value: int, achieved_at: datetime) -> None:
        score.value, score.achieved_at, score.source = value, achieved_at, ScoreSource.IMPORT

    def achieved(self, row: Row, board: Board) -> datetime:
        """Return when a score was achieved: at the latest before its period or the file ended."""
        period: Period = row["period"]
        if period.window not in board.counted_windows:
            sentence = gettext("This board counts: %(windows)s.")
            raise refused("period", sentence % {"windows": board.windows})
        self.check_past(row, "achievedAt")
        start, end = period.start, period.end
        at: datetime = row["achievedAt"] or min(self.as_of, end - MOMENT if end else self.as_of)
        if (start and at < start) or (end and at >= end):
            name = "achievedAt" if row["achievedAt"] else "period"
            raise refused(name, gettext("The score cannot be achieved within its period."))
        return at
