"""WeChat Cloud Run: what a service behind the private gateway trusts, serves and refuses."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client as Browser

from accounts.models import Token, WeChatUser
from audit.models import Attempt
from core.vault import decrypt
from groups.models import Group, Membership, Proof
from tests.cast import (
    API,
    FAMILY,
    GARBAGE,
    Person,
    fault,
    later,
    picture,
    push_verdict,
    refused,
    sealed_for,
    ticket,
)
from tests.servers import ROOT
from tests.settings import APP_ID, OTHER_APP_ID
from tests.site_map import path_of, routes
from wechat.client import Suggestion, client_for
from wechat.push import channel_for
from wechat.sandbox import Phone, Sandbox, openid_of, unionid_of

WAYS = ("envelope", "cloudid")


def seen_as(name: str, app_id: str = APP_ID, **more: str) -> dict[str, str]:
    """Return the headers that the gateway sets for a person's phone."""
    own = {"X-WX-SOURCE": "wx_client", "X-WX-APPID": app_id, "X-WX-OPENID": openid_of(app_id, name)}
    return own | {"X-WX-UNIONID": unionid_of(name)} | more


class CloudPerson(Person):
    """A person whose phone calls through the gateway."""

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return super().call(method, path, body, **{**seen_as(self.name), **headers})

    def log_in(self) -> "CloudPerson":
        answer = self.post("login", {"code": self.phone.login()})
        assert answer.status_code == 200, answer.content
        self.body = answer.json()
        self.token = self.body["token"]
        return self


@pytest.fixture(params=WAYS)
def way(request: Any, settings: Any, sandbox: Sandbox) -> Any:
    settings.WECHAT_CLOUD, settings.PUBLIC_URL = request.param, "https://www.example.com"
    sandbox.state.open_service = request.param == "cloudid"
    yield request.param
    sandbox.state.open_service, sandbox.state.ties_cloud_ids = False, True


@pytest.fixture
def by_cloud_id(settings: Any, sandbox: Sandbox) -> Any:
    settings.WECHAT_CLOUD, settings.PUBLIC_URL = "cloudid", "https://www.example.com"
    sandbox.state.open_service = True
    yield sandbox
    sandbox.state.open_service, sandbox.state.ties_cloud_ids = False, True


@pytest.fixture
def caller(db: None, sandbox: Sandbox) -> Callable[[str], CloudPerson]:
    def make(name: str) -> CloudPerson:
        return CloudPerson(name, Phone(sandbox.url, name, APP_ID, in_cloud=True)).log_in()

    return make


# Who calls


def test_a_log_in_and_a_bind_in_both_ways(way: str, caller: Any) -> None:
    alice = caller("alice")
    assert alice.user.openid == openid_of(APP_ID, "alice")
    assert bool(decrypt(alice.user.session_key)) == (way == "envelope")
    bound = alice.post("groups/bind", {**alice.envelope("family"), "scene": 1044})
    assert (bound.status_code, bound.json()["openGId"]) == (201, FAMILY)
    membership = Membership.objects.get()
    assert membership.proof == (Proof.CLOUD if way == "cloudid" else Proof.ENVELOPE)
    assert (membership.scene, membership.watermarked) == (1044, True)


def test_by_cloud_id_the_headers_are_the_log_in(by_cloud_id: Sandbox, caller: Any) -> None:
    alice = caller("alice")
    assert alice.user.unionid == unionid_of("alice")
    for body in ({}, {"appid": APP_ID}, {"code": "anything"}):
        assert alice.post("login", body).json()["user"]["id"] == alice.body["user"]["id"]
    refused(alice.post("login", {"appid": OTHER_APP_ID}), 400, "invalid")
    refused(alice.post("login", {"openid": alice.openid}), 400, "invalid")


