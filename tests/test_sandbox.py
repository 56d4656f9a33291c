"""The sandbox, over a real socket, call by call."""

import io
import json
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Self
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from django.core.management import CommandError, call_command
from PIL import Image

from wechat.client import Client, Suggestion, Verdict
from wechat.crypto import Envelope, UnsealError, check_watermark, group_in, is_opaque_id, unseal
from wechat.errors import HighRiskUserError, InvalidCodeError, UnavailableError, WeChatError
from wechat.management.commands.sandbox import Command
from wechat.push import Channel, MediaVerdict, media_verdict, withdrawal
from wechat.sandbox import (
    Phone,
    PhoneError,
    Sandbox,
    demo_envelope,
    group_openid_of,
    open_gid_of,
    openid_of,
    unionid_of,
)
from wechat.sandbox.content_safety import judge_picture

pytestmark = pytest.mark.no_service

GAME, SHOP = "wx0000000000000001", "wx0000000000000002"
APPS = {GAME: "game-secret", SHOP: "shop-secret"}
START = 1_795_000_000.5


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(APPS, clock=clock) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Client:
    return Client(GAME, APPS[GAME], sandbox.url, timeout=1)


@pytest.fixture
def alice(sandbox: Sandbox) -> Phone:
    return Phone(sandbox.url, "alice", GAME)


def opened(session_key: str, sealed: dict[str, str]) -> dict[str, Any]:
    return unseal(session_key, Envelope.parse(sealed["encryptedData"], sealed["iv"]))


def ask_session(sandbox: Sandbox, **changed: str) -> requests.Response:
    asked = {
        "appid": GAME,
        "secret": APPS[GAME],
        "js_code": "demo-alice",
        "grant_type": "authorization_code",
    }
    return requests.get(sandbox.url + "/sns/jscode2session", params=asked | changed, timeout=5)


def ask_token(sandbox: Sandbox, **changed: Any) -> dict[str, Any]:
    asked = {"grant_type": "client_credential", "appid": GAME, "secret": APPS[GAME]}
    url = sandbox.url + "/cgi-bin/stable_token"
    answer: dict[str, Any] = requests.post(url, json=asked | changed, timeout=5).json()
    return answer


def request_fault(sandbox: Sandbox, times: int = 1, **fault: Any) -> requests.Response:
    asked = {"path": "/sns/jscode2session", "fault": fault, "times": times}
    return requests.post(sandbox.url + "/phone/faults", json=asked, timeout=5)


# Logging in


def test_a_code_is_exchanged_for_the_same_ids_in_every_sandbox(
    client: Client, alice: Phone
) -> None:
    session = client.code_to_session(alice.login())
    assert session.openid == openid_of(GAME, "alice")
    assert session.unionid == unionid_of("alice")


def test_ids_look_like_those_of_wechat(sandbox: Sandbox) -> None:
    ids = [openid_of(GAME, "alice"), open_gid_of(GAME, "家人"), unionid_of("alice")]
    assert all(len(opaque) == 28 and is_opaque_id(opaque) for opaque in ids)
    assert [opaque[:1] for opaque in ids] == ["o", "t", "o"]
    assert ids[1].startswith("tG") and ids[2].startswith("ocM")
    assert openid_of("a", "bc") != openid_of("ab", "c")


def test_a_code_is_good_once(client: Client, alice: Phone) -> None:
    code = alice.login()
    client.code_to_session(code)
    with pytest.raises(InvalidCodeError) as refused:
        client.code_to_session(code)
    assert refused.value.errcode == 40163
    assert refused.value.rid


def test_a_code_is_good_for_five_minutes(client: Client, alice: Phone, clock: Clock) -> None:
    early, late = alice.login(), alice.login()
    clock.now += 299
    client.code_to_session(early)
    clock.now += 1
    with pytest.raises(InvalidCodeError) as refused:
        client.code_to_session(late)
    assert refused.value.errcode == 40029


def test_a_code_of_another_app_is_unknown_and_stays_unused(
    sandbox: Sandbox, client: Client
) -> None:
    code = Phone(sandbox.url, "alice", SHOP).login()
    with pytest.raises(InvalidCodeError) as refused:
        client.code_to_session(code)
    assert refused.value.errcode == 40029
    assert Client(SHOP, APPS[SHOP], sandbox.url).code_to_session(code)


def test_only_the_first_of_many_who_exchange_a_code_at_once_gets_a_key(
    client: Client, alice: Phone
) -> None:
    code = alice.login()

    def errcode(_: int) -> int | None:
        try:
            client.code_to_session(code)
        except InvalidCodeError as error:
            return error.errcode
        return 0

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(errcode, range(8)), key=str) == [0] + [40163] * 7


@pytest.mark.parametrize(
    ("changed", "errcode"),
    [
        ({"appid": "wxffffffffffffffff"}, 40013),
        ({"appid": ""}, 40013),
        ({"secret": "guess"}, 40125),
        ({"grant_type": "client_credential"}, 40002),
        ({"js_code": ""}, 41008),
        ({"js_code": "0never-issued"}, 40029),
    ],
)
def test_a_wrong_exchange_answers_http_200_with_the_errcode_of_wechat(
    sandbox: Sandbox, changed: dict[str, str], errcode: int
) -> None:
    response = ask_session(sandbox, **changed)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    answer = response.json()
    assert answer.keys() == {"errcode", "errmsg"}
    assert answer["errcode"] == errcode
    assert ", rid: " in answer["errmsg"]


def test_a_success_has_exactly_the_keys_of_wechat(sandbox: Sandbox) -> None:
    assert ask_session(sandbox).json().keys() == {"openid", "session_key", "unionid"}


