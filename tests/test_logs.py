"""What is logged and what an error tracker gets: which request, whose, what; and no secret."""

import json
import logging
import os
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client as Browser

from console.guesses import digest_of_name
from console.sign_in import sign_in_path
from groupsite.logs import JsonFormatter, redact
from tests.cast import FAMILY, TIME, Person, fault
from tests.servers import SERVER, Caller, Site, scratch_database, serving, wait_for
from tests.settings import APP_ID
from tests.tracker import Tracker, tracking
from wechat.sandbox import Phone, Sandbox

pytestmark = pytest.mark.no_service


def lines(log_output: StringIO) -> list[dict[str, Any]]:
    """Read each line logged so far as the JSON object that it has to be."""
    return [json.loads(line) for line in log_output.getvalue().splitlines()]


# The access line


def test_each_request_is_one_line_with_its_user_and_status(
    alice: Person, log_output: StringIO
) -> None:
    answer = alice.get("me?x=1")
    [line] = lines(log_output)
    assert TIME.fullmatch(line.pop("time"))
    assert 0 < line.pop("ms") < 60_000
    assert line == {
        "level": "INFO",
        "logger": "groupsite.request",
        "message": "GET /api/v1/me 200",
        "requestId": answer["X-Request-ID"],
        "userId": alice.user.pk,
        "appid": APP_ID,
        "method": "GET",
        "route": "/api/v1/me",
        "status": 200,
        "bytes": len(answer.content),
        "client": "127.0.0.1",
    }


def test_a_line_of_the_console_says_which_operator_was_refused(
    db: None, log_output: StringIO
) -> None:
    """By a digest of the name: who, what and when of an authorization that failed."""
    browser = Browser()
    browser.force_login(User.objects.create_user("Clerk", is_staff=True))
    assert browser.get("/groups/").status_code == 403
    line = lines(log_output)[-1]
    assert (line["status"], line["route"]) == (403, "/groups/")
    assert line["operator"] == digest_of_name("clerk")[:16]
    assert "Clerk" not in log_output.getvalue()
    Browser().get("/groups/")
    assert "operator" not in lines(log_output)[-1], "no one has signed in"


def test_a_line_has_the_address_that_the_outermost_of_our_proxies_saw(
    alice: Person, settings: Any, log_output: StringIO
) -> None:
    settings.NUM_PROXIES = 2
    forwarded = {
        "X-Forwarded-For": "192.0.2.1, 198.51.100.7, 10.0.0.1",
        "X-Forwarded-Proto": "https",
    }
    alice.browser.get("/api/v1/me", headers=forwarded)
    forwarded |= {"X-Forwarded-For": "2001:db8:1:2:3:4:5:6, 10.0.0.1"}
    alice.browser.get("/api/v1/me", headers=forwarded)
    assert [line["client"] for line in lines(log_output)] == ["198.51.100.7", "2001:db8:1:2::/64"]


PROXYS_ID = "0f8e7d6c5b4a39281706f5e4d3c2b1a0"


def given(id: str, log_output: StringIO) -> bool:
    """Send an id with a request; return whether it became the request's, in header and line."""
    answer = Browser().get("/livez", headers={"X-Request-ID": id})
    own = answer["X-Request-ID"]
    assert lines(log_output)[-1]["requestId"] == own and re.fullmatch(r"[\w-]{8,48}", own)
    return own == id


def test_the_id_of_a_trusted_proxy_is_the_requests(settings: Any, log_output: StringIO) -> None:
    assert not given(PROXYS_ID, log_output), "without a proxy it is the client's"
    settings.NUM_PROXIES = 1
    assert given(PROXYS_ID, log_output) and given("edge-7_0000", log_output)
    assert given("2f1d8f0e-6f5c-4b8e-9b3a-0c1d2e3f4a5b", log_output), "as Caddy and Envoy make them"


