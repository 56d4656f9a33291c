"""The messages that WeChat pushes to a server: check, open and read them, and write them.

Sources: WeChat's 消息推送 (message push: signatures, plain and safe mode, JSON and XML) and
mediaCheckAsync (the event `wxa_media_check`).
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from defusedxml.ElementTree import ParseError, fromstring
from django.conf import settings

from .client import Suggestion, Verdict, read_verdict
from .crypto import UnsealError, is_opaque_id, json_object, seal_push, unseal_push

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_BODY = 256 * 1024
MAX_DEPTH = 8
MAX_AGE = 600  # seconds


class PushError(Exception):
    """A push that is not from WeChat, or not in its format; the text quotes no secret."""


@dataclass(frozen=True)
class Channel:
    """The push settings of one mini-program, as set in WeChat's console (消息推送).

    Without `aes_key` (EncodingAESKey) only the plain mode can be read. The signature of a plain
    push covers its time and nonce but not its body: only the safe mode proves who wrote it.
    """

    app_id: str
    token: str = field(repr=False)
    aes_key: str = field(default="", repr=False)

    def echo(self, query: Mapping[str, str]) -> str:
        """Return the `echostr` to answer, as plain text, when WeChat's console tests the address.

        Raises PushError.
        """
        self._check(query, "signature")
        if not (echo := query.get("echostr")):
            raise PushError("no echostr")
        return echo

    def read(self, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return the message of a POST, in JSON or XML; sealed where there is an `aes_key`.

        A sealed message is read for ten minutes from the query's `timestamp`. From XML every value
        is a string; an element with children becomes a dict, a repeated element a list. Raises
        PushError.
        """
        message = read_plain(body)
        if not self.aes_key:
            if "Encrypt" in message:
                raise PushError("sealed, and there is no EncodingAESKey to open it")
            self._check(query, "signature")
            return message
        sealed = message.get("Encrypt")
        if not isinstance(sealed, str):
            # Any plain body could be sent with a signature that someone has seen.
            raise PushError("not sealed")
        self._check(query, "msg_signature", sealed)
        _refuse_old(query)
        try:
            return read_plain(unseal_push(self.aes_key, self.app_id, sealed))
        except UnsealError:
            raise PushError("EncodingAESKey and appid do not open it") from None

    def write(
        self, event: Mapping[str, Any], *, safe: bool, xml: bool
    ) -> tuple[dict[str, str], bytes]:
        """Return the query and the body with which WeChat would push `event`, for `read`."""
        query = {"timestamp": str(int(time.time())), "nonce": str(secrets.randbelow(10**10))}
        signed = query | {"signature": self._signature(query)}
        if not safe:
            return signed, _dump(event, xml=xml)
        sealed = seal_push(self.aes_key, self.app_id, _dump(event, xml=xml))
        signed |= {"encrypt_type": "aes", "msg_signature": self._signature(query, sealed)}
        envelope = {"ToUserName": event.get("ToUserName", ""), "Encrypt": sealed}
        return signed, _dump(envelope, xml=xml)

    def _check(self, query: Mapping[str, str], name: str, *sealed: str) -> None:
        given, right = query.get(name, ""), self._signature(query, *sealed)
        if not hmac.compare_digest(_bytes(given), _bytes(right)):
            raise PushError(f"{name} is wrong")

    def _signature(self, query: Mapping[str, str], *sealed: str) -> str:
        parts = [self.token, query.get("timestamp", ""), query.get("nonce", ""), *sealed]
        return hashlib.sha1(_bytes("".join(sorted(parts)))).hexdigest()  # noqa: S324  # as WeChat does


def _refuse_old(query: Mapping[str, str]) -> None:
    """Raise PushError unless the query's time is within ten minutes of now."""
    text = query.get("timestamp", "")
    is_time = text.isascii() and text.isdecimal() and len(text) < 12
    if not is_time or abs(time.time() - int(text)) > MAX_AGE:
        raise PushError("older than ten minutes, or of the future")


def _bytes(text: str) -> bytes:
    # JSON can hold half of a surrogate pair, which UTF-8 cannot.
    return text.encode("utf-8", "surrogatepass")


def read_plain(body: bytes) -> dict[str, Any]:
    """Return the message of a body in JSON or XML, by any sender. Raises PushError."""
    if len(body) > MAX_BODY:
        raise PushError(f"more than {MAX_BODY} bytes")
    try:
        if not body.lstrip().startswith(b"<"):
            return json_object(body)
        message = _xml_value(fromstring(body.decode(), forbid_dtd=True), MAX_DEPTH)
        if not isinstance(message, dict):
            raise ValueError("no fields")
    except (ValueError, ParseError):
        raise PushError("neither a JSON object nor a message in XML") from None
    return message