def test_a_demo_code_is_never_used_up_and_opens_what_documentation_shows(sandbox: Sandbox) -> None:
    shown = demo_envelope(GAME, "demo-alice", "family")
    phone = Phone(sandbox.url, "demo-alice", GAME)
    for _again in range(2):
        phone.login()
        session = ask_session(sandbox).json()
        assert session["openid"] == openid_of(GAME, "demo-alice")
        assert opened(session["session_key"], phone.user_info())["openId"] == session["openid"]
        assert group_in(opened(session["session_key"], shown)) == open_gid_of(GAME, "family")
    assert shown == demo_envelope(GAME, "demo-alice", "family")
    assert shown != demo_envelope(GAME, "demo-bob", "family")


# Encrypted data


def test_share_info_names_the_group_and_has_a_watermark(
    client: Client, alice: Phone, clock: Clock
) -> None:
    key = client.code_to_session(alice.login()).session_key
    payload = opened(key, alice.share_info(alice.open_card("family")["shareTicket"]))
    assert payload == {
        "openGId": open_gid_of(GAME, "family"),
        "watermark": {"appid": GAME, "timestamp": int(START)},
    }
    assert check_watermark(payload, GAME, clock.now, 300, required=True)


def test_group_enter_info_names_the_same_group_as_share_info(client: Client, alice: Phone) -> None:
    key = client.code_to_session(alice.login()).session_key
    alice.open_card("family")
    payload = opened(key, alice.group_enter_info())
    assert payload.keys() == {"opengid", "chat_type", "watermark"}
    assert group_in(payload) == open_gid_of(GAME, "family")
    assert payload["chat_type"] == 3


def test_group_enter_info_can_lack_its_watermark(client: Client, alice: Phone) -> None:
    key = client.code_to_session(alice.login()).session_key
    alice.open_card("family")
    payload = opened(key, alice.group_enter_info(watermark=False))
    assert "watermark" not in payload
    assert group_in(payload) == open_gid_of(GAME, "family")


def test_a_group_openid_differs_by_person_and_by_group(sandbox: Sandbox, client: Client) -> None:
    seen = set()
    for person, chat in [("alice", "family"), ("alice", "work"), ("bob", "family")]:
        phone = Phone(sandbox.url, person, GAME)
        phone.open_card(chat)
        key = client.code_to_session(phone.login()).session_key
        given = opened(key, phone.group_enter_info(group_openid=True))["group_openid"]
        assert given == group_openid_of(GAME, chat, person) and len(given) == 28
        seen.add(given)
    assert len(seen) == 3


def test_a_group_openid_is_sealed_only_where_the_phone_asks_for_it(
    client: Client, alice: Phone
) -> None:
    key = client.code_to_session(alice.login()).session_key
    alice.open_card("family")
    asked = [{}, {"needGroupOpenID": False}, {"needGroupOpenID": True}]
    sealed = [alice._envelope("group-enter-info", options) for options in asked]
    assert ["group_openid" in opened(key, each) for each in sealed] == [False, False, True]
    alice.open_single()
    assert "group_openid" not in opened(key, alice.group_enter_info(group_openid=True))


def test_a_single_chat_has_a_room_and_no_group(client: Client, alice: Phone) -> None:
    key = client.code_to_session(alice.login()).session_key
    alice.open_card("family")
    assert alice.open_single() == {"scene": 1007, "query": {}}
    payload = opened(key, alice.group_enter_info())
    assert payload.keys() == {"open_single_roomid", "chat_type", "watermark"}
    assert payload["chat_type"] == 1
    assert group_in(payload) is None


def test_user_info_is_genuine_and_names_no_group(client: Client, alice: Phone) -> None:
    session = client.code_to_session(alice.login())
    payload = opened(session.session_key, alice.user_info())
    assert payload["openId"] == session.openid
    assert payload["nickName"] == "微信用户"
    assert group_in(payload) is None


def test_every_login_rotates_the_key(client: Client, alice: Phone) -> None:
    old = client.code_to_session(alice.login()).session_key
    sealed_before = alice.user_info()
    new = client.code_to_session(alice.login()).session_key
    assert opened(old, sealed_before)
    assert opened(new, alice.user_info())
    with pytest.raises(UnsealError):
        opened(new, sealed_before)
    with pytest.raises(UnsealError):
        opened(old, alice.user_info())


def test_a_code_carries_the_key_of_its_own_login(client: Client, alice: Phone) -> None:
    early, late = alice.login(), alice.login()
    new = client.code_to_session(late).session_key
    old = client.code_to_session(early).session_key
    assert opened(new, alice.user_info())
    with pytest.raises(UnsealError):
        opened(old, alice.user_info())


def test_what_is_sealed_before_the_first_login_opens_with_no_key(
    client: Client, alice: Phone
) -> None:
    sealed = alice.user_info()
    with pytest.raises(UnsealError):
        opened(client.code_to_session(alice.login()).session_key, sealed)


# Cards, tickets and groups


def test_each_opening_has_its_own_ticket(alice: Phone) -> None:
    first, second = alice.open_card("family"), alice.open_card("family", query={"from": "bob"})
    assert first.keys() == {"scene", "shareTicket", "query"}
    assert (second["scene"], second["query"]) == (1044, {"from": "bob"})
    assert first["shareTicket"] != second["shareTicket"]
    assert alice.share_info(first["shareTicket"])


def test_only_scene_1044_has_a_ticket(alice: Phone) -> None:
    assert alice.open_card("family", scene=1008) == {"scene": 1008, "query": {}}
    assert alice.group_enter_info()


@pytest.mark.parametrize("holder", ["bob", "alice in the shop", "no one"])
def test_a_ticket_works_only_for_the_person_who_opened_the_card(
    sandbox: Sandbox, alice: Phone, holder: str
) -> None:
    tickets = {
        "bob": Phone(sandbox.url, "bob", GAME).open_card("family")["shareTicket"],
        "alice in the shop": Phone(sandbox.url, "alice", SHOP).open_card("family")["shareTicket"],
        "no one": "",
    }
    with pytest.raises(PhoneError) as failed:
        alice.share_info(tickets[holder])
    assert failed.value.err_msg.startswith("getShareInfo:fail ")
    assert failed.value.err_code == 40097


