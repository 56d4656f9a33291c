"""The platform's server API; the only place that sends HTTP out.

Sources: auth.code2Session, stable_token, msgSecCheck and mediaCheckAsync (both version 2), and
the platform's habits: HTTP 200 on errors, JSON as `text/plain`, now and then an empty body.
"""

import json
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock
from typing import Any

import requests
from django.conf import settings
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.util import Timeout

from .crypto import decode_session_key, is_opaque_id, json_object
from .errors import BUSY, TokenRejected, Unavailable, WeChatError, from_answer
from .transport import http_session

DEADLINE = 3.0
MAX_ANSWER = 64 * 1024
RENEW_EARLY = 300

PROFILE, PICTURE, VERSION = 1, 2, 2  # `scene`, `media_type` and `version` of content safety


@dataclass(frozen=True)
class Session:
    """WeChat's answer to a log-in code; `session_key` is a secret and stays out of repr."""

    openid: str
    session_key: str = field(repr=False)
    unionid: str = ""


class Suggestion(StrEnum):
    """What WeChat's content safety suggests to do; `review` is for a human to decide."""

    PASS = "pass"  # noqa: S105
    REVIEW = "review"
    RISKY = "risky"


@dataclass(frozen=True)
class Verdict:
    """A finding of content safety; `label` is WeChat's number for the kind of risk, or ""."""

    suggestion: Suggestion
    label: str


@dataclass
class _KeptToken:
    """One mini-program's access token; whoever holds `lock` may renew it."""

    lock: Lock = field(default_factory=Lock, repr=False)
    value: str = field(default="", repr=False)
    renew_at: float = 0


# Of the whole process, by base URL and appid: the platform hands out one token at a time.
_KEPT_TOKENS: dict[tuple[str, str], _KeptToken] = {}


class NeverSent(Unavailable):
    """The connection was refused or not made: WeChat has seen nothing of the call."""


