"""The state and the rules of the fake WeChat, without HTTP.

Sources: auth.code2Session, stable_token, msgSecCheck and mediaCheckAsync for the platform;
wx.login, wx.getShareInfo, wx.getGroupEnterInfo and wx.getUserInfo for the phone. Where WeChat's
documents allow several behaviours, the sandbox takes the worst: every log-in makes a new
session_key.
"""

import functools
import hashlib
import itertools
import json
import queue
import secrets
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from wechat.crypto import decode_aes_key, seal
from wechat.push import Channel

from .content_safety import findings, judge_text

P = ParamSpec("P")
R = TypeVar("R")

# Seconds.
CODE_LIFE = 300
CLOUD_ID_LIFE = 300
TOKEN_LIFE = 7200
REPLACED_TOKEN_LIFE = 300
VISIT_LIFE = 2 * 3600
MAX_FAULT_SECONDS = 60

MAX_CONTENT = 2500  # characters

PICTURE = 2  # `media_type`
CONTENT_SAFETY_VERSION, CONTENT_SAFETY_SCENES = 2, range(1, 5)

DEMO_CODE_PREFIX = "demo-"

SINGLE_CHAT_CARD, GROUP_CARD_WITH_TICKET = 1007, 1044  # `scene`
SINGLE, GROUP = 1, 3  # `chat_type`

NOT_FROM_A_CHAT, LEFT_THE_GROUP = 40097, 65206  # `errCode`


class PlatformError(Exception):
    """The refusal of a server's call, by its `errcode`."""

    def __init__(self, errcode: int) -> None:
        super().__init__(errcode)
        self.errcode = errcode


class WxCallError(Exception):
    """The failure of a `wx` call on the phone; `err_code` −1 is a mistake in the request itself."""

    def __init__(self, reason: str, err_code: int = -1) -> None:
        super().__init__(reason)
        self.err_code = err_code


@dataclass(frozen=True)
class Fault:
    """A failure of a platform call, to be asked for by a test. The default changes nothing.

    `errcode` and `status` (with an HTML page) are sent instead of calling the platform, so a code
    stays unused. The others change the answer on its way back, so a code is used up: `delay` is
    seconds before the answer, `drip` seconds after each byte of its body, `body` replaces its
    body, `close` closes the connection without an answer. Raises ValueError for seconds outside
    0 … 60 and for a `status` outside 200 … 599.
    """

    errcode: int | None = None
    status: int | None = None
    body: str | None = None
    delay: int | float = 0
    drip: int | float = 0
    close: bool = False

    def __post_init__(self) -> None:
        if not all(0 <= seconds <= MAX_FAULT_SECONDS for seconds in (self.delay, self.drip)):
            raise ValueError(f"delay and drip are 0 … {MAX_FAULT_SECONDS} seconds")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError("status is 200 … 599")


@dataclass
class _LoginCode:
    appid: str
    person: str
    session_key: str
    expires: float
    used: bool = False


@dataclass(frozen=True)
class _CloudData:
    """What a cloudID stands for, and the person it was given to."""

    appid: str
    openid: str
    payload: dict[str, Any]
    expires: float


@dataclass
class _AccessToken:
    appid: str
    ends: float


@dataclass(frozen=True)
class MediaCheck:
    """A call of mediaCheckAsync whose verdict is still to be pushed."""

    appid: str
    openid: str
    media_url: str
    trace_id: str


@dataclass(frozen=True)
class Event:
    """A message to be pushed."""

    appid: str
    fields: dict[str, Any]

    @classmethod
    def about(cls, appid: str, openid: str, event: str, fields: Mapping[str, Any]) -> "Event":
        """Return an event about a person: what every one of them has, and `fields`."""
        head = {
            "ToUserName": f"gh_{hashlib.sha256(appid.encode()).hexdigest()[:12]}",
            "FromUserName": openid,
            "CreateTime": int(time.time()),
            "MsgType": "event",
            "Event": event,
        }
        return cls(appid, {**head, **fields})


