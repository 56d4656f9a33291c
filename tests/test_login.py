"""Logging in, logging out, and what a person may say about themselves."""

import re
from base64 import b64encode, urlsafe_b64encode
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
import time_machine
from PIL import Image

from accounts.models import Token, WeChatUser
from core.vault import decrypt, digest_of
from tests.cast import CHINESE, TIME, Person, fault, refused, sealed_for
from tests.settings import APP_ID, OTHER_APP_ID
from wechat.sandbox import Phone, Sandbox, openid_of, unionid_of

CODE2SESSION = "/sns/jscode2session"
GID = "tGsj-0123456789_abcdefghijkl"
NOW = datetime.fromisoformat("2026-11-22T12:00:00+08:00")


def field_key(text: str) -> str:
    return urlsafe_b64encode(text.encode().ljust(32, b".")).decode()


@pytest.fixture
def newcomer(db: None, sandbox: Sandbox) -> Person:
    """Return a person who has not logged in yet."""
    return Person("newcomer", Phone(sandbox.url, "newcomer", APP_ID))


@pytest.fixture
def two_apps(settings: Any, sandbox: Sandbox) -> Any:
    settings.WECHAT_APPS = {**settings.WECHAT_APPS, OTHER_APP_ID: {"SECRET": "another-secret"}}
    sandbox.state.apps[OTHER_APP_ID] = "another-secret"
    yield
    del sandbox.state.apps[OTHER_APP_ID]


def log_in(person: Person, **body: Any) -> Any:
    return person.post("login", {"code": person.phone.login(), **body})


def stored(user: WeChatUser) -> tuple[Any, ...]:
    """Return the user's whole row as the database has it."""
    return WeChatUser.objects.values_list().get(pk=user.pk)


# The answer


def test_a_log_in_answers_what_the_contract_says(newcomer: Person) -> None:
    with time_machine.travel(NOW, tick=False):
        answer = log_in(newcomer)
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"token", "expiresAt", "user"}
    assert isinstance(body["token"], str) and len(body["token"]) >= 32
    assert TIME.fullmatch(body["expiresAt"])
    assert datetime.fromisoformat(body["expiresAt"]) > NOW
    user = body["user"]
    assert user.keys() == {
        *("id", "nickname", "avatar", "profileComplete"),
        *("nicknameState", "avatarState"),
    }
    assert isinstance(user["id"], str) and user["id"]
    assert (user["nickname"], user["profileComplete"]) == ("", False)


def test_the_first_log_in_creates_a_user_and_the_next_finds_it(newcomer: Person) -> None:
    first, second = log_in(newcomer).json(), log_in(newcomer).json()
    assert first["user"] == second["user"]
    user = WeChatUser.objects.get()
    assert (user.app_id, user.openid) == (APP_ID, openid_of(APP_ID, "newcomer"))
    assert user.unionid == unionid_of("newcomer")


def test_me_is_the_user_of_the_log_in(alice: Person) -> None:
    answer = alice.get("me")
    assert answer.status_code == 200
    assert answer.json() == {**alice.body["user"], "nickname": "小明"}


def test_the_avatar_is_an_absolute_address_of_a_webp_that_needs_no_token(alice: Person) -> None:
    url = alice.get("me").json()["avatar"]
    assert re.fullmatch(r"http://testserver/avatars/[\w-]{20,}\.webp", url)
    alice.token = ""
    answer = alice.get(url.removeprefix("http://testserver"))
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/webp")
    assert Image.open(BytesIO(answer.content)).format == "WEBP"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_two_peoples_avatars_cannot_be_guessed_from_each_other(alice: Person, bob: Person) -> None:
    first, second = (person.get("me").json()["avatar"] for person in (alice, bob))
    assert first != second
    assert alice.openid not in first and f"/{alice.body['user']['id']}." not in first


# The appid


def test_with_one_mini_program_the_appid_is_optional(newcomer: Person) -> None:
    assert log_in(newcomer).status_code == 200
    assert log_in(newcomer, appid=APP_ID).status_code == 200


