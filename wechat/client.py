"""The platform's server API; the only place that sends HTTP out.

Source: auth.code2Session and the platform's habits: HTTP 200 on errors, JSON as `text/plain`,
now and then an empty body.
"""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from django.conf import settings
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.util import Timeout

from .crypto import decode_session_key, is_opaque_id
from .errors import BUSY, Unavailable, WeChatError, from_answer
from .transport import http_session

DEADLINE = 3.0
MAX_ANSWER = 64 * 1024


@dataclass(frozen=True)
class Session:
    """WeChat's answer to a log-in code; `session_key` is a secret and stays out of repr."""

    openid: str
    session_key: str = field(repr=False)
    unionid: str = ""


class NeverSent(Unavailable):
    """The connection was refused or not made: WeChat has seen nothing of the call."""


class Client:
    """One mini-program's line to WeChat. Thread-safe; connections are shared and reused."""

    def __init__(self, app_id: str, secret: str, base_url: str, timeout: float = DEADLINE) -> None:
        self.app_id = app_id
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._secret = secret

    def __repr__(self) -> str:
        return f"Client({self.app_id!r}, base_url={self.base_url!r})"

    def code_to_session(self, code: str) -> Session:
        """Exchange a `wx.login` code. Raises WeChatError; CodeRejected means log in again."""
        answer = self._get(
            "/sns/jscode2session",
            {
                "appid": self.app_id,
                "secret": self._secret,
                "js_code": code,
                "grant_type": "authorization_code",
            },
        )
        return _read_session(answer)

    def _get(self, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        """One call of at most `timeout` seconds, tried again once where that is harmless.

        Harmless: a connection that was never made, and −1 ("busy"), which leaves a code unused.
        A reply that got lost may have used the code up, so it is not asked for again.
        """
        deadline = time.monotonic() + self.timeout
        try:
            return self._try(path, params, deadline)
        except WeChatError as error:
            pause = random.uniform(0.05, 0.15)
            harmless = error.errcode == BUSY or isinstance(error, NeverSent)
            if not harmless or time.monotonic() + pause >= deadline:
                raise
        time.sleep(pause)
        return self._try(path, params, deadline)

    def _try(self, path: str, params: Mapping[str, str], deadline: float) -> dict[str, Any]:
        timeout = Timeout(total=max(deadline - time.monotonic(), 0.001))
        # `from None`: what requests raises quotes the URL, and the URL holds the secret.
        try:
            with http_session().get(
                self.base_url + path,
                params=params,
                timeout=timeout,  # type: ignore[arg-type]  # requests hands urllib3's through
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code != 200:
                    raise Unavailable(f"WeChat answered HTTP {response.status_code}")
                body = response.raw.read(MAX_ANSWER + 1, decode_content=True)
        except requests.ConnectionError as error:
            raise _connection_error(error) from None
        except (requests.RequestException, HTTPError, OSError):
            raise Unavailable("WeChat did not answer in time") from None
        return _read_answer(body)


def _connection_error(error: requests.ConnectionError) -> Unavailable:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
        return NeverSent("WeChat could not be reached")
    return Unavailable("The connection to WeChat broke")


def _read_answer(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, whatever its content type. Raises the typed error it holds."""
    if len(body) > MAX_ANSWER:
        raise Unavailable(f"WeChat answered more than {MAX_ANSWER} bytes")
    try:
        answer = json.loads(body.decode())
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable("WeChat's answer is not a JSON object")
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


def client_for(app_id: str) -> Client:
    """The client of one of the mini-programs in WECHAT_APPS. Raises KeyError for another."""
    return Client(app_id, settings.WECHAT_APPS[app_id]["SECRET"], settings.WECHAT_API_URL)
