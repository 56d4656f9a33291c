"""WeChat's encryption: the envelopes of `wx` calls, and the pushes to a server.

An envelope: AES-128-CBC with PKCS#7, key and iv of 16 bytes, everything in base64.
Source: WeChat's 开放数据校验与解密 (open data verification and decryption).
A push: AES-256-CBC with PKCS#7 of 32-byte blocks; the message is framed by its length and the
appid. Source: WeChat's 消息加解密说明 (encryption of pushed messages).

CBC is not authenticated. A wrong key or a changed text shows only in what comes out, so
everything in it is checked strictly. Every failure is the same `UnsealError`: a caller who could
see bad padding apart from bad JSON would have a padding oracle.
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
MAX_REPORTED_AGE = 10**9  # seconds, some 30 years

OPAQUE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# WeChat's openGIds have 28 or 29 characters. A short one fits into what a forged iv can write.
PROVEN_GROUP_ID = re.compile(r"[A-Za-z0-9_-]{20,64}", re.ASCII)
LEAST_BLOCKS = 2  # in a single one, the sender writes every byte by the iv

# Keys of the other kinds of data that WeChat seals for the same phone, in lower case: profile,
# phone number, steps, game club, address and identity. Their values are partly the sender's choice,
# so a text cut from such a payload could name a group; what comes after it cannot be cut off.
OTHER_KINDS = frozenset(
    """
    openid unionid nickname gender language city province country avatarurl
    phonenumber purephonenumber countrycode
    stepinfolist stepinfo timestamp step
    datalist datatype value
    username telnumber tel postalcode address detailinfo cityname provincename countyname
    nationalcode idcard realname email
    userinfo rawdata signature encrypteddata iv
    """.split()  # noqa: SIM905  # one kind a line
)

# For JSON schemas: what `Envelope.parse` accepts (canonical base64 of one, two and three blocks),
# and what `decode_base64` does.
_ONE = "[A-Za-z0-9+/]{21}[AQgw]=="
_TWO = "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_THREE = "[A-Za-z0-9+/]{64}"
IV_PATTERN = f"^{_ONE}$"
BASE64_PATTERN = (
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|"
    "[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)$"
)
DATA_PATTERN = f"^(?:{_THREE})*(?:{_ONE}|{_TWO}|{_THREE})$"


class MalformedEnvelopeError(ValueError):
    """An envelope that is not strict base64, or not of the sizes that AES-CBC has."""


class UnsealError(Exception):
    """An envelope or push that does not open, or that is too old or of another app.

    Its text is always empty. `reason` and `facts` say why; they are for operators, and no answer
    to a client may depend on them.
    """

    def __init__(self, reason: str = "", **facts: int | str) -> None:
        super().__init__()
        self.reason = reason
        self.facts = facts


def is_opaque_id(value: object) -> bool:
    """Return whether `value` can be an openid or openGId: 1–64 of `[A-Za-z0-9_-]`."""
    return isinstance(value, str) and OPAQUE_ID.fullmatch(value) is not None


def decode_base64(text: str) -> bytes:
    """Decode canonical base64, padded and without white space. Raises ValueError."""
    raw = b64decode(text, validate=True)
    if b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


def decode_session_key(session_key: str) -> bytes:
    """Return the 16 bytes of a `session_key` (24 characters of base64). Raises ValueError."""
    key = decode_base64(session_key)
    if len(key) != BLOCK:
        raise ValueError("a session_key has 16 bytes")
    return key


def json_object(text: bytes) -> dict[str, Any]:
    """Parse one JSON object in UTF-8, without NaN and Infinity. Raises ValueError."""
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
    """The `encryptedData` (a positive multiple of 16 bytes) and `iv` (16 bytes) of a `wx` call."""

    data: bytes
    iv: bytes

    @classmethod
    def parse(cls, encrypted_data: str, iv: str) -> Self:
        """Decode the two base64 strings of a `wx` call. Raises MalformedEnvelopeError."""
        try:
            envelope = cls(decode_base64(encrypted_data), decode_base64(iv))
        except ValueError as error:
            raise MalformedEnvelopeError("not strict base64") from error
        if len(envelope.iv) != BLOCK:
            raise MalformedEnvelopeError("iv must have 16 bytes")
        if not envelope.data or len(envelope.data) % BLOCK:
            raise MalformedEnvelopeError("encryptedData must have a positive multiple of 16 bytes")
        return envelope


def seal(session_key: str, payload: Mapping[str, Any], iv: bytes | None = None) -> dict[str, str]:
    """Encrypt `payload` as WeChat does for a phone: `{"encryptedData", "iv"}`, for `unseal`."""
    iv = iv or get_random_bytes(BLOCK)
    text = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    cipher = AES.new(decode_session_key(session_key), AES.MODE_CBC, iv)
    data = cipher.encrypt(pad(text, BLOCK))
    return {"encryptedData": b64encode(data).decode(), "iv": b64encode(iv).decode()}


def unseal(session_key: str, envelope: Envelope) -> dict[str, Any]:
    """Return the JSON object inside `envelope`. Raises UnsealError, for every reason alike."""
    reason = "padding"
    try:
        cipher = AES.new(decode_session_key(session_key), AES.MODE_CBC, envelope.iv)
        text = unpad(cipher.decrypt(envelope.data), BLOCK)
        reason = "json"
        payload = json_object(text)
    except UnicodeDecodeError:
        raise UnsealError("encoding") from None
    except ValueError:
        raise UnsealError(reason) from None
    if len(envelope.data) < LEAST_BLOCKS * BLOCK:
        raise UnsealError("one_block")
    return payload


def decode_aes_key(aes_key: str) -> bytes:
    """Return the 32 bytes of an EncodingAESKey (43 characters). Raises ValueError."""
    # Not decode_base64: WeChat draws all 43 at random, so the last two bits may be anything.
    key = b64decode(f"{aes_key}=", validate=True)
    if len(key) != PUSH_BLOCK:
        raise ValueError("an EncodingAESKey has 43 characters")
    return key


def seal_push(aes_key: str, app_id: str, message: bytes) -> str:
    """Encrypt `message` as WeChat does for a push: the `Encrypt` string, for `unseal_push`."""
    text = get_random_bytes(16) + len(message).to_bytes(4) + message + app_id.encode()
    return b64encode(_push_cipher(aes_key).encrypt(pad(text, PUSH_BLOCK))).decode()


def unseal_push(aes_key: str, app_id: str, encrypted: str) -> bytes:
    """Return the message inside a push's `Encrypt`. Raises UnsealError, for every reason alike."""
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
    """Check the watermark of `payload` and return whether it has one.

    A watermark must name `app_id` and be −60 … `max_age` seconds old at `now` (Unix seconds).
    Only a getGroupEnterInfo payload may lack one, and only where it is not `required`: the
    documented sample of that call has none. Raises UnsealError.
    """
    if "watermark" not in payload:
        from_enter_info = {"opengid", "open_single_roomid"} & payload.keys()
        if required or not from_enter_info or "openGId" in payload:
            raise UnsealError("no_watermark")
        return False
    match payload["watermark"]:
        case {"appid": str(owner), "timestamp": int(timestamp)} if not isinstance(timestamp, bool):
            # Compare, do not subtract: a forged integer may be too large for a float.
            too_old, too_new = timestamp < now - max_age, timestamp > now + MAX_CLOCK_SKEW
        case _:
            raise UnsealError("bad_watermark")
    if owner != app_id:
        raise UnsealError("other_app", appid=owner if is_opaque_id(owner) else "?")
    if too_old or too_new:
        age = max(-MAX_REPORTED_AGE, min(int(now) - timestamp, MAX_REPORTED_AGE))
        raise UnsealError("too_old" if too_old else "too_new", seconds=abs(age))
    return True


