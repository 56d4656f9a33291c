"""Downloads of lists and rankings: their rows, the roles that get them, and no formulas."""

import csv
import io
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from openpyxl import load_workbook

from accounts.models import WeChatUser
from audit.models import AuditEvent
from console import exports
from console.spreadsheets import Column, csv_file, inert, xlsx_file
from groups.models import Board, Group, Score
from tests.cast import Person, browser_of
from tests.settings import APP_ID, OTHER_APP_ID

FORMS = ("csv", "xlsx")
every_form = pytest.mark.parametrize("form", FORMS)

HOSTILE = (
    *("=SUM(A1:A9)", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1+1"),
    *("<script>alert(1)</script>", "]]>&amp;", 'a "quoted", name', "two\nlines"),
    *("\u202eabc", "Z\u0341\u0342\u0343algo", "\u3164", "👨‍👩‍👧", "_x0041_", "=cmd|' /C calc'!A0"),
)


def table(answer: Any, form: str) -> list[list[Any]]:
    """Read the rows of a downloaded file as another program does, the header first."""
    assert answer.status_code == 200, answer
    data = b"".join(answer) if answer.streaming else answer.content
    if form == "csv":
        assert data.startswith(b"\xef\xbb\xbf")
        return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    sheet = load_workbook(io.BytesIO(data)).active
    assert sheet.freeze_panes == "A2"
    assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
    return [list(row) for row in sheet.iter_rows(values_only=True)]


def download(browser: Browser, what: str, form: str, query: str = "") -> list[list[Any]]:
    return table(browser.get(f"/admin/export/{what}.{form}{query}"), form)


def named(*nicknames: str, app_id: str = APP_ID) -> list[WeChatUser]:
    return [
        WeChatUser.objects.create(app_id=app_id, openid=f"o-{app_id}-{number}", nickname=nickname)
        for number, nickname in enumerate(nicknames)
    ]


@pytest.fixture
def hostile(db: None) -> list[WeChatUser]:
    """Create members with names that no call would accept."""
    users = named(*(["N"] * len(HOSTILE)))
    for user, nickname in zip(users, HOSTILE, strict=True):
        user.nickname = nickname
    WeChatUser.objects.bulk_update(users, ["nickname"])
    return users


# What is in them


@every_form
def test_exported_members_are_those_of_the_filtered_list(olga: Browser, form: str) -> None:
    named("小明", "小红", "李雷")
    named("小强", app_id=OTHER_APP_ID)
    WeChatUser.objects.filter(nickname="小红").update(status="blocked")
    assert [row[1] for row in download(olga, "members", form)[1:]] == [
        *("小强", "李雷", "小红", "小明")
    ]
    for query, names in {
        f"?app_id={APP_ID}&q=小": ["小红", "小明"],
        "?status__exact=blocked": ["小红"],
        "?q=unknown": [],
        "?p=7&o=2&all=": ["小强", "李雷", "小红", "小明"],
    }.items():
        assert [row[1] for row in download(olga, "members", form, query)[1:]] == names
    assert olga.get(f"/admin/export/members.{form}?nothing=1").status_code == 400


@every_form
def test_hostile_names_are_exported_as_text(
    hostile: list[WeChatUser], olga: Browser, form: str
) -> None:
    rows = download(olga, "members", form)[1:]
    shown = {int(row[0]): row[1] for row in rows}
    for user in hostile:
        found = shown[user.pk]
        assert not found.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))
        if form == "csv":
            assert found == inert(user.nickname)
    assert len(rows) == len(HOSTILE)


FORMULAS = {
    "=1+1": "'=1+1",
    "  -1+1": "'  -1+1",
    "\tx": "'\tx",
    "\0x": "'\0x",
    "\t=1": "'\t'=1",
    "a;=cmd|' /C calc'!A0": "a;'=cmd|' /C calc'!A0",
    "a; \u3000@SUM(1)": "a;' \u3000@SUM(1)",
    "a\t＝1;+2": "a\t'＝1;'+2",
    'a;"=1+1;': "a;'\"=1+1;",
    "a\n=1": "a\n'=1",
    "-5;=1": "'-5;'=1",
    "-1-1": "'-1-1",
    "-1.": "'-1.",
    "-٣": "'-٣",
}


@pytest.mark.no_service
@pytest.mark.parametrize("text", FORMULAS)
def test_no_part_of_a_text_is_a_formula_for_any_separator(text: str) -> None:
    assert inert(text) == FORMULAS[text]


@pytest.mark.no_service
@pytest.mark.parametrize(
    "text", ["-0.05", "0", "-1,234,567.5", "-1234567890123456", "a;b", "a; b=c", "小-明", "a - b"]
)
def test_numbers_and_harmless_texts_are_not_changed(text: str) -> None:
    assert inert(text) == text


