"""`manage.py import`: what a file makes of the site, and what it cannot."""

import re
import signal
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import override

from accounts.models import Tombstone, TombstoneKey, WeChatUser
from accounts.privacy import erase
from accounts.review import State
from audit.models import AuditEvent
from core.progress import ProgressBar
from groups.models import Board, Group, Membership, Proof, Score, ScoreSource, Transfer
from groups.transfer import pieces
from groups.transfer.writers import GroupsWriter, PeopleWriter
from tests.cast import FAMILY, Person, everything_stored
from tests.servers import scratch_database, wait_for
from tests.settings import APP_ID, OTHER_APP_ID
from tests.transfers import Answer, manage, refusals, said, shanghai, table, take

DANA, ERIN = "dana-0000000000000000000000001", "erin-0000000000000000000000002"
CHESS = "chess-000000000000000000000001"
LONG_AGO = shanghai(2026, 1, 31, 12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def dana(db: None) -> WeChatUser:
    return WeChatUser.objects.create(app_id=APP_ID, openid=DANA, nickname="大拿")


@pytest.fixture
def chess(db: None) -> Group:
    return Group.objects.create(app_id=APP_ID, open_gid=CHESS)


def ago(**units: float) -> str:
    return (timezone.now() - timedelta(**units)).isoformat()


def erase_yesterday(user: WeChatUser) -> None:
    with time_machine.travel(timezone.now() - timedelta(days=1)):
        erase(user)


def scores_of(user: WeChatUser) -> dict[str, int]:
    return dict(user.scores.values_list("period", "value"))


# People


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_people_are_made_once(db: None, folder: Path, suffix: str, settings: Any) -> None:
    settings.CONTENT_SAFETY = False
    people = table(
        folder / f"people{suffix}",
        {"openid": DANA, "unionid": "u1", "nickname": " 大​拿 "},
        {"openid": ERIN, "unionid": "", "nickname": ""},
    )
    assert take(people).of(people) == {"made": 2}
    assert take(people).of(people) == {"unchanged": 2}
    dana = WeChatUser.objects.get(openid=DANA)
    assert (dana.app_id, dana.unionid, dana.nickname) == (APP_ID, "u1", "大拿")
    assert not dana.tokens.exists() and not dana.avatar
    assert WeChatUser.objects.count() == 2


def test_an_imported_name_waits_for_an_operator_unless_it_has_been_reviewed(
    db: None, folder: Path
) -> None:
    people = table(folder / "people.csv", {"openid": DANA, "nickname": "大拿"})
    take(people)
    dana = WeChatUser.objects.get(openid=DANA)
    assert (dana.nickname, dana.nickname_draft) == ("", "大拿")
    assert dana.nickname_state == State.PENDING and dana.review_since
    assert take(people).of(people) == {"unchanged": 1}
    assert take(people, names_reviewed=True).of(people) == {"changed": 1}
    assert take(people, names_reviewed=True).of(people) == {"unchanged": 1}
    assert WeChatUser.objects.get(openid=DANA).nickname == "大拿"
    assert not WeChatUser.objects.exclude(review_since=None).exists()
    more = table(folder / "more.csv", {"openid": ERIN, "nickname": "艾琳"})
    take(more, names_reviewed=True)
    assert WeChatUser.objects.get(openid=ERIN).nickname == "艾琳"


def test_a_name_of_someone_who_is_there_is_taken_over_and_shows_at_once(
    alice: Person, bob: Person, group: Group, folder: Path
) -> None:
    alice.get(f"groups/{FAMILY}/ranking")
    people = table(folder / "people.csv", {"openid": bob.openid, "nickname": "韩梅梅"})
    assert take(people, names_reviewed=True).of(people) == {"changed": 1}
    assert alice.sees(bob)["nickname"] == "韩梅梅"


def test_the_last_row_about_a_person_counts(db: None, folder: Path) -> None:
    rows = [{"openid": DANA, "nickname": name} for name in ("一", "二")]
    people = table(folder / "people.csv", *rows)
    assert take(people, names_reviewed=True).of(people) == {"made": 1, "changed": 1}
    assert WeChatUser.objects.get(openid=DANA).nickname == "二"


def test_who_was_blocked_and_erased_stays_blocked(dana: WeChatUser, folder: Path) -> None:
    dana.status = WeChatUser.Status.BLOCKED
    dana.save()
    erase_yesterday(dana)
    people = table(folder / "people.csv", {"openid": DANA, "nickname": "大拿"})
    assert take(people).of(people) == {"refused": 1}
    assert Tombstone.objects.filter(blocked=True).count() == 0, "the member has the block"
    back = WeChatUser.objects.get(openid=DANA)
    assert back.is_blocked and back.own_nickname == ""
    assert "blocked" in refusals(people)[2]


def test_a_block_is_taken_along_and_no_one_else_is_blocked(dana: WeChatUser, folder: Path) -> None:
    rows = [{"openid": openid, "blocked": "true"} for openid in (DANA, ERIN)]
    people = table(folder / "people.csv", *rows)
    assert take(people).of(people) == {"made": 1, "refused": 1}
    assert WeChatUser.objects.get(openid=ERIN).is_blocked
    assert not WeChatUser.objects.get(openid=DANA).is_blocked


# Groups


def test_a_group_is_seen_from_the_date_of_its_file(db: None, folder: Path) -> None:
    groups = table(
        folder / "groups.csv",
        {"openGId": CHESS, "label": "棋友", "seenFrom": ""},
        {"openGId": FAMILY, "label": "", "seenFrom": "2025-06-01 08:00:00"},
        date=LONG_AGO,
    )
    assert take(groups).of(groups) == {"made": 2}
    seen = dict(Group.objects.values_list("open_gid", "seen_from"))
    assert seen == {CHESS: LONG_AGO, FAMILY: shanghai(2025, 6, 1, 8)}
    assert Group.objects.get(open_gid=CHESS).label == "棋友"
    assert Group.objects.get(open_gid=CHESS).founded_by is None


def test_a_group_that_is_there_is_seen_from_earlier_and_keeps_its_label(
    group: Group, folder: Path
) -> None:
    Group.objects.update(label="家")
    groups = table(folder / "groups.csv", {"openGId": FAMILY, "label": "亲友"}, date=LONG_AGO)
    assert take(groups).of(groups) == {"changed": 1}
    assert take(groups).of(groups) == {"kept": 1}
    group.refresh_from_db()
    assert (group.label, group.seen_from) == ("家", LONG_AGO)
    newer = table(folder / "newer.csv", {"openGId": FAMILY})
    assert take(newer).of(newer) == {"unchanged": 1}


# Memberships


def member(openid: str = DANA, **more: Any) -> dict[str, Any]:
    return {"openid": openid, "openGId": CHESS, **more}


@pytest.mark.usefixtures("dana", "chess")
def test_an_imported_membership_is_marked_and_proven_by_no_one(folder: Path) -> None:
    date = (timezone.now() - timedelta(days=3)).replace(microsecond=0)
    memberships = table(
        folder / "memberships.csv",
        member(joinedAt="2025-05-04T12:00:00+08:00", hidden="true", alias="棋王"),
        date=date,
    )
    assert take(memberships).of(memberships) == {"made": 1}
    made = Membership.objects.get()
    assert (made.proof, made.scene) == (Proof.IMPORT, None)
    assert (made.verified_at, made.joined_at) == (date, shanghai(2025, 5, 4, 12))
    assert (made.hidden, made.alias, made.alias_draft) == (True, "", "棋王")


def test_it_counts_only_within_the_proof_days_of_the_files_date(
    alice: Person, dana: WeChatUser, folder: Path, settings: Any
) -> None:
    settings.MEMBERSHIP_PROOF_DAYS = 30
    alice.enter("family")
    for days, listed in ((29, 2), (31, 1)):
        Membership.objects.filter(user=dana).delete()
        row = {"openid": DANA, "openGId": FAMILY}
        date = timezone.now() - timedelta(days=days)
        memberships = table(folder / f"{days}.csv", row, date=date)
        assert take(memberships).of(memberships) == {"made": 1}
        assert alice.get(f"groups/{FAMILY}").json()["memberCount"] == listed
        assert len(alice.get(f"groups/{FAMILY}/ranking").json()["entries"]) == listed


def test_a_lapsed_import_becomes_a_membership_by_a_proof(alice: Person, folder: Path) -> None:
    open_gid = alice.enter("family")
    Membership.objects.update(verified_at=LONG_AGO, proof=Proof.IMPORT, watermarked=False)
    assert alice.get(f"groups/{open_gid}").status_code == 404
    alice.enter("family")
    assert Membership.objects.get().proof == Proof.ENVELOPE
    resolved = alice.post("groups/resolve", alice.envelope("family")).json()
    names = ("openGId", "openid", "ticket")
    alice.post("groups/bind", {name: resolved[name] for name in names})
    assert Membership.objects.get().proof == Proof.TICKET


def test_a_proof_is_never_made_older(alice: Person, folder: Path) -> None:
    alice.enter("family")
    before = Membership.objects.get()
    row = {"openid": alice.openid, "openGId": FAMILY}
    memberships = table(folder / "memberships.csv", row, date=LONG_AGO)
    assert take(memberships).of(memberships) == {"unchanged": 1}
    after = Membership.objects.get()
    assert (after.verified_at, after.proof) == (before.verified_at, Proof.ENVELOPE)


def test_a_newer_file_renews_a_membership_and_marks_it(alice: Person, folder: Path) -> None:
    alice.enter("family")
    Membership.objects.update(verified_at=LONG_AGO, joined_at=LONG_AGO)
    memberships = table(folder / "m.csv", {"openid": alice.openid, "openGId": FAMILY})
    assert take(memberships).of(memberships) == {"changed": 1}
    assert Membership.objects.get().proof == Proof.IMPORT
    assert alice.get(f"groups/{FAMILY}").status_code == 200


def test_who_left_has_left(alice: Person, folder: Path) -> None:
    alice.enter("family")
    assert alice.delete(f"groups/{FAMILY}/membership").status_code == 204
    memberships = table(folder / "m.csv", {"openid": alice.openid, "openGId": FAMILY})
    assert take(memberships).of(memberships) == {"kept": 1}
    assert Membership.objects.get().left_at


def test_who_is_imported_shows_in_the_next_answer(
    alice: Person, dana: WeChatUser, folder: Path
) -> None:
    alice.enter("family")
    assert alice.get(f"groups/{FAMILY}/ranking").json()["total"] == 1
    take(table(folder / "m.csv", {"openid": DANA, "openGId": FAMILY}))
    assert alice.get(f"groups/{FAMILY}/ranking").json()["total"] == 2


# Scores


def score(value: Any = 7, openid: str = DANA, **more: Any) -> dict[str, Any]:
    return {"openid": openid, "board": "steps", "value": value, **more}


@pytest.mark.usefixtures("dana")
def test_a_score_is_set_in_its_period_with_its_time(folder: Path, make_board: Any) -> None:
    make_board()
    scores = table(
        folder / "scores.csv",
        score(9781, period="2026-W05", achievedAt="2026-01-30T08:00:00.123456+08:00"),
        score(99, period="2026-01", achievedAt=""),
        score(100, period="", achievedAt=""),
        date=shanghai(2026, 2, 3),
    )
    assert take(scores).of(scores) == {"made": 3}
    week, month, ever = (
        Score.objects.order_by("value")[::-1][0],
        *Score.objects.order_by("value")[:2],
    )
    assert (week.window, week.period, week.source) == ("week", "2026-W05", ScoreSource.IMPORT)
    assert week.achieved_at == datetime(2026, 1, 30, 0, 0, 0, 123456, UTC)
    assert month.achieved_at == shanghai(2026, 2, 1) - timedelta(microseconds=1)
    assert (ever.period, ever.achieved_at) == ("all", shanghai(2026, 2, 3))


def test_a_score_that_is_there_stays_or_is_replaced(
    dana: WeChatUser, folder: Path, make_board: Any
) -> None:
    make_board(policy="sum")
    first = table(folder / "first.csv", score(7), date=LONG_AGO)
    second = table(folder / "second.csv", score(5), date=LONG_AGO)
    assert take(first).of(first) == {"made": 1}
    assert take(first).of(first) == {"unchanged": 1}
    assert take(second).of(second) == {"kept": 1}
    assert scores_of(dana) == {"all": 7}
    assert take(second, on_conflict="replace").of(second) == {"changed": 1}
    assert scores_of(dana) == {"all": 5}


def test_imported_scores_show_in_the_next_answer(
    alice: Person, bob: Person, group: Group, folder: Path, make_board: Any
) -> None:
    make_board()
    make_board(key="laps", scope=Board.Scope.GROUP)
    for board in ("steps", "laps"):
        path = f"groups/{FAMILY}/ranking?board={board}&period=all"
        assert [entry["score"] for entry in alice.get(path).json()["entries"]] == [None, None]
        where = {"openGId": FAMILY} if board == "laps" else {}
        take(table(folder / f"{board}.csv", score(3, bob.openid, **where) | {"board": board}))
        assert [entry["score"] for entry in alice.get(path).json()["entries"]] == [3, None]


@pytest.mark.usefixtures("dana", "chess")
def test_days_that_were_counted_elsewhere_count_on(folder: Path) -> None:
    """It is an operator's correction: no key, and no submission, writes this board."""
    row = score(40, openGId=CHESS) | {"board": "active-days"}
    scores = table(folder / "scores.csv", row)
    assert take(scores).of(scores) == {"made": 1}


# What is refused

REFUSED = {
    "openid: Not a valid": score(openid="no spaces"),
    "openid: No member has this openid. Import the people first.": score(openid=ERIN),
    "board: The mini-program has no board": score() | {"board": "chess"},
    "value: Not a whole number": score("7.5"),
    "value: Outside": score(2**53),
    "value: This column must not be empty": score(""),
    "openGId: This board has one score for all groups": score(openGId=CHESS),
    "openGId: This board has a score for each group": score() | {"board": "laps"},
    "openGId: There is no group": score(openGId=FAMILY) | {"board": "laps"},
    "period: Not a period": score(period="2026-W60"),
    "period: Not a period, such": score(period="week"),
    "period: This board counts: week,all.": score(period="2026-01")
    | {"board": "laps", "openGId": CHESS},
    "achievedAt: Not a time": score(achievedAt="yesterday"),
    "achievedAt: Later than the date of the file": score(achievedAt="2030-01-01"),
    "achievedAt: The score cannot be": score(period="2026-01-30", achievedAt="2026-01-29"),
    "period: The score cannot be achieved within": score(period="2026-W50"),
}


@pytest.mark.usefixtures("dana", "chess")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_refused_rows_stand_in_a_file_with_line_and_reason(
    folder: Path, make_board: Any, suffix: str
) -> None:
    make_board()
    make_board(key="laps", scope=Board.Scope.GROUP, windows="week,all")
    rows = [*REFUSED.values(), score(1)]
    columns = {"openid", "board", "value", "openGId", "period", "achievedAt"}
    rows = [dict.fromkeys(columns, "") | row for row in rows]
    scores = table(folder / f"scores{suffix}", *rows, date=LONG_AGO)
    answer = take(scores)
    assert answer.of(scores) == {"made": 1, "refused": len(REFUSED)}
    found = refusals(scores)
    first = 2 if suffix == ".csv" else 1
    for line, reason in enumerate(REFUSED, start=first):
        assert found[line].startswith(reason)
    assert len(found) == len(REFUSED)
    beside = folder / f"scores{suffix}.refused{suffix}"
    assert str(beside) in answer.error and beside.stat().st_mode & 0o777 == 0o600
    assert AuditEvent.objects.get().details["refused"] == len(REFUSED)


def test_a_file_without_refusals_takes_the_old_ones_away(db: None, folder: Path) -> None:
    people = table(folder / "people.csv", {"openid": "no spaces"})
    take(people)
    assert refusals(people)
    table(people, {"openid": DANA})
    assert take(people).error == ""
    assert sorted(path.name for path in folder.iterdir()) == ["people.csv"]


OTHER_ROWS = {
    "people": ({"openid": DANA, "nickname": "名" * 33}, "nickname: This name is too long"),
    "people of blanks": ({"openid": DANA, "nickname": "​"}, "nickname: This name would look empty"),
    "groups": ({"openGId": CHESS, "label": "长" * 61}, "label: Longer than 60"),
    "groups seen": ({"openGId": CHESS, "seenFrom": ago(days=-1)}, "seenFrom: Later"),
    "memberships": (member(joinedAt=ago(days=-1)), "joinedAt: Later"),
    "memberships of no one": (member(ERIN), "openid: No member"),
    "memberships nowhere": (member(openGId=FAMILY), "openGId: There is no group"),
    "memberships unclear": (member(hidden="maybe"), "hidden: Neither true nor false"),
    "memberships unborn": (
        member(joinedAt=ago(days=1), verifiedAt=ago(days=2)),
        "joinedAt is later than verifiedAt",
    ),
    "boards": ({"key": "x", "titleZh": "榜", "policy": "worst"}, "policy: "),
    "boards of windows": ({"key": "x", "titleZh": "榜", "windows": "year"}, "windows: Not windows"),
    "boards by default": (
        {"key": "x", "titleZh": "榜", "windows": "day"},
        "defaultWindow: Choose one of the windows",
    ),
}


@pytest.mark.usefixtures("dana", "chess")
@pytest.mark.parametrize("name", OTHER_ROWS)
def test_each_kind_refuses_what_the_site_refuses(folder: Path, name: str) -> None:
    row, reason = OTHER_ROWS[name]
    before = everything_stored()
    path = table(folder / "rows.csv", row)
    assert take(path).of(path) == {"refused": 1}
    assert refusals(path)[2].startswith(reason)
    after = everything_stored()
    assert [name for name in after if after[name] != before[name]] == ["audit_auditevent"]


@pytest.mark.usefixtures("dana")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "Not a JSON object"),
        ("{", "Not a JSON object"),
        (f'{{"openid":"{DANA}","nick":"x"}}', "Unknown columns: nick"),
        (f'{{"openid":"{DANA}","nickname":7}}', "nickname: Not a string"),
        ('{"openid":7}', "openid: Not a valid"),
        (f'{{"openid":"{DANA}","blocked":"yes"}}', "blocked: Neither"),
    ],
)
def test_a_line_that_is_not_a_row_is_refused(folder: Path, text: str, reason: str) -> None:
    people = table(folder / "people.jsonl", {"openid": DANA}, {"openid": ERIN})
    people.write_text(people.read_text() + text + "\n")
    assert take(people).of(people) == {"made": 1, "unchanged": 1, "refused": 1}
    assert refusals(people)[3].startswith(reason)


