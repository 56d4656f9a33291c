"""What the platform pushes to a server: checked, opened and read. No HTTP and no models.

Sources: WeChat's 消息推送 (message push: signatures, plain and safe mode, JSON and XML) and
mediaCheckAsync (the event `wxa_media_check`).
"""

import hashlib
import hmac
import json
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping
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


class PushRefused(Exception):
    """Not from the platform, or not what the platform sends; says what is wrong, no secret."""


@dataclass(frozen=True)
class Channel:
    """One mini-program's line from the platform, as its console has it under 消息推送.

    Without `aes_key` (EncodingAESKey) it takes the plain mode only. The signature of a plain
    push covers its time and nonce, but not its body: only the safe mode proves who wrote it.
    """

    app_id: str
    token: str = field(repr=False)
    aes_key: str = field(default="", repr=False)

    def echo(self, query: Mapping[str, str]) -> str:
        """What to answer, as plain text, when the console tests the address. Raises PushRefused."""
        self._check(query, "signature")
        if not (echo := query.get("echostr")):
            raise PushRefused("no echostr")
        return echo

    def read(self, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """The message of a POST in either mode, in JSON or XML. Raises PushRefused.

        Out of XML every value is a string, an element of elements a dict, a repeated one a list.
        """
        message = _parse(body)
        if "Encrypt" not in message:
            self._check(query, "signature")
            return message
        sealed = message["Encrypt"]
        if not isinstance(sealed, str):
            raise PushRefused("Encrypt is not a string")
        self._check(query, "msg_signature", sealed)
        try:
            return _parse(unseal_push(self.aes_key, self.app_id, sealed))
        except UnsealError:
            raise PushRefused("EncodingAESKey and appid do not open it") from None

    def write(
        self, event: Mapping[str, Any], *, safe: bool, xml: bool
    ) -> tuple[dict[str, str], bytes]:
        """The query and the body in which the platform would push `event`; `read`'s inverse."""
        dump = _to_xml if xml else _to_json
        query = {"timestamp": str(int(time.time())), "nonce": str(secrets.randbelow(10**10))}
        signed = query | {"signature": self._signature(query)}
        if not safe:
            return signed, dump(event)
        sealed = seal_push(self.aes_key, self.app_id, dump(event))
        signed |= {"encrypt_type": "aes", "msg_signature": self._signature(query, sealed)}
        return signed, dump({"ToUserName": event.get("ToUserName", ""), "Encrypt": sealed})

    def _check(self, query: Mapping[str, str], name: str, *sealed: str) -> None:
        given, right = query.get(name, ""), self._signature(query, *sealed)
        if not hmac.compare_digest(_bytes(given), _bytes(right)):
            raise PushRefused(f"{name} is wrong")

    def _signature(self, query: Mapping[str, str], *sealed: str) -> str:
        parts = [self.token, query.get("timestamp", ""), query.get("nonce", ""), *sealed]
        return hashlib.sha1(_bytes("".join(sorted(parts)))).hexdigest()  # noqa: S324  # as WeChat does


def _bytes(text: str) -> bytes:
    # JSON can hold half a surrogate pair, which UTF-8 cannot.
    return text.encode("utf-8", "surrogatepass")


def _parse(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY:
        raise PushRefused(f"more than {MAX_BODY} bytes")
    try:
        return _xml_object(body) if body.lstrip().startswith(b"<") else json_object(body)
    except (ValueError, ParseError):
        raise PushRefused("neither a JSON object nor a message in XML") from None


def _xml_object(body: bytes) -> dict[str, Any]:
    message = _value(fromstring(body.decode(), forbid_dtd=True), MAX_DEPTH)
    if not isinstance(message, dict):
        raise ValueError("no fields")
    return message


def _value(element: "Element", depth: int) -> str | dict[str, Any]:
    if not len(element):
        return element.text or ""
    if not depth:
        raise ValueError("nested too deeply")
    fields: dict[str, list[Any]] = defaultdict(list)
    for child in element:
        fields[child.tag].append(_value(child, depth - 1))
    return {name: found[0] if len(found) == 1 else found for name, found in fields.items()}


def _to_json(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode()


def _to_xml(message: Mapping[str, Any]) -> bytes:
    return _element("xml", message).encode()


def _element(name: str, value: Any) -> str:
    match value:
        case list():
            return "".join(_element(name, item) for item in value)
        case Mapping():
            text = "".join(_element(key, value[key]) for key in value)
        case str():
            text = f"<![CDATA[{value.replace(']]>', ']]]]><![CDATA[>')}]]>"
        case _:
            text = str(value)
    return f"<{name}>{text}</{name}>"


def channel_for(app_id: str) -> Channel:
    """The channel of one of the mini-programs in WECHAT_PUSH. Raises KeyError for another."""
    push = settings.WECHAT_PUSH[app_id]
    return Channel(app_id, push["TOKEN"], push["AES_KEY"])


@dataclass(frozen=True)
class MediaVerdict:
    """What `Client.check_media` asked for, by the trace_id it was given."""

    trace_id: str
    verdict: Verdict


def media_verdict(event: Mapping[str, Any]) -> MediaVerdict | None:
    """The verdict in a pushed `wxa_media_check`, None for any other message.

    What WeChat could not fetch or judge is for a human: REVIEW, without a label. May arrive
    more than once. Raises PushRefused for an event that names no picture.
    """
    if (event.get("MsgType"), event.get("Event")) != ("event", "wxa_media_check"):
        return None
    trace_id = event.get("trace_id")
    if not is_opaque_id(trace_id):
        raise PushRefused("trace_id is unusable")
    return MediaVerdict(str(trace_id), _pushed_verdict(event))


def _pushed_verdict(event: Mapping[str, Any]) -> Verdict:
    undecided = Verdict(Suggestion.REVIEW, "")
    if str(event.get("errcode", 0)) != "0":
        return undecided
    try:
        return read_verdict(event.get("result"))
    except ValueError:
        return undecided