@dataclass(frozen=True)
class Receiver:
    """The address to which an app's messages are pushed, as set in WeChat's console (消息推送).

    `messages` and `pushes` count what was sent there. Through WeChat Cloud Run's gateway there is
    no signature, and the channel has no token.
    """

    url: str
    channel: Channel
    messages: Iterator[int] = field(default_factory=itertools.count)
    pushes: Iterator[int] = field(default_factory=itertools.count)


def openid_of(appid: str, person: str) -> str:
    """Return the openid of `person` in one mini-program: 28 characters, always the same."""
    return _opaque_id("o", appid, person)


def open_gid_of(appid: str, chat: str) -> str:
    """Return the openGId of `chat` in one mini-program: 28 characters, always the same."""
    return _opaque_id("tG", appid, chat)


def group_openid_of(appid: str, chat: str, person: str) -> str:
    """Return WeChat's id of `person` within `chat`: 28 characters, always the same."""
    return _opaque_id("oG", appid, chat, person)


def unionid_of(person: str) -> str:
    """Return the unionid of `person`: 28 characters, the same in every mini-program."""
    return _opaque_id("ocM", person)


def demo_envelope(appid: str, person: str, chat: str) -> dict[str, str]:
    """Return what wx.getGroupEnterInfo gives in `chat`; it opens after a log-in with a demo code.

    It is always the same, so that documentation can show it, and has no watermark, which would
    grow too old.
    """
    payload = {"opengid": open_gid_of(appid, chat), "chat_type": GROUP}
    return seal(_demo_key(appid, person), payload, hashlib.sha256(chat.encode()).digest()[:16])


def _demo_key(appid: str, person: str) -> str:
    return b64encode(hashlib.sha256(f"{appid} {person}".encode()).digest()[:16]).decode()


def _accepted() -> dict[str, Any]:
    trace_id = "-".join(secrets.token_hex(4) for _part in range(3))
    return {"errcode": 0, "errmsg": "ok", "trace_id": trace_id}


def _opaque_id(prefix: str, *parts: str) -> str:
    # JSON and not a join: ("ab", "c") and ("a", "bc") must differ, and any string is allowed.
    digest = hashlib.sha256(json.dumps([prefix, *parts]).encode()).digest()
    return (prefix + urlsafe_b64encode(digest).decode())[:28]