@pytest.mark.usefixtures("two_apps")
def test_with_several_mini_programs_the_appid_is_required(newcomer: Person) -> None:
    error = refused(log_in(newcomer), 400, "invalid")
    assert error["fields"].keys() == {"appid"}
    assert log_in(newcomer, appid=APP_ID).status_code == 200


@pytest.mark.parametrize("appid", ["wx0000000000000000", "", APP_ID.upper(), 5, None, [APP_ID]])
def test_an_unknown_appid_is_invalid(newcomer: Person, appid: Any) -> None:
    error = refused(log_in(newcomer, appid=appid), 400, "invalid")
    assert error["fields"].keys() == {"appid"}
    assert not WeChatUser.objects.exists()


@pytest.mark.usefixtures("two_apps")
def test_one_openid_in_two_mini_programs_is_two_users(
    sandbox: Sandbox, newcomer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wechat.sandbox.state.openid_of", lambda appid, person: "oTheSameInBoth")
    ids = set()
    for appid in (APP_ID, OTHER_APP_ID):
        code = Phone(sandbox.url, "newcomer", appid).login()
        answer = newcomer.post("login", {"code": code, "appid": appid})
        ids.add(answer.json()["user"]["id"])
    assert len(ids) == WeChatUser.objects.filter(openid="oTheSameInBoth").count() == 2


def test_openids_that_differ_by_case_are_two_users(
    newcomer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = set()
    for openid in ("oAbCdEf", "oabcdef"):
        monkeypatch.setattr("wechat.sandbox.state.openid_of", lambda *_args, o=openid: o)
        ids.add(log_in(newcomer).json()["user"]["id"])
    assert len(ids) == WeChatUser.objects.count() == 2


# What is wrong with a request


@pytest.mark.no_service
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "code"),
        ({"code": ""}, "code"),
        ({"code": 5}, "code"),
        ({"code": None}, "code"),
        ({"code": ["a"]}, "code"),
        ({"code": "a" * 513}, "code"),
        ({"code": "a\0b"}, "code"),
        ({"code": "demo-alice", "secret": "x"}, "secret"),
    ],
)
def test_a_wrong_body_is_refused_with_the_name_of_the_field(
    newcomer: Person, body: dict[str, Any], field: str
) -> None:
    error = refused(newcomer.post("login", body), 400, "invalid")
    assert error["fields"].keys() == {field}


def test_the_err_msg_of_wx_login_is_ignored(newcomer: Person) -> None:
    assert log_in(newcomer, errMsg="login:ok").status_code == 200


# What WeChat refuses


def test_a_code_used_twice_is_an_invalid_code(newcomer: Person) -> None:
    code = newcomer.phone.login()
    assert newcomer.post("login", {"code": code}).status_code == 200
    answer = newcomer.post("login", {"code": code})
    refused(answer, 401, "invalid_code")
    assert answer["WWW-Authenticate"]
    assert Token.objects.count() == 1


def test_an_unknown_or_expired_code_is_an_invalid_code(newcomer: Person) -> None:
    refused(newcomer.post("login", {"code": "no-such-code"}), 401, "invalid_code")
    with time_machine.travel(NOW, tick=False) as clock:
        code = newcomer.phone.login()
        clock.shift(301)
        refused(newcomer.post("login", {"code": code}), 401, "invalid_code")


def test_after_a_lost_answer_the_code_is_invalid_and_a_new_one_works(
    newcomer: Person, sandbox: Sandbox
) -> None:
    fault(sandbox, close=True)
    code = newcomer.phone.login()
    refused(newcomer.post("login", {"code": code}), 503, "wechat_unavailable")
    refused(newcomer.post("login", {"code": code}), 401, "invalid_code")
    assert log_in(newcomer).status_code == 200