def _xml_value(element: "Element", depth: int) -> str | dict[str, Any]:
    if not len(element):
        return element.text or ""
    if not depth:
        raise ValueError("nested too deeply")
    fields: dict[str, list[Any]] = defaultdict(list)
    for child in element:
        fields[child.tag].append(_xml_value(child, depth - 1))
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _dump(message: Mapping[str, Any], *, xml: bool) -> bytes:
    text = _xml_element("xml", message) if xml else json.dumps(message, ensure_ascii=False)
    return text.encode()


def _xml_element(name: str, value: Any) -> str:
    match value:
        case list():
            return "".join(_xml_element(name, item) for item in value)
        case Mapping():
            text = "".join(_xml_element(key, value[key]) for key in value)
        case str():
            text = f"<![CDATA[{value.replace(']]>', ']]]]><![CDATA[>')}]]>"
        case _:
            text = str(value)
    return f"<{name}>{text}</{name}>"


def channel_for(app_id: str) -> Channel:
    """Return the channel of a mini-program in WECHAT_PUSH. Raises KeyError for any other."""
    push = settings.WECHAT_PUSH[app_id]
    return Channel(app_id, push["TOKEN"], push["AES_KEY"])


@dataclass(frozen=True)
class MediaVerdict:
    """The verdict on a picture, under the trace_id that `Client.check_media` returned."""

    trace_id: str
    verdict: Verdict


def media_verdict(event: Mapping[str, Any]) -> MediaVerdict | None:
    """Return the verdict in a pushed `wxa_media_check`, None for any other message.

    A picture that WeChat could not fetch or judge is REVIEW, without a label. WeChat may push
    the same verdict more than once. Raises PushError for an event without a usable trace_id.
    """
    if (event.get("MsgType"), event.get("Event")) != ("event", "wxa_media_check"):
        return None
    trace_id = event.get("trace_id")
    if not is_opaque_id(trace_id):
        raise PushError("trace_id is unusable")
    verdict = Verdict(Suggestion.REVIEW, "")
    if str(event.get("errcode", 0)) == "0":
        with suppress(ValueError):
            verdict = read_verdict(event.get("result"))
    return MediaVerdict(str(trace_id), verdict)


# What each number of a RevokeInfo withdraws (授权用户信息变更); 12 are the steps, never kept here.
NAMES, PICTURES = "nickname", "avatar"
REVOKED = {
    "6": frozenset({NAMES, PICTURES}),
    "14": frozenset({PICTURES}),
    "19": frozenset({NAMES}),
    "20": frozenset({PICTURES}),
}


@dataclass(frozen=True)
class Withdrawal:
    """What a person took back in WeChat: of what was set up to `until`, a Unix time in seconds.

    `purposes` are "nickname" and "avatar"; `closes_account` says that the account is no more.
    """

    openid: str
    until: int
    purposes: frozenset[str] = frozenset()
    closes_account: bool = False


def withdrawal(event: Mapping[str, Any]) -> Withdrawal | None:
    """Return what a pushed event withdraws, None for any other message.

    WeChat may push the same event more than once, and late: `until` keeps a repetition from
    clearing anything newer. Raises PushError for an event without a person or a time.
    """
    if event.get("MsgType") != "event":
        return None
    match event.get("Event"):
        case "user_authorization_revoke":
            purposes = REVOKED.get(str(event.get("RevokeInfo")), frozenset())
            return Withdrawal(_openid(event), _created(event), purposes)
        case "user_info_modified":
            return Withdrawal(_openid(event), _created(event), frozenset({NAMES, PICTURES}))
        case "user_authorization_cancellation":
            return Withdrawal(_openid(event), _created(event), closes_account=True)
    return None


def _openid(event: Mapping[str, Any]) -> str:
    """Return who the event is about: `OpenID`, not `FromUserName`, who may be WeChat itself."""
    openid = event.get("OpenID")
    if not is_opaque_id(openid):
        raise PushError("OpenID is unusable")
    return str(openid)


def _created(event: Mapping[str, Any]) -> int:
    text = str(event.get("CreateTime"))
    if not re.fullmatch(r"[0-9]{1,11}", text, re.ASCII):
        raise PushError("CreateTime is unusable")
    return int(text)
