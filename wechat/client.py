"""WeChat's server API, one method for each call that this project makes.

Sources: auth.code2Session, stable_token, msgSecCheck and mediaCheckAsync (both version 2), and
cloudbase.getOpenData. What they do not say: WeChat answers errors with HTTP 200, JSON as
`text/plain`, and at times with an empty body.
"""

import json
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock
from typing import Any

import requests
from django.conf import settings
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.util import Timeout

from core.gateway import proves_by_cloud_id
from core.limits import Count, Limit, limiter
from core.metrics import Histogram

from .alarms import ring_for
from .crypto import UnsealError, decode_session_key, is_opaque_id, json_object
from .errors import (
    BUSY,
    AccessTokenError,
    RiskyContentError,
    UnavailableError,
    WeChatError,
    from_answer,
)
from .gate import one_call
from .transport import http_session

DEADLINE = 3.0  # seconds, a second attempt included
MAX_ANSWER = 64 * 1024  # bytes
RENEW_EARLY = 300  # seconds
# WeChat's own limits on renewals by force: one in 30 seconds, 20 a day.
FORCED_RENEWALS = (Limit(1, 30), Limit(20, 86_400))

CALLS = Histogram(
    "groupsite_wechat_call_seconds", "Calls that WeChat was sent, by result", "call", "result"
)

PROFILE, PICTURE, VERSION = 1, 2, 2  # `scene`, `media_type` and `version` of content safety

# The `reason` where no connection to WeChat, or to WECHAT_PROXY, was made: WeChat got nothing.
UNREACHABLE, PROXY = "unreachable", "proxy"


@dataclass(frozen=True)
class Session:
    """The answer to a log-in code; `session_key` is a secret, so it is not in the repr."""

    openid: str
    session_key: str = field(repr=False)
    unionid: str = ""


class Suggestion(StrEnum):
    """The suggestion of content safety; `review` means that a human has to decide."""

    PASS = "pass"  # noqa: S105
    REVIEW = "review"
    RISKY = "risky"


@dataclass(frozen=True)
class Verdict:
    """The verdict of content safety; `label` is WeChat's number for the kind of risk, or ""."""

    suggestion: Suggestion
    label: str


@dataclass
class _CachedToken:
    """The access token of one mini-program, renewed by the thread that holds `lock`.

    `renew_at` is a time.monotonic(), 0 before the first renewal.
    """

    lock: Lock = field(default_factory=Lock, repr=False)
    value: str = field(default="", repr=False)
    renew_at: float = 0


# By base URL and appid, for the whole process: WeChat has one valid token for each app.
_CACHED_TOKENS: dict[tuple[str, str], _CachedToken] = {}