class Client:
    """One mini-program's line to WeChat. Thread-safe; connections are shared and reused."""

    def __init__(self, app_id: str, secret: str, base_url: str, timeout: float = DEADLINE) -> None:
        self.app_id = app_id
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._credentials = {"appid": app_id, "secret": secret}

    def __repr__(self) -> str:
        return f"Client({self.app_id!r}, base_url={self.base_url!r})"

    def code_to_session(self, code: str) -> Session:
        """Exchange a `wx.login` code. Raises WeChatError; CodeRejected means log in again."""
        asked = {**self._credentials, "js_code": code, "grant_type": "authorization_code"}
        return _read_session(self._call(self._deadline(), "/sns/jscode2session", asked))

    def check_text(self, openid: str, text: str, *, nickname: str = "") -> Verdict:
        """Content safety's verdict on `text` (up to 2,500 characters) by the user `openid`.

        Raises WeChatError; UserInactive where the user was not here within two hours.
        """
        asked = {"content": text} | ({"nickname": nickname} if nickname else {})
        answer = self._call_as_app("/wxa/msg_sec_check", _check(openid, asked))
        try:
            return read_verdict(answer.get("result"))
        except ValueError:
            raise Unavailable("WeChat's answer holds no verdict") from None

    def check_media(self, openid: str, media_url: str) -> str:
        """Have WeChat fetch and judge a picture by `openid`; the trace_id of the push to come.

        The verdict arrives within 30 minutes (`push.media_verdict`). Raises as `check_text`.
        """
        asked = {"media_url": media_url, "media_type": PICTURE}
        answer = self._call_as_app("/wxa/media_check_async", _check(openid, asked))
        if not is_opaque_id(answer.get("trace_id")):
            raise Unavailable("WeChat's answer holds no trace_id")
        return str(answer["trace_id"])

    def access_token(self) -> str:
        """The app's stable token, of at most two hours, shared by the process. A secret."""
        return self._access_token(self._deadline())

    def try_credentials(self) -> None:
        """Whether WeChat takes this appid and secret from here: asks for a token, and drops it.

        The platform goes on answering the same token, so nobody who uses it is disturbed. Raises
        WeChatError.
        """
        self._fetch_token(self._deadline(), force=False)

    def _access_token(self, deadline: float, refused: str = "") -> str:
        """The kept token, or a new one once it nears its end or is the one that was `refused`."""
        kept = _KEPT_TOKENS.setdefault((self.base_url, self.app_id), _KeptToken())
        if not kept.lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise Unavailable("WeChat's access token did not come in time", reason="timeout")
        try:
            if kept.value == refused or time.monotonic() >= kept.renew_at:
                self._renew(kept, deadline, refused)
            return kept.value
        finally:
            kept.lock.release()

    def _renew(self, kept: _KeptToken, deadline: float, refused: str) -> None:
        token, life = self._fetch_token(deadline, force=False)
        if token == refused:
            # Only now: the platform forces a renewal a few times a day at most.
            token, life = self._fetch_token(deadline, force=True)
        kept.value = token
        kept.renew_at = time.monotonic() + life - min(RENEW_EARLY, life / 2)

    def _fetch_token(self, deadline: float, *, force: bool) -> tuple[str, int]:
        asked = {**self._credentials, "grant_type": "client_credential", "force_refresh": force}
        return _read_token(self._call(deadline, "/cgi-bin/stable_token", body=asked))

    def _call_as_app(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A POST with the access token; where WeChat refuses the token, once more with another."""
        deadline = self._deadline()
        token = self._access_token(deadline)
        try:
            return self._call(deadline, path, {"access_token": token}, body)
        except TokenRejected:
            token = self._access_token(deadline, refused=token)
        return self._call(deadline, path, {"access_token": token}, body)

    def _deadline(self) -> float:
        return time.monotonic() + self.timeout

    def _call(
        self,
        deadline: float,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A GET, or a POST of `body`, tried again once before `deadline` where that is harmless.

        Harmless: a connection that was never made, and −1 ("busy"), which leaves a code unused.
        A reply that got lost may have used the code up, so it is not asked for again.
        """
        try:
            return self._try(deadline, path, query, body)
        except WeChatError as error:
            pause = random.uniform(0.05, 0.15)
            harmless = error.errcode == BUSY or isinstance(error, NeverSent)
            if not harmless or time.monotonic() + pause >= deadline:
                raise
        time.sleep(pause)
        return self._try(deadline, path, query, body)

    def _try(
        self,
        deadline: float,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        timeout = Timeout(total=max(deadline - time.monotonic(), 0.001))
        # `from None`: what requests raises quotes the URL, and the URL holds the secret.
        try:
            with http_session().request(
                "GET" if body is None else "POST",
                self.base_url + path,
                params=query,
                data=None if body is None else _raw_json(body),
                headers={} if body is None else {"Content-Type": "application/json"},
                timeout=timeout,  # type: ignore[arg-type]  # requests hands urllib3's through
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code != 200:
                    raise Unavailable(f"WeChat answered HTTP {response.status_code}", reason="http")
                text = response.raw.read(MAX_ANSWER + 1, decode_content=True)
        except requests.ConnectionError as error:
            raise _connection_error(error) from None
        except (requests.RequestException, HTTPError, OSError):
            raise Unavailable("WeChat did not answer in time", reason="timeout") from None
        return _read_answer(text)


def _check(openid: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": VERSION, "openid": openid, "scene": PROFILE, **asked}


def _raw_json(body: Mapping[str, Any]) -> bytes:
    # WeChat judges the bytes it gets: to it, "\u8fdd" is no 违.
    return json.dumps(body, ensure_ascii=False).encode()


def _connection_error(error: requests.ConnectionError) -> Unavailable:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
        return NeverSent("WeChat could not be reached", reason="unreachable")
    return Unavailable("The connection to WeChat broke", reason="broken")


def _read_answer(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, whatever its content type. Raises the typed error it holds."""
    if len(body) > MAX_ANSWER:
        raise Unavailable(f"WeChat answered more than {MAX_ANSWER} bytes")
    try:
        answer = json_object(body)
    except ValueError:
        raise Unavailable("WeChat's answer is not a JSON object") from None
    if errcode := answer.get("errcode"):
        code = errcode if isinstance(errcode, int) else None
        raise from_answer(code, str(answer.get("errmsg", "")))
    return answer


def _read_session(answer: Mapping[str, Any]) -> Session:
    openid, key, unionid = answer.get("openid"), answer.get("session_key"), answer.get("unionid")
    try:
        decode_session_key(str(key))
    except ValueError:
        raise Unavailable("WeChat's answer holds no session_key") from None
    if not is_opaque_id(openid):
        raise Unavailable("WeChat's answer holds no openid")
    return Session(str(openid), str(key), str(unionid) if is_opaque_id(unionid) else "")


def _read_token(answer: Mapping[str, Any]) -> tuple[str, int]:
    match answer:
        case {"access_token": str(token), "expires_in": int(life)} if life > 0:
            if re.fullmatch(r"[!-~]{1,1024}", token):
                return token, life
    raise Unavailable("WeChat's answer holds no access_token")


def read_verdict(result: object) -> Verdict:
    """The verdict in a `{"suggest", "label"}` of WeChat's. Raises ValueError where it is none."""
    match result:
        case {"suggest": str(suggest), **rest}:
            label = re.fullmatch(r"[0-9]{1,9}", str(rest.get("label")))
            return Verdict(Suggestion(suggest), label[0] if label else "")
    raise ValueError("no verdict")


def client_for(app_id: str) -> Client:
    """The client of one of the mini-programs in WECHAT_APPS. Raises KeyError for another."""
    return Client(app_id, settings.WECHAT_APPS[app_id]["SECRET"], settings.WECHAT_API_URL)