def test_without_a_launch_from_a_chat_there_is_no_group(sandbox: Sandbox, alice: Phone) -> None:
    Phone(sandbox.url, "alice", SHOP).open_card("family")
    with pytest.raises(PhoneError) as failed:
        alice.group_enter_info()
    assert failed.value.err_msg.startswith("getGroupEnterInfo:fail ")
    assert failed.value.err_code == 40097


def test_someone_who_left_sees_no_card_and_no_group_until_they_join_again(alice: Phone) -> None:
    alice.open_card("family")
    alice.leave("family")
    for call in (alice.group_enter_info, lambda: alice.open_card("family")):
        with pytest.raises(PhoneError) as failed:
            call()
        assert failed.value.err_code == 65206
    alice.join("family")
    assert alice.group_enter_info()
    assert alice.open_card("family")["shareTicket"]


def test_leaving_a_group_fails_for_someone_who_is_not_in_it(alice: Phone) -> None:
    with pytest.raises(PhoneError, match="leave:fail"):
        alice.leave("family")


def test_a_chat_and_a_person_have_other_ids_in_another_app(
    sandbox: Sandbox, client: Client, alice: Phone
) -> None:
    shop, phone = Client(SHOP, APPS[SHOP], sandbox.url), Phone(sandbox.url, "alice", SHOP)
    here, there = client.code_to_session(alice.login()), shop.code_to_session(phone.login())
    assert here.openid != there.openid
    assert here.unionid == there.unionid
    sealed = phone.share_info(phone.open_card("family")["shareTicket"])
    assert opened(there.session_key, sealed)["openGId"] != open_gid_of(GAME, "family")
    with pytest.raises(UnsealError):
        opened(here.session_key, sealed)


def test_the_appid_may_be_left_out_where_there_is_one_app(sandbox: Sandbox) -> None:
    with Sandbox({GAME: APPS[GAME]}) as single:
        code = Phone(single.url, "alice").login()
        assert Client(GAME, APPS[GAME], single.url).code_to_session(code)
    with pytest.raises(PhoneError, match="login:fail appid must be one of"):
        Phone(sandbox.url, "alice").login()


# Access tokens


def test_a_stable_token_is_the_same_until_it_expires(sandbox: Sandbox, clock: Clock) -> None:
    first = ask_token(sandbox)
    assert first.keys() == {"access_token", "expires_in"}
    assert first["expires_in"] == 7200
    clock.now += 7199
    assert ask_token(sandbox) == {"access_token": first["access_token"], "expires_in": 1}
    clock.now += 1
    assert not sandbox.state.token_is_valid(first["access_token"])
    assert ask_token(sandbox)["access_token"] != first["access_token"]


def test_after_a_refresh_the_old_token_is_valid_for_five_minutes(
    sandbox: Sandbox, clock: Clock
) -> None:
    old = ask_token(sandbox)["access_token"]
    new = ask_token(sandbox, force_refresh=True)["access_token"]
    assert new != old
    assert ask_token(sandbox)["access_token"] == new
    clock.now += 299
    assert sandbox.state.token_is_valid(old)
    clock.now += 1
    assert not sandbox.state.token_is_valid(old)
    assert sandbox.state.token_is_valid(new)


@pytest.mark.parametrize(
    ("changed", "errcode"),
    [
        ({"appid": "wxffffffffffffffff"}, 40013),
        ({"secret": APPS[SHOP]}, 40125),
        ({"grant_type": "authorization_code"}, 40002),
        ({"force_refresh": "yes"}, 47001),
    ],
)
def test_a_wrong_token_request_has_the_errcode_of_wechat(
    sandbox: Sandbox, changed: dict[str, Any], errcode: int
) -> None:
    assert ask_token(sandbox, **changed)["errcode"] == errcode


# Content safety


