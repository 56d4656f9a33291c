"""What schemathesis cannot know of this API: who calls, and what only a phone or the site can make.

Half of the calls that want an envelope, a ticket, a code or a cursor get a genuine one, the other
half keep what was invented for them.
"""

import os
from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any
from zlib import crc32

import schemathesis
from hypothesis import strategies as st
from requests import Response
from schemathesis import Case, HookContext

from accounts.avatars.drawn import default_avatar
from accounts.avatars.pictures import TYPES as PICTURE_TYPES
from groupsite.demo import APP_ID
from wechat.sandbox import Phone, open_gid_of
from wechat.transport import http_session

from . import GROUPS

API = os.environ["FUZZ_SITE"] + "/api/v1/"
SANDBOX = os.environ["FUZZ_SANDBOX"]
ALICE = os.environ["FUZZ_ALICE"]
SERVER = os.environ["FUZZ_SERVER"]
CHATS = {
    open_gid_of(APP_ID, chat): chat for chat in (f"demo-chat-{n}" for n in range(1, GROUPS + 1))
}
DOOR = "demo-chat-door"  # the group that envelopes are from, so that Alice's stay as they are
ENVELOPES_A_PERSON = 30

newcomers, envelopes = count(1), count()

# Most of what is sent as a picture is one, whatever type it claims.
GENUINE = st.sampled_from("abc").map(default_avatar)
PICTURES = st.one_of(GENUINE, GENUINE, st.binary())
for _name in PICTURE_TYPES:
    schemathesis.openapi.media_type(_name, PICTURES)


class Newcomer:
    """A person who has just logged in for the first time."""

    def __init__(self) -> None:
        self.phone = Phone(SANDBOX, f"demo-newcomer-{next(newcomers)}")
        answer = self.post("login", {"code": self.phone.login()})
        self.authorization = f"Bearer {answer.json()['token']}"

    def post(self, path: str, body: dict[str, Any]) -> Response:
        headers = {"Authorization": self.authorization} if path != "login" else {}
        return http_session().post(API + path, json=body, headers=headers, timeout=60)

    def envelope(self, chat: str = DOOR) -> dict[str, Any]:
        return self.phone.share_info(self.phone.open_card(chat)["shareTicket"])

    def ticket(self) -> dict[str, Any]:
        """Return what `groups/resolve` answers; nothing if the caller is locked already."""
        resolved = self.post("groups/resolve", self.envelope()).json()
        return {key: resolved[key] for key in ("openGId", "openid", "ticket") if key in resolved}


@cache
def numbered(number: int) -> Newcomer:
    return Newcomer()


def sender(case: Case[Any]) -> Newcomer:
    """Return a person who has sent few envelopes that do not open: ten would lock them."""
    return numbered(next(envelopes) // ENVELOPES_A_PERSON)


def leaver(case: Case[Any]) -> Newcomer:
    """Return a member of the group that is left, if there is one."""
    person = Newcomer()
    chat = CHATS.get(case.path_parameters.get("openGId", ""))
    if chat:
        person.post("groups/bind", person.envelope(chat))
    return person


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """Write 1044.0 as 1044: JSON Schema calls it an integer; the API does not, nor any client."""
    if not isinstance(body, dict):
        return body
    return {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in body.items()
    }


@schemathesis.hook
def filter_body(context: HookContext, body: Any) -> bool:
    """Drop unknown keys with an empty list: a form has no part for it, so it is never sent."""
    operation = context.operation
    is_form = operation is not None and operation.definition.raw["operationId"] == "update_avatar"
    return not (is_form and isinstance(body, dict) and [] in body.values())


# Calls that use their caller up: each is made by another person than Alice.
CALLERS: dict[str, Callable[[Case[Any]], Newcomer]] = {
    "logout": lambda case: Newcomer(),
    "withdraw_consent": lambda case: Newcomer(),
    "erase_me": lambda case: Newcomer(),
    "leave": leaver,
    "resolve": sender,
    "bind": sender,
}


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    name = case.operation.definition.raw["operationId"]
    person = None
    if name in CALLERS and case.headers.get("Authorization") == ALICE:
        person = CALLERS[name](case)
        case.headers["Authorization"] = person.authorization
    if "/server/" in case.path and case.headers.get("Authorization") == ALICE:
        case.headers["Authorization"] = SERVER
    if crc32(repr((case.body, case.query)).encode()) % 2:
        use_genuine(case, name, person)


def use_genuine(case: Case[Any], name: str, person: Newcomer | None) -> None:
    body = case.body if isinstance(case.body, dict) else {}
    if name == "login" and "code" in body:
        case.body = {**body, "code": "demo-bob"} | ({"appid": APP_ID} if "appid" in body else {})
    elif person and {"encryptedData", "iv"} <= body.keys():
        case.body = body | person.envelope()
    elif person and {"openGId", "openid", "ticket"} <= body.keys():
        case.body = body | person.ticket()
    elif name == "submit_score" and {"board", "value"} <= body.keys():
        case.body = {key: body[key] for key in body if key != "openGId"} | {"board": "steps"}
    elif "cursor" in case.query:
        case.query = case.query | next_page(case)


def next_page(case: Case[Any]) -> dict[str, str]:
    """Return the cursor that the first page of this list gives, if it gives one."""
    rest = {key: value for key, value in case.query.items() if key not in {"cursor", "limit"}}
    url = os.environ["FUZZ_SITE"] + case.formatted_path
    answer = http_session().get(url, params=rest, headers={"Authorization": ALICE}, timeout=60)
    found = answer.json().get("next")
    return {"cursor": found} if found else {}