@pytest.mark.parametrize(
    "id",
    ["", "short", "x" * 49, "x" * 7 + "\n", "with space", "<script>x</script>", "编号编号编号编号"],
)
def test_what_is_no_id_is_replaced(settings: Any, log_output: StringIO, id: str) -> None:
    settings.NUM_PROXIES = 1
    assert not given(id, log_output)


def test_a_request_is_not_logged_under_the_user_before(alice: Person, log_output: StringIO) -> None:
    alice.get("me")
    Browser().get("/api/v1/me")
    alice.post("login", {"code": alice.phone.login()})
    Browser().get("/livez")
    users = [(line.get("userId"), line.get("appid")) for line in lines(log_output)]
    mine = (alice.user.pk, APP_ID)
    assert users == [mine, (None, None), mine, (None, None)], "a log-in says whose it became"


def test_django_adds_a_line_of_its_own_only_about_a_crash(
    olga: Browser, log_output: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    olga.raise_request_exception = False
    for path in ("/nothing", "/api/nothing", "/groups/0/", "/groups", "/static/nothing.css"):
        olga.get(path)
    assert [line["status"] for line in lines(log_output)] == [404, 404, 404, 301, 404]
    monkeypatch.setattr("console.groups.rows_of", None)
    olga.get("/groups/")
    crash, access = lines(log_output)[5:]
    assert (crash["level"], crash["logger"]) == ("ERROR", "django.request")
    assert crash["exception"].endswith("TypeError: 'NoneType' object is not callable")
    assert (access["status"], access["requestId"]) == (500, crash["requestId"])


def test_a_line_has_the_route_and_not_the_path(alice: Person, log_output: StringIO) -> None:
    alice.enter("family")
    link = urlsplit(alice.post(f"groups/{FAMILY}/link").json()["url"]).path
    sign_in = sign_in_path(User.objects.create_superuser("otto"))
    browser = Browser()
    for path in (link, sign_in, f"/nothing/{alice.token}", f"/?token={alice.token}"):
        browser.get(path)
    found = [line["route"] for line in lines(log_output)[-4:]]
    assert found == ["/g/<str:signed>/", "/sign-in/<int:pk>/<str:token>/", "-", "/"]
    for secret in (link.split("/")[2], sign_in.split("/")[3], alice.token, FAMILY):
        assert secret not in log_output.getvalue()


# Other lines


def test_an_error_of_wechat_is_logged_with_its_errcode_and_rid(
    alice: Person, sandbox: Sandbox, log_output: StringIO
) -> None:
    fault(sandbox, errcode=45009)
    assert alice.post("login", {"code": alice.phone.login()}).status_code == 503
    alarm, line, access = lines(log_output)
    assert (alarm["level"], alarm["errcode"]) == ("ERROR", 45009)
    assert (line["level"], line["appid"], line["errcode"]) == ("WARNING", APP_ID, 45009)
    assert re.fullmatch(r"[\w-]+", line["rid"]) and line["rid"] in line["message"]
    assert line["requestId"] == access["requestId"]


def test_every_message_is_one_line_of_json(log_output: StringIO) -> None:
    logger = logging.getLogger("groupsite.anything")
    # By our handler alone: what pytest captures beside it has to be sendable between processes.
    [handler] = [h for h in logging.getLogger().handlers if isinstance(h.formatter, JsonFormatter)]
    text = 'two\nlines, "quoted", 中文 and half a pair: \ud83d'
    extra = {"rid": object()}
    handler.handle(
        logger.makeRecord(logger.name, logging.WARNING, "", 0, text, (), None, extra=extra)
    )
    try:
        raise ValueError("of\ntwo lines")
    except ValueError:
        logger.exception("crashed with %s", {"a": 1})
    first, second = lines(log_output)
    assert first["message"] == text
    assert "中文" in log_output.getvalue()
    assert second["exception"].endswith("ValueError: of\ntwo lines")
    assert "requestId" not in first or first["requestId"]


def test_a_real_server_logs_nothing_but_such_lines(tmp_path: Path) -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'nothing.sqlite3'}",
    }
    log = tmp_path / "server.log"
    with serving(environment, log) as url, requests.Session() as http:
        http.trust_env = False
        for path in ("me", "nothing", "../../livez", "../../nothing", "login"):
            http.get(url + path, timeout=60)
        wait_for(lambda: len(log.read_text().splitlines()) >= 5)
    found = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["status"] for line in found] == [401, 404, 200, 404, 405]