class PushSite:
    """A site that serves `pictures` and receives pushes.

    `moved` redirects a path to another. A push is answered with the next of `answers`, once `open`
    is set. `pushes` are the query, body and content type of each, `fetched` the paths requested.
    """

    def __init__(self) -> None:
        self.pictures: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.answers: list[tuple[int, bytes]] = []
        self.open = threading.Event()
        self.open.set()
        self.pushes: list[tuple[dict[str, str], bytes, str]] = []
        self.fetched: list[str] = []
        self.pushed = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.fetched.append(self.path)
                if self.path in site.moved:
                    self.answer(302, b"")
                else:
                    picture = site.pictures.get(self.path)
                    self.answer(404 if picture is None else 200, picture or b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                query = dict(parse_qsl(urlsplit(self.path).query))
                site.pushes.append((query, body, self.headers["Content-Type"]))
                site.pushed.set()
                site.open.wait(10)
                self.answer(*(site.answers.pop(0) if site.answers else (200, b"success")))

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if status == 302:
                    self.send_header("Location", site.moved.get(self.path, "/"))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


ALICE = openid_of(GAME, "alice")
CHANNEL = Channel(GAME, "TokenOfTheGame", "KeyOfTheGame".ljust(43, "0"))


@pytest.fixture
def site(sandbox: Sandbox) -> Iterator[PushSite]:
    """Return a site to which the verdicts of the game are pushed."""
    with PushSite() as server:
        sandbox.state.push_to(GAME, server.url, CHANNEL.token, CHANNEL.aes_key)
        yield server


def picture(colour: str, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, kind)
    return data.getvalue()


def ask_check(sandbox: Sandbox, kind: str = "msg_sec_check", **changed: Any) -> dict[str, Any]:
    """Make a valid call but for what is `changed`; None leaves an argument out."""
    asked: dict[str, Any] = {"openid": ALICE, "version": 2, "scene": 1}
    if kind == "msg_sec_check":
        asked["content"] = "小明"
    else:
        asked |= {"media_url": "http://127.0.0.1:9/a.png", "media_type": 2}
    asked |= {"access_token": ask_token(sandbox)["access_token"]} | changed
    query = {"access_token": asked.pop("access_token")}
    body = {key: value for key, value in asked.items() if value is not None}
    url = f"{sandbox.url}/wxa/{kind}"
    answer: dict[str, Any] = requests.post(url, params=query, json=body, timeout=5).json()
    return answer


def judged(sandbox: Sandbox, site: PushSite, data: bytes | None) -> MediaVerdict:
    """Return the verdict pushed about a picture of the site; with None there is no picture."""
    if data is not None:
        site.pictures["/a.png"] = data
    before = len(site.pushes)
    ask_check(sandbox, "media_check_async", media_url=f"{site.url}/a.png")
    sandbox.settle()
    query, body, _kind = site.pushes[before]
    verdict = media_verdict(CHANNEL.read(query, body))
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(
    ("text", "suggest", "label"),
    [
        ("小明", "pass", 100),
        ("这是违规内容", "risky", 20006),
        ("Forbidden fruit", "risky", 20006),
        ("存疑", "review", 21000),
        ("a DOUBTFUL name", "review", 21000),
        ("doubtful and forbidden", "risky", 20006),
    ],
)
def test_words_choose_the_verdict_on_a_text(
    sandbox: Sandbox, alice: Phone, text: str, suggest: str, label: int
) -> None:
    alice.login()
    for asked in ({"content": text}, {"nickname": text}):
        answer = ask_check(sandbox, **asked)
        assert answer.keys() == {"errcode", "errmsg", "detail", "result", "trace_id"}
        assert (answer["errcode"], answer["errmsg"]) == (0, "ok")
        assert answer["result"] == {"suggest": suggest, "label": label}
        [finding] = answer["detail"]
        assert finding.keys() == {"strategy", "errcode", "suggest", "label", "prob"}


CALLS = ["msg_sec_check", "media_check_async"]


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(
    ("changed", "errcode"),
    [
        ({"access_token": ""}, 41001),
        ({"access_token": "guessed"}, 40001),
        ({"openid": openid_of(GAME, "bob")}, 61010),
        ({"openid": openid_of(SHOP, "alice")}, 61010),
        ({"openid": None}, 61010),
        ({"openid": 5}, 47001),
        ({"version": 1}, 47001),
        ({"version": "2"}, 47001),
        ({"scene": 0}, 40129),
        ({"scene": 5}, 40129),
    ],
)
def test_a_wrong_check_has_the_errcode_of_wechat(
    sandbox: Sandbox, alice: Phone, kind: str, changed: dict[str, Any], errcode: int
) -> None:
    alice.login()
    answer = ask_check(sandbox, kind, **changed)
    assert answer.keys() == {"errcode", "errmsg"}
    assert answer["errcode"] == errcode
    assert ", rid: " in answer["errmsg"]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("msg_sec_check", {"content": ""}),
        ("msg_sec_check", {"content": "很" * 2501}),
        ("media_check_async", {"media_url": ""}),
        ("media_check_async", {"media_type": 1}),
    ],
)
def test_what_cannot_be_judged_is_refused(
    sandbox: Sandbox, alice: Phone, kind: str, changed: dict[str, Any]
) -> None:
    alice.login()
    assert ask_check(sandbox, kind, **changed)["errcode"] == 47001
    assert ask_check(sandbox, content="很" * 2500)["errcode"] == 0


def test_an_access_token_in_the_body_is_ignored(sandbox: Sandbox, alice: Phone) -> None:
    alice.login()
    token = ask_token(sandbox)["access_token"]
    body = {"access_token": token, "openid": ALICE, "version": 2, "scene": 1, "content": "x"}
    answer = requests.post(sandbox.url + "/wxa/msg_sec_check", json=body, timeout=5).json()
    assert answer["errcode"] == 41001


@pytest.mark.parametrize("kind", CALLS)
def test_someone_who_did_not_log_in_for_two_hours_is_not_judged(
    sandbox: Sandbox, alice: Phone, clock: Clock, kind: str
) -> None:
    alice.login()
    clock.now += 7199
    assert ask_check(sandbox, kind)["errcode"] == 0
    clock.now += 1
    assert ask_check(sandbox, kind)["errcode"] == 61010
    alice.open_card("family")
    assert ask_check(sandbox, kind)["errcode"] == 61010
    alice.login()
    assert ask_check(sandbox, kind)["errcode"] == 0


def test_a_demo_code_is_a_visit_when_it_is_used(sandbox: Sandbox) -> None:
    demo = openid_of(GAME, "demo-alice")
    assert ask_check(sandbox, openid=demo)["errcode"] == 61010
    ask_session(sandbox)
    assert ask_check(sandbox, openid=demo)["errcode"] == 0


def test_a_token_of_another_app_judges_the_people_of_that_app(
    sandbox: Sandbox, alice: Phone
) -> None:
    alice.login()
    shop = ask_token(sandbox, appid=SHOP, secret=APPS[SHOP])["access_token"]
    assert ask_check(sandbox, access_token=shop)["errcode"] == 61010
    Phone(sandbox.url, "alice", SHOP).login()
    answer = ask_check(sandbox, access_token=shop, openid=openid_of(SHOP, "alice"))
    assert answer["errcode"] == 0


