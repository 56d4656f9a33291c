"""The envelopes of WeChat: what a phone hands over, and what the platform pushes.

A phone's: AES-128-CBC with PKCS#7, key and iv of 16 bytes, everything in base64.
Source: WeChat's 开放数据校验与解密 (open data verification and decryption).
A push's: AES-256-CBC with PKCS#7 of 32-byte blocks, the message framed by its length and the
appid. Source: WeChat's 消息加解密说明 (encryption of pushed messages).

CBC is not authenticated, so a wrong key and a tampered text can only be told apart from a
genuine one by being strict about everything inside. Every failure is the same `UnsealError`:
a caller who could tell bad padding from bad JSON would have an oracle.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from Crypto.Cipher import AES
from Crypto.Random import get_random_bytes
from Crypto.Util.Padding import pad, unpad

BLOCK = AES.block_size
PUSH_BLOCK = 32
PUSH_HEAD = 20
MAX_CLOCK_SKEW = 60
FOREVER = 10**9  # seconds, some 30 years

OPAQUE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

# What `Envelope.parse` takes, for a JSON schema: canonical base64 of one block, of two, of three.
_ONE = "[A-Za-z0-9+/]{21}[AQgw]=="
_TWO = "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_THREE = "[A-Za-z0-9+/]{64}"
IV_PATTERN = f"^{_ONE}$"
DATA_PATTERN = f"^(?:{_THREE})*(?:{_ONE}|{_TWO}|{_THREE})$"


class MalformedEnvelope(ValueError):
    """Not base64, or not of the sizes AES-CBC has: the request itself is broken."""


class UnsealError(Exception):
    """A well-formed envelope that this key, app or moment does not open; its text never says why.

    `reason` and `facts` do. They are for operators: no answer may differ by them.
    """

    def __init__(self, reason: str = "", **facts: int | str) -> None:
        super().__init__()
        self.reason = reason
        self.facts = facts


def is_opaque_id(value: object) -> bool:
    """Whether `value` can be an openid or openGId: 1–64 of `[A-Za-z0-9_-]`."""
    return isinstance(value, str) and OPAQUE_ID.fullmatch(value) is not None


def decode_base64(text: str) -> bytes:
    """Strict base64: canonical, padded, no white space. Raises ValueError."""
    raw = b64decode(text, validate=True)
    if b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


def decode_session_key(session_key: str) -> bytes:
    """The 16 bytes of a `session_key` (24 characters of base64). Raises ValueError."""
    key = decode_base64(session_key)
    if len(key) != BLOCK:
        raise ValueError("a session_key has 16 bytes")
    return key


def json_object(text: bytes) -> dict[str, Any]:
    """The one JSON object in UTF-8 that `text` is, NaN and Infinity refused. Raises ValueError."""
    try:
        value = json.loads(text.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True)
class Envelope:
    """`encryptedData` and `iv` as bytes: a positive multiple of 16, and 16."""

    data: bytes
    iv: bytes

    @classmethod
    def parse(cls, encrypted_data: str, iv: str) -> Self:
        """From the two base64 strings of a `wx` call. Raises MalformedEnvelope."""
        try:
            envelope = cls(decode_base64(encrypted_data), decode_base64(iv))
        except ValueError as error:
            raise MalformedEnvelope("not strict base64") from error
        if len(envelope.iv) != BLOCK:
            raise MalformedEnvelope("iv must have 16 bytes")
        if not envelope.data or len(envelope.data) % BLOCK:
            raise MalformedEnvelope("encryptedData must have a positive multiple of 16 bytes")
        return envelope


def seal(session_key: str, payload: Mapping[str, Any], iv: bytes | None = None) -> dict[str, str]:
    """What a phone would send for `payload`: `{"encryptedData", "iv"}`; inverse of `unseal`."""
    iv = iv or get_random_bytes(BLOCK)
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    cipher = AES.new(decode_session_key(session_key), AES.MODE_CBC, iv)
    data = cipher.encrypt(pad(text, BLOCK))
    return {"encryptedData": b64encode(data).decode(), "iv": b64encode(iv).decode()}


def unseal(session_key: str, envelope: Envelope) -> dict[str, Any]:
    """The JSON object inside `envelope`. Raises UnsealError, whatever the reason."""
    reason = "padding"
    try:
        cipher = AES.new(decode_session_key(session_key), AES.MODE_CBC, envelope.iv)
        text = unpad(cipher.decrypt(envelope.data), BLOCK)
        reason = "json"
        return json_object(text)
    except UnicodeDecodeError:
        raise UnsealError("encoding") from None
    except ValueError:
        raise UnsealError(reason) from None


def decode_aes_key(aes_key: str) -> bytes:
    """The 32 bytes of an EncodingAESKey (43 characters). Raises ValueError."""
    # Not decode_base64: the console draws all 43 at random, so the last one has two idle bits.
    key = b64decode(f"{aes_key}=", validate=True)
    if len(key) != PUSH_BLOCK:
        raise ValueError("an EncodingAESKey has 43 characters")
    return key


def seal_push(aes_key: str, app_id: str, message: bytes) -> str:
    """The `Encrypt` in which the platform pushes `message`; inverse of `unseal_push`."""
    text = get_random_bytes(16) + len(message).to_bytes(4) + message + app_id.encode()
    return b64encode(_push_cipher(aes_key).encrypt(pad(text, PUSH_BLOCK))).decode()


def unseal_push(aes_key: str, app_id: str, encrypted: str) -> bytes:
    """The message inside a push's `Encrypt`. Raises UnsealError, whatever the reason."""
    try:
        text = unpad(_push_cipher(aes_key).decrypt(decode_base64(encrypted)), PUSH_BLOCK)
    except ValueError:
        raise UnsealError from None
    end = PUSH_HEAD + int.from_bytes(text[16:PUSH_HEAD])
    if text[end:] != app_id.encode():
        raise UnsealError
    return text[PUSH_HEAD:end]


