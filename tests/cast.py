"""The cast: people with phones, what they send, and what the site answers and stores.

Alice and Bob are in one group, Charlie is in none, Olga operates the site; conftest.py has them as
fixtures. Their phones and WeChat are the sandbox, over a real socket; the API is called through
Django's test client.
"""

import re
import time
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import time_machine
from Crypto.Cipher import AES
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client as Browser
from PIL import Image

from accounts.models import AvatarCheck, WeChatUser
from core.vault import decrypt
from tests.settings import APP_ID
from wechat.client import Suggestion
from wechat.crypto import Envelope, decode_session_key, seal
from wechat.push import channel_for
from wechat.sandbox import Fault, Phone, Sandbox, open_gid_of

API = "/api/v1/"
FAMILY = open_gid_of(APP_ID, "family")

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+08:00", re.ASCII)
CHINESE = re.compile("[\u4e00-\u9fff]")

# As the sandbox judges them.
RISKY, DOUBTFUL = "违规小店", "存疑小店"
RED, YELLOW, GREEN = (220, 20, 20), (230, 220, 30), (20, 160, 60)


@dataclass
class Person:
    """A person with a phone, and what their mini-program does with the API."""

    name: str
    phone: Phone
    browser: Browser = field(default_factory=Browser)
    token: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call the API; JSON both ways."""
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
        """Open a card in `chat` and bind; return the group's openGId."""
        answer = self.post("groups/bind", self.envelope(chat))
        assert answer.status_code in {200, 201}, answer.content
        return str(answer.json()["openGId"])

    def rename(self, nickname: str) -> "Person":
        assert self.put("me", {"nickname": nickname}).status_code == 200
        return self

    def upload(self, data: bytes | None = None, name: str = "avatar", **more: Any) -> Any:
        """Send a picture, as `wx.uploadFile` does."""
        file = BytesIO(picture() if data is None else data)
        file.name = "tmp_a1b2.png"
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.browser.post(API + "me/avatar", {name: file, **more}, headers=headers)

    def submit(self, value: Any, **more: Any) -> Any:
        """Send a score to the board "steps"."""
        return self.post("scores", {"board": "steps", "value": value, **more})

    def sees(self, member: "Person") -> dict[str, Any]:
        """Return a member of the family as this person's ranking shows them."""
        entries = self.get(f"groups/{FAMILY}/ranking").json()["entries"]
        shown = [entry["member"] for entry in entries]
        [found] = [each for each in shown if each["id"] == member.body["user"]["id"]]
        return dict(found)

    @property
    def user(self) -> WeChatUser:
        return WeChatUser.objects.get(pk=int(self.body["user"]["id"]))

    @property
    def openid(self) -> str:
        return self.user.openid


# From the lowest to the highest; "any" is an operator without a role.
ROLES = ("any", "viewer", "moderator", "manager", "superuser")


def browser_of(role: str) -> Browser:
    """Return the browser of a new operator with this role, signed in."""
    operator = User.objects.create_user(role, is_staff=True, is_superuser=role == "superuser")
    if role in ROLES[1:4]:
        operator.groups.add(Role.objects.get(name=role))
    browser = Browser()
    browser.force_login(operator)
    return browser


# Answers


def error_of(answer: Any) -> dict[str, Any]:
    """Return the error object of an answer; check that it has the contract's shape."""
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
    """Check that a call was refused with this status and code; return its error object."""
    body = error_of(answer)
    assert (answer.status_code, body["code"]) == (status, code), body
    return body


# Envelopes and tickets

KEY = "tiihtNczf5v6AKRyjwEUhQ=="  # a session_key that no person of the cast has
IV = bytes(range(16))
GARBAGE = {"encryptedData": "A" * 43 + "=", "iv": "A" * 22 + "=="}

# What may be wrong with a watermark, beside its age.
BAD_MARKS: dict[str, Any] = {
    "a timestamp beyond floats": {"timestamp": 10**400},
    "a timestamp that is true": {"timestamp": True},
    "another appid": {"appid": "wx0000000000000000"},
}