def test_expired_and_revoked_tokens_have_different_errcodes(
    sandbox: Sandbox, alice: Phone, clock: Clock
) -> None:
    revoked = ask_token(sandbox)["access_token"]
    sandbox.state.revoke_token(GAME)
    assert not sandbox.state.token_is_valid(revoked)
    expired = ask_token(sandbox)["access_token"]
    assert expired != revoked
    sandbox.state.revoke_token(SHOP)
    assert sandbox.state.token_is_valid(expired), "that was the shop's business"
    clock.now += 7200
    alice.login()
    assert ask_check(sandbox, access_token=revoked)["errcode"] == 40001
    assert ask_check(sandbox, access_token=expired)["errcode"] == 42001


@pytest.mark.parametrize("kind", CALLS)
def test_faults_can_be_requested_for_content_safety_too(
    sandbox: Sandbox, alice: Phone, kind: str
) -> None:
    alice.login()
    asked = {"path": f"/wxa/{kind}", "fault": {"errcode": 40001}, "times": 1}
    requests.post(sandbox.url + "/phone/faults", json=asked, timeout=5)
    assert [ask_check(sandbox, kind)["errcode"] for _ in range(2)] == [40001, 0]


@pytest.mark.parametrize(
    ("colour", "suggestion"),
    [
        ("red", Suggestion.RISKY),
        ("#b55959", Suggestion.RISKY),
        ("yellow", Suggestion.REVIEW),
        ("#b5b559", Suggestion.REVIEW),
        ("#b40000", Suggestion.PASS),
        ("#ff5a00", Suggestion.PASS),
        ("#ffb400", Suggestion.PASS),
        ("#ff005a", Suggestion.PASS),
        ("white", Suggestion.PASS),
        ("green", Suggestion.PASS),
        ("black", Suggestion.PASS),
    ],
)
def test_colour_chooses_the_verdict_on_a_picture(colour: str, suggestion: Suggestion) -> None:
    assert judge_picture(picture(colour)) is suggestion


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "JPEG"])
def test_a_picture_may_be_of_any_kind_and_is_judged_by_most_of_it(kind: str) -> None:
    data = io.BytesIO()
    mostly = Image.new("RGB", (100, 100), "red")
    mostly.paste("blue", (0, 0, 10, 100))
    mostly.save(data, kind)
    assert judge_picture(data.getvalue()) is Suggestion.RISKY


def test_a_picture_is_fetched_judged_and_its_verdict_pushed(
    sandbox: Sandbox, client: Client, alice: Phone, site: PushSite
) -> None:
    alice.login()
    site.pictures["/avatars/a.png?v=1"] = picture("red")
    with sandbox.held:
        trace_id = client.check_media(ALICE, f"{site.url}/avatars/a.png?v=1")
        assert not site.pushed.wait(0.2)
    sandbox.settle()
    [(query, body, _kind)] = site.pushes
    event = CHANNEL.read(query, body)
    assert event.keys() == {
        "ToUserName",
        "FromUserName",
        "CreateTime",
        "MsgType",
        "Event",
        "appid",
        "trace_id",
        "version",
        "detail",
        "errcode",
        "errmsg",
        "result",
    }
    assert (event["appid"], event["FromUserName"]) == (GAME, ALICE)
    assert event["result"] == {"suggest": "risky", "label": "20006"}
    assert media_verdict(event) == MediaVerdict(trace_id, Verdict(Suggestion.RISKY, "20006"))


UNREADABLE = {
    "none": None,
    "nothing": b"",
    "text": b"<html>not found</html>",
    "half of one": picture("red", (200, 200), "JPEG")[:400],
    "a bomb": picture("red", (13_000, 1_000)),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_a_picture_that_cannot_be_read_is_left_undecided(
    sandbox: Sandbox, alice: Phone, site: PushSite, data: bytes | None
) -> None:
    alice.login()
    assert judged(sandbox, site, data).verdict == Verdict(Suggestion.REVIEW, "")
    event = CHANNEL.read(*site.pushes[0][:2])
    assert event["errcode"] != 0 and event["result"] == {}


def test_a_picture_of_more_than_ten_megabytes_is_left_undecided(
    sandbox: Sandbox, alice: Phone, site: PushSite
) -> None:
    alice.login()
    assert judged(sandbox, site, picture("red").ljust(10_485_760)).verdict.label == "20006"
    assert judged(sandbox, site, picture("red").ljust(10_485_761)).verdict.label == ""


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "a.png", "http://127.0.0.1:9/", "http://["]
)
def test_a_picture_that_cannot_be_fetched_over_http_is_left_undecided(
    sandbox: Sandbox, alice: Phone, site: PushSite, url: str
) -> None:
    alice.login()
    ask_check(sandbox, "media_check_async", media_url=url)
    sandbox.settle()
    assert CHANNEL.read(*site.pushes[0][:2])["errcode"] != 0


def test_a_redirect_is_not_followed(sandbox: Sandbox, alice: Phone, site: PushSite) -> None:
    alice.login()
    site.pictures["/red.png"] = picture("red")
    site.moved["/a.png"] = "/red.png"
    assert judged(sandbox, site, None).verdict.suggestion is Suggestion.REVIEW
    assert site.fetched == ["/a.png"]


def test_a_receiver_gets_sealed_pushes_in_json_and_xml_and_every_second_twice(
    sandbox: Sandbox, client: Client, alice: Phone, site: PushSite
) -> None:
    alice.login()
    site.pictures["/a.png"] = picture("green")
    asked = [client.check_media(ALICE, f"{site.url}/a.png") for _ in range(3)]
    sandbox.settle()
    formats, trace_ids = [], []
    for query, body, kind in site.pushes:
        formats.append(("msg_signature" in query, body.startswith(b"<xml>"), kind))
        trace_ids.append(CHANNEL.read(query, body)["trace_id"])
    json_, xml = (True, False, "application/json"), (True, True, "text/xml")
    assert formats == [json_, xml, json_, xml]
    assert trace_ids == [asked[0], asked[1], asked[1], asked[2]]


