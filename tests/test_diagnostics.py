"""What phones could not do: what is taken, what is kept of it and for how long, and who sees it."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client as Browser
from django.utils.html import escape

from audit import diagnostics
from audit.diagnostics import KINDS_AN_HOUR, TODO, without_ids
from audit.models import PhoneFailure
from tests.cast import ROLES, Person, browser_of, everything_stored, later, refused

CHECK = "/admin/check/"
DOCS = Path(__file__).parent.parent / "docs"
OPENID = "oLg9k5TdNE7Pq-xJ3v_0cWqUaB1Y"

REPORT = {
    "where": "getGroupEnterInfo",
    "code": "not_from_group",
    "errMsg": "getGroupEnterInfo:fail 40097",
    "errno": 40097,
    "scene": 1044,
    "SDKVersion": "3.7.8",
    "platform": "ios",
}


@pytest.fixture
def visitor(db: None) -> Person:
    """Return a phone that has not logged in."""
    no_phone: Any = None
    return Person("visitor", no_phone)


def send(person: Person, **changed: Any) -> None:
    answer = person.post("diagnostics", REPORT | changed)
    assert (answer.status_code, answer.content) == (204, b""), answer.content


def kept(**changed: Any) -> PhoneFailure:
    return PhoneFailure.objects.get(**changed)


def page(browser: Browser) -> str:
    answer = browser.get(CHECK)
    assert answer.status_code == 200
    return str(answer.content.decode())


# What is taken


def test_anyone_may_report_with_and_without_a_token(visitor: Person, alice: Person) -> None:
    send(visitor)
    send(alice)
    alice.token = "no-longer-valid"
    send(alice)
    row = kept()
    shown = (row.call, row.code, row.scene, row.platform, row.sdk_version, row.count)
    assert shown == ("getGroupEnterInfo", "not_from_group", 1044, "ios", "3.7.8", 3)
    assert (row.err_msg, row.errno) == ("getGroupEnterInfo:fail 40097", "40097")


def test_where_and_code_are_enough(visitor: Person) -> None:
    body = {"where": "login", "code": "timeout"}
    assert visitor.post("diagnostics", body).status_code == 204
    row = kept()
    assert (row.scene, row.platform, row.sdk_version, row.err_msg, row.errno) == (0, "", "", "", "")
    nothing = dict.fromkeys(("errMsg", "errno", "scene", "SDKVersion", "platform"))
    assert visitor.post("diagnostics", body | nothing).status_code == 204
    assert kept().count == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"where": "login"}, "code"),
        ({"code": "timeout"}, "where"),
        (REPORT | {"where": ""}, "where"),
        (REPORT | {"code": " \x00\n "}, "code"),
        (REPORT | {"code": None}, "code"),
        (REPORT | {"where": 5}, "where"),
        (REPORT | {"errMsg": ["x"]}, "errMsg"),
        (REPORT | {"errno": [1]}, "errno"),
        (REPORT | {"errno": True}, "errno"),
        (REPORT | {"scene": "1044"}, "scene"),
        (REPORT | {"platform": {}}, "platform"),
        (REPORT | {"openid": "x"}, "openid"),
    ],
)
def test_what_is_missing_unknown_or_of_another_type_is_an_error(
    visitor: Person, body: dict[str, Any], field: str
) -> None:
    assert list(refused(visitor.post("diagnostics", body), 400, "invalid")["fields"]) == [field]
    assert not PhoneFailure.objects.exists()


def test_what_is_too_long_is_cut_and_no_reason_to_refuse(visitor: Person) -> None:
    words = "not a word of it an id " * 40
    send(visitor, where="a b " * 20, code="c d " * 20, errMsg=words, errno="9 " * 50)
    send(visitor, where="w", SDKVersion="3 " * 50, platform="p " * 50, scene=10**12)
    first, second = PhoneFailure.objects.order_by("pk")
    assert [len(text) for text in (first.call, first.code, first.errno)] == [31, 31, 15]
    assert len(first.err_msg) <= 200 and first.err_msg.startswith("not a word of it an id not")
    assert (second.sdk_version, second.platform) == (("3 " * 16).strip(), ("p " * 16).strip())
    assert second.scene == 0, "what no scene can be counts as none"


def test_control_characters_are_no_reason_to_refuse(visitor: Person) -> None:
    send(visitor, errMsg="fail\x00 \x1b[31mred\n", platform="\x00")
    assert (kept().err_msg, kept().platform) == ("fail   [31mred", "")


def test_a_number_of_wechats_may_be_a_string(visitor: Person) -> None:
    for errno in ("40097", 40097, -1, 10**40):
        send(visitor, errno=errno)
        assert kept().errno == str(errno)[:16]


def test_the_documentation_of_the_call_has_its_own_text_for_each_field(visitor: Person) -> None:
    schema = visitor.browser.get("/api/schema/", headers={"Accept": "application/json"}).json()
    body = schema["components"]["schemas"]["DiagnosticsInput"]
    assert body["properties"].keys() == REPORT.keys() and set(body["required"]) == {"where", "code"}
    types = {name: field.get("type") for name, field in body["properties"].items()}
    assert types["errMsg"] == ["string", "null"] and types["where"] == "string"
    assert types["errno"] == ["integer", "string", "null"]
    assert body["additionalProperties"] is False
    [call] = schema["paths"]["/api/v1/diagnostics"].values()
    assert "204" in call["responses"] and call.get("security", [{}]) == [{}]


# No ids


@pytest.mark.parametrize("field", ["where", "code", "errMsg", "errno", "SDKVersion", "platform"])
def test_ids_that_slip_into_a_text_are_masked_before_it_is_kept(
    visitor: Person, field: str
) -> None:
    send(visitor, **{field: f"x {OPENID}"})
    assert OPENID not in everything_stored()
    assert OPENID[:8] not in everything_stored()
    assert kept()


@pytest.mark.parametrize(
    ("text", "shown"),
    {
        f"request:fail https://a.example.com/groups/{OPENID}/ranking": (
            "request:fail https://a.example.com/groups/…/ranking"
        ),
        f"{OPENID}": "…",
        f"{OPENID}:fail": "…:fail",
        f"fail {OPENID},{OPENID}": "fail …,…",
        "a" * 19 + "1": "…",
        "a" * 18 + "1": "a" * 18 + "1",
        "requirePrivacyAuthorize": "requirePrivacyAuthorize",
        "requirePrivacyAuthorize:fail privacy": "requirePrivacyAuthorize:fail privacy",
        "see requirePrivacyAuthorizeSetting": "see …",
        "getGroupEnterInfo:fail 小程序 40097": "getGroupEnterInfo:fail 小程序 40097",
    }.items(),
)
def test_only_what_looks_like_an_id_is_masked(text: str, shown: str) -> None:
    assert without_ids(text) == shown


def test_an_id_that_the_client_has_cut_in_two_is_masked_too() -> None:
    words = "word " * 38  # 190 characters: nine of the id are left
    text = f"{words}{OPENID}"[:200]
    assert text[-9:] in OPENID
    assert without_ids(text) == f"{words}… "[: len(words) + 1]
    assert OPENID[:9] not in without_ids(f"{words}{OPENID} and more")


# Bounds


def test_the_same_kind_is_one_row_an_hour_with_the_latest_words(visitor: Person) -> None:
    send(visitor, errMsg="first")
    send(visitor, errMsg="second", errno=1)
    row = kept()
    assert (row.count, row.err_msg, row.errno) == (2, "second", "1")
    for changed in (
        {"where": "getShareInfo"},
        {"code": "Not_from_group"},
        {"scene": 1008},
        {"platform": "android"},
        {"SDKVersion": "3.7.9"},
    ):
        send(visitor, **changed)
    assert sorted(PhoneFailure.objects.values_list("count", flat=True)) == [1, 1, 1, 1, 1, 2]
    with later(hours=1):
        send(visitor)
    assert PhoneFailure.objects.count() == 7


def test_what_is_kept_in_an_hour_is_bounded_whatever_comes(
    visitor: Person, monkeypatch: pytest.MonkeyPatch, olga: Browser
) -> None:
    assert KINDS_AN_HOUR == 500
    monkeypatch.setattr(diagnostics, "KINDS_AN_HOUR", 5)
    send(visitor)
    for number in range(9):
        send(visitor, code=f"invented-{number}", errMsg="invented")
    send(visitor)
    assert PhoneFailure.objects.count() == 6
    other = kept(code="other")
    assert (other.count, other.call, other.scene, other.err_msg) == (5, "other", 0, "")
    assert kept(code="not_from_group").count == 2, "a kind that is there goes on counting"
    assert str(escape(TODO["other"])) in page(olga)


def test_an_address_may_send_few_and_another_one_is_not_affected(
    visitor: Person, settings: Any
) -> None:
    settings.THROTTLES = "diagnostics=30/minute"
    for _time in range(30):
        send(visitor)
    refused(visitor.post("diagnostics", REPORT), 429, "throttled")
    assert visitor.post("login", {"code": "no-such-code"}).status_code != 429
    visitor.browser = Browser(REMOTE_ADDR="192.0.2.7")
    send(visitor)


def test_by_default_sixty_a_minute_are_taken(visitor: Person) -> None:
    for _time in range(60):
        send(visitor)
    refused(visitor.post("diagnostics", REPORT), 429, "throttled")


def test_a_report_takes_one_query_once_its_kind_is_there(
    visitor: Person, django_assert_num_queries: Any
) -> None:
    send(visitor)
    with django_assert_num_queries(1):
        send(visitor)


def test_a_database_that_is_away_is_a_503(visitor: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError

    monkeypatch.setattr("audit.api.count_failure", fail)
    refused(visitor.post("diagnostics", REPORT), 503, "unavailable")


# How long it is kept


def test_a_day_later_it_is_neither_shown_nor_kept(visitor: Person) -> None:
    send(visitor)
    with later(hours=23):
        assert "not_from_group" in page(browser_of("superuser"))
        call_command("purge", verbosity=0)
        assert PhoneFailure.objects.count() == 1
    with later(hours=24, minutes=1):
        assert "not_from_group" not in page(browser_of("moderator"))
        call_command("purge", verbosity=0)
        assert not PhoneFailure.objects.exists()


def test_a_new_kind_deletes_what_is_a_day_old_even_if_no_one_purges(visitor: Person) -> None:
    send(visitor)
    with later(hours=25):
        send(visitor, code="timeout")
    assert kept().code == "timeout"


# Who sees it


def test_operators_see_kinds_by_count_with_the_latest_moment_and_what_to_do(
    visitor: Person,
) -> None:
    send(visitor, code="privacy_undeclared", where="chooseAvatar", errMsg="<b>112</b>")
    for _time in range(3):
        send(visitor)
    with later(hours=2):
        send(visitor, errMsg="")
        text = page(browser_of("superuser"))
    cells = re.findall(r"<td.*?>(.*?)</td>", text.split('class="failures"')[1], re.DOTALL)
    texts = [" ".join(cell.split()) for cell in cells]
    rows = [texts[:6], texts[6:]]
    assert len(texts) == 12, "two hours of one kind are one row"
    assert rows[0][0] == "<code>getGroupEnterInfo</code>" and rows[0][2] == "4"
    assert "getGroupEnterInfo:fail 40097" in rows[0][1] and "errno 40097" in rows[0][1]
    assert "ios 3.7.8" in rows[0][4] and "1044" in rows[0][4]
    assert "40097" in rows[0][5] and "112" in rows[1][5]
    assert "&lt;b&gt;112&lt;/b&gt;" in rows[1][1] and "<b>112" not in text


def test_the_sentences_are_in_the_operators_language(visitor: Person, olga: Browser) -> None:
    send(visitor, code="domain_not_listed")
    chinese = olga.get(CHECK, headers={"Accept-Language": "zh-CN"}).content.decode()
    english = olga.get(CHECK, headers={"Accept-Language": "en"}).content.decode()
    assert "服务器域名" in chinese and "手机端未能完成的操作" in chinese
    assert "Server domains" in english and "What phones could not do" in english


def test_a_page_without_reports_says_so(olga: Browser) -> None:
    assert "没有上报" in page(olga)


@pytest.mark.parametrize("role", ROLES)
def test_it_is_shown_to_those_who_see_log_ins_and_binds(visitor: Person, role: str) -> None:
    send(visitor)
    allowed = role not in {"any", "viewer"}
    assert browser_of(role).get(CHECK).status_code == (200 if allowed else 403)


def test_the_page_takes_the_same_queries_however_many_kinds(
    visitor: Person, olga: Browser, django_assert_max_num_queries: Any
) -> None:
    page(olga)
    for number in range(30):
        send(visitor, code=f"kind-{number}")
    with django_assert_max_num_queries(9):
        assert page(olga).count("<code>kind-") == 30


def test_every_code_with_advice_has_its_row_in_the_docs() -> None:
    section = (DOCS / "integration.md").read_text().split("## What phones")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(TODO)
