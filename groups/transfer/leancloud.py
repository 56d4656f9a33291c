"""What a team takes along from LeanCloud, read as people and scores.

A folder with what its console and its REST API hand out:

- `_User.jsonl`: the class `_User`, as JSON lines or one array. A person is known here by
  `authData.lc_weapp.openid`.
- `steps.archives.json`: the answer of `GET leaderboard/leaderboards/steps/archives`, which says of
  when each archive is; and each archive under its `file_key`.
- `steps.2026-W47.csv`: an archive that no answer tells of; its name says board and period.

The answers are as LeanCloud documents them. The columns of an archive are documented nowhere: those
that were seen are `rank` (from 0), `user.objectId` and `statisticValue`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext

from groups.models import Board
from groups.periods import Period, UnreadablePeriod, day_of

from .rows import (
    KINDS,
    Cells,
    Line,
    Refused,
    Source,
    UnreadableFile,
    digest_of_file,
    lines_of,
    refused,
)

USERS = "_User"
ARCHIVES = ".archives.json"
# Spellings of a column, the likeliest first.
MEMBER = ("user.objectId", "objectId", "userId", "user")
VALUE = ("statisticValue", "value", "score")
RANDOM_NAME = 25  # characters of the `username` that LeanCloud makes for who logs in with WeChat
SLACK = timedelta(minutes=10)  # after midnight, by which an archive may be late


def sources(folder: Path, app_id: str) -> list[Source]:
    """Return what is in a folder, people first. Raises UnreadableFile."""
    users = sorted(path for path in folder.iterdir() if path.name.split(".")[0] == USERS)
    users = [path for path in users if ".refused" not in path.name]
    if not users:
        sentence = gettext("There is no %(name)s in the folder: export the class _User first.")
        raise UnreadableFile(sentence % {"name": f"{USERS}.jsonl"})
    openids: dict[str, str] = {}
    people = []
    for path in users:
        lines = lines_of(path)
        openids |= dict(_pairs(lines()))
        people.append(_source(path, "people", "leancloud", _converted(lines, _person)))
    known = ",".join(source.digest for source in people)
    boards = {board.key: board for board in Board.objects.of_app(app_id)}
    return [*people, *(_scores(each, boards, openids, known) for each in _archives(folder, boards))]


def _source(path: Path, kind: str, reading: str, lines: Callable[[], Iterator[Line]]) -> Source:
    total = sum(1 for _line in lines())
    return Source(path, KINDS[kind], digest_of_file(path), total, lines, reading)


def _converted(
    lines: Callable[[], Iterator[Line]], convert: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[[], Iterator[Line]]:
    def read(cells: Cells) -> Cells:
        try:
            return cells if isinstance(cells, Refused) else convert(cells)
        except Refused as refusal:
            return refusal

    return lambda: ((line, read(cells)) for line, cells in lines())


# People


def _weapp(user: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what LeanCloud knows from WeChat about a mini-program's user."""
    auth: Any = user.get("authData") or {}
    found = auth.get("lc_weapp") if isinstance(auth, dict) else None
    return found if isinstance(found, dict) else {}


def _pairs(lines: Iterator[Line]) -> Iterator[tuple[str, str]]:
    for _line, user in lines:
        if not isinstance(user, Refused) and (openid := _weapp(user).get("openid")):
            yield str(user.get("objectId")), openid


def _person(user: dict[str, Any]) -> dict[str, Any]:
    known = _weapp(user)
    if not known.get("openid"):
        sentence = gettext("No authData.lc_weapp.openid: never logged in with this mini-program.")
        raise Refused(sentence)
    username = str(user.get("username") or "")
    chosen = username if not (len(username) == RANDOM_NAME and username.isalnum()) else ""
    name = user.get("nickname") or user.get("nickName") or chosen
    return {"openid": known["openid"], "unionid": known.get("unionid"), "nickname": name}


# Scores


@dataclass(frozen=True)
class Archive:
    """A file of scores: of which board, and of which period."""

    path: Path
    board: Board
    period: Period


def _archives(folder: Path, boards: Mapping[str, Board]) -> list[Archive]:
    found: dict[Path, Archive] = {}
    for answer in sorted(folder.glob(f"*{ARCHIVES}")):
        for each in _results(answer):
            archive = _listed(folder, each, boards)
            if archive:
                found[archive.path] = archive
    for path in sorted(folder.glob("*.csv")):
        if path not in found and ".refused" not in path.name:
            found[path] = _named(path, boards)
    return list(found.values())


def _results(path: Path) -> list[dict[str, Any]]:
    try:
        results: list[dict[str, Any]] = json.loads(path.read_text())["results"]
    except (ValueError, KeyError, TypeError):
        sentence = gettext("%(name)s is not the answer of LeanCloud's archives.")
        raise UnreadableFile(sentence % {"name": path.name}) from None
    return results