WITHDRAWN = {
    "the name and the picture": (lambda phone: phone.revoke_authorization(), {"RevokeInfo": "6"}),
    "the name": (lambda phone: phone.revoke_authorization("19"), {"RevokeInfo": "19"}),
    "another profile": (lambda phone: phone.modify_user_info(), {}),
    "no account any more": (lambda phone: phone.cancel_account(), {}),
}
EVENTS = {
    "another profile": "user_info_modified",
    "no account any more": "user_authorization_cancellation",
}


@pytest.mark.parametrize("what", WITHDRAWN)
def test_what_a_person_takes_back_in_wechat_is_pushed(
    sandbox: Sandbox, alice: Phone, site: PushSite, what: str
) -> None:
    act, more = WITHDRAWN[what]
    for _ in range(2):
        act(alice)
    sandbox.settle()
    assert len(site.pushes) == 3, "the second comes twice"
    for query, body, _kind in site.pushes:
        event = CHANNEL.read(query, body)
        assert abs(int(event.pop("CreateTime")) - time.time()) < 10
        assert event.pop("ToUserName").startswith("gh_")
        assert event == {
            "FromUserName": ALICE,
            "MsgType": "event",
            "Event": EVENTS.get(what, "user_authorization_revoke"),
            "OpenID": ALICE,
            "AppID": GAME,
            **more,
        }
        heard = withdrawal(event | {"CreateTime": 1})
        assert heard is not None and heard.openid == ALICE


def test_without_a_key_all_pushes_are_plain(
    sandbox: Sandbox, client: Client, alice: Phone, site: PushSite
) -> None:
    sandbox.state.push_to(GAME, site.url, CHANNEL.token)
    alice.login()
    for _ in range(3):
        client.check_media(ALICE, f"{site.url}/a.png")
    sandbox.settle()
    assert len(site.pushes) == 4
    assert not any("msg_signature" in query for query, _body, _kind in site.pushes)
    assert {kind for _query, _body, kind in site.pushes} == {"application/json", "text/xml"}


@pytest.mark.parametrize(
    "refusal", [(500, b"success"), (200, b""), (200, b"success!"), (204, b""), (302, b"success")]
)
def test_a_push_is_tried_three_times_until_it_is_answered_with_success(
    sandbox: Sandbox, client: Client, alice: Phone, site: PushSite, refusal: tuple[int, bytes]
) -> None:
    alice.login()
    for refusals, tries in [(2, 3), (9, 6)]:
        site.answers = [refusal] * refusals
        site.pushes.clear()
        client.check_media(ALICE, f"{site.url}/a.png")
        sandbox.settle()
        assert len(site.pushes) == tries, "the second verdict comes twice"
    assert len({json.dumps(query) for query, _body, _kind in site.pushes}) == 2


