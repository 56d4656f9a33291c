"""One error object on every path below /api/, for every error."""

import json
import re
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import OperationalError
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client as Browser
from django.utils import timezone

from groups.models import Group, ServerKey
from tests.cast import API, CHINESE, FAMILY, TIME, Person, error_of, refused
from tests.settings import APP_ID
from tests.site_map import path_of, routes

pytestmark = pytest.mark.no_service

LIMIT = 256 * 1024
PUBLIC = {"api/v1/login", "api/v1/diagnostics"}
CALLS = sorted(route for route, _pattern in routes() if route.startswith("api/v1/"))
METHODS = ("GET", "POST", "PUT", "DELETE")
IDS = {
    "openGId": "tG-some-group",
    "open_gid": "tG-some-group",
    "openid": "o-unknown",
    "purpose": "avatar",
}


@pytest.fixture
def visitor(db: None) -> Person:
    """Return a person without a token."""
    return Person("visitor", phone=None)  # type: ignore[arg-type]


@pytest.fixture(params=[False, True], ids=["DEBUG off", "DEBUG on"])
def debug(request: Any, settings: Any) -> bool:
    settings.DEBUG = request.param
    return bool(request.param)


def raw(person: Person, body: bytes, kind: str = "application/json", path: str = "login") -> Any:
    """Post exactly these bytes."""
    headers = {"Authorization": f"Bearer {person.token}"} if person.token else {}
    return person.browser.generic("POST", API + path, body, content_type=kind, headers=headers)


# Paths and methods


def test_the_url_map_has_the_calls_that_are_tested() -> None:
    assert len(CALLS) >= 12 and set(CALLS) >= PUBLIC


@pytest.mark.parametrize("route", [route for route in CALLS if route not in PUBLIC])
@pytest.mark.parametrize("method", METHODS)
def test_every_call_but_login_requires_a_token(visitor: Person, route: str, method: str) -> None:
    answer = visitor.call(method, path_of(route, **IDS))
    refused(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"] == ("Key" if "/server/" in route else "Bearer")


@pytest.mark.parametrize("route", [route for route in CALLS if route not in PUBLIC])
def test_every_call_but_login_refuses_an_invalid_token(visitor: Person, route: str) -> None:
    garbage = {"Authorization": "Key garbage" if "/server/" in route else "Bearer garbage"}
    refused(visitor.get(path_of(route, **IDS), **garbage), 401, "invalid_token")


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/me",
        "/api/v1/nothing",
        "/api/v1/groups/a/b/c",
        "/api/v1/groups/a%2Fb",
        "/api/v1/groups/%E7%BE%A4",
        "/api/v1/groups/%00",
        "/api/v1/groups/%ff",
        "/api//v1/me",
        "/api/v1/nothing?x=1&y",
        "/api/schema",
        "/api/docs",
        "/api/wp-login.php",
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_path_is_not_found_and_never_a_redirect(
    visitor: Person, debug: bool, path: str, method: str
) -> None:
    answer = visitor.call(method, path)
    refused(answer, 404, "not_found")


@pytest.mark.parametrize("route", CALLS)
def test_no_call_has_a_trailing_slash_or_a_redirect_to_one(alice: Person, route: str) -> None:
    path = path_of(route, **IDS)
    for method in METHODS:
        refused(alice.call(method, f"{path}/"), 404, "not_found")
        assert alice.call(method, path).status_code // 100 != 3


def allowed(answer: Any) -> set[str]:
    return set(re.split(r",\s*", answer["Allow"]))


@pytest.mark.parametrize("route", CALLS)
def test_the_answer_to_a_wrong_method_names_the_right_ones(alice: Person, route: str) -> None:
    path, headers = path_of(route, **IDS), {"Authorization": f"Bearer {alice.token}"}
    if "/server/" in route:
        key, _row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
        headers = {"Authorization": f"Key {key}"}
    answer = alice.browser.generic("PATCH", path, headers=headers)
    refused(answer, 405, "method_not_allowed")
    right = allowed(answer) - {"HEAD", "OPTIONS"}
    assert right and right <= set(METHODS)
    for method in set(METHODS) - right:
        answer = alice.call(method, path, **headers)
        refused(answer, 405, "method_not_allowed")
        assert right <= allowed(answer)


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
def test_a_wrong_method_on_the_docs_gets_an_error_object_too(visitor: Person, path: str) -> None:
    assert visitor.get(path).status_code == 200
    answer = visitor.call("POST", path)
    refused(answer, 405, "method_not_allowed")
    assert "GET" in allowed(answer)


def test_the_docs_in_an_unknown_format_are_an_error_object(visitor: Person) -> None:
    error_of(visitor.get("/api/schema/", Accept="image/png"))
    error_of(visitor.get("/api/docs/", Accept="image/png"))


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/xml;q=0.9"])
def test_the_api_answers_json_only(alice: Person, accept: str) -> None:
    refused(alice.get("me", Accept=accept), 406, "not_acceptable")


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/*", "text/html, */*"])
def test_the_api_answers_what_phones_and_browsers_accept(alice: Person, accept: str) -> None:
    assert alice.get("me", Accept=accept).status_code == 200


# Bodies


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/json",
        "application/xml",
        "garbage",
        "",
    ],
)
def test_other_types_of_bodies_are_unsupported(visitor: Person, kind: str) -> None:
    refused(raw(visitor, b'{"code": "x"}', kind), 415, "unsupported_media_type")