def _locked(
    method: Callable[Concatenate["SandboxState", P], R],
) -> Callable[Concatenate["SandboxState", P], R]:
    @functools.wraps(method)
    def locked(self: "SandboxState", /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    return locked


class SandboxState:
    """The state of one fake WeChat for `apps` ({appid: secret}). Thread-safe.

    People and chats are known by name and need not be created. Ids are derived from names; keys,
    codes, tickets and tokens are random. `clock` returns Unix seconds.

    The methods of the platform's side raise PlatformError, those of the phone's side WxCallError;
    the phone's may leave `appid` out where there is one app. Both return the JSON object of a
    success, without `errMsg`.

    One thing differs from WeChat, so that a printed `curl` can be run again and again: a code that
    starts with `demo-` (`demo-alice`) is always accepted and never used up, and counts as a new
    log-in of the person of that name, with the same session_key each time.

    `mock_codes` maps further codes that are taken so to the person each stands for; none by itself.

    `outbox` holds what is to be pushed, and pictures to be judged first (None ends the worker),
    `receivers` the addresses to which it is pushed, by appid.
    """

    def __init__(self, apps: Mapping[str, str], clock: Callable[[], float] = time.time) -> None:
        self.apps = dict(apps)
        self._clock = clock
        self._lock = threading.RLock()
        self._session_keys: dict[tuple[str, str], str] = {}  # by appid and person
        self._codes: dict[str, _LoginCode] = {}
        self.mock_codes: dict[str, str] = {}
        self._tickets: dict[str, tuple[str, str, str]] = {}  # appid, person and chat of each
        self._in_chat: dict[tuple[str, str], bool] = {}  # by person and chat; False: has left
        self._launches: dict[tuple[str, str], str | None] = {}  # chat by appid and person
        self._tokens: dict[str, str] = {}  # the current one by appid
        self._issued: dict[str, _AccessToken] = {}
        self._visits: dict[tuple[str, str], float] = {}  # the last one by appid and openid
        self.open_service = False  # 开放接口服务 of WeChat Cloud Run
        self.ties_cloud_ids = True
        self._cloud_data: dict[str, _CloudData] = {}
        self._open_data_answers = itertools.count()
        self.outbox: queue.Queue[MediaCheck | Event | None] = queue.Queue()
        self.receivers: dict[str, Receiver] = {}
        self._faults: dict[str, tuple[Fault, int]] = {}

    # The platform's side

    @_locked
    def jscode2session(
        self, appid: str = "", secret: str = "", js_code: str = "", grant_type: str = ""
    ) -> dict[str, Any]:
        """Answer auth.code2Session: `{"openid", "session_key", "unionid"}`.

        The session_key is the one made by the `wx.login` that gave `js_code`. With 开放接口服务 the
        call is not there.
        """
        if self.open_service:
            raise PlatformError(48001)
        self._check_credentials(appid, secret)
        if grant_type != "authorization_code":
            raise PlatformError(40002)
        if not js_code:
            raise PlatformError(41008)
        person, session_key = self._redeem(appid, js_code)
        return {
            "openid": openid_of(appid, person),
            "session_key": session_key,
            "unionid": unionid_of(person),
        }

    @_locked
    def stable_token(
        self, appid: str = "", secret: str = "", grant_type: str = "", force_refresh: bool = False
    ) -> dict[str, Any]:
        """Answer stable_token: `{"access_token", "expires_in"}`, in seconds.

        The token is the same until it expires. `force_refresh` makes a new one; the old one then
        stays valid for five minutes.
        """
        self._check_credentials(appid, secret)
        if grant_type != "client_credential":
            raise PlatformError(40002)
        token = self._tokens.get(appid, "")
        if force_refresh and self.token_is_valid(token):
            old = self._issued[token]
            old.ends = min(old.ends, self._clock() + REPLACED_TOKEN_LIFE)
        if force_refresh or not self.token_is_valid(token):
            token = self._tokens[appid] = secrets.token_urlsafe(96)
            self._issued[token] = _AccessToken(appid, self._clock() + TOKEN_LIFE)
        ends = self._issued[token].ends
        return {"access_token": token, "expires_in": int(ends - self._clock())}

    @_locked
    def token_is_valid(self, token: str) -> bool:
        """Return whether an access token, of any app, would be accepted now."""
        return token in self._issued and self._clock() < self._issued[token].ends

    @_locked
    def revoke_token(self, appid: str) -> None:
        """Forget the current token of an app, so that it is refused with 40001."""
        self._issued.pop(self._tokens.get(appid, ""), None)

    @_locked
    def msg_sec_check(
        self,
        access_token: str = "",
        openid: str = "",
        content: str = "",
        version: int = 0,
        scene: int = 0,
        nickname: str = "",
    ) -> dict[str, Any]:
        """Answer msgSecCheck: `{"errcode", "errmsg", "detail", "result", "trace_id"}`."""
        self._require_visit(access_token, openid, version, scene)
        if not 0 < len(content) <= MAX_CONTENT:
            raise PlatformError(47001)
        return _accepted() | findings(judge_text(f"{content}\n{nickname}"))

    @_locked
    def media_check_async(
        self,
        access_token: str = "",
        openid: str = "",
        media_url: str = "",
        media_type: int = 0,
        version: int = 0,
        scene: int = 0,
    ) -> dict[str, Any]:
        """Answer mediaCheckAsync for a picture: `{"errcode", "errmsg", "trace_id"}`.

        The verdict is pushed later.
        """
        appid = self._require_visit(access_token, openid, version, scene)
        if media_type != PICTURE or not media_url:
            raise PlatformError(47001)
        answer = _accepted()
        self.outbox.put(MediaCheck(appid, openid, media_url, answer["trace_id"]))
        return answer

    def _require_visit(self, access_token: str, openid: str, version: int, scene: int) -> str:
        """Return the appid of a token, if `openid` logged in there within the last two hours.

        Raises PlatformError.
        """
        appid = self._app_of(access_token)
        if version != CONTENT_SAFETY_VERSION:
            raise PlatformError(47001)
        if scene not in CONTENT_SAFETY_SCENES:
            raise PlatformError(40129)
        if self._clock() >= self._visits.get((appid, openid), float("-inf")) + VISIT_LIFE:
            raise PlatformError(61010)
        return appid

    def _app_of(self, access_token: str) -> str:
        """Return the appid of a token. With 开放接口服务 none is needed. Raises PlatformError."""
        if self.open_service and not access_token:
            return self.known_app("")
        if not access_token:
            raise PlatformError(41001)
        if access_token not in self._issued:
            raise PlatformError(40001)
        if not self.token_is_valid(access_token):
            raise PlatformError(42001)
        return self._issued[access_token].appid

    @_locked
    def getopendata(
        self, access_token: str = "", openid: str = "", cloudid_list: list[Any] | None = None
    ) -> dict[str, Any]:
        """Answer getopendata: `{"errcode", "errmsg", "data_list": [{"cloud_id", "json"}]}`.

        `json` is a string and an object in turn. A cloudID tells nothing after five minutes, and
        nothing to another person while `ties_cloud_ids`, which WeChat does not promise.
        """
        appid = self._app_of(access_token)
        rows = [self._open_data(appid, openid, cloud_id) for cloud_id in cloudid_list or []]
        return {"errcode": 0, "errmsg": "ok", "data_list": [row for row in rows if row]}

    def _open_data(self, appid: str, openid: str, cloud_id: object) -> dict[str, Any]:
        found = self._cloud_data.get(str(cloud_id))
        turn = next(self._open_data_answers)
        if (
            found is None
            or found.appid != appid
            or (self.ties_cloud_ids and found.openid != openid)
            or self._clock() >= found.expires
        ):
            refusal = {"cloudID": cloud_id, "errCode": -601006, "errMsg": "cloudID expired"}
            row = {"cloud_id": cloud_id}
            return ({}, row, {**row, "json": json.dumps(refusal)})[turn % 3]
        held = {"cloudID": cloud_id, "data": found.payload}
        text = json.dumps(held, ensure_ascii=False)
        return {"cloud_id": cloud_id, "json": text if turn % 2 else held}

    def _check_credentials(self, appid: str, secret: str) -> None:
        if appid not in self.apps:
            raise PlatformError(40013)
        if secret != self.apps[appid]:
            raise PlatformError(40125)

    def _redeem(self, appid: str, js_code: str) -> tuple[str, str]:
        person = self.mock_codes.get(js_code, js_code)
        if person.startswith(DEMO_CODE_PREFIX):
            key = self._session_keys[appid, person] = _demo_key(appid, person)
            self._visits[appid, openid_of(appid, person)] = self._clock()
            return person, key
        code = self._codes.get(js_code)
        if code is None or code.appid != appid or self._clock() >= code.expires:
            raise PlatformError(40029)
        if code.used:
            raise PlatformError(40163)
        code.used = True
        return code.person, code.session_key

    # The phone's side

    @_locked
    def login(self, person: str, appid: str = "") -> dict[str, Any]:
        """Answer wx.login: `{"code"}`, good once and for five minutes.

        From now on the phone seals with a new session_key.
        """
        appid = self.known_app(appid)
        code = "0" + secrets.token_hex(16)[1:]
        key = self._log_in(appid, person)
        self._codes[code] = _LoginCode(appid, person, key, self._clock() + CODE_LIFE)
        return {"code": code}

    @_locked
    def open_card(
        self,
        person: str,
        chat: str,
        scene: int = GROUP_CARD_WITH_TICKET,
        query: dict[str, Any] | None = None,
        appid: str = "",
    ) -> dict[str, Any]:
        """Open the mini-program by a card in `chat`: `{"scene", "shareTicket", "query"}`.

        Only scene 1044 has a ticket, a new one each time. Someone who was never in the group is
        put into it; someone who has left must `join` first (else 65206).
        """
        appid = self.known_app(appid)
        if not self._in_chat.setdefault((person, chat), True):
            raise WxCallError("this person has left the group", LEFT_THE_GROUP)
        self._launches[appid, person] = chat
        launch = {"scene": scene, "query": query or {}}
        if scene == GROUP_CARD_WITH_TICKET:
            ticket = secrets.token_urlsafe(32)
            self._tickets[ticket] = (appid, person, chat)
            launch["shareTicket"] = ticket
        return launch

    @_locked
    def open_single(self, person: str, appid: str = "") -> dict[str, Any]:
        """Open the mini-program by a card in a chat of two: `{"scene": 1007, "query"}`."""
        self._launches[self.known_app(appid), person] = None
        return {"scene": SINGLE_CHAT_CARD, "query": {}}

    @_locked
    def share_info(self, person: str, share_ticket: str, appid: str = "") -> dict[str, Any]:
        """Answer wx.getShareInfo: `{"openGId"}`, sealed.

        Raises WxCallError (40097) for a ticket that is unknown or of another person or app.
        """
        appid = self.known_app(appid)
        owner, holder, chat = self._tickets.get(share_ticket, ("", "", ""))
        if not owner or (owner, holder) != (appid, person):
            raise WxCallError("invalid shareTicket", NOT_FROM_A_CHAT)
        return self._sealed(appid, person, {"openGId": open_gid_of(appid, chat)})

    @_locked
    def group_enter_info(
        self,
        person: str,
        watermark: bool = True,
        need_group_open_id: bool = False,
        appid: str = "",
    ) -> dict[str, Any]:
        """Answer wx.getGroupEnterInfo for the last launch, sealed, with allowSingleChat on.

        `{"opengid", "chat_type": 3}`, with `group_openid` where the phone needs it, or
        `{"open_single_roomid", "chat_type": 1}` for a chat of two. Raises WxCallError: 40097 where
        the launch was not from a chat, 65206 where the person has left the group.
        """
        appid = self.known_app(appid)
        payload = self._enter_payload(appid, person)
        if not need_group_open_id:
            payload.pop("group_openid", None)
        return self._sealed(appid, person, payload, watermark=watermark)

    @_locked
    def user_info(self, person: str, appid: str = "") -> dict[str, Any]:
        """Answer wx.getUserInfo, sealed: no group, and the anonymous nickname used since 2022."""
        appid = self.known_app(appid)
        payload = {"openId": openid_of(appid, person), "nickName": "微信用户", "gender": 0}
        return self._sealed(appid, person, payload | {"unionId": unionid_of(person)})

    @_locked
    def join(self, person: str, chat: str) -> dict[str, Any]:
        """Put `person` into `chat`, whether or not they had left it: `{}`."""
        self._in_chat[person, chat] = True
        return {}

    @_locked
    def leave(self, person: str, chat: str) -> dict[str, Any]:
        """Take `person` out of `chat`: `{}`. Raises WxCallError (65206) if they are not in it."""
        if not self._in_chat.get((person, chat)):
            raise WxCallError("this person is not in the group", LEFT_THE_GROUP)
        self._in_chat[person, chat] = False
        return {}

    @_locked
    def revoke_authorization(
        self, person: str, revoke_info: str = "6", appid: str = ""
    ) -> dict[str, Any]:
        """Withdraw what `person` agreed to, in the mini-program's settings: `{}`, and an event.

        `revoke_info` is what it concerns: "6" name and picture, "19" name, "14" and "20" picture,
        "12" steps.
        """
        return self._tell(appid, person, "user_authorization_revoke", RevokeInfo=revoke_info)

    @_locked
    def modify_user_info(self, person: str, appid: str = "") -> dict[str, Any]:
        """Change WeChat's own name or picture of `person`: `{}`, and an event."""
        return self._tell(appid, person, "user_info_modified")

    @_locked
    def cancel_account(self, person: str, appid: str = "") -> dict[str, Any]:
        """Close WeChat's account of `person`: `{}`, and an event."""
        return self._tell(appid, person, "user_authorization_cancellation")

    def _tell(self, appid: str, person: str, event: str, **fields: Any) -> dict[str, Any]:
        appid = self.known_app(appid)
        openid = openid_of(appid, person)
        about = {"OpenID": openid, "AppID": appid, **fields}
        self.outbox.put(Event.about(appid, openid, event, about))
        return {}

    def known_app(self, appid: str) -> str:
        """Return an app of the sandbox; "" is the only one. Raises WxCallError."""
        if not appid and len(self.apps) == 1:
            return next(iter(self.apps))
        if appid not in self.apps:
            raise WxCallError(f"appid must be one of {', '.join(self.apps)}")
        return appid

    @_locked
    def visit(self, appid: str, person: str) -> None:
        """Note that `person` uses the mini-program now: content safety wants it."""
        self._visits[appid, openid_of(appid, person)] = self._clock()

    def _log_in(self, appid: str, person: str) -> str:
        self.visit(appid, person)
        return self._new_session_key(appid, person)

    def _new_session_key(self, appid: str, person: str) -> str:
        key = self._session_keys[appid, person] = b64encode(secrets.token_bytes(16)).decode()
        return key

    def _enter_payload(self, appid: str, person: str) -> dict[str, Any]:
        if (appid, person) not in self._launches:
            raise WxCallError("not launched from a chat", NOT_FROM_A_CHAT)
        chat = self._launches[appid, person]
        if chat is None:
            room = _opaque_id("tS", appid, person)
            return {"open_single_roomid": room, "chat_type": SINGLE}
        if not self._in_chat[person, chat]:
            raise WxCallError("this person has left the group", LEFT_THE_GROUP)
        return {
            "opengid": open_gid_of(appid, chat),
            "chat_type": GROUP,
            "group_openid": group_openid_of(appid, chat, person),
        }

    def _sealed(
        self, appid: str, person: str, payload: Mapping[str, Any], *, watermark: bool = True
    ) -> dict[str, Any]:
        # Someone who never logged in has a key too, but no server has seen it.
        key = self._session_keys.get((appid, person)) or self._new_session_key(appid, person)
        mark = {"watermark": {"appid": appid, "timestamp": int(self._clock())}}
        marked = {**payload, **(mark if watermark else {})}
        cloud_id = secrets.token_urlsafe(48)
        ends = self._clock() + CLOUD_ID_LIFE
        self._cloud_data[cloud_id] = _CloudData(appid, openid_of(appid, person), marked, ends)
        return {**seal(key, marked), "cloudID": cloud_id}

    # The console's side

    @_locked
    def push_to(self, appid: str, url: str, token: str = "", aes_key: str = "") -> dict[str, Any]:
        """Push the messages of `appid` to `url` from now on: `{}`.

        JSON and XML take turns, sealed with `aes_key` (safe mode), plain without one; without a
        `token` as WeChat Cloud Run's gateway does, plain and with its headers. Every second
        message is pushed twice. Each call starts from the beginning. Raises ValueError for a URL
        that is not http or https, or for an `aes_key` that is not an EncodingAESKey.
        """
        appid = self.known_app(appid)
        if not url.startswith(("http://", "https://")):
            raise ValueError("url must be one of http or https")
        if aes_key:
            decode_aes_key(aes_key)
        self.receivers[appid] = Receiver(url, Channel(appid, token, aes_key))
        return {}

    # Faults

    @_locked
    def request_fault(self, path: str, fault: Fault, times: int = 1) -> None:
        """Let the next `times` calls of `path` fail with `fault`, replacing an earlier request."""
        self._faults[path] = (fault, times)

    @_locked
    def take_fault(self, path: str) -> Fault:
        """Return the fault for this call of `path`, `Fault()` where none was requested."""
        fault, times = self._faults.get(path, (Fault(), 0))
        if times <= 0:
            return Fault()
        self._faults[path] = (fault, times - 1)
        return fault