def _listed(folder: Path, listed: dict[str, Any], boards: Mapping[str, Board]) -> Archive | None:
    """Return an archive that LeanCloud's answer names, if it was downloaded.

    It is of the shortest period that the board counts and that holds all of its time.
    """
    names = [listed.get("file_key"), str(listed.get("url") or "").rpartition("/")[2]]
    paths = [folder / name for name in names if name and (folder / name).is_file()]
    if listed.get("status") != "completed" or not paths:
        return None
    try:
        first, last = (
            datetime.fromisoformat(listed[name]["iso"]) for name in ("activatedAt", "deactivatedAt")
        )
    except (KeyError, TypeError, ValueError):
        sentence = gettext("%(name)s: LeanCloud does not tell when this archive began and ended.")
        raise UnreadableFile(sentence % {"name": paths[0].name}) from None
    board = _board(str(listed.get("statisticName")), boards)
    days = (day_of(first), day_of(max(first, last - SLACK)))
    for window in board.counted_windows:
        holding = {Period.holding(window, day) for day in days}
        if len(holding) == 1:
            return Archive(paths[0], board, holding.pop())
    sentence = gettext("%(name)s: the board counts no period that holds all of this archive.")
    raise UnreadableFile(sentence % {"name": paths[0].name})


def _named(path: Path, boards: Mapping[str, Board]) -> Archive:
    """Return the archive whose name tells its board and period."""
    key, _dot, text = path.stem.rpartition(".")
    try:
        period = Period.named(text, timezone.now())
    except UnreadablePeriod:
        sentence = gettext("%(name)s: name it BOARD.PERIOD.csv, such as steps.2026-W47.csv.")
        raise UnreadableFile(sentence % {"name": path.name}) from None
    return Archive(path, _board(key, boards), period)


def _board(key: str, boards: Mapping[str, Board]) -> Board:
    if key not in boards:
        sentence = gettext("The mini-program has no board %(key)s. Make it before the import.")
        raise UnreadableFile(sentence % {"key": key})
    return boards[key]


def _scores(
    archive: Archive, boards: Mapping[str, Board], openids: Mapping[str, str], known: str
) -> Source:
    """Return an archive as a source; `known` are the digests of those who tell the openids."""
    board, period = archive.board, archive.period.key
    lines = lines_of(archive.path)
    first = next(lines(), None)
    names = () if first is None or isinstance(first[1], Refused) else tuple(first[1])
    member = next((name for name in MEMBER if name in names), None)
    value = next((name for name in VALUE if name in names), None)
    if first is not None and not (member and value):
        sentence = gettext("%(name)s: name its columns rank, user.objectId and statisticValue.")
        raise UnreadableFile(sentence % {"name": archive.path.name})

    def converted() -> Iterator[Line]:
        check = _RankCheck(board)

        def score(cells: dict[str, Any]) -> dict[str, Any]:
            number = _number(cells[value or ""])
            check(cells.get("rank"), number)
            openid = openids.get(cells[member or ""])
            if openid is None:
                raise Refused(gettext("No one in _User with an openid has this objectId."))
            return {
                "openid": openid,
                "board": board.key,
                "value": _whole(number, board.decimals),
                "period": period,
            }

        return _converted(lines, score)()

    reading = f"leancloud {board.key} {period} {board.decimals} {board.order} {known}"
    return _source(archive.path, "scores", reading, converted)


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise refused("statisticValue", gettext("Not a number."))
    return number


def _whole(number: Decimal, decimals: int) -> int:
    """Return a number as the whole one that a board with so many decimals stores."""
    scaled = number.scaleb(decimals)
    if scaled != scaled.to_integral_value():
        sentence = gettext("More decimals than the board has (%(decimals)d).")
        raise refused("statisticValue", sentence % {"decimals": decimals})
    return int(scaled)


class _RankCheck:
    """Compares the rank of each row, which is not taken over, with the row before.

    A board that sorts the other way would turn every ranking upside down.
    """

    def __init__(self, board: Board) -> None:
        self.sign = 1 if board.order == Board.Order.DESC else -1
        self.before: tuple[int, Decimal] | None = None

    def __call__(self, rank: str | None, number: Decimal) -> None:
        if not rank:
            return
        if not rank.isascii() or not rank.isdigit():
            raise refused("rank", gettext("Not a whole number from 0 on."))
        place, before = (int(rank), self.sign * number), self.before
        self.before = place
        if before and (place[0] - before[0]) * (place[1] - before[1]) > 0:
            sentence = gettext("Contradicts the row before: does the board sort the other way?")
            raise refused("rank", sentence)
