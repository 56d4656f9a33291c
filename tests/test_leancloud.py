"""`manage.py import leancloud`: users and leaderboards as LeanCloud hands them out."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from accounts.models import WeChatUser
from groups.models import Board, Score
from tests.cast import everything_stored
from tests.transfers import refusals, shanghai, table, take

DANA, ERIN, RANDOM = "5f51c1287628f2468aa696e6", "5f51c1287628f2468aa696e7", "5f51c128762"
HEAD = "rank,user.objectId,statisticValue"


def user(object_id: str, openid: str | None, **more: Any) -> dict[str, Any]:
    known = {"lc_weapp": {"openid": openid, "session_key": "x", "unionid": f"u-{openid}"}}
    return {
        "objectId": object_id,
        "username": "zw1stza3fy701rvgxqwiikex7",
        "authData": known if openid else None,
        "createdAt": "2020-09-04T04:23:04.795Z",
        **more,
    }


USERS = [
    user(DANA, "openid-of-dana", nickname="大拿"),
    user(ERIN, "openid-of-erin"),
    user(RANDOM, "openid-of-kate", username="kate"),
]


@pytest.fixture
def folder(db: None, tmp_path: Path, settings: Any) -> Path:
    settings.CONTENT_SAFETY = False
    folder = tmp_path / "leancloud"
    folder.mkdir()
    table(folder / "_User.jsonl", *USERS)
    return folder


def archive(folder: Path, name: str, *lines: str, head: str = HEAD) -> Path:
    path = folder / name
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def answer(folder: Path, board: str, *results: dict[str, Any]) -> None:
    (folder / f"{board}.archives.json").write_text(json.dumps({"results": results}))


def version(key: str, first: str, last: str, **more: Any) -> dict[str, Any]:
    return {
        "statisticName": "steps",
        "version": 9,
        "status": "completed",
        "url": f"https://lc-files.example.com/{key}",
        "file_key": key,
        "activatedAt": {"__type": "Date", "iso": first},
        "deactivatedAt": {"__type": "Date", "iso": last},
        **more,
    }


def take_folder(folder: Path, **options: Any) -> Any:
    return take("leancloud", folder, **options)


@pytest.mark.parametrize("array", [False, True])
def test_users_become_people_by_their_openid(folder: Path, array: bool) -> None:
    stranger = user("x", None, email="x@example.com")
    path = table(folder / "_User.jsonl", *USERS, stranger)
    if array:
        path.unlink()
        path = folder / "_User.json"
        path.write_text(json.dumps([*USERS, stranger], indent=1))
    assert take_folder(folder).of(path) == {"made": 3, "refused": 1}
    people = WeChatUser.objects.order_by("openid").values_list("openid", "unionid", "nickname")
    assert list(people) == [
        ("openid-of-dana", "u-openid-of-dana", "大拿"),
        ("openid-of-erin", "u-openid-of-erin", ""),  # a name that LeanCloud made is none
        ("openid-of-kate", "u-openid-of-kate", "kate"),
    ]
    beside = path.with_name(f"{path.name}.refused.jsonl")
    [refused] = map(json.loads, beside.read_text().splitlines())
    assert refused["line"] == 4 and "authData.lc_weapp.openid" in refused["reason"]


def test_archives_are_of_the_period_that_leancloud_tells(folder: Path, make_board: Any) -> None:
    make_board(decimals=2)
    monday = "2026-11-15T16:00:02.000Z"
    answer(
        folder,
        "steps",
        version("week.csv", monday, "2026-11-22T16:00:01.000Z"),
        version("day.csv", monday, "2026-11-16T16:00:01.000Z"),
        version("month.csv", "2026-10-31T16:00:00.000Z", "2026-11-30T16:00:00.000Z"),
        version("ever.csv", "2018-05-28T06:11:49.572Z", "2026-11-28T06:11:49.951Z"),
        version("not-yet.csv", monday, monday, status="inProgress"),
        version("not-here.csv", monday, monday),
    )
    for name in ("week", "day", "month", "ever"):
        path = archive(folder, f"{name}.csv", f"0,{DANA},12.5", f"1,{ERIN},-3", f"1,{RANDOM},-3.0")
    assert take_folder(folder).of(path) == {"made": 3}
    assert Score.objects.count() == 12
    scores = Score.objects.filter(user__openid="openid-of-dana").values_list("period", "value")
    assert dict(scores) == {"2026-W47": 1250, "2026-11-16": 1250, "2026-11": 1250, "all": 1250}
    week = Score.objects.filter(period="2026-W47").order_by("-value")
    assert [each.value for each in week] == [1250, -300, -300]
    assert week[0].achieved_at < shanghai(2026, 11, 23)


def test_an_archive_may_say_board_and_period_by_its_name(folder: Path, make_board: Any) -> None:
    make_board()
    path = archive(folder, "steps.2026-W47.csv", f"0,{DANA},91.0")
    assert take_folder(folder, dry_run=True).of(path) == {"made": 1}
    assert take_folder(folder).of(path) == {"made": 1}
    assert take_folder(folder).of(path) == {"unchanged": 1}
    assert Score.objects.get().period == "2026-W47"
    steps = Board.objects.get(key="steps")
    Board.objects.filter(pk=steps.pk).update(decimals=1)
    assert take_folder(folder).of(path) == {"kept": 1}


def test_what_does_not_fit_is_refused(folder: Path, make_board: Any) -> None:
    make_board(decimals=1)
    path = archive(
        folder,
        "steps.all.csv",
        f"0,{DANA},9.5",
        f"1,{ERIN},9.25",
        "2,who,9",
        f"3,{RANDOM},many",
        f"four,{RANDOM},8",
        f"4,{ERIN},8.5",
        f"5,{RANDOM},8.9",
    )
    assert take_folder(folder).of(path) == {"made": 2, "refused": 5}
    found = refusals(path)
    for line, words in {
        3: "More decimals than the board has (1)",
        4: "No one in _User",
        5: "Not a number",
        6: "rank: Not a whole number",
        8: "rank: Contradicts the row before",
    }.items():
        assert words in found[line]


def test_a_board_that_sorts_the_other_way_is_found_out(folder: Path, make_board: Any) -> None:
    make_board(order="asc")
    path = archive(folder, "steps.all.csv", f"0,{DANA},9", f"1,{ERIN},8")
    assert take_folder(folder).of(path) == {"made": 1, "refused": 1}
    assert "sort the other way" in refusals(path)[3]


FAULTS = {
    "no users": ("people.csv", "", "There is no _User.jsonl"),
    "no board": ("chess.all.csv", HEAD, "no board chess. Make it"),
    "no period": ("steps.csv", HEAD, "name it BOARD.PERIOD.csv"),
    "columns": ("steps.all.csv", "who,what\na,b", "name its columns rank"),
    "another answer": ("steps.archives.json", "[]", "is not the answer"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_folder_that_cannot_be_read_is_said_before_anything_is_written(
    folder: Path, make_board: Any, name: str
) -> None:
    make_board()
    file, text, sentence = FAULTS[name]
    (folder / file).write_text(text)
    if name == "no users":
        (folder / "_User.jsonl").unlink()
    before = everything_stored()
    with pytest.raises(CommandError, match=sentence):
        take_folder(folder)
    assert everything_stored() == before


def test_an_archive_that_fits_no_period_is_said(folder: Path, make_board: Any) -> None:
    make_board(windows="day,week")
    archive(folder, "a.csv", f"0,{DANA},9")
    answer(folder, "steps", version("a.csv", "2026-11-01T00:00:00Z", "2026-11-20T00:00:00Z"))
    with pytest.raises(CommandError, match="counts no period that holds all"):
        take_folder(folder)
    answer(folder, "steps", version("a.csv", "2026-11-01T00:00:00Z", "", deactivatedAt=None))
    with pytest.raises(CommandError, match="does not tell when"):
        take_folder(folder)
