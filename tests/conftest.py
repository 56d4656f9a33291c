"""The cast: Alice and Bob are in one group, Charlie is in none, Olga operates the site.

People's phones and WeChat are the sandbox, over a real socket; the API is called through
Django's test client.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser

from accounts.models import WeChatUser
from groups.models import Group
from wechat.sandbox import Phone, Sandbox

from .settings import APP_ID

API = "/api/v1/"


@pytest.fixture(scope="session")
def sandbox_server() -> Iterator[Sandbox]:
    from django.conf import settings

    with Sandbox({id: app["SECRET"] for id, app in settings.WECHAT_APPS.items()}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_server: Sandbox, settings: Any) -> Sandbox:
    settings.WECHAT_API_URL = sandbox_server.url
    return sandbox_server


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