def test_a_body_may_have_256_kib_and_no_more(alice: Person) -> None:
    body = b'{"hat": "red"}'
    assert "hat" in refused(raw(alice, body.ljust(LIMIT)), 400, "invalid")["fields"]
    for size in (LIMIT + 1, 10 * LIMIT):
        refused(raw(alice, body.ljust(size)), 413, "too_large")
        refused(raw(alice, body.ljust(size), path="groups/bind"), 413, "too_large")


NOT_JSON = {
    "cut off": b'{"code": "x"',
    "two values": b"{}{}",
    "single quotes": b"{'code': 'x'}",
    "a trailing comma": b'{"code": "x",}',
    "blank": b" ",
    "deep lists": b"[" * 100_000,
    "deep lists, closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"code":' * 30_000,
    "deep below a key": b'{"code":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": b'{"code": NaN}',
    "Infinity": b'{"code": -Infinity}',
    "a lone surrogate": b'{"code": "\\ud800"}',
    "a lone surrogate for a key": b'{"\\udfff": "x"}',
    "surrogates the wrong way round": b'{"code": "\\ude00\\ud83d"}',
    "an endless number": b'{"code": ' + b"9" * 5000 + b"}",
    "not UTF-8": b'{"code": "\xff"}',
    "UTF-16": '{"code": "x"}'.encode("utf-16"),
    "a surrogate in UTF-8": b'{"code": "\xed\xa0\x80"}',
    "a control character": b'{"code": "a\x01b"}',
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_a_body_that_is_not_json_is_invalid(visitor: Person, body: bytes) -> None:
    error = refused(raw(visitor, body), 400, "invalid")
    assert "fields" not in error


@pytest.mark.parametrize(
    "body", [b"[]", b'[{"code": "x"}]', b'"x"', b"5", b"null", b"true", b"[" * 500 + b"]" * 500]
)
def test_a_body_that_is_not_an_object_is_invalid(
    visitor: Person, alice: Person, body: bytes
) -> None:
    refused(raw(visitor, body), 400, "invalid")
    refused(raw(alice, body, path="groups/bind"), 400, "invalid")


@pytest.mark.parametrize("body", [b'{"code": 1e999}', b'{"code": %s}' % (b"9" * 4000)])
def test_an_enormous_number_is_a_value_of_the_wrong_type(visitor: Person, body: bytes) -> None:
    assert refused(raw(visitor, body), 400, "invalid")["fields"].keys() == {"code"}


def test_a_pair_of_surrogates_is_read_as_one_character(alice: Person) -> None:
    body = b'{"nickname": "\\ud83d\\ude00"}'
    headers = {"Authorization": f"Bearer {alice.token}"}
    answer = alice.browser.generic("PUT", API + "me", body, "application/json", headers=headers)
    assert (answer.status_code, answer.json()["nickname"]) == (200, "😀")


def test_an_empty_body_is_read_as_an_empty_object(visitor: Person) -> None:
    assert refused(raw(visitor, b""), 400, "invalid")["fields"].keys() == {"code"}


def test_all_unknown_fields_are_named(visitor: Person) -> None:
    body = {"code": "x", "a": 1, "": 2, "non_field_errors": 3, "b.c": {"d": 4}}
    error = refused(visitor.post("login", body), 400, "invalid")
    assert {"a", "b.c"} <= error["fields"].keys()


# Crashes and outages


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/nothing", "/api/schema/"])
@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "a b", "[", "é"])
def test_a_call_to_another_host_is_invalid(
    visitor: Person, debug: bool, path: str, host: str
) -> None:
    answer = visitor.get(path, Host=host)
    refused(answer, 400, "invalid")
    assert "evil" not in answer.content.decode()