def group_in(payload: Mapping[str, Any]) -> str | None:
    """Return the openGId of an unsealed payload, None where it names no group.

    wx.getShareInfo calls it `openGId`; wx.getGroupEnterInfo calls it `opengid`, with a
    `chat_type` of 1 (single), 2 (WeCom single), 3 (group) or 4 (WeCom group); null counts as
    absent. Raises UnsealError for an id that WeChat cannot have written, and for one beside keys
    of another kind of data.
    """
    open_gid = payload.get("opengid") or payload.get("openGId")
    if not open_gid or _chat_type(payload) not in {None, "3", "4"}:
        return None
    if OTHER_KINDS & {key.lower() for key in payload}:
        raise UnsealError("other_data")
    if not (isinstance(open_gid, str) and PROVEN_GROUP_ID.fullmatch(open_gid)):
        raise UnsealError("bad_group_id")
    return open_gid


def group_openid_in(payload: Mapping[str, Any]) -> str:
    """Return the person's id within the chat that a payload names; "" where it tells none.

    It differs by chat and person, so it is a fact about a membership and never a key for people.
    What cannot be an id is ignored: the group is proven without it.
    """
    match payload.get("group_openid"):
        case str(value) if is_opaque_id(value):
            return value
    return ""


def is_single_chat(payload: Mapping[str, Any]) -> bool:
    """Return whether an unsealed payload comes from a chat of two."""
    return "open_single_roomid" in payload or _chat_type(payload) in {"1", "2"}


def _chat_type(payload: Mapping[str, Any]) -> str | None:
    kind = payload.get("chat_type")
    return None if kind is None else str(kind)