def test_an_envelope_service_takes_no_one_elses_code(settings: Any, db: None, sandbox: Any) -> None:
    settings.WECHAT_CLOUD = "envelope"
    mallory = CloudPerson("mallory", Phone(sandbox.url, "alice", APP_ID))
    refused(mallory.post("login", {"code": mallory.phone.login()}), 401, "invalid_code")
    refused(mallory.post("login", {}), 400, "invalid")
    assert not WeChatUser.objects.exists()
    assert Attempt.objects.filter(cause="code_of_another").count() == 1


def test_the_gateway_names_the_mini_program(way: str, caller: Any, settings: Any) -> None:
    settings.WECHAT_APPS = {OTHER_APP_ID: {"SECRET": "x"}, **settings.WECHAT_APPS}
    assert caller("alice").user.app_id == APP_ID  # though two are configured, and none is sent


FORGED = {
    "no header": {"X-WX-OPENID": "", "X-WX-APPID": ""},
    "no openid": {"X-WX-OPENID": ""},
    "no appid": {"X-WX-APPID": ""},
    "an appid not configured": {"X-WX-APPID": OTHER_APP_ID},
    "two openids": {"X-WX-OPENID": f"{openid_of(APP_ID, 'alice')},{openid_of(APP_ID, 'bob')}"},
    "an openid with a space": {"X-WX-OPENID": f"{openid_of(APP_ID, 'alice')} x"},
    "another letter case": {"X-WX-APPID": APP_ID.upper()},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_request_that_the_gateway_does_not_name_is_refused(
    way: str, caller: Any, forged: dict[str, str]
) -> None:
    alice = caller("alice")
    tokens = Token.objects.count()
    for method, path in (("POST", "login"), ("GET", "me"), ("GET", "groups"), ("GET", "boards")):
        refused(alice.call(method, path, **forged), 403, "permission_denied")
    assert Token.objects.count() == tokens


@pytest.mark.parametrize("other", ["bob", "mallory"])
def test_a_token_is_its_own_persons_alone(way: str, caller: Any, other: str) -> None:
    alice = caller("alice")
    alice.enter("family")
    if other == "bob":
        caller("bob").enter("family")
    thief = seen_as(other)
    for method, path in (
        ("GET", "me"),
        ("PUT", "me"),
        ("DELETE", "me"),
        ("GET", "me/data"),
        ("POST", "me/avatar"),
        ("POST", "me/consent"),
        ("POST", "logout"),
        ("GET", "groups"),
        ("POST", "groups/bind"),
        ("POST", "groups/resolve"),
        ("GET", f"groups/{FAMILY}"),
        ("GET", f"groups/{FAMILY}/ranking"),
        ("GET", f"groups/{FAMILY}/ranking/around"),
        ("DELETE", f"groups/{FAMILY}/membership"),
        ("POST", f"groups/{FAMILY}/link"),
        ("POST", "scores"),
    ):
        refused(alice.call(method, path, **thief), 401, "invalid_token")
    assert alice.get(f"groups/{FAMILY}").status_code == 200  # nothing was done, no token ended


def test_a_token_of_another_mini_programs_person_is_refused(
    way: str, caller: Any, settings: Any
) -> None:
    settings.WECHAT_APPS = {**settings.WECHAT_APPS, OTHER_APP_ID: {"SECRET": "x"}}
    alice = caller("alice")
    refused(alice.get("me", **{"X-WX-APPID": OTHER_APP_ID}), 401, "invalid_token")


HEADERS = ("X-WX-OPENID", "X-WX-APPID", "X-WX-UNIONID", "X-WX-SOURCE", "X-WX-FROM-OPENID")


@pytest.mark.parametrize("headers", [*([header] for header in HEADERS), HEADERS], ids=str)
@pytest.mark.parametrize("app_id", [APP_ID, OTHER_APP_ID])
def test_the_public_service_ignores_each_header_and_all_at_once(
    alice: Person, bob: Person, headers: list[str], app_id: str
) -> None:
    forged = {header: {"X-WX-APPID": app_id}.get(header, bob.openid) for header in headers}
    assert alice.get("me", **forged).json()["id"] == alice.body["user"]["id"]
    refused(Person("m", alice.phone).get("me", **forged), 401, "not_authenticated")
    refused(Person("m", alice.phone).post("login", {}, **forged), 400, "invalid")
    logged_in = alice.post("login", {"code": alice.phone.login()}, **forged).json()["user"]
    assert (logged_in["id"], alice.user.unionid) == (alice.body["user"]["id"], unionid_of("alice"))


def test_the_public_service_takes_no_plain_push_and_no_cloud_id(alice: Person) -> None:
    event = {"MsgType": "event", "Event": "user_authorization_cancellation"}
    event |= {"OpenID": alice.openid, "CreateTime": 1}
    path = f"/wechat/push/{APP_ID}"
    for body in (event, {"action": "CheckContainerPath"}):
        answer = alice.browser.post(path, body, "application/json", headers=PUSHED)
        assert answer.status_code == 403
    assert WeChatUser.objects.filter(pk=alice.user.pk).exists()
    refused(alice.post("groups/bind", {"cloudID": "x"}), 400, "invalid")


# What is served


def test_nothing_but_the_api_the_push_and_the_probes_is_served(way: str, olga: Browser) -> None:
    values = {"pk": 1, "key": "block", "what": "members", "form": "csv", "signed": "x", "name": "x"}
    values |= {"token": "x", "appid": APP_ID, "openGId": FAMILY, "openid": "x", "purpose": "avatar"}
    values |= {"app_label": "groups", "url": "x", "object_id": 1, "content_type_id": 1, "id": 1}
    served, closed = set(), 0
    for route, _pattern in routes():
        path = path_of(route.replace("^", ""), **values)
        answer = olga.get(path, headers=seen_as("alice"))
        if path.startswith(("/api/v1/", "/wechat/push/")) or path in {"/livez", "/readyz"}:
            served.add(path)
        else:
            closed += 1
            assert answer.status_code == 404, path
    assert closed > 40
    assert {"/livez", "/readyz", f"/wechat/push/{APP_ID}", "/api/v1/login"} <= served
    for path in ("/static/favicon.svg", "/favicon.ico", "/admin", "/API/V1/me", "//api/v1/me"):
        assert olga.get(path, headers=seen_as("alice")).status_code == 404, path
    for path in ("/livez", "/readyz"):  # the platform's own probe has no headers
        assert Browser().get(path, headers={"Host": "10.0.0.7:80"}).status_code == 200


def test_avatars_and_links_are_under_the_public_address(way: str, caller: Any) -> None:
    alice = caller("alice")
    alice.enter("family")
    link = alice.post(f"groups/{FAMILY}/link", Host="groupsite-7.internal:80").json()["url"]
    me = alice.get("me", Host="groupsite-7.internal:80").json()
    assert link.startswith("https://www.example.com/g/")
    assert me["avatar"].startswith("https://www.example.com/avatars/")


def test_without_a_public_address_an_unknown_host_is_refused(
    settings: Any, caller: Any, sandbox: Sandbox
) -> None:
    settings.WECHAT_CLOUD = "envelope"
    refused(caller("alice").get("boards", Host="groupsite-7.internal:80"), 400, "invalid")


def test_the_public_address_holds_without_the_gateway_too(alice: Person, settings: Any) -> None:
    settings.PUBLIC_URL = "https://www.example.com"
    assert alice.get("me").json()["avatar"].startswith("https://www.example.com/avatars/")


def test_each_person_has_a_throttle_of_their_own(way: str, caller: Any, settings: Any) -> None:
    alice, bob = caller("alice"), caller("bob")
    settings.THROTTLES = "address=300/minute"
    for _call in range(300):
        alice.browser.get("/api/v1/nothing", headers=seen_as("alice"))
    refused(alice.get("me"), 429, "throttled")
    assert bob.get("me").status_code == 200


# cloudIDs


def test_a_cloud_id_is_what_counts_beside_an_envelope(by_cloud_id: Sandbox, caller: Any) -> None:
    alice = caller("alice")
    cloud_id = alice.envelope("family")["cloudID"]
    for beside in ({}, GARBAGE, {"encryptedData": 5, "iv": None}, {"errMsg": "ok"}):
        found = alice.post("groups/resolve", {"cloudID": cloud_id, **beside}).json()
        assert (found["openGId"], found["openid"]) == (FAMILY, alice.openid)
    for wrong in (
        {},
        GARBAGE,
        {"cloudID": ""},
        {"cloudID": 5},
        {"cloudID": "a b"},
        {"cloudID": None},
    ):
        answer = refused(alice.post("groups/bind", wrong), 400, "invalid")
        assert list(answer["fields"]) == ["cloudID"]


def test_a_ticket_keeps_the_mark_of_a_cloud_id(by_cloud_id: Sandbox, caller: Any) -> None:
    alice = caller("alice")
    alice.phone.open_card("family")
    sent = alice.phone.group_enter_info(group_openid=True)
    resolved = alice.post("groups/resolve", sent).json()
    assert alice.post("groups/bind", ticket(resolved)).status_code == 201
    membership = Membership.objects.get()
    assert membership.proof == Proof.CLOUD
    assert membership.group_openid


def test_operators_see_which_memberships_came_by_a_cloud_id(
    by_cloud_id: Sandbox, caller: Any, olga: Browser, settings: Any
) -> None:
    caller("alice").enter("family")
    settings.WECHAT_CLOUD, by_cloud_id.state.open_service = "", False
    Person("bob", Phone(by_cloud_id.url, "bob", APP_ID)).log_in().enter("family")
    for proof in (Proof.CLOUD, Proof.ENVELOPE):
        address = f"/admin/groups/membership/?proof__exact={proof.value}"
        rows = olga.get(address).context["cl"].result_list
        assert [row.user.openid for row in rows] == [
            openid_of(APP_ID, "alice" if proof == Proof.CLOUD else "bob")
        ]
    pk = Membership.objects.get(proof=Proof.CLOUD).pk
    page = olga.get(f"/admin/groups/membership/{pk}/change/").content.decode()
    assert "微信云托管" in page


FOREIGN: dict[str, Callable[[Sandbox, Any, Any], str]] = {
    "another person's": lambda sandbox, alice, bob: bob.envelope("family")["cloudID"],
    "unknown": lambda sandbox, alice, bob: "0_" + "x" * 60,
    "of a profile": lambda sandbox, alice, bob: alice.phone.user_info()["cloudID"],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_cloud_id_proves_nothing_and_is_counted(
    by_cloud_id: Sandbox, caller: Any, kind: str
) -> None:
    alice, bob = caller("alice"), caller("bob")
    expected = (409, "not_a_group") if kind == "of a profile" else (409, "session_stale")
    for _time in range(3):  # the sandbox has three ways to refuse
        sent = {"cloudID": FOREIGN[kind](by_cloud_id, alice, bob)}
        refused(alice.post("groups/bind", sent), *expected)
    assert not Group.objects.exists()
    assert alice.user.stale_count == (0 if kind == "of a profile" else 3)


def test_a_cloud_id_lasts_for_five_minutes(by_cloud_id: Sandbox, caller: Any) -> None:
    alice = caller("alice")
    sent = alice.envelope("family")
    with later(seconds=299):
        assert alice.post("groups/resolve", sent).status_code == 200
    with later(seconds=301):
        refused(alice.post("groups/bind", sent), 409, "session_stale")
    assert Attempt.objects.get(kind="bind").cause == "cloud_id"


def test_ten_cloud_ids_that_prove_nothing_lock(by_cloud_id: Sandbox, caller: Any) -> None:
    alice = caller("alice")
    for _time in range(10):
        refused(alice.post("groups/resolve", {"cloudID": "x"}), 409, "session_stale")
    refused(alice.post("groups/bind", alice.envelope("family")), 429, "bind_locked")
    with later(minutes=61):
        assert alice.post("login", {}).status_code == 200
        assert alice.post("groups/bind", alice.envelope("family")).status_code == 201


DATA: dict[str, tuple[dict[str, Any], int, str]] = {
    "an id of 19 characters": ({"openGId": "t" * 19}, 409, "session_stale"),
    "a nickname beside it": ({"openGId": FAMILY, "nickName": "x"}, 409, "session_stale"),
    "another appid": (
        {"openGId": FAMILY, "watermark": {"appid": OTHER_APP_ID}}, 409, "session_stale",
    ),
    "no watermark": ({"openGId": FAMILY, "watermark": None}, 409, "session_stale"),
    "a single chat": ({"opengid": FAMILY, "chat_type": 1}, 409, "not_a_group"),
    "a group of WeCom": ({"opengid": FAMILY, "chat_type": 4}, 200, ""),
    "a chat type of null": ({"opengid": FAMILY, "chat_type": None}, 200, ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", DATA)
def test_what_a_cloud_id_tells_is_read_like_an_envelope(
    by_cloud_id: Sandbox, caller: Any, kind: str, settings: Any
) -> None:
    """The same data, sealed, on the public service: the same answer."""
    found, status, code = DATA[kind]
    alice = caller("alice")
    mark = {"appid": APP_ID, "timestamp": int(time.time())}
    watermark = found.get("watermark", {})
    data = {**found, **({} if watermark is None else {"watermark": mark | watermark})}
    data = {name: value for name, value in data.items() if name != "watermark" or value}
    forms = [{"data_list": [{"json": form}]} for form in (
        {"data": data}, json.dumps({"cloudID": "x", "data": data}),
    )]  # fmt: skip
    for body in forms:
        text = json.dumps(body)
        fault(by_cloud_id, path="/wxa/getopendata", body=text)
        answer = alice.post("groups/resolve", {"cloudID": "x"})
        if status == 200:
            assert answer.json()["openGId"] == FAMILY
        else:
            refused(answer, status, code)
    settings.WECHAT_CLOUD, by_cloud_id.state.open_service = "", False
    public = Person("alice", alice.phone).log_in()
    answer = public.post("groups/resolve", sealed_for(public, data, marked=False))
    assert (answer.status_code, answer.json().get("code", "")) == (status, code)


def test_one_may_found_as_many_groups_by_cloud_ids(
    by_cloud_id: Sandbox, caller: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("groups.services.FOUNDING_LIMIT", 2)
    alice = caller("alice")
    alice.enter("one")
    alice.enter("two")
    refused(alice.post("groups/bind", alice.envelope("three")), 429, "throttled")


UNREADABLE = {
    "nothing": {},
    "no list": {"data_list": None},
    "two rows": {"data_list": [{"json": "{}"}, {"json": "{}"}]},
    "another cloudID's": {"data_list": [{"cloud_id": "y", "json": {"data": {"opengid": FAMILY}}}]},
    "broken JSON": {"data_list": [{"json": "{"}]},
    "half a pair": {"data_list": [{"json": "\ud800"}]},
    "a number": {"data_list": [{"json": 5}]},
    "data of text": {"data_list": [{"json": {"data": "openGId"}}]},
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_an_answer_without_data_proves_nothing(
    by_cloud_id: Sandbox, caller: Any, body: dict[str, Any]
) -> None:
    alice = caller("alice")
    fault(by_cloud_id, path="/wxa/getopendata", body=json.dumps(body))
    refused(alice.post("groups/bind", {"cloudID": "x"}), 409, "session_stale")


def test_a_wechat_that_is_away_counts_for_no_one(by_cloud_id: Sandbox, caller: Any) -> None:
    alice = caller("alice")
    fault(by_cloud_id, path="/wxa/getopendata", errcode=45009)
    refused(alice.post("groups/bind", alice.envelope("family")), 503, "wechat_unavailable")
    assert alice.user.stale_count == 0


def test_whether_a_cloud_id_is_its_persons_is_wechats_to_say(
    by_cloud_id: Sandbox, caller: Any
) -> None:
    """What is unproven: were WeChat to tell anyone, so would we; hence the mark."""
    alice, bob = caller("alice"), caller("bob")
    by_cloud_id.state.ties_cloud_ids = False
    assert alice.post("groups/bind", bob.envelope("family")).status_code == 201
    assert Membership.objects.get().proof == Proof.CLOUD


# Content safety and pushes


def test_content_safety_needs_no_token_with_the_open_service(way: str, caller: Any) -> None:
    alice = caller("alice")
    assert alice.put("me", {"nickname": "小明"}).json()["nicknameState"] == "approved"
    refused(alice.put("me", {"nickname": "违规小店"}), 400, "invalid")
    headers = {"Authorization": f"Bearer {alice.token}", **seen_as("alice")}
    sent = alice.browser.post(API + "me/avatar", picture(), "image/png", headers=headers)
    assert (sent.status_code, sent.json()["avatarState"]) == (200, "pending")


def test_by_cloud_id_no_access_token_is_fetched(by_cloud_id: Sandbox, caller: Any) -> None:
    fault(by_cloud_id, times=9, path="/cgi-bin/stable_token", errcode=40125)
    assert client_for(APP_ID).check_text(caller("alice").openid, "x").suggestion == Suggestion.PASS
    fault(by_cloud_id, times=0, path="/cgi-bin/stable_token")


PUSHED = {"X-WX-SOURCE": "wx_push", "X-WX-APPID": APP_ID}


def pushed(
    event: dict[str, Any], *, xml: bool = False, app_id: str = APP_ID, **headers: str
) -> Any:
    """Push through the gateway, in plain."""
    _query, body = channel_for(APP_ID).write(event, safe=False, xml=xml)
    kind = "text/xml" if xml else "application/json"
    sent = {name: value for name, value in {**PUSHED, **headers}.items() if value}
    return Browser().post(f"/wechat/push/{app_id}", body, kind, headers=sent)


def revoked(person: Person, event: str = "user_authorization_revoke") -> dict[str, Any]:
    head = {"ToUserName": "gh_1", "FromUserName": person.openid, "MsgType": "event"}
    facts = {"OpenID": person.openid, "RevokeInfo": "6", "CreateTime": 4102444800}
    return head | facts | {"Event": event}


@pytest.mark.parametrize("xml", [False, True])
def test_the_test_of_the_address_is_answered(way: str, db: None, xml: bool) -> None:
    answer = pushed({"action": "CheckContainerPath"}, xml=xml, **dict.fromkeys(PUSHED, ""))
    assert (answer.status_code, answer.content) == (200, b"success")


@pytest.mark.parametrize("xml", [False, True])
def test_withdrawals_in_plain_are_obeyed_through_the_gateway(
    way: str, caller: Any, xml: bool
) -> None:
    alice, bob = caller("alice"), caller("bob")
    alice.rename("小明")
    assert pushed(revoked(alice), xml=xml).content == b"success"
    assert alice.user.nickname == ""
    assert pushed(revoked(bob, "user_authorization_cancellation"), xml=xml).status_code == 200
    assert [user.pk for user in WeChatUser.objects.all()] == [alice.user.pk]


NOT_A_PUSH = {
    "no source": {"X-WX-SOURCE": ""},
    "another mini-program": {"X-WX-APPID": OTHER_APP_ID},
    "from Bob's phone": {"X-WX-SOURCE": "wx_client", "X-WX-OPENID": openid_of(APP_ID, "bob")},
    "from a phone without a name": {"X-WX-OPENID": " "},
}


@pytest.mark.parametrize("headers", NOT_A_PUSH.values(), ids=NOT_A_PUSH)
def test_what_a_phone_or_a_stranger_sends_is_no_push(
    way: str, caller: Any, headers: dict[str, str]
) -> None:
    alice = caller("alice").rename("小明")
    for event in (revoked(alice), revoked(alice, "user_authorization_cancellation")):
        assert pushed(event, **headers).status_code == 403
    assert alice.user.nickname == "小明"
    assert pushed(revoked(alice), app_id=OTHER_APP_ID, **headers).status_code == 404


def test_a_person_cannot_approve_their_own_picture(way: str, caller: Any, media: Any) -> None:
    alice = caller("alice")
    headers = {"Authorization": f"Bearer {alice.token}", **seen_as("alice")}
    alice.browser.post(API + "me/avatar", picture(), "image/png", headers=headers)
    [check] = alice.get("me/data").json()["avatarChecks"]
    verdict = {"MsgType": "event", "Event": "wxa_media_check", "trace_id": check["traceId"]}
    verdict |= {"errcode": 0, "result": {"suggest": "pass", "label": "100"}}
    own = {"OpenID": alice.openid, "CreateTime": 4102444800}
    for event in (verdict, verdict | own):
        assert pushed(event, **seen_as("alice")).status_code == 403
    assert alice.user.avatar == ""
    assert pushed(verdict).status_code == 200
    assert alice.user.avatar


def test_sealed_pushes_go_on_where_there_is_no_gateway(alice: Person, media: Any) -> None:
    alice.upload()
    push_verdict(alice.user.avatar_checks.get(), Suggestion.PASS)
    assert alice.user.avatar


# Settings


def start(*code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the project's settings and these alone."""
    base = {
        name: os.environ[name] for name in ("PATH", "SECRET_KEY", "FIELD_KEYS", "ALLOWED_HOSTS")
    }
    base |= {"DJANGO_SETTINGS_MODULE": "groupsite.settings", "WECHAT_APPS": f"{APP_ID}:secret"}
    return subprocess.run(
        [sys.executable, *code],
        cwd=ROOT,
        env=base | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("value", ["Envelope", "cloudID", "True", "envelope,cloudid", "1"])
def test_another_value_stops_the_start(value: str) -> None:
    done = start("manage.py", "check", WECHAT_CLOUD=value)
    assert done.returncode and "WECHAT_CLOUD is neither envelope nor cloudid" in done.stderr


def test_its_mysql_is_used_where_no_database_is_named() -> None:
    cloud = {"MYSQL_ADDRESS": "10.0.0.5:3306", "MYSQL_USERNAME": "root", "MYSQL_PASSWORD": "p@/:#"}
    show = "from django.conf import settings as s; d = s.DATABASES['default']; print(" + (
        "d['ENGINE'], d['HOST'], d['PORT'], d['USER'], d['PASSWORD'], d['NAME'])"
    )
    assert start("-c", show, **cloud).stdout == "core.mysql 10.0.0.5 3306 root p@/:# groupsite\n"
    own = start("-c", show, DATABASE_URL="mysql://me:x@db:3307/site", **cloud).stdout
    assert own == "core.mysql db 3307 me x site\n"
    for wrong in ({"MYSQL_USERNAME": ""}, {"MYSQL_ADDRESS": "host:port"}):
        done = start("-c", show, **{**cloud, **wrong})
        assert done.returncode and "MYSQL_ADDRESS must read host:port" in done.stderr
        assert "p@/:#" not in done.stderr


def test_the_service_listens_on_the_port_it_is_given() -> None:
    show = "from gunicorn.config import Config; print(Config().address)"
    assert start("-c", show, PORT="8123").stdout == "[('0.0.0.0', 8123)]\n"