def test_a_row_is_named_by_its_first_line(db: None, folder: Path) -> None:
    groups = folder / "groups.csv"
    groups.write_text(f'openGId,label\n{CHESS},"two\nlines"\n\nno spaces,\n{FAMILY}\n')
    assert take(groups).of(groups) == {"made": 1, "refused": 2}
    assert list(refusals(groups)) == [5, 6]
    assert refusals(groups)[6] == "1 cells, where there are 2 columns."


FILES = {
    "unknown columns": ("a.csv", f"openid,nick,age\n{DANA},x,3\n", "Unknown columns: age, nick"),
    "a missing column": ("a.csv", "nickname\nx\n", "It is not clear what this file is"),
    "no rows in JSON": ("a.jsonl", "", "The file is empty"),
    "another suffix": ("a.xlsx", "openid\n", "Name the file .csv or .jsonl"),
    "two of one name": ("a.csv", "openid,openid\na,b\n", "Two columns have one name"),
    "no file": ("", "", "No such file"),
    "a quote that does not end": ("a.csv", f'openid,nickname\n{DANA},"x\n', "cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_said_before_anything_is_written(
    db: None, folder: Path, name: str
) -> None:
    good = table(folder / "good.csv", {"openid": DANA})
    file, text, sentence = FILES[name]
    (folder / (file or "other.csv")).write_text(text)
    with pytest.raises(CommandError, match=re.escape(sentence)):
        take(good, folder / (file or "nowhere.csv"))
    assert not WeChatUser.objects.exists()


def test_other_encodings_are_named(db: None, folder: Path) -> None:
    people = folder / "people.csv"
    people.write_bytes(f"openid,nickname\n{DANA},大拿\n".encode("gbk"))
    with pytest.raises(CommandError, match="in UTF-8"):
        take(people)
    people.write_bytes(f"openid,nickname\n{DANA},大拿\n".encode("utf-8-sig"))
    assert take(people).of(people) == {"made": 1}


# Order, kinds, options


def test_files_of_one_import_are_taken_in_their_order(
    db: None, folder: Path, make_board: Any
) -> None:
    make_board(scope=Board.Scope.GROUP)
    files = [
        table(folder / "1.csv", score(openGId=CHESS)),
        table(folder / "2.csv", member()),
        table(folder / "3.csv", {"openGId": CHESS}),
        table(folder / "4.csv", {"openid": DANA}),
    ]
    dry = take(*files, dry_run=True)
    answer = take(*files)
    assert dry.counts == answer.counts
    assert all(answer.of(file) == {"made": 1} for file in files)


def test_scores_before_people_are_refused(db: None, folder: Path, make_board: Any) -> None:
    make_board()
    scores = table(folder / "scores.csv", score())
    assert "1 row was refused" in take(scores).error
    assert "Import the people first" in refusals(scores)[2]


def test_the_kind_can_be_said(db: None, folder: Path) -> None:
    rows = table(folder / "rows.csv", {"openid": DANA, "openGId": CHESS})
    with pytest.raises(CommandError, match="Unknown columns: openGId"):
        take(rows, kind="people")
    with pytest.raises(CommandError, match="Columns are missing: board, value"):
        take(rows, kind="scores")


def test_the_mini_program_has_to_be_said_where_there_are_several(
    db: None, folder: Path, settings: Any
) -> None:
    people = table(folder / "people.csv", {"openid": DANA})
    settings.WECHAT_APPS = {APP_ID: {"SECRET": "a"}, OTHER_APP_ID: {"SECRET": "b"}}
    for given in ({}, {"appid": "wx-other"}):
        with pytest.raises(CommandError, match=f"--appid {APP_ID}"):
            take(people, **given)
    take(people, appid=OTHER_APP_ID)
    assert WeChatUser.objects.get().app_id == OTHER_APP_ID
    settings.WECHAT_APPS = {}
    with pytest.raises(CommandError, match="WECHAT_APPS"):
        take(people)


@pytest.mark.usefixtures("dana", "chess")
def test_a_date_that_is_said_takes_the_place_of_the_files(folder: Path) -> None:
    memberships = table(folder / "m.csv", member())
    with pytest.raises(CommandError, match="not a date, such as"):
        take(memberships, as_of="Tuesday")
    with pytest.raises(CommandError, match="not a date to come"):
        take(memberships, as_of="2999-01-01")
    take(memberships, as_of="2026-01-31")
    end_of_day = shanghai(2026, 2, 1) - timedelta(microseconds=1)
    assert Membership.objects.get().verified_at == end_of_day
    today = timezone.localdate().isoformat()
    assert take(memberships, as_of=today).of(memberships) == {"changed": 1}
    assert Membership.objects.get().verified_at <= timezone.now()


@pytest.mark.usefixtures("dana", "chess")
def test_a_file_from_the_future_is_of_now(folder: Path) -> None:
    date = timezone.now() + timedelta(days=5)
    take(table(folder / "m.csv", member(), date=date))
    assert Membership.objects.get().verified_at <= timezone.now()


# Boards

LAPS = {
    "key": "laps",
    "titleZh": "圈数",
    "order": "asc",
    "windows": "all,week",
    "isDefault": "true",
}


def test_boards_that_are_absent_are_made(db: None, folder: Path) -> None:
    boards = table(folder / "boards.jsonl", LAPS | {"isDefault": True, "minValue": 3})
    assert take(boards).of(boards) == {"made": 1}
    assert take(boards).of(boards) == {"unchanged": 1}
    board = Board.objects.get(key="laps")
    assert (board.app_id, board.title_en, board.windows) == (APP_ID, "圈数", "week,all")
    assert (board.order, board.min_value, board.default_for) == ("asc", 3, APP_ID)


def test_a_board_with_scores_stays_as_it_is(dana: WeChatUser, folder: Path) -> None:
    boards = table(folder / "boards.csv", LAPS)
    take(boards)
    table(boards, LAPS | {"titleZh": "圈"})
    assert take(boards).of(boards) == {"changed": 1}
    scores = table(folder / "scores.csv", score(openGId=CHESS) | {"board": "laps"})
    take(table(folder / "groups.csv", {"openGId": CHESS}), scores)
    table(boards, LAPS | {"titleZh": "跑圈"}, LAPS | {"order": "desc"})
    assert take(boards).of(boards) == {"kept": 1, "refused": 1}
    assert Board.objects.get(key="laps").title_zh == "圈"


# A dry run


@pytest.mark.parametrize("again", [False, True])
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    alice: Person, group: Group, folder: Path, make_board: Any, again: bool
) -> None:
    make_board()
    files = [
        table(
            folder / "people.csv",
            {"openid": DANA},
            {"openid": alice.openid, "nickname": "新"},
            {"openid": "?"},
        ),
        table(folder / "groups.csv", {"openGId": CHESS}, {"openGId": FAMILY}, date=LONG_AGO),
        table(folder / "boards.csv", LAPS),
        table(
            folder / "memberships.csv",
            member(),
            member(alice.openid),
            {"openid": DANA, "openGId": FAMILY},
            member(),
        ),
        table(
            folder / "scores.csv",
            score(openGId=""),
            score(2, openGId=CHESS) | {"board": "laps"},
            score(2, openGId=CHESS) | {"board": "laps"},
            score(3, alice.openid, openGId=""),
        ),
    ]
    if again:
        take(*files)
    before, names = everything_stored(), sorted(path.name for path in folder.iterdir())
    dry = take(*files, dry_run=True)
    assert everything_stored() == before
    assert sorted(path.name for path in folder.iterdir()) == names
    assert "people.csv, line 4: openid: Not a valid" in dry.text and "Dry run" in dry.text
    assert dry.counts == take(*files).counts