# Redaction

CANARY = "q7-Canary_0123456789+/w=="
# Each § is the secret.
HOLDING = [
    "secret=§",
    "https://api.weixin.qq.com/sns/jscode2session?appid=wx1&secret=§&js_code=§",
    '{"session_key": "§", "openid": "§"}',
    "{'session_key': '§', 'unionid': '§'}",
    '{\\"session_key\\": \\"§\\", \\"token\\":\\"§\\"}',
    '"{\\\\\\"access_token\\\\\\": \\\\\\"§\\\\\\"}"',
    'b\'{"code": "§"}\'',
    "Session(openid='§', session_key=b'§')",
    "{'code': ['§']}",
    "sessionKey: §",
    "next=%2Fsign-in%2F1%2F§%2F",
    "redirect?token%3D§",
    "Authorization: Bearer §",
    "{'HTTP_AUTHORIZATION': 'Bearer §'}",
    "Authorization: Key §",
    "a key gsk_§ in any text",
    "Cookie: __Host-sessionid=§; __Host-csrftoken=§",
    "csrfmiddlewaretoken=§",
    "POST /sign-in/1/§/",
    "GET /g/§/",
    "msg_signature=§&encrypt_type=aes",
    "EncodingAESKey=§",
    "aes_key: §",
    "ticket=§",
    "FIELD_KEYS = ['§']",
    "SECRET_KEY=§",
    "AWS_SECRET_ACCESS_KEY=§",
    "X-Amz-Signature=§&X-Amz-Credential=§&X-Amz-Security-Token=§",
    "secret_key='§', access_key='§'",
    "password=§",
    "encryptedData=§",
    "nickname: §",
    "Key (app_id, openid)\nDETAIL:  Key (app_id, openid)=(wx1, §) already exists.",
    "DETAIL:  Failing row contains (1, wx1, §, §).",
    "(1062, \"Duplicate entry 'wx1-§' for key 'one_user_per_openid'\")",
]
URLS = [
    "redis://:canary-of-redis@cache:6379/0",
    "postgres://groupsite:canary-of-it@db/x",
    "https://canary0123456789@sentry.example/1",
]


@pytest.mark.parametrize("text", HOLDING)
def test_secrets_and_personal_data_are_replaced_by_stars(text: str) -> None:
    redacted = redact(text.replace("§", CANARY))
    assert "***" in redacted and "Canary" not in redacted and "0123456789" not in redacted


@pytest.mark.parametrize("text", URLS)
def test_the_password_of_a_url_is_redacted(text: str) -> None:
    assert "canary" not in redact(f"cannot connect to {text}: refused")
    assert redact(text).endswith(text.rpartition("@")[2])


@pytest.mark.parametrize(
    "text",
    [
        "InvalidCodeError: WeChat refused the call (errcode 40029, rid 6564-1a2b-3c4d)",
        '{"errcode": 40029, "status_code": 200}',
        "GET /g/<str:signed>/ 404",
        "Key figures of the group",
        "a token was revoked; 2 tokens are left",
        "Redis is away: Error 111 connecting to 127.0.0.1:6379. Connection refused.",
        "https://api.weixin.qq.com/cgi-bin/token",
    ],
)
def test_other_texts_are_not_redacted(text: str) -> None:
    assert redact(text) == text