def _push_cipher(aes_key: str) -> Any:
    key = decode_aes_key(aes_key)
    return AES.new(key, AES.MODE_CBC, key[:BLOCK])


def check_watermark(
    payload: Mapping[str, Any], app_id: str, now: float, max_age: int, *, required: bool
) -> bool:
    """Whether `payload` carries a watermark; raises UnsealError unless it may be believed.

    A watermark must name `app_id` and be −60 … `max_age` seconds old at `now` (Unix seconds).
    Only a getGroupEnterInfo payload may lack one, and only where it is not `required`: the
    documented sample of that call shows none.
    """
    if "watermark" not in payload:
        from_enter_info = {"opengid", "open_single_roomid"} & payload.keys()
        if required or not from_enter_info or "openGId" in payload:
            raise UnsealError("no_watermark")
        return False
    match payload["watermark"]:
        case {"appid": str(owner), "timestamp": int(timestamp)} if not isinstance(timestamp, bool):
            # Compared, not subtracted: a forged integer may be too large for a float.
            too_old, too_new = timestamp < now - max_age, timestamp > now + MAX_CLOCK_SKEW
        case _:
            raise UnsealError("bad_watermark")
    if owner != app_id:
        raise UnsealError("other_app", appid=owner if is_opaque_id(owner) else "?")
    if too_old or too_new:
        age = max(-FOREVER, min(int(now) - timestamp, FOREVER))
        raise UnsealError("too_old" if too_old else "too_new", seconds=abs(age))
    return True


def group_in(payload: Mapping[str, Any]) -> str | None:
    """The openGId a genuine payload names, in either spelling; None where it names no group.

    wx.getShareInfo says `openGId`, wx.getGroupEnterInfo `opengid` with a `chat_type` of
    1 (single), 2 (WeCom single), 3 (group) or 4 (WeCom group). Raises UnsealError for an id
    that WeChat cannot have written.
    """
    open_gid = payload.get("opengid") or payload.get("openGId")
    is_group = str(payload.get("chat_type", 3)) in {"3", "4"}
    if not open_gid or not is_group:
        return None
    if not is_opaque_id(open_gid):
        raise UnsealError("bad_group_id")
    return str(open_gid)


def is_single_chat(payload: Mapping[str, Any]) -> bool:
    """Whether a genuine payload says that it comes from a chat of two."""
    return "open_single_roomid" in payload or str(payload.get("chat_type")) in {"1", "2"}