def test_a_receiver_that_is_not_there_is_given_up(
    sandbox: Sandbox, client: Client, alice: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    with PushSite() as gone:
        sandbox.state.push_to(GAME, gone.url, CHANNEL.token)
    alice.login()
    client.check_media(ALICE, "http://127.0.0.1:9/a.png")
    sandbox.settle()
    assert f"{gone.url} did not answer a push with success" in caplog.text
    assert CHANNEL.token not in caplog.text


def test_without_a_receiver_nothing_is_fetched_and_nothing_pushed(
    sandbox: Sandbox, site: PushSite
) -> None:
    phone = Phone(sandbox.url, "alice", SHOP)
    shop = Client(SHOP, APPS[SHOP], sandbox.url)
    openid = shop.code_to_session(phone.login()).openid
    assert shop.check_media(openid, f"{site.url}/a.png")
    sandbox.settle()
    assert site.pushes == [] and site.fetched == []


def test_the_receiver_can_be_set_from_another_process(
    sandbox: Sandbox, client: Client, alice: Phone
) -> None:
    with PushSite() as site:
        where = {"appid": GAME, "url": site.url, "token": CHANNEL.token, "aesKey": CHANNEL.aes_key}
        answer = requests.post(sandbox.url + "/phone/push-to", json=where, timeout=5)
        assert (answer.status_code, answer.json()) == (200, {"errMsg": "pushTo:ok"})
        alice.login()
        client.check_media(ALICE, f"{site.url}/a.png")
        sandbox.settle()
        assert CHANNEL.read(*site.pushes[0][:2])["Event"] == "wxa_media_check"


@pytest.mark.parametrize(
    "changed",
    [
        {"appid": "wxunknown"},
        {"url": "ftp://127.0.0.1/"},
        {"url": 5},
        {"token": None},
        {"aesKey": "short"},
        {"aesKey": "A" * 23},
        {"aesKey": "密" * 43},
    ],
)
def test_a_receiver_that_can_never_be_reached_is_refused(
    sandbox: Sandbox, changed: dict[str, Any]
) -> None:
    where = {"appid": GAME, "url": "http://127.0.0.1:9/", "token": "Token123"} | changed
    answer = requests.post(sandbox.url + "/phone/push-to", json=where, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["errMsg"].startswith("pushTo:fail ")
    assert sandbox.state.receivers == {}


def test_a_stopped_sandbox_pushes_nothing_more_and_ends_at_once() -> None:
    with PushSite() as site:
        site.answers = [(500, b"")] * 99
        with Sandbox(APPS) as brief:
            brief.state.push_to(GAME, site.url, CHANNEL.token)
            Phone(brief.url, "alice", GAME).login()
            client = Client(GAME, APPS[GAME], brief.url)
            for _ in range(20):
                client.check_media(ALICE, f"{site.url}/a.png")
            assert site.pushed.wait(5)
            with pytest.raises(TimeoutError, match="outstanding"):
                brief.settle(0.01)
            started = time.monotonic()
        assert time.monotonic() - started < 5
    assert len(site.pushes) < 20


def test_a_receiver_that_hangs_does_not_delay_the_end_of_the_sandbox() -> None:
    with PushSite() as site:
        site.open.clear()
        with Sandbox(APPS) as brief:
            brief.state.push_to(GAME, site.url, CHANNEL.token)
            Phone(brief.url, "alice", GAME).login()
            Client(GAME, APPS[GAME], brief.url).check_media(ALICE, f"{site.url}/a.png")
            assert site.pushed.wait(5)
            started = time.monotonic()
        assert time.monotonic() - started < 5
        site.open.set()


# Faults on request


def test_a_busy_platform_leaves_the_code_unused(
    sandbox: Sandbox, client: Client, alice: Phone
) -> None:
    request_fault(sandbox, errcode=-1)
    code = alice.login()
    assert ask_session(sandbox, js_code=code).json()["errcode"] == -1
    assert client.code_to_session(code)


def test_any_errcode_can_be_requested(sandbox: Sandbox, client: Client) -> None:
    request_fault(sandbox, errcode=40226)
    with pytest.raises(HighRiskUserError):
        client.code_to_session("demo-alice")


def test_faults_count_down_and_can_be_taken_back(sandbox: Sandbox) -> None:
    request_fault(sandbox, times=2, errcode=45011)
    answers = [ask_session(sandbox).json().get("errcode") for _ in range(3)]
    assert answers == [45011, 45011, None]
    request_fault(sandbox, times=9, errcode=45011)
    request_fault(sandbox, times=0)
    assert "openid" in ask_session(sandbox).json()


def test_a_fault_affects_only_its_own_path(sandbox: Sandbox) -> None:
    request_fault(sandbox, errcode=-1)
    assert "access_token" in ask_token(sandbox)


def test_a_gateway_error_is_a_page_of_html(sandbox: Sandbox, client: Client) -> None:
    request_fault(sandbox, times=2, status=502)
    response = ask_session(sandbox)
    assert response.status_code == 502
    assert response.headers["Content-Type"].startswith("text/html")
    with pytest.raises(UnavailableError, match="502"):
        client.code_to_session("demo-alice")


def test_a_body_can_be_empty(sandbox: Sandbox, client: Client) -> None:
    request_fault(sandbox, body="")
    with pytest.raises(UnavailableError, match="not a JSON object"):
        client.code_to_session("demo-alice")


@pytest.mark.parametrize("fault", [{"delay": 30}, {"drip": 0.02}])
def test_a_slow_platform_meets_the_clients_deadline(
    sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    request_fault(sandbox, **fault)
    started = time.monotonic()
    with pytest.raises(UnavailableError):
        Client(GAME, APPS[GAME], sandbox.url, timeout=0.15).code_to_session("demo-alice")
    assert time.monotonic() - started < 3


def test_an_answer_sent_byte_by_byte_is_complete_in_the_end(
    sandbox: Sandbox, client: Client
) -> None:
    request_fault(sandbox, drip=0.0005)
    assert client.code_to_session("demo-alice").openid == openid_of(GAME, "demo-alice")


def test_a_lost_answer_uses_the_code_up(sandbox: Sandbox, client: Client, alice: Phone) -> None:
    request_fault(sandbox, close=True)
    code = alice.login()
    with pytest.raises(UnavailableError, match="broke"):
        client.code_to_session(code)
    with pytest.raises(InvalidCodeError) as refused:
        client.code_to_session(code)
    assert refused.value.errcode == 40163


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "/phone/login", "fault": {"errcode": -1}},
        {"path": "/sns/jscode2session", "fault": {"explode": True}},
        {"path": "/sns/jscode2session", "fault": {"errcode": "busy"}},
        {"path": "/sns/jscode2session", "fault": {"delay": -1}},
        {"path": "/sns/jscode2session", "fault": {"delay": float("nan")}},
        {"path": "/sns/jscode2session", "fault": {"status": 99}},
        {"fault": {"errcode": -1}},
    ],
)
def test_an_impossible_fault_is_refused(sandbox: Sandbox, wrong: dict[str, Any]) -> None:
    body = json.dumps(wrong)
    response = requests.post(sandbox.url + "/phone/faults", data=body, timeout=5)
    assert response.status_code == 400
    assert response.json()["errMsg"].startswith("faults:fail ")
    assert "openid" in ask_session(sandbox).json()


# HTTP


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b'{"person": 7}',
        b'{"person": "alice", "chat": "family"}',
        b'{"person": "alice", "self": 1}',
        b"[" * 60_000,
    ],
)
def test_an_invalid_phone_call_fails_in_the_shape_of_wx(sandbox: Sandbox, body: bytes) -> None:
    response = requests.post(sandbox.url + "/phone/login", data=body, timeout=5)
    assert response.status_code == 400
    assert response.json()["errMsg"].startswith("login:fail ")
    assert response.json()["errCode"] == -1


def test_names_may_be_any_text(sandbox: Sandbox) -> None:
    for person in ["", "小明", "a\0b", "\ud800"]:
        body = json.dumps({"person": person, "appid": GAME})
        response = requests.post(sandbox.url + "/phone/user-info", data=body, timeout=5)
        assert response.json()["errMsg"] == "getUserInfo:ok"


def test_a_success_has_the_shape_of_the_wx_callback(sandbox: Sandbox) -> None:
    body = {"person": "alice", "appid": GAME}
    response = requests.post(sandbox.url + "/phone/user-info", json=body, timeout=5)
    assert response.json().keys() == {"encryptedData", "iv", "cloudID", "errMsg"}
    assert response.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/phone/dance", 404),
        ("GET", "/phone/login", 405),
        ("DELETE", "/phone/faults", 405),
        ("POST", "/sns/jscode2session", 405),
        ("BREW", "/phone/login", 501),
    ],
)
def test_a_path_or_method_that_is_not_served_is_refused_in_json(
    sandbox: Sandbox, method: str, path: str, status: int
) -> None:
    response = requests.request(method, sandbox.url + path, timeout=5)
    assert response.status_code == status
    assert response.json()["error"]


