"""The envelopes in which a phone hands over what WeChat signed for it.

AES-128-CBC with PKCS#7, key and iv of 16 bytes, everything in base64.
Source: WeChat's 开放数据校验与解密 (open data verification and decryption).

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
MAX_CLOCK_SKEW = 60

OPAQUE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class MalformedEnvelope(ValueError):
    """Not base64, or not of the sizes AES-CBC has: the request itself is broken."""


class UnsealError(Exception):
    """A well-formed envelope that this key, app or moment does not open; never says why."""


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
    try:
        cipher = AES.new(decode_session_key(session_key), AES.MODE_CBC, envelope.iv)
        text = unpad(cipher.decrypt(envelope.data), BLOCK).decode()
        payload = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise UnsealError from None
    if not isinstance(payload, dict):
        raise UnsealError
    return payload


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


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
            raise UnsealError
        return False
    match payload["watermark"]:
        case {"appid": str(owner), "timestamp": int(timestamp)} if not isinstance(timestamp, bool):
            # Compared, not subtracted: a forged integer may be too large for a float.
            fresh = now - max_age <= timestamp <= now + MAX_CLOCK_SKEW
        case _:
            raise UnsealError
    if owner != app_id or not fresh:
        raise UnsealError
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
        raise UnsealError
    return str(open_gid)