def test_every_part_of_a_line_is_redacted(log_output: StringIO) -> None:
    logger = logging.getLogger("groupsite.anything")
    try:
        raise ValueError(f'{{"session_key": "{CANARY}"}}')
    except ValueError as error:
        logger.exception("failed on token=%s", CANARY, extra={"rid": f"code={CANARY}"})
        logger.error("failed: %r", json.dumps({"a": str(error)}))
    assert CANARY not in log_output.getvalue()
    assert [line["message"][:6] for line in lines(log_output)] == ["failed", "failed"]


# Error reports


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with tracking() as tracker:
        yield tracker


CRASHING = f"""
import django
django.setup()
import accounts.api, accounts.models, groups.views

def crash(*args, **kwargs):
    raise RuntimeError(f"session_key={{args[0]}}" if isinstance(args[0], str) else "a crash")

accounts.api.MeView.put = accounts.models.encrypt = groups.views.ranking_context = crash
{SERVER}
"""


def test_an_unhandled_error_is_reported_without_a_secret_or_a_person(
    tracker: Tracker, tmp_path: Path
) -> None:
    secrets = {
        "app secret": "canary-of-the-app-secret",
        "field key": urlsafe_b64encode(b"canary-of-the-field-keys-at-rest").decode(),
        "signing key": "canary-of-the-signing-key-" * 3,
    }
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: secrets["app secret"]}))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": stack.enter_context(scratch_database(tmp_path)),
            "WECHAT_APPS": f"{APP_ID}:{secrets['app secret']}",
            "WECHAT_API_URL": sandbox.url,
            "FIELD_KEYS": secrets["field key"],
            "SECRET_KEY": secrets["signing key"],
            "SENTRY_DSN": tracker.dsn,
        }
        logs = [tmp_path / "healthy.log", tmp_path / "crashing.log"]
        site = Site(environment, [], logs, sandbox)
        stack.callback(site.close)
        site.run("manage.py", "migrate", "--verbosity", "0")
        for log, code in zip(logs, (SERVER, CRASHING), strict=True):
            site.urls.append(stack.enter_context(serving(environment, log, code)))
        crash_everywhere(site, secrets)
        wait_for(lambda: len(tracker.events) >= 3)
        said = site.said() + "".join(tracker.bodies)
    assert {name: secret for name, secret in secrets.items() if secret in said} == {}
    crashes = [event["exception"]["values"][-1] for event in tracker.events]
    assert {crash["type"] for crash in crashes} == {"RuntimeError"}
    assert sorted(crash["value"] for crash in crashes) == ["a crash", "a crash", "session_key=***"]
    for event in tracker.events:
        assert event["request"].keys() == {"method", "url"}
        assert "user" not in event
        assert all("vars" not in frame for frame in frames(event))
    assert any(frame.get("context_line") for event in tracker.events for frame in frames(event))


def frames(event: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        frame for value in event["exception"]["values"] for frame in value["stacktrace"]["frames"]
    ]


def crash_everywhere(site: Site, secrets: dict[str, str]) -> None:
    """Let Alice use the healthy server, then the crashing one; add her secrets to `secrets`."""
    alice = site.log_in("alice")
    open_gid = alice.post("groups/bind", alice.envelope("family"))[1]["openGId"]
    link = urlsplit(alice.post(f"groups/{open_gid}/link", {})[1]["url"]).path
    code = alice.phone.login()
    secrets |= {
        "token": alice.token,
        "code": code,
        "nickname": "金丝雀",
        "link": link.split("/")[2],
    }
    [[openid, key]] = site.ask(
        "[[user.openid, decrypt(user.session_key)] for user in WeChatUser.objects.all()]"
    )
    secrets |= {"openid": openid, "session_key": key, "raw key": repr(b64decode(key))}
    bob = Caller(site, Phone(site.sandbox.url, "bob", APP_ID))
    server = site.urls[1].removesuffix("/api/v1/")
    assert alice.call("PUT", "me", 1, json={"nickname": secrets["nickname"]})[0] == 500
    assert bob.post("login", {"code": code}, 1)[0] == 500
    assert requests.get(server + link, timeout=60).status_code == 500