class Client:
    """The client of one mini-program. Thread-safe; connections are shared and reused.

    A call with its second attempt ends within `timeout` seconds.
    """

    def __init__(self, app_id: str, secret: str, base_url: str, timeout: float = DEADLINE) -> None:
        self.app_id = app_id
        self.base_url = base_url.rstrip("/")
        self.timeout = timeout
        self._credentials = {"appid": app_id, "secret": secret}

    def __repr__(self) -> str:
        return f"Client({self.app_id!r}, base_url={self.base_url!r})"

    def code_to_session(self, code: str) -> Session:
        """Exchange a `wx.login` code for a session, by auth.code2Session.

        Raises WeChatError; InvalidCodeError where the code is wrong, expired or used.
        """
        query = {**self._credentials, "js_code": code, "grant_type": "authorization_code"}
        with self._one_call(is_urgent=True):
            return _read_session(self._call(self._deadline(), "/sns/jscode2session", query))

    def check_text(self, openid: str, text: str, *, nickname: str = "") -> Verdict:
        """Return the verdict of msgSecCheck on `text` (up to 2,500 characters) by a user.

        Raises WeChatError; UnknownUserError where WeChat judges nothing of this user.
        """
        content = {"content": text} | ({"nickname": nickname} if nickname else {})
        try:
            answer = self._check_content("/wxa/msg_sec_check", openid, content)
            return read_verdict(answer.get("result"))
        except RiskyContentError:
            return Verdict(Suggestion.RISKY, "")
        except ValueError:
            raise UnavailableError("WeChat's answer holds no verdict") from None

    def check_media(self, openid: str, media_url: str) -> str:
        """Let WeChat fetch and judge a user's picture, by mediaCheckAsync; return the trace_id.

        The verdict is pushed within 30 minutes under that trace_id (`push.media_verdict`).
        Raises like `check_text`.
        """
        content = {"media_url": media_url, "media_type": PICTURE}
        answer = self._check_content("/wxa/media_check_async", openid, content)
        if not is_opaque_id(answer.get("trace_id")):
            raise UnavailableError("WeChat's answer holds no trace_id")
        return str(answer["trace_id"])

    def open_data(self, openid: str, cloud_id: str) -> dict[str, Any]:
        """Return what WeChat holds under a cloudID of a user, by getopendata.

        Only within WeChat Cloud Run with 开放接口服务, which adds the credentials. Raises
        WeChatError, and UnsealError where WeChat tells nothing of this cloudID to this user.
        """
        body = {"cloudid_list": [cloud_id]}
        with self._one_call():
            answer = self._call(self._deadline(), "/wxa/getopendata", {"openid": openid}, body)
        return _read_open_data(answer, cloud_id)

    def access_token(self, deadline: float | None = None, refused: str = "") -> str:
        """Return the app's stable token, a secret that lives for two hours at most.

        It is shared by the process, and renewed shortly before its end or where it is the one that
        WeChat `refused`; by force only as often as WeChat allows, in all processes together.
        `deadline` is a time.monotonic(), by default `timeout` from now. Raises WeChatError.
        """
        if deadline is None:
            deadline = self._deadline()
        cached = _CACHED_TOKENS.setdefault((self.base_url, self.app_id), _CachedToken())
        if not cached.lock.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise UnavailableError("WeChat's access token did not come in time", reason="timeout")
        try:
            if cached.value == refused or time.monotonic() >= cached.renew_at:
                token, life = self._fetch_token(deadline, force=False)
                if token == refused:
                    self._count_forced_renewal()
                    token, life = self._fetch_token(deadline, force=True)
                cached.value = token
                cached.renew_at = time.monotonic() + life - min(RENEW_EARLY, life / 2)
            return cached.value
        finally:
            cached.lock.release()

    def _count_forced_renewal(self) -> None:
        """Count a forced renewal. Raises AccessTokenError beyond what WeChat allows."""
        counts = [Count(limit, "forced-renewal", self.app_id) for limit in FORCED_RENEWALS]
        if limiter().wait(counts):
            raise AccessTokenError("The access token was renewed by force too lately or too often")

    def try_credentials(self) -> None:
        """Fetch a token and drop it, to see whether WeChat accepts appid, secret and our address.

        WeChat answers with the token that is valid already, so calls under way are not disturbed.
        Raises WeChatError.
        """
        with self._one_call():
            self._fetch_token(self._deadline(), force=False)

    def _fetch_token(self, deadline: float, *, force: bool) -> tuple[str, int]:
        """Return a token and the seconds it has left."""
        body = {**self._credentials, "grant_type": "client_credential", "force_refresh": force}
        return _read_token(self._call(deadline, "/cgi-bin/stable_token", body=body))

    def _check_content(self, path: str, openid: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Call content safety, a second time with a new access token if WeChat refuses the first.

        Raises WeChatError.
        """
        body = {"version": VERSION, "openid": openid, "scene": PROFILE, **content}
        with self._one_call():
            deadline = self._deadline()
            if proves_by_cloud_id():  # 开放接口服务 is on, and adds the token itself
                return self._call(deadline, path, {}, body)
            token = self.access_token(deadline)
            try:
                return self._call(deadline, path, {"access_token": token}, body)
            except AccessTokenError:
                token = self.access_token(deadline, refused=token)
            return self._call(deadline, path, {"access_token": token}, body)

    @contextmanager
    def _one_call(self, *, is_urgent: bool = False) -> Iterator[None]:
        """Hold a place for one thing asked of WeChat; log what only an operator can fix."""
        try:
            with one_call(self.base_url, is_urgent=is_urgent):
                yield
        except WeChatError as error:
            ring_for(error, self.app_id)
            raise

    def _deadline(self) -> float:
        return time.monotonic() + self.timeout

    def _call(
        self,
        deadline: float,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Send a GET, or a POST of `body`, with a second attempt where that is harmless.

        It is harmless where no connection was made, and after −1 ("busy"), which leaves a code
        unused. A call whose answer was lost may have used the code up and is not repeated. Raises
        WeChatError, by `deadline` at the latest.
        """
        try:
            return self._attempt(deadline, path, query, body)
        except WeChatError as error:
            pause = random.uniform(0.05, 0.15)
            harmless = error.errcode == BUSY or error.reason in {UNREACHABLE, PROXY}
            if not harmless or time.monotonic() + pause >= deadline:
                raise
        time.sleep(pause)
        return self._attempt(deadline, path, query, body)

    def _attempt(
        self, deadline: float, path: str, *sent: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Send it once, and count how that ends."""
        start, result = time.monotonic(), "ok"
        try:
            return self._send(deadline, path, *sent)
        except WeChatError as error:
            result = error.counted_as
            raise
        finally:
            CALLS.observe(time.monotonic() - start, path.rpartition("/")[2], result)

    def _send(
        self,
        deadline: float,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        timeout = Timeout(total=max(deadline - time.monotonic(), 0.001))
        # WeChat judges the bytes it gets: to it, the escape "\u8fdd" is not 违.
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        # `from None`: the exceptions of requests quote the URL, which holds the secret.
        try:
            with http_session().request(
                "GET" if body is None else "POST",
                self.base_url + path,
                params=query,
                data=data,
                headers={} if body is None else {"Content-Type": "application/json"},
                timeout=timeout,  # type: ignore[arg-type]  # requests passes urllib3's Timeout on
                proxies=wechat_proxies(),
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code != 200:
                    message = f"WeChat answered HTTP {response.status_code}"
                    raise UnavailableError(message, reason="http")
                text = response.raw.read(MAX_ANSWER + 1, decode_content=True)
        except requests.ConnectionError as error:
            raise _connection_error(error) from None
        except (requests.RequestException, HTTPError, OSError):
            raise UnavailableError("WeChat did not answer in time", reason="timeout") from None
        return _read_answer(text)


def wechat_proxies() -> dict[str, str]:
    """Return the proxy of each scheme, as requests wants it: WECHAT_PROXY or none."""
    return dict.fromkeys(("http", "https"), settings.WECHAT_PROXY) if settings.WECHAT_PROXY else {}


def _connection_error(error: requests.ConnectionError) -> UnavailableError:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(error, requests.exceptions.ProxyError):
        # It could not be reached, or made no connection for us: WeChat got nothing.
        return UnavailableError("The proxy did not reach WeChat", reason=PROXY)
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
        return UnavailableError("WeChat could not be reached", reason=UNREACHABLE)
    return UnavailableError("The connection to WeChat broke", reason="broken")


def _read_answer(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`, of any content type. Raises the WeChatError it states."""
    if len(body) > MAX_ANSWER:
        raise UnavailableError(f"WeChat answered more than {MAX_ANSWER} bytes")
    try:
        answer = json_object(body)
    except ValueError:
        raise UnavailableError("WeChat's answer is not a JSON object") from None
    if errcode := answer.get("errcode"):
        code = errcode if isinstance(errcode, int) else None
        raise from_answer(code, str(answer.get("errmsg", "")))
    return answer


def _read_session(answer: Mapping[str, Any]) -> Session:
    openid, key, unionid = answer.get("openid"), answer.get("session_key"), answer.get("unionid")
    try:
        decode_session_key(str(key))
    except ValueError:
        raise UnavailableError("WeChat's answer holds no session_key") from None
    if not is_opaque_id(openid):
        raise UnavailableError("WeChat's answer holds no openid")
    return Session(str(openid), str(key), str(unionid) if is_opaque_id(unionid) else "")


def _read_open_data(answer: Mapping[str, Any], cloud_id: str) -> dict[str, Any]:
    """Return the `data` of a cloudID in an answer of getopendata: JSON in a string, or an object.

    Raises UnsealError where there is none.
    """
    match answer.get("data_list"):
        case [{"json": dict() | str() as found, **rest}]:
            is_asked = rest.get("cloud_id", cloud_id) == cloud_id
            with suppress(ValueError):
                read = found if isinstance(found, dict) else json_object(_bytes(found))
                if is_asked and isinstance(read.get("data"), dict):
                    return dict(read["data"])
    raise UnsealError("cloud_id")


def _bytes(text: str) -> bytes:
    # JSON can hold half of a surrogate pair, which UTF-8 cannot; it is refused where it is read.
    return text.encode("utf-8", "surrogatepass")


def _read_token(answer: Mapping[str, Any]) -> tuple[str, int]:
    match answer:
        case {"access_token": str(token), "expires_in": int(life)} if life > 0:
            if re.fullmatch(r"[!-~]{1,1024}", token):
                return token, life
    raise UnavailableError("WeChat's answer holds no access_token")


def read_verdict(result: object) -> Verdict:
    """Return the verdict in a `{"suggest", "label"}`. Raises ValueError for any other value."""
    match result:
        case {"suggest": str(suggest), **rest}:
            label = re.fullmatch(r"[0-9]{1,9}", str(rest.get("label")))
            return Verdict(Suggestion(suggest), label[0] if label else "")
    raise ValueError("no verdict")


def client_for(app_id: str) -> Client:
    """Return the client of a mini-program in WECHAT_APPS. Raises KeyError for any other."""
    return Client(app_id, settings.WECHAT_APPS[app_id]["SECRET"], settings.WECHAT_API_URL)