# What an envelope may hold in place of one JSON object.
BAD_TEXTS = {
    "invalid UTF-8": b'{"a":"\xff"}',
    "an overlong slash": b'{"a":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "nothing": b"",
    "not JSON": b"openGId=tGsj",
    "JSON and more": b'{"a":1}{"a":2}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "a list": b'[{"openGId":"tGsj"}]',
    "a string": b'"tGsj"',
    "a number": b"5",
    "null": b"null",
    "deep lists": b'{"a":' + b"[" * 100_000,
    "deep lists, closed": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000,
    "an endless number": b'{"a":' + b"9" * 10_000 + b"}",
}


def b64(raw: bytes) -> str:
    return b64encode(raw).decode()


def padded(text: bytes) -> bytes:
    count = 16 - len(text) % 16
    return text + bytes([count]) * count


def encrypted(text: bytes, key: str = KEY) -> Envelope:
    """Encrypt any text of whole blocks, padding included, which WeChat would never send."""
    cipher = AES.new(decode_session_key(key), AES.MODE_CBC, IV)
    return Envelope(cipher.encrypt(text), IV)


def encrypted_for(person: Person, text: bytes) -> dict[str, str]:
    """Encrypt any text of whole blocks under the person's own key."""
    envelope = encrypted(text, decrypt(person.user.session_key) or "")
    return {"encryptedData": b64(envelope.data), "iv": b64(envelope.iv)}


def sealed_for(
    person: Person, payload: dict[str, Any], *, marked: bool = True, key: str = "", **mark: Any
) -> dict[str, str]:
    """Seal `payload` as WeChat would for `person` now; `mark` changes its watermark."""
    watermark = {"appid": person.user.app_id, "timestamp": int(time.time()), **mark}
    key = key or decrypt(person.user.session_key) or ""
    return seal(key, payload | ({"watermark": watermark} if marked else {}))


def ticket(resolved: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Take the ticket from an answer of `groups/resolve`, as `groups/bind` wants it."""
    return {key: resolved[key] for key in ("openGId", "openid", "ticket")} | changed


# Avatars and their review by WeChat


def picture(colour: tuple[int, int, int] = GREEN, size: int = 300) -> bytes:
    out = BytesIO()
    Image.new("RGB", (size, size), colour).save(out, "PNG")
    return out.getvalue()


def stored_avatars() -> list[str]:
    """List the files that the storage holds."""
    try:
        return sorted(default_storage.listdir("avatars")[1])
    except FileNotFoundError:
        return []


def check_of(answer: Any) -> AvatarCheck:
    """Return the review that an upload began."""
    assert answer.status_code == 200, answer.content
    return AvatarCheck.objects.latest("pk")


def verdict_event(check: AvatarCheck, suggestion: Suggestion) -> dict[str, Any]:
    """Return what WeChat pushes about a picture (mediaCheckAsync, version 2)."""
    return {
        "ToUserName": "gh_1",
        "FromUserName": "o1",
        "CreateTime": 1763870000,
        "MsgType": "event",
        "Event": "wxa_media_check",
        "appid": APP_ID,
        "trace_id": check.trace_id,
        "version": 2,
        "detail": [{"strategy": "content_model", "errcode": 0, "suggest": suggestion.value}],
        "errcode": 0,
        "errmsg": "ok",
        "result": {"suggest": suggestion.value, "label": 100},
    }


def deliver(query: dict[str, str], body: bytes, app_id: str = APP_ID) -> Any:
    """Push a message to the site, as WeChat does."""
    path = f"/wechat/push/{app_id}/?{urlencode(query)}"
    return Browser(enforce_csrf_checks=True).post(path, body, content_type="text/xml")


def push_verdict(
    check: AvatarCheck, suggestion: Suggestion, *, safe: bool = True, xml: bool = False
) -> None:
    event = verdict_event(check, suggestion)
    query, body = channel_for(APP_ID).write(event, safe=safe, xml=xml)
    assert deliver(query, body).content == b"success"


# WeChat, the clock and the database


def fault(sandbox: Sandbox, times: int = 1, path: str = "/sns/jscode2session", **what: Any) -> None:
    """Let WeChat fail in this way for the next calls; after 0 times no more."""
    sandbox.state.request_fault(path, Fault(**what), times)


def later(**units: float) -> Any:
    """Move the clock on; by seconds, since a moment in UTC would make UTC the local time."""
    return time_machine.travel(time.time() + timedelta(**units).total_seconds())


def everything_stored() -> dict[str, list[Any]]:
    """Return every row of every table, as the database has it."""
    tables = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            tables[table] = sorted(cursor.fetchall(), key=repr)
    return tables