def test_a_body_of_more_than_64_kib_is_refused(sandbox: Sandbox) -> None:
    for size, status in [(64 * 1024, 400), (64 * 1024 + 1, 413), (1024 * 1024, 413)]:
        response = requests.post(sandbox.url + "/phone/login", data=b" " * size, timeout=5)
        assert response.status_code == status


@pytest.mark.parametrize("header", ["Content-Length: -1", "Transfer-Encoding: chunked"])
def test_a_body_of_unknown_length_is_refused(sandbox: Sandbox, header: str) -> None:
    with dial(sandbox) as line:
        line.sendall(f"POST /phone/login HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 411 ")


def test_a_connection_is_kept(sandbox: Sandbox) -> None:
    host = urlsplit(sandbox.url)
    line = HTTPConnection(host.hostname or "", host.port, timeout=5)
    line.connect()
    sock = line.sock
    for _ in range(20):
        line.request("POST", "/phone/login", json.dumps({"person": "alice", "appid": GAME}))
        answer = line.getresponse()
        assert answer.status == 200 and answer.read() and not answer.will_close
        assert line.sock is sock
    line.close()


def test_a_stopped_sandbox_closes_its_connections(client: Client) -> None:
    with Sandbox(APPS) as brief:
        line = dial(brief)
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert line.recv(64 * 1024)
    with line:
        while line.recv(64 * 1024):
            pass
    with pytest.raises(WeChatError, match="not be reached"):
        Client(GAME, APPS[GAME], brief.url).code_to_session("demo-alice")


def dial(sandbox: Sandbox) -> socket.socket:
    host = urlsplit(sandbox.url)
    return socket.create_connection((host.hostname, host.port or 0), timeout=5)


# The command


def command_with(
    monkeypatch: pytest.MonkeyPatch,
    apps: dict[str, dict[str, str]],
    push: dict[str, dict[str, str]] | None = None,
) -> Command:
    settings = SimpleNamespace(WECHAT_APPS=apps, WECHAT_PUSH=push or {})
    monkeypatch.setattr("wechat.management.commands.sandbox.settings", settings)
    return Command(stdout=io.StringIO())


def test_the_command_says_what_to_do_without_an_app(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="Set WECHAT_APPS="):
        call_command(command_with(monkeypatch, {}), port=0)


def test_the_command_says_what_to_do_about_a_taken_port(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    command = command_with(monkeypatch, {GAME: {"SECRET": "s"}})
    with pytest.raises(CommandError, match="Choose another with --port"):
        call_command(command, port=urlsplit(sandbox.url).port)


def test_the_command_pushes_to_a_site_for_every_app_that_has_a_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(Sandbox, "wait", lambda sandbox: found.append(sandbox.state.receivers))
    apps = {GAME: {"SECRET": "s"}, SHOP: {"SECRET": "s"}}
    push = {GAME: {"TOKEN": CHANNEL.token, "AES_KEY": CHANNEL.aes_key}}
    for arguments in ({}, {"push": "http://127.0.0.1:8000/"}):
        call_command(command_with(monkeypatch, apps, push), port=0, **arguments)
    none, receivers = found
    assert none == {} and receivers.keys() == {GAME}
    assert receivers[GAME].url == f"http://127.0.0.1:8000/wechat/push/{GAME}/"
    assert receivers[GAME].channel == CHANNEL


@pytest.mark.parametrize(
    ("push", "site", "hint"),
    [
        ({}, "http://127.0.0.1:8000", "Set WECHAT_PUSH="),
        (
            {SHOP: {"TOKEN": "t", "AES_KEY": ""}},
            "http://127.0.0.1:8000",
            f"about {SHOP}: appid must",
        ),
        ({GAME: {"TOKEN": "t", "AES_KEY": "hush"}}, "http://127.0.0.1:8000", f"about {GAME}: "),
        ({GAME: {"TOKEN": "t", "AES_KEY": ""}}, "127.0.0.1:8000", "http or https"),
    ],
)
def test_the_command_says_what_to_do_about_a_push_that_cannot_work(
    monkeypatch: pytest.MonkeyPatch, push: dict[str, dict[str, str]], site: str, hint: str
) -> None:
    command = command_with(monkeypatch, {GAME: {"SECRET": "s"}}, push)
    with pytest.raises(CommandError, match=hint) as refused:
        call_command(command, port=0, push=site)
    assert "hush" not in str(refused.value)


COMMAND = """
from django.conf import settings
from django.core.management import call_command
from wechat.management.commands.sandbox import Command
settings.configure(WECHAT_APPS={"wxone": {"SECRET": "hush"}, "wxtwo": {"SECRET": "hush"}})
call_command(Command(), port=0)
"""


def test_the_command_prints_curls_that_work_and_ends_quietly_on_ctrl_c() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as running:
        try:
            lines = read_until("/phone/open-card", running.stdout)
            curls = [shlex.split(line)[1:] for line in lines if line.startswith("  curl ")]
            answers = [requests.post(curl[1], data=curl[3], timeout=5).json() for curl in curls]
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=10)
        finally:
            running.kill()
    assert (running.returncode, errors) == (0, "")
    assert "code" in answers[0]
    assert "shareTicket" in answers[1]
    assert "wxone, wxtwo" in "".join(lines)
    assert "hush" not in "".join(lines)


def read_until(end: str, stream: IO[str] | None) -> list[str]:
    lines: list[str] = []
    for line in stream or ():
        lines.append(line)
        if end in line:
            break
    return lines