def test_a_dry_run_knows_of_blocks_after_an_erasure(dana: WeChatUser, folder: Path) -> None:
    dana.status = WeChatUser.Status.BLOCKED
    dana.save()
    erase_yesterday(dana)
    people = table(folder / "people.csv", {"openid": DANA, "nickname": "大拿"})
    before = everything_stored()
    assert take(people, dry_run=True).of(people) == {"refused": 1}
    assert everything_stored() == before


# Pieces


def make_people(path: Path, number: int, bad: int = 0) -> Path:
    rows = [{"openid": f"p{n:07}-0000000000000000"} for n in range(number)]
    if bad:
        rows[::bad] = [{"openid": "?"}] * len(rows[::bad])
    return table(path, *rows)


def test_an_import_that_was_ended_goes_on_after_its_last_piece(
    db: None, folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 10)
    people = make_people(folder / "people.csv", 35, bad=7)
    written: list[int] = []

    def write(self: PeopleWriter, rows: Any, whole: Any = PeopleWriter.write) -> Any:
        written.append(len(rows))
        answers = whole(self, rows)
        if len(written) == 3:
            raise KeyboardInterrupt
        return answers

    monkeypatch.setattr(PeopleWriter, "write", write)
    with pytest.raises(KeyboardInterrupt):
        take(people)
    assert Transfer.objects.get().rows == 20
    assert WeChatUser.objects.count() == 17
    beside = folder / "people.csv.refused.csv"
    beside.write_bytes(beside.read_bytes() + b"24,half a li")  # as a killed run may leave it
    answer = take(people)
    assert answer.of(people) == {"made": 30, "refused": 5}
    assert "people.csv: going on after 20 rows." in answer.text
    assert len(written) == 5, "two pieces, one that was rolled back, and the last two"
    assert list(refusals(people)) == [2, 9, 16, 23, 30]
    assert not Transfer.objects.exists()
    assert WeChatUser.objects.count() == 30