def test_a_number_of_many_digits_is_complete_in_both_formats() -> None:
    rows = [[-(10**16), "-0.05"]]
    head = [Column("a", 9), Column("b", 9)]
    assert b"".join(csv_file(head, rows)).splitlines()[1] == b"-10000000000000000,-0.05"
    sheet = load_workbook(io.BytesIO(b"".join(xlsx_file(head, rows)))).active
    assert [cell.value for cell in sheet[2]] == ["-10000000000000000", "-0.05"]


@every_form
def test_scores_are_exported_as_numbers_and_times_as_times(
    alice: Person, group: Group, olga: Browser, form: str
) -> None:
    head, *rows = download(olga, "scores", form, "?q=小明")
    assert head[1] == "昵称" and {row[1] for row in rows} == {"小明"}
    value, moment = rows[0][5], rows[0][7]
    if form == "csv":
        assert value == "1" and moment.endswith("+08:00")
    else:
        now = timezone.localtime().replace(tzinfo=None)
        assert value == 1 and isinstance(moment, datetime)
        assert abs((now - moment).total_seconds()) < 600


@every_form
def test_the_audit_can_be_exported(alice: Person, olga: Browser, form: str) -> None:
    olga.post(f"/admin/act/block/{alice.user.pk}/", {"reason": "=HYPERLINK(1)"})
    olga.post(f"/admin/act/unblock/{alice.user.pk}/", {"reason": "好了"})
    rows = download(olga, "audit", form, "?action=block")[1:]
    assert len(rows) == 1
    assert rows[0][1] == "olga" and rows[0][8] == "'=HYPERLINK(1)"


@every_form
def test_a_ranking_is_exported_completely_and_in_order(
    alice: Person, bob: Person, group: Group, olga: Browser, form: str
) -> None:
    answer = olga.get(f"/admin/export/ranking/{group.pk}.{form}?period=all")
    assert answer["Content-Disposition"].endswith(f'-active-days-all.{form}"')
    _head, *rows = table(answer, form)
    assert [row[2] for row in rows] == ["小明", "李雷"]
    assert [str(row[3]) for row in rows] == ["1", "1"]
    for query in ("?board=nothing", "?period=x"):
        assert olga.get(f"/admin/export/ranking/{group.pk}.{form}{query}").status_code == 404


def test_a_file_is_in_the_language_of_its_reader(db: None, olga: Browser) -> None:
    answer = olga.get("/admin/export/members.csv", headers={"Accept-Language": "en"})
    assert table(answer, "csv")[0][0] == "member's id"


def test_there_are_two_formats_and_three_lists(db: None, olga: Browser) -> None:
    for path in ("members.pdf", "passwords.csv", "passwords/"):
        assert olga.get(f"/admin/export/{path}").status_code == 404
    assert olga.post("/admin/export/members.csv").status_code == 405


def test_every_row_is_exported_once_however_many_pages_are_read(
    olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "CHUNK", 7)
    users = named(*(["N"] * 21))
    rows = download(olga, "members", "csv")[1:]
    assert [int(row[0]) for row in rows] == sorted((user.pk for user in users), reverse=True)


# Permissions


@every_form
def test_openids_are_exported_only_when_requested_and_allowed(
    alice: Person, group: Group, olga: Browser, form: str
) -> None:
    paths = [f"/admin/export/members.{form}", f"/admin/export/scores.{form}"]
    paths.append(f"/admin/export/ranking/{group.pk}.{form}")
    manager, moderator = browser_of("manager"), browser_of("moderator")
    for path in paths:
        for browser in (manager, moderator, olga):
            assert alice.openid not in str(table(browser.get(path), form))
        assert moderator.get(f"{path}?openids=1").status_code == 403
        assert alice.openid in str(table(manager.get(f"{path}?openids=1"), form))
    assert "openids" in manager.get("/admin/export/members/").content.decode()
    assert "openids" not in moderator.get("/admin/export/members/").content.decode()


@pytest.mark.parametrize("what", exports.EXPORTS)
def test_a_list_can_be_exported_only_by_those_who_may_see_it(db: None, what: str) -> None:
    clerk = browser_of("any")
    for path in (f"{what}/", f"{what}.csv", f"{what}.xlsx"):
        assert clerk.get(f"/admin/export/{path}").status_code == 403
    assert Browser().get(f"/admin/export/{what}.csv").status_code == 302
    assert browser_of("viewer").get(f"/admin/export/{what}.csv").status_code == 200


@every_form
def test_each_download_is_audited_without_the_search_terms(
    alice: Person, group: Group, olga: Browser, form: str
) -> None:
    download(olga, "members", form, f"?q={alice.openid}&status__exact=active&openids=1")
    event = AuditEvent.objects.get()
    assert (event.action, event.target, event.operator_name) == ("export", "wechatuser", "olga")
    assert event.details == {
        "format": form,
        "rows": 1,
        "openids": True,
        "filters": ["q", "status__exact"],
    }
    olga.get(f"/admin/export/ranking/{group.pk}.{form}")
    event = AuditEvent.objects.latest("pk")
    assert (event.target, event.group_id, event.details["rows"]) == ("group", group.pk, 2)
    assert alice.openid not in str(list(AuditEvent.objects.values()))