def crash(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("canary-of-a-crash")


CRASHES = {
    "a view": "accounts.api.MeView.get",
    "authentication": "accounts.models.TokenManager.valid",
    "a middleware": "django.middleware.common.CommonMiddleware.process_request",
    "the outer middleware": "django.middleware.security.SecurityMiddleware.process_request",
    "on the way back": "django.middleware.locale.LocaleMiddleware.process_response",
    "rendering": "core.renderers.JSONRenderer.render",
}


@pytest.mark.parametrize("place", CRASHES.values(), ids=CRASHES)
def test_a_crash_is_a_500_without_details(
    alice: Person, debug: bool, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(place, crash)
    alice.browser.raise_request_exception = False
    answer = alice.get("me")
    assert answer.status_code == 500
    error = error_of(answer)
    assert "canary" not in answer.content.decode()
    assert error["code"] == "server_error"


def test_a_crash_is_logged_with_its_request_id(
    alice: Person, monkeypatch: pytest.MonkeyPatch, log_output: StringIO
) -> None:
    monkeypatch.setattr(CRASHES["a view"], crash)
    error = error_of(alice.get("me"))
    [line] = [
        line for line in map(json.loads, log_output.getvalue().splitlines()) if "exception" in line
    ]
    assert (line["level"], line["message"]) == ("ERROR", "unhandled RuntimeError")
    assert line["requestId"] == error["requestId"]
    assert "canary-of-a-crash" in line["exception"]


@pytest.mark.parametrize("place", [CRASHES["a view"], CRASHES["authentication"]])
def test_a_database_that_is_down_is_unavailable(
    alice: Person, debug: bool, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def down(*args: Any, **kwargs: Any) -> Any:
        raise OperationalError("the canary's database is locked")

    monkeypatch.setattr(place, down)
    answer = alice.get("me")
    assert refused(answer, 503, "unavailable")["retryAfter"] == int(answer["Retry-After"])
    assert "canary" not in answer.content.decode()


# Languages, names and times


def failing_calls(person: Person) -> dict[str, Any]:
    """Return calls that fail, one for each kind of error, as functions of the headers."""
    return {
        "not_found": lambda **h: person.get("/api/nothing", **h),
        "method_not_allowed": lambda **h: person.delete("boards", **h),
        "not_acceptable": lambda **h: person.get("me", **{**h, "Accept": "text/html"}),
        "invalid": lambda **h: person.post("groups/bind", {}, **h),
        "invalid_code": lambda **h: person.post("login", {"code": "x"}, **h),
        "invalid_token": lambda **h: person.get("me", **{**h, "Authorization": "Bearer x"}),
        "not_authenticated": lambda **h: person.get("me", **{**h, "Authorization": ""}),
        "bad host": lambda **h: person.get("/api/v1/me", **{**h, "Host": "evil.example"}),
        "docs": lambda **h: person.call("POST", "/api/schema/", **h),
    }


def test_every_message_is_in_chinese_or_in_english(alice: Person) -> None:
    for name, call in failing_calls(alice).items():
        assert CHINESE.search(error_of(call())["detail"]), name
        english = error_of(call(**{"Accept-Language": "en"}))
        assert english["detail"].isascii(), name


def test_every_response_has_an_id_of_its_own(alice: Person, olga: Browser) -> None:
    answers = [call() for call in failing_calls(alice).values()]
    answers += [alice.get("me"), alice.post("logout")]
    answers += [
        olga.get(path)
        for path in (
            "/",
            "/livez",
            "/readyz",
            "/groups/",
            "/groups",
            "/admin/",
            "/nothing",
            "/g/x/",
            "/api/docs/",
            "/static/site.css",
        )
    ]
    for answer in answers:
        answer.close()
    names = [answer["X-Request-ID"] for answer in answers]
    assert all(re.fullmatch(r"[\w-]{8,64}", name, re.ASCII) for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("debug", [False, True])
def test_an_address_there_is_not_shows_our_page_with_debug_on_too(
    alice: Person, olga: Browser, settings: Any, debug: bool
) -> None:
    alice.enter("family")
    link = urlsplit(alice.post(f"groups/{FAMILY}/link").json()["url"]).path
    settings.DEBUG = debug
    assert alice.browser.get(link).status_code == 200
    for path in (f"{link[:-2]}/", "/g/x/", f"{link}?period=x", "/nothing", "/groups/999999/"):
        for language, title in {"zh": "没有这个页面", "en": "There is no such page"}.items():
            answer = olga.get(path, headers={"Accept-Language": language})
            assert answer.status_code == 404
            assert f"<h1>{title}</h1>" in answer.content.decode(), path
            assert "URLconf" not in answer.content.decode()
    settings.LINK_MAX_AGE = -1
    expired = alice.browser.get(link)
    assert (expired.status_code, "链接已过期" in expired.content.decode()) == (410, True)


def test_the_request_id_of_a_caller_is_not_used(alice: Person) -> None:
    answer = alice.get("me", **{"X-Request-ID": "forged\nline"})
    assert "forged" not in answer["X-Request-ID"]


MOMENTS = {"expiresAt", "joinedAt", "verifiedAt", "serverTime", "start", "end", "achievedAt"}


def leaves(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, key)
    else:
        yield key, value


def test_times_are_written_for_phones_and_ids_are_strings(alice: Person, group: Group) -> None:
    mine = f"groups/{group.open_gid}"
    answers = [
        alice.body,
        *(alice.get(path).json() for path in ("me", "groups", mine, f"{mine}/ranking")),
        alice.get(f"{mine}/ranking/around?period=all").json(),
        alice.post("groups/bind", alice.envelope("family")).json(),
        alice.post(f"{mine}/link").json(),
    ]
    found = [leaf for answer in answers for leaf in leaves(answer)]
    moments = [value for key, value in found if key in MOMENTS and value is not None]
    assert len(moments) >= 15 and all(TIME.fullmatch(moment) for moment in moments)
    ids = [value for key, value in found if key in {"id", "openGId", "openid"}]
    assert len(ids) >= 10 and all(isinstance(id, str) for id in ids)
    assert {key for key, _value in found} >= MOMENTS


# Details


def test_more_parameters_than_django_reads_are_invalid(alice: Person) -> None:
    many = "&".join(f"a{number}=1" for number in range(1200))
    error = refused(alice.get(f"groups?{many}"), 400, "invalid")
    assert "fields" not in error["detail"]


@pytest.mark.parametrize("body", [b'{"foo": 1}', b"garbage", b"[]"])
def test_a_call_that_takes_no_input_refuses_one_and_does_nothing(
    alice: Person, group: Group, body: bytes
) -> None:
    headers = {"Authorization": f"Bearer {alice.token}"}
    membership = f"{API}groups/{group.open_gid}/membership"
    refused(raw(alice, body, path="logout"), 400, "invalid")
    answer = alice.browser.delete(membership, body, "application/json", headers=headers)
    refused(answer, 400, "invalid")
    assert alice.get(f"groups/{group.open_gid}").status_code == 200


@pytest.mark.parametrize(
    "query", ["period=week%20", "period=2026-11-22%0a", "limit=1_0", "limit=%2B5", "limit=5.0"]
)
def test_query_parameters_are_read_strictly(alice: Person, group: Group, query: str) -> None:
    refused(alice.get(f"groups/{group.open_gid}/ranking?{query}"), 400, "invalid")
    refused(alice.get(f"groups/{group.open_gid}/ranking?limit=%D9%A5"), 400, "invalid")


def test_a_body_of_null_is_refused_in_the_readers_language(alice: Person) -> None:
    answer = alice.browser.put(
        f"{API}me", b"null", "application/json", headers={"Authorization": f"Bearer {alice.token}"}
    )
    assert CHINESE.search(refused(answer, 400, "invalid")["detail"])


def test_no_parameter_changes_the_format_of_an_answer(alice: Person) -> None:
    assert alice.get("me?format=xml").json() == alice.get("me").json()


def test_an_answer_about_many_unknown_keys_stays_short(visitor: Person) -> None:
    answer = visitor.post("login", {f"{number:x>300}": 1 for number in range(700)})
    refused(answer, 400, "invalid")
    assert len(answer.content) < 4000


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/", "/api/v1/boards"])
def test_options_is_not_allowed(visitor: Person, alice: Person, path: str) -> None:
    headers = {"Authorization": f"Bearer {alice.token}"}
    answer = visitor.browser.options(path, headers=headers)
    refused(answer, 405, "method_not_allowed")


def test_probes_refuse_post_and_answer_on_any_host_name(visitor: Person) -> None:
    strict = Browser(enforce_csrf_checks=True)
    for path in ("/livez", "/readyz"):
        assert strict.post(path).status_code == 405
        for host in ("testserver", "10.0.0.7:8000", "evil.example"):
            assert visitor.browser.get(path, headers={"Host": host}).status_code == 200
    assert visitor.browser.get("/", headers={"Host": "10.0.0.7"}).status_code == 400


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_readiness_says_in_words_what_is_missing(
    visitor: Person, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    def ready() -> dict[str, str]:
        answer = visitor.browser.get("/readyz", headers={"Accept-Language": language})
        assert visitor.browser.get("/livez").status_code == 200
        return {"http": str(answer.status_code), **answer.json()}

    assert ready() == {"http": "200", "status": "ok", "database": "up"}
    MigrationRecorder.Migration.objects.filter(app="groups", name="0001_initial").delete()
    behind = ready()
    assert (behind["http"], behind["status"], behind["database"]) == (
        "503",
        "unavailable",
        "behind",
    )
    assert "groups.0001_initial" in behind["detail"]
    assert ("Run migrate" in behind["detail"]) == (language == "en")
    monkeypatch.setattr(MigrationRecorder.Migration._meta, "db_table", "no_such_table")
    down = ready()
    assert (down["http"], down["database"]) == ("503", "down")
    assert ("does not answer" in down["detail"]) == (language == "en")