REFUSALS = {
    40029: (401, "invalid_code"),
    40163: (401, "invalid_code"),
    41008: (401, "invalid_code"),
    40226: (403, "user_blocked"),
    45011: (429, "throttled"),
    -1: (503, "wechat_unavailable"),
    40013: (503, "wechat_unavailable"),
    40125: (503, "wechat_unavailable"),
    40164: (503, "wechat_unavailable"),
    45009: (503, "wechat_unavailable"),
    99999: (503, "wechat_unavailable"),
}


@pytest.mark.no_service
@pytest.mark.parametrize(("errcode", "expected"), REFUSALS.items())
def test_each_errcode_of_wechat_has_its_answer(
    newcomer: Person, sandbox: Sandbox, errcode: int, expected: tuple[int, str]
) -> None:
    fault(sandbox, times=2, errcode=errcode)
    refused(log_in(newcomer), *expected)
    fault(sandbox, times=0)
    assert not WeChatUser.objects.exists()


@pytest.mark.parametrize("what", [{"status": 502}, {"body": ""}, {"body": "<html>"}])
def test_an_unreadable_answer_is_wechat_unavailable(
    newcomer: Person, sandbox: Sandbox, what: dict[str, Any]
) -> None:
    fault(sandbox, **what)
    refused(log_in(newcomer), 503, "wechat_unavailable")


def test_a_log_in_does_not_wait_for_a_wechat_that_hangs(
    newcomer: Person, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wechat.client.Client.__init__.__defaults__", (0.2,))
    fault(sandbox, delay=30)
    refused(log_in(newcomer), 503, "wechat_unavailable")


# Tokens


def test_a_log_in_adds_a_token_and_the_others_stay_valid(alice: Person) -> None:
    first = alice.token
    second = alice.log_in().token
    assert first != second
    for alice.token in (first, second):
        assert alice.get("me").status_code == 200


def test_a_log_out_ends_only_its_own_token(alice: Person) -> None:
    first = alice.token
    second = alice.log_in().token
    alice.token = first
    answer = alice.post("logout")
    assert (answer.status_code, answer.content) == (204, b"")
    refused(alice.get("me"), 401, "invalid_token")
    refused(alice.post("logout"), 401, "invalid_token")
    alice.token = second
    assert alice.get("me").status_code == 200


def test_a_token_expires_at_the_announced_moment(newcomer: Person) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        body = log_in(newcomer).json()
        newcomer.token = body["token"]
        end = datetime.fromisoformat(body["expiresAt"])
        clock.move_to(end - timedelta(milliseconds=1))
        assert newcomer.get("me").status_code == 200
        clock.move_to(end + timedelta(milliseconds=1))
        refused(newcomer.get("me"), 401, "invalid_token")
        assert log_in(newcomer).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer garbage",
        "Bearer ",
        "Bearer",
        "bearer x y",
        "Bearer \xff\xfe",
        "BEARER " + "a" * 4000,
    ],
)
def test_a_malformed_token_is_an_invalid_token(alice: Person, header: str) -> None:
    answer = alice.get("me", Authorization=header)
    refused(answer, 401, "invalid_token")
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Token abc", "garbage"])
def test_another_scheme_does_not_authenticate(alice: Person, header: str) -> None:
    refused(alice.get("me", Authorization=header), 401, "not_authenticated")


def test_the_scheme_is_case_insensitive(alice: Person) -> None:
    assert alice.get("me", Authorization=f"bearer {alice.token}").status_code == 200


def test_a_token_with_another_letter_or_case_is_invalid(alice: Person) -> None:
    for wrong in (alice.token[:-1], alice.token + "x", alice.token.swapcase()):
        refused(alice.get("me", Authorization=f"Bearer {wrong}"), 401, "invalid_token")


def test_only_the_digest_of_a_token_is_stored(alice: Person) -> None:
    token = Token.objects.get()
    assert token.digest == digest_of(alice.token)
    assert alice.token not in str(vars(token)) and alice.token not in repr(token)