def test_the_page_before_the_download_shows_the_count_and_keeps_the_filters(
    db: None, olga: Browser
) -> None:
    named("小明", "小红", "李雷")
    page = olga.get("/admin/export/members/?q=小").content.decode()
    assert "2 " in page and '<input type="hidden" name="q" value="小">' in page
    assert AuditEvent.objects.count() == 0


def test_a_list_too_long_for_a_sheet_is_offered_as_csv(
    olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "XLSX_MOST_ROWS", 2)
    named("小明", "小红", "李雷")
    answer = olga.get("/admin/export/members.xlsx")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/export/members/")
    assert ".xlsx" not in olga.get("/admin/export/members/").content.decode()
    assert len(download(olga, "members", "csv")) == 4


# Large ones


def many(number: int) -> Iterator[list[Any]]:
    moment = timezone.now()
    return ([place, f"成员 {place}", moment, None] for place in range(number))


HEAD = [Column("id", 12), Column("name", 24), Column("at", 20), Column("none", 12)]


@pytest.mark.parametrize("write", [csv_file, xlsx_file])
def test_many_rows_take_no_more_memory_than_a_few(write: Any) -> None:
    def peak(number: int) -> int:
        tracemalloc.start()
        size = sum(map(len, write(HEAD, many(number))))
        assert size > number
        _now, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(10)
    assert peak(50_000) < peak(2_000) + 500_000


@pytest.mark.parametrize("write", [csv_file, xlsx_file])
def test_the_first_bytes_come_before_the_last_row_is_read(write: Any) -> None:
    read: list[int] = []

    def rows() -> Iterator[list[Any]]:
        for row in many(20_000):
            read.append(row[0])
            yield row

    file = write(HEAD, rows())
    taken = b""
    while len(taken) < 1000:
        taken += next(file)
    assert 0 < len(read) < 2_000
    file.close()


def test_a_sheet_has_every_row_and_every_digit() -> None:
    rows = [*many(1_200), [2**53 - 1, "x\x00\x0b\ufffe", None, -(10**15) + 1]]
    data = b"".join(xlsx_file(HEAD, rows))
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    read = list(load_workbook(io.BytesIO(data)).active.iter_rows(values_only=True))
    assert len(read) == 1_202
    assert read[-1] == (str(2**53 - 1), "x", None, -(10**15) + 1)


def test_a_file_without_rows_has_a_header(db: None, olga: Browser) -> None:
    for form in FORMS:
        assert len(download(olga, "members", form)) == 1


@pytest.mark.parametrize("path", ["members/", "members.csv", "scores.csv", "audit.xlsx"])
def test_a_download_takes_the_same_queries_however_many_rows(olga: Browser, path: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            answer = olga.get(f"/admin/export/{path}")
            b"".join(answer)
        return len(captured)

    def more() -> None:
        for number in range(10):
            user = WeChatUser.objects.create(app_id=APP_ID, openid=f"{time.time_ns()}-{number}")
            board = Board.objects.active_days()
            now = timezone.now()
            Score.objects.create(board=board, period="all", user=user, value=1, achieved_at=now)

    queries()
    more()
    few = queries()
    more()
    assert queries() == few <= 10


# Downloads hold threads


def test_two_downloads_at_once_and_the_next_is_asked_to_wait(olga: Browser) -> None:
    named("小明")
    paths = [f"/admin/export/members.{form}" for form in FORMS]
    under_way = [olga.get(path) for path in paths]  # the test's browser does not read them
    for path in paths:
        answer = olga.get(path)
        assert (answer.status_code, answer["Retry-After"]) == (503, "10")
        assert "下载" in answer.content.decode()
    assert AuditEvent.objects.count() == 2, "what was refused has not happened"
    b"".join(under_way[0])
    assert len(download(olga, "members", "csv")) == 2
    b"".join(under_way[1])
    for _again in range(exports.MOST_DOWNLOADS + 1):
        assert len(download(olga, "members", "xlsx")) == 2


def test_a_download_that_is_not_read_to_its_end_gives_its_place_back(db: None) -> None:
    rows = WeChatUser.objects.all()
    for _again in range(exports.MOST_DOWNLOADS + 1):
        parts = exports._stream(
            "csv", exports.EXPORTS["members"].fields, rows, lambda **facts: None
        )
        assert next(parts) == b""
        parts.close()  # as the server does when the browser has gone


def test_a_download_that_fails_gives_its_place_back(
    olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    named("小明", "小红", "李雷")
    olga.raise_request_exception = False
    for _again in range(exports.MOST_DOWNLOADS + 1):
        with monkeypatch.context() as broken:
            broken.setattr(exports, "XLSX_MOST_ROWS", 2)
            assert olga.get("/admin/export/members.xlsx").status_code == 302
            broken.setattr(exports.Actor, "record", lambda *args, **facts: 1 / 0)
            assert olga.get("/admin/export/members.csv").status_code == 500
    assert len(download(olga, "members", "csv")) == 4