def test_files_that_were_through_are_not_read_again(
    db: None, folder: Path, monkeypatch: Any
) -> None:
    people = make_people(folder / "people.csv", 3)
    groups = table(folder / "groups.csv", {"openGId": CHESS})
    write = GroupsWriter.write
    monkeypatch.setattr(GroupsWriter, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take(people, groups)
    assert WeChatUser.objects.count() == 3
    monkeypatch.setattr(GroupsWriter, "write", write)
    monkeypatch.setattr(PeopleWriter, "write", interrupted)
    answer = take(people, groups)
    assert (answer.of(people), answer.of(groups)) == ({"made": 3}, {"made": 1})
    assert not Transfer.objects.exists()


def interrupted(*args: Any) -> Any:
    raise KeyboardInterrupt


def test_other_options_begin_anew(db: None, folder: Path, monkeypatch: Any) -> None:
    people = make_people(folder / "people.csv", 3)
    begun = Transfer.objects.create(digest="0" * 64, as_of=timezone.now(), rows=2)
    take(people, names_reviewed=True)
    assert WeChatUser.objects.count() == 3
    assert Transfer.objects.get() == begun
    Transfer.objects.update(updated_at=timezone.now() - timedelta(days=31))
    take(people)
    assert not Transfer.objects.exists()


def test_a_piece_begins_again_where_another_writer_was_in_the_way(
    db: None, folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pieces, "WAITS", (0, 0))
    people = make_people(folder / "people.csv", 3)
    failures = [OperationalError("deadlock detected")] * 2

    def write(self: PeopleWriter, rows: Any, whole: Any = PeopleWriter.write) -> Any:
        answers = whole(self, rows)
        if failures:
            raise failures.pop()
        return answers

    monkeypatch.setattr(PeopleWriter, "write", write)
    assert take(people).of(people) == {"made": 3}


def test_two_imports_of_one_file_share_the_work(db: None, folder: Path, monkeypatch: Any) -> None:
    """Run the second one whole between two pieces of the first."""
    monkeypatch.setattr(pieces, "PIECE", 10)
    people = make_people(folder / "people.csv", 45, bad=6)
    answers: list[Answer] = []
    report = ProgressBar.__call__

    def interrupt(self: ProgressBar, done: int, *rest: int) -> None:
        report(self, done, *rest)
        if done == 20 and not answers:
            answers.append(Answer("", ""))
            answers.append(take(people))

    monkeypatch.setattr(ProgressBar, "__call__", interrupt)
    take(people)
    assert answers[1].of(people) == {"made": 37, "refused": 8}
    assert WeChatUser.objects.count() == 37
    assert len(refusals(people)) == 8


def queries_of(path: Path, **options: Any) -> int:
    with CaptureQueriesContext(connection) as captured:
        take(path, **options)
    return len(captured)


def test_the_queries_of_a_piece_do_not_grow_with_its_rows(
    folder: Path, make_board: Any, chess: Group, settings: Any
) -> None:
    settings.CONTENT_SAFETY = False
    make_board()
    TombstoneKey.objects.texts()  # which makes the first one
    counts: dict[str, list[int]] = {}
    for size in (3, 30):
        openids = [f"q{size:02}{n:03}-00000000000000000" for n in range(size)]
        for name, rows in {
            "people": [{"openid": openid, "nickname": "名"} for openid in openids],
            "renamed": [{"openid": openid, "nickname": "新"} for openid in openids],
            "groups": [{"openGId": f"{openid}-g"} for openid in openids],
            "memberships": [member(openid) for openid in openids],
            "scores": [score(1, openid) for openid in openids],
            "others": [score(2, openid) for openid in openids],
        }.items():
            path = table(folder / f"{name}{size}.csv", *rows)
            counts.setdefault(name, []).append(queries_of(path, on_conflict="replace"))
    for name, (few, many) in counts.items():
        assert few == many < 32, name


@pytest.mark.no_service
def test_a_terminal_has_a_bar_and_a_log_a_line_every_few_seconds(monkeypatch: Any) -> None:
    class Out(StringIO):
        terminal = True

        def isatty(self) -> bool:
            return self.terminal

        def write(self, text: str, ending: str = "\n") -> int:
            return super().write(text + ending)

    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for terminal in (True, False):
        out = Out()
        out.terminal = terminal
        progress = ProgressBar(out, "people.csv")
        progress(500, 4000)
        assert out.getvalue() == ""
        clock[0] += 6
        with override("en"):
            progress(2000, 4000, 800)
        written = out.getvalue()
        assert " 50%  2,000/4,000  200/s  " in written and "0:10" in written
        assert ("[############------------]" in written) is terminal
        assert written.startswith("people.csv: going on after 800 rows.\n")
        assert ("\r" in written) is terminal


# Killed


def is_longer(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size > size


@pytest.mark.django_db(transaction=True)
def test_nothing_is_doubled_or_missed_by_a_kill(folder: Path) -> None:
    """Kill -9 a real process twice in the middle of its file; the third one comes through."""
    people = make_people(folder / "people.csv", 4000, bad=1000)
    beside = folder / "people.csv.refused.csv"
    command = ("import", str(people), "--language", "en")
    with scratch_database(folder) as database:
        said(manage("migrate", "-v0", database=database), 0)
        for _time in range(2):
            size = beside.stat().st_size if beside.exists() else 0
            process = manage(*command, database=database)
            # A refused row is written down before its piece is.
            wait_for(partial(is_longer, beside, size))
            process.send_signal(signal.SIGKILL)
            said(process, -signal.SIGKILL)
        answer = said(manage(*command, database=database), 1)
        assert answer.of(people) == {"made": 3996, "refused": 4}
        assert list(refusals(people)) == [2, 1002, 2002, 3002]
        again = said(manage(*command, database=database), 1)
        assert again.of(people) == {"unchanged": 3996, "refused": 4}