def test_a_digest_does_not_work_as_a_token(alice: Person) -> None:
    digest = Token.objects.get().digest
    refused(alice.get("me", Authorization=f"Bearer {digest}"), 401, "invalid_token")


# Blocked


def test_a_blocked_user_cannot_log_in_or_use_an_old_token(alice: Person) -> None:
    WeChatUser.objects.update(status=WeChatUser.Status.BLOCKED)
    tokens = Token.objects.count()
    refused(log_in(alice), 403, "user_blocked")
    for answer in (alice.get("me"), alice.get("groups"), alice.put("me", {"nickname": "x"})):
        refused(answer, 403, "user_blocked")
    assert Token.objects.count() == tokens
    WeChatUser.objects.update(status=WeChatUser.Status.ACTIVE)
    assert alice.get("me").json()["nickname"] == "小明"


# The session_key


def test_the_session_key_is_encrypted_at_rest(alice: Person) -> None:
    key = decrypt(alice.user.session_key)
    assert key and key not in str(stored(alice.user))
    refused(
        alice.post("groups/resolve", sealed_for(alice, {"openGId": GID}, timestamp=0)),
        409,
        "session_stale",
    )
    assert alice.post("groups/resolve", sealed_for(alice, {"openGId": GID})).status_code == 200


def test_field_keys_rotate(alice: Person, settings: Any) -> None:
    [old] = settings.FIELD_KEYS
    sealed = sealed_for(alice, {"openGId": GID})
    settings.FIELD_KEYS = [field_key("new"), old]
    assert alice.post("groups/resolve", sealed).status_code == 200
    alice.log_in()
    settings.FIELD_KEYS = [field_key("new")]
    assert alice.post("groups/resolve", sealed_for(alice, {"openGId": GID})).status_code == 200
    settings.FIELD_KEYS = [old]
    assert decrypt(alice.user.session_key) is None


def test_after_a_lost_field_key_sessions_are_stale_until_the_next_log_in(
    alice: Person, settings: Any
) -> None:
    sealed = sealed_for(alice, {"openGId": GID})
    settings.FIELD_KEYS = [field_key("all the others are lost")]
    refused(alice.post("groups/resolve", sealed), 409, "session_stale")
    alice.log_in()
    assert alice.post("groups/resolve", sealed_for(alice, {"openGId": GID})).status_code == 200


@pytest.mark.parametrize(("age", "status"), [(0, 200), (599, 200), (601, 409)])
def test_the_previous_session_key_opens_envelopes_for_ten_minutes(
    newcomer: Person, settings: Any, age: int, status: int
) -> None:
    settings.WATERMARK_MAX_AGE = 3600
    with time_machine.travel(NOW, tick=False) as clock:
        newcomer.log_in()
        sealed = sealed_for(newcomer, {"openGId": GID})
        clock.shift(60)
        newcomer.log_in()
        clock.shift(age)
        assert newcomer.post("groups/resolve", sealed).status_code == status
        fresh = sealed_for(newcomer, {"openGId": GID})
        assert newcomer.post("groups/resolve", fresh).status_code == 200


def test_the_session_key_before_the_previous_one_opens_nothing(alice: Person) -> None:
    sealed = sealed_for(alice, {"openGId": GID})
    alice.log_in()
    assert alice.post("groups/resolve", sealed).status_code == 200
    alice.log_in()
    refused(alice.post("groups/resolve", sealed), 409, "session_stale")


def test_a_repeated_session_key_does_not_replace_the_previous_one(
    newcomer: Person, sandbox: Sandbox
) -> None:
    """Log in twice with one session_key: wx.login may, but need not, make a new one."""
    newcomer.log_in()
    sealed = sealed_for(newcomer, {"openGId": GID})
    key = b64encode(b"a key used twice").decode()
    body = f'{{"openid": "{newcomer.openid}", "session_key": "{key}"}}'
    for _ in range(2):
        fault(sandbox, body=body)
        newcomer.log_in()
    assert decrypt(newcomer.user.session_key) == key
    assert newcomer.post("groups/resolve", sealed).status_code == 200


