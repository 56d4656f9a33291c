"""The cast: Alice and Bob are in one group, Charlie is in none, Olga operates the site.

People's phones and WeChat are the sandbox, over a real socket; the API is called through
Django's test client.
"""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client as Browser
from django.urls import URLResolver, get_resolver
from django.utils import timezone

from accounts.models import WeChatUser
from audit import attempts
from audit.models import AuditEvent
from core import limits
from core.vault import decrypt
from groups.models import Group, ServerKey, VerificationFile
from groupsite.logs import JsonFormatter
from tests.settings import APP_ID, REDIS_URL
from wechat.crypto import seal
from wechat.sandbox import Phone, Sandbox

API = "/api/v1/"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """No row is number 1 by luck, and no two tables count alike: one id cannot pass for another."""
    if connection.vendor == "sqlite":  # the others' counters go on by themselves
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            for n, model in enumerate(apps.get_models(), 1):
                row = [model._meta.db_table, 1000 * n]
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", row[:1])
                cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", row)


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    from django.conf import settings

    with Sandbox({id: app["SECRET"] for id, app in settings.WECHAT_APPS.items()}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_server: Sandbox, settings: Any) -> Sandbox:
    settings.WECHAT_API_URL = sandbox_server.url
    return sandbox_server


@pytest.fixture(autouse=True)
def _nothing_counted() -> None:
    """Whatever another test did, nobody has been throttled, and nobody is watched."""
    attempts.forget_watches()
    attempts._pace = attempts._Pace()
    limits.limiter_on.cache_clear()
    if (shared := limits.limiter_on(REDIS_URL).shared) is not None:
        shared.storage.reset()


def needs(tool: str) -> str:
    """The path of a program that a test runs; without it a failure in CI, elsewhere a skip."""
    if path := shutil.which(tool):
        return path
    missing = f"{tool} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@dataclass
class Person:
    """Somebody with a phone, and what their mini-program does with the API."""

    name: str
    phone: Phone
    browser: Browser = field(default_factory=Browser)
    token: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One API call; JSON both ways."""
        if self.token:
            headers = {"Authorization": f"Bearer {self.token}", **headers}
        send = getattr(self.browser, method.lower())
        sent = {"content_type": "application/json"}
        if body is not None:
            sent["data"] = body
        return send(path if path.startswith("/") else API + path, headers=headers, **sent)

    def get(self, path: str, **headers: str) -> Any:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("PUT", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self.call("DELETE", path, **headers)

    def log_in(self) -> "Person":
        answer = self.post("login", {"code": self.phone.login()})
        assert answer.status_code == 200, answer.content
        self.body = answer.json()
        self.token = self.body["token"]
        return self

    def envelope(self, chat: str) -> dict[str, str]:
        return self.phone.share_info(self.phone.open_card(chat)["shareTicket"])

    def enter(self, chat: str) -> str:
        """Open a card in `chat` and bind; the group's openGId."""
        answer = self.post("groups/bind", self.envelope(chat))
        assert answer.status_code in {200, 201}, answer.content
        return str(answer.json()["openGId"])

    def rename(self, nickname: str) -> "Person":
        assert self.put("me", {"nickname": nickname}).status_code == 200
        return self

    @property
    def user(self) -> WeChatUser:
        return WeChatUser.objects.get(pk=int(self.body["user"]["id"]))

    @property
    def openid(self) -> str:
        return self.user.openid


@pytest.fixture
def somebody(db: None, sandbox: Sandbox) -> Any:
    """Makes a person of that name, logged in."""

    def make(name: str, nickname: str = "") -> Person:
        person = Person(name, Phone(sandbox.url, name, APP_ID)).log_in()
        return person.rename(nickname) if nickname else person

    return make


@pytest.fixture
def alice(somebody: Any) -> Person:
    return somebody("alice", "小明")  # type: ignore[no-any-return]


@pytest.fixture
def bob(somebody: Any) -> Person:
    return somebody("bob", "李雷")  # type: ignore[no-any-return]


@pytest.fixture
def charlie(somebody: Any) -> Person:
    return somebody("charlie", "查理")  # type: ignore[no-any-return]


@pytest.fixture
def group(alice: Person, bob: Person) -> Group:
    """Alice's and Bob's group, Alice first."""
    open_gid = alice.enter("family")
    bob.enter("family")
    return Group.objects.get(open_gid=open_gid)


@pytest.fixture
def olga(db: None, client: Browser) -> Browser:
    """An operator's browser, signed in."""
    operator = User.objects.create_superuser("olga")
    client.force_login(operator)
    return client


# Answers and envelopes


def error_of(answer: Any) -> dict[str, Any]:
    """The error object of an answer, after checking that it has the contract's shape."""
    assert answer.status_code >= 400, answer.content
    assert answer["Content-Type"].startswith("application/json"), answer["Content-Type"]
    body: dict[str, Any] = answer.json()
    assert {"code", "detail", "requestId"} <= body.keys()
    assert body.keys() <= {"code", "detail", "requestId", "fields", "retryAfter"}
    assert all(isinstance(body[key], str) and body[key] for key in ("code", "detail", "requestId"))
    assert body["requestId"] == answer["X-Request-ID"]
    assert "fields" not in body or body["code"] == "invalid"
    for sentences in body.get("fields", {}).values():
        assert sentences and all(isinstance(sentence, str) for sentence in sentences)
    assert ("retryAfter" in body) == (answer.status_code in {429, 503})
    if "retryAfter" in body:
        assert isinstance(body["retryAfter"], int) and body["retryAfter"] > 0
        assert answer["Retry-After"] == str(body["retryAfter"])
    return body


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Checks that a call was refused so; its error object."""
    body = error_of(answer)
    assert (answer.status_code, body["code"]) == (status, code), body
    return body


def sealed_for(
    person: Person, payload: dict[str, Any], *, marked: bool = True, key: str = "", **mark: Any
) -> dict[str, str]:
    """`payload` as WeChat would seal it for `person` now; `mark` changes its watermark."""
    watermark = {"appid": person.user.app_id, "timestamp": int(time.time()), **mark}
    key = key or decrypt(person.user.session_key) or ""
    return seal(key, payload | ({"watermark": watermark} if marked else {}))


@pytest.fixture
def console() -> Iterator[StringIO]:
    """What the project's own log handler writes, as it would stand in the container's log."""
    [handler] = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler.formatter, JsonFormatter)
    ]
    assert isinstance(handler, logging.StreamHandler)
    before = handler.setStream(written := StringIO())
    yield written
    handler.setStream(before)


# The URL map


def routes(patterns: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every route of the site as it stands in the URL map, with its pattern."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern


def path_of(route: str, **values: Any) -> str:
    """The path of a route whose parameters have these values."""
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(values[found[1]]), route)


@pytest.fixture
def lived(alice: Person, group: Group) -> None:
    """A row of everything that has a page."""
    ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    AuditEvent.objects.create(action="block", target="wechatuser")
    VerificationFile.objects.create(name="abc.txt", content="abc")