def test_an_answer_without_a_unionid_keeps_the_known_one(
    newcomer: Person, sandbox: Sandbox
) -> None:
    newcomer.log_in()
    key = b64encode(b"k" * 16).decode()
    fault(sandbox, body=f'{{"openid": "{newcomer.openid}", "session_key": "{key}"}}')
    newcomer.log_in()
    assert newcomer.user.unionid == unionid_of("newcomer")


# The nickname


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("李雷", "李雷"),
        ("  李  雷 \n", "李 雷"),
        ("\u202e李雷\u202c", "李雷"),
        ("<b>O'Brien</b>", "<b>O'Brien</b>"),
        ("e\u0301", "\u00e9"),
        ("x" * 32, "x" * 32),
        ("👨‍👩‍👧‍👦" * 32, "👨‍👩‍👧‍👦" * 32),
    ],
)
def test_a_nickname_is_cleaned_and_stored(alice: Person, given: str, stored: str) -> None:
    answer = alice.put("me", {"nickname": given})
    assert answer.status_code == 200, answer.content
    assert answer.json() == {**alice.body["user"], "nickname": stored}
    assert alice.get("me").json()["nickname"] == stored


@pytest.mark.no_service
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"nickname": ""},
        {"nickname": " \u3000\u200b"},
        {"nickname": "\u2800"},
        {"nickname": "x" * 33},
        {"nickname": "x" * 100_000},
        {"nickname": None},
        {"nickname": 5},
        {"nickname": True},
        {"nickname": ["李雷"]},
        {"nickname": {"a": "b"}},
    ],
    ids=lambda body: repr(body)[:30],
)
def test_a_refused_nickname_changes_nothing(alice: Person, body: dict[str, Any]) -> None:
    before = stored(alice.user)
    error = refused(alice.put("me", body), 400, "invalid")
    assert error["fields"].keys() == {"nickname"}
    assert stored(alice.user) == before


def test_a_nickname_with_an_unknown_key_changes_nothing(alice: Person) -> None:
    before = stored(alice.user)
    error = refused(alice.put("me", {"nickname": "新", "avatar": "x"}), 400, "invalid")
    assert error["fields"].keys() == {"avatar"}
    assert stored(alice.user) == before


def test_one_persons_nickname_does_not_change_anothers(alice: Person, bob: Person) -> None:
    alice.rename("新名字")
    assert bob.get("me").json()["nickname"] == "李雷"


# The language


@pytest.mark.no_service
@pytest.mark.parametrize("language", [None, "zh-CN", "zh", "zh-Hans-CN", "fr", "garbage;;"])
def test_errors_are_in_chinese_unless_english_is_requested(
    newcomer: Person, language: str | None
) -> None:
    headers = {"Accept-Language": language} if language else {}
    error = refused(
        newcomer.post("login", {"code": "no-such-code"}, **headers), 401, "invalid_code"
    )
    assert CHINESE.search(error["detail"])


@pytest.mark.parametrize("language", ["en", "en-US", "en-GB,en;q=0.9,zh;q=0.1"])
def test_errors_are_in_english_where_it_is_requested(newcomer: Person, language: str) -> None:
    headers = {"Accept-Language": language}
    error = refused(
        newcomer.post("login", {"code": "no-such-code"}, **headers), 401, "invalid_code"
    )
    assert error["detail"].isascii()
    fields = refused(newcomer.post("login", {}, **headers), 400, "invalid")["fields"]
    assert fields["code"][0].isascii()


def test_the_messages_about_fields_are_in_chinese_too(alice: Person) -> None:
    for body in ({}, {"nickname": ""}, {"nickname": 5}, {"nickname": "x" * 33}, {"hat": "red"}):
        fields = refused(alice.put("me", body), 400, "invalid")["fields"]
        assert all(CHINESE.search(sentences[0]) for sentences in fields.values()), fields
