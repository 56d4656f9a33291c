"""Envelopes and pushes: the samples in WeChat's documents, and everything that is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cast import BAD_TEXTS, IV, KEY, b64, encrypted, padded
from wechat.crypto import (
    Envelope,
    MalformedEnvelopeError,
    UnsealError,
    check_watermark,
    decode_aes_key,
    group_in,
    is_opaque_id,
    is_single_chat,
    seal,
    seal_push,
    unseal,
    unseal_push,
)

pytestmark = pytest.mark.no_service

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
SAMPLE, PUSHED = VECTORS["open_data"], VECTORS["push"]

APP = "wx4f4bc4dec97d474b"
NOW = 1_795_000_000
MAX_AGE = 300
GID = "tGsj-0123456789_abcdefghijkl"


def open_up(sealed: dict[str, str], key: str = KEY) -> dict[str, Any]:
    return unseal(key, Envelope.parse(sealed["encryptedData"], sealed["iv"]))


# What opens


def test_the_platforms_own_sample_opens() -> None:
    envelope = Envelope.parse(SAMPLE["encryptedData"], SAMPLE["iv"])
    payload = unseal(SAMPLE["session_key"], envelope)
    assert payload == SAMPLE["plaintext"]
    moment = payload["watermark"]["timestamp"]
    assert check_watermark(payload, SAMPLE["appid"], moment + 5, MAX_AGE, required=True)
    assert group_in(payload) is None


def test_the_samples_text_sealed_again_opens_again() -> None:
    envelope = Envelope.parse(SAMPLE["encryptedData"], SAMPLE["iv"])
    again = seal(SAMPLE["session_key"], SAMPLE["plaintext"], envelope.iv)
    assert again["iv"] == SAMPLE["iv"]
    assert open_up(again, SAMPLE["session_key"]) == SAMPLE["plaintext"]


blocks = st.binary(min_size=16, max_size=16)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=3)
payloads = st.dictionaries(st.text(max_size=10), values, max_size=4)


@settings(max_examples=100, deadline=None)
@given(key=blocks, iv=blocks | st.none(), payload=payloads)
def test_unseal_is_the_inverse_of_seal(
    key: bytes, iv: bytes | None, payload: dict[str, Any]
) -> None:
    payload["watermark"] = "makes it longer than one block"
    assert open_up(seal(b64(key), payload, iv), b64(key)) == payload


def test_every_sealed_text_has_its_own_iv() -> None:
    assert seal(KEY, {})["iv"] != seal(KEY, {})["iv"]


# Malformed: the request itself is broken


@pytest.mark.parametrize("size", [0, 1, 15, 17, 32])
def test_an_iv_has_sixteen_bytes(size: int) -> None:
    with pytest.raises(MalformedEnvelopeError):
        Envelope.parse(b64(bytes(16)), b64(bytes(size)))


@pytest.mark.parametrize("size", [0, 1, 15, 17, 31])
def test_the_data_is_a_positive_number_of_blocks(size: int) -> None:
    with pytest.raises(MalformedEnvelopeError):
        Envelope.parse(b64(bytes(size)), b64(IV))
    assert Envelope.parse(b64(bytes(48)), b64(IV)).data == bytes(48)


NOT_CANONICAL = {
    "no padding": "AAAAAAAAAAAAAAAAAAAAAA",
    "half the padding": "AAAAAAAAAAAAAAAAAAAAAA=",
    "too much padding": "AAAAAAAAAAAAAAAAAAAAAA===",
    "bits that are thrown away": "AAAAAAAAAAAAAAAAAAAAAB==",
    "a space for a plus": "AAAA AAAAAAAAAAAAAAAAA==",
    "a line end": "AAAAAAAAAAAAAAAAAAAAAA==\n",
    "a leading space": " AAAAAAAAAAAAAAAAAAAAAA==",
    "the alphabet of URLs": "--__--__--__--__--__-A==",
    "padding in the middle": "AAAA==AAAAAAAAAAAAAAAAAA==",
    "two texts": "AAAAAAAAAAAAAAAAAAAAAA==AAAAAAAAAAAAAAAAAAAAAA==",
    "other letters": "ＡＡＡＡAAAAAAAAAAAAAAAAAA==",
    "a NUL": "AAAAAAAAAAAAAAAAAAAAAA==\0",
    "a lone surrogate": "AAAAAAAAAAAAAAAAAAAAA\ud800==",
}


@pytest.mark.parametrize("text", NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_base64_has_one_spelling(text: str) -> None:
    good = "AAAAAAAAAAAAAAAAAAAAAA=="
    assert Envelope.parse(good, good).iv == bytes(16)
    for data, iv in [(text, good), (good, text)]:
        with pytest.raises(MalformedEnvelopeError):
            Envelope.parse(data, iv)


@pytest.mark.parametrize("size", [0, 15, 17, 24, 32])
def test_a_session_key_has_sixteen_bytes(size: int) -> None:
    sealed = seal(KEY, {})
    with pytest.raises(UnsealError):
        open_up(sealed, b64(bytes(size)))
    with pytest.raises(ValueError, match="16 bytes"):
        seal(b64(bytes(size)), {})


@pytest.mark.parametrize("key", [KEY.rstrip("="), KEY + "\n", "密钥", ""])
def test_a_session_key_that_is_not_strict_base64_opens_nothing(key: str) -> None:
    with pytest.raises(UnsealError):
        open_up(seal(KEY, {}), key)


# Well formed, and refused without saying why


@pytest.mark.parametrize("count", range(1, 17))
def test_every_byte_of_the_padding_counts(count: int) -> None:
    text = b'{"a":"' + b"x" * (24 - count) + b'"}'
    right = padded(text)
    assert right[-1] == count and unseal(KEY, encrypted(right))
    for place in range(1, count + 1):
        for flip in (0x01, 0x02, 0x10, 0x20, 0x80, 0xFF):
            wrong = bytearray(right)
            wrong[-place] ^= flip
            with pytest.raises(UnsealError):
                unseal(KEY, encrypted(bytes(wrong)))


@pytest.mark.parametrize("last", [0, 17, 32, 255])
def test_padding_is_one_to_sixteen_bytes(last: int) -> None:
    with pytest.raises(UnsealError):
        unseal(KEY, encrypted(b'{"a":1}'.ljust(32, bytes([last]))))


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_what_is_not_one_json_object_does_not_open(text: bytes) -> None:
    with pytest.raises(UnsealError) as refused:
        unseal(KEY, encrypted(padded(text)))
    assert str(refused.value) == ""
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_another_key_never_opens() -> None:
    sealed = seal(KEY, {"openGId": GID})
    for number in range(2_000):
        with pytest.raises(UnsealError):
            open_up(sealed, b64(number.to_bytes(16)))


def test_no_error_quotes_the_key() -> None:
    for key in (KEY, KEY[:-1]):
        with pytest.raises(UnsealError) as refused:
            unseal(key, Envelope(bytes(16), IV))
        assert key not in repr(refused.value)


# The watermark


def payload_aged(age: Any, **changed: Any) -> dict[str, Any]:
    return {"openGId": GID, "watermark": {"appid": APP, "timestamp": NOW - age} | changed}


@pytest.mark.parametrize(
    ("age", "fresh"),
    [(-61, False), (-60, True), (0, True), (300, True), (301, False), (10**9, False)],
)
def test_a_watermark_is_believed_from_a_minute_ahead_to_five_minutes_old(
    age: int, fresh: bool
) -> None:
    if fresh:
        assert check_watermark(payload_aged(age), APP, NOW, MAX_AGE, required=False) is True
    else:
        with pytest.raises(UnsealError):
            check_watermark(payload_aged(age), APP, NOW, MAX_AGE, required=False)


def test_the_age_is_a_setting() -> None:
    assert check_watermark(payload_aged(3600), APP, NOW, 3600, required=True)
    with pytest.raises(UnsealError):
        check_watermark(payload_aged(11), APP, NOW, 10, required=False)


UNBELIEVABLE_MARKS: dict[str, Any] = {
    "a bool": {"appid": APP, "timestamp": True},
    "a float": {"appid": APP, "timestamp": float(NOW)},
    "a string": {"appid": APP, "timestamp": str(NOW)},
    "null for a time": {"appid": APP, "timestamp": None},
    "no time": {"appid": APP},
    "a time beyond floats": {"appid": APP, "timestamp": 10**400},
    "a time long before floats": {"appid": APP, "timestamp": -(10**400)},
    "another appid": {"appid": "wx0000000000000000", "timestamp": NOW},
    "the appid in capitals": {"appid": APP.upper(), "timestamp": NOW},
    "a list of appids": {"appid": [APP], "timestamp": NOW},
    "no appid": {"timestamp": NOW},
    "null": None,
    "a list": [APP, NOW],
    "a string for a mark": APP,
    "empty": {},
}


@pytest.mark.parametrize("mark", UNBELIEVABLE_MARKS.values(), ids=UNBELIEVABLE_MARKS)
@pytest.mark.parametrize("spelling", ["openGId", "opengid"])
def test_a_watermark_that_is_there_has_to_be_right(mark: Any, spelling: str) -> None:
    # At clock 1 the bool True would be a timestamp of now. The clock is a float, as in the product.
    now = 1.0 if mark == UNBELIEVABLE_MARKS["a bool"] else float(NOW)
    with pytest.raises(UnsealError):
        check_watermark({spelling: GID, "watermark": mark}, APP, now, MAX_AGE, required=False)


def test_only_get_group_enter_info_may_lack_a_watermark() -> None:
    assert check_watermark({"opengid": GID}, APP, NOW, MAX_AGE, required=False) is False
    single = {"open_single_roomid": "tS", "chat_type": 1}
    assert check_watermark(single, APP, NOW, MAX_AGE, required=False) is False
    for payload in [{"openGId": GID}, {}, {"openId": "o", "nickName": "微信用户"}]:
        with pytest.raises(UnsealError):
            check_watermark(payload, APP, NOW, MAX_AGE, required=False)


@pytest.mark.parametrize("spelling", ["openGId", "opengid", "open_single_roomid"])
def test_where_a_watermark_is_required_nothing_may_lack_one(spelling: str) -> None:
    with pytest.raises(UnsealError):
        check_watermark({spelling: GID}, APP, NOW, MAX_AGE, required=True)
    assert check_watermark(payload_aged(0) | {spelling: GID}, APP, NOW, MAX_AGE, required=True)


# The group


@pytest.mark.parametrize("spelling", ["openGId", "opengid"])
@pytest.mark.parametrize(
    "kind", [{}, *({"chat_type": kind} for kind in (3, 4, "3", "4", None))], ids=str
)
def test_a_group_is_found_in_either_spelling(spelling: str, kind: Any) -> None:
    assert group_in({spelling: GID, "group_openid": "oG", **kind}) == GID
    assert not is_single_chat({spelling: GID, **kind})


@pytest.mark.parametrize("chat_type", [1, 2, "1", "2", 0, 5, "", True])
def test_another_kind_of_chat_is_not_a_group(chat_type: Any) -> None:
    assert group_in({"opengid": GID, "chat_type": chat_type}) is None


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"open_single_roomid": "tSroom", "chat_type": 1},
        {"openId": "o", "nickName": "微信用户"},
        {"openGId": None},
        {"opengid": ""},
        {"group_openid": "oG", "chat_type": 3},
    ],
)
def test_genuine_data_may_name_no_group(payload: dict[str, Any]) -> None:
    assert group_in(payload) is None


def test_a_single_block_opens_nothing() -> None:
    for text in (b"{}", b'{"opengid":"A"}', b'{"opengid":5}'):
        assert len(padded(text)) == 16
        with pytest.raises(UnsealError) as refused:
            unseal(KEY, encrypted(padded(text)))
        assert (str(refused.value), refused.value.reason) == ("", "one_block")
    assert unseal(KEY, encrypted(padded(b'{"opengid":"AB"}'))) == {"opengid": "AB"}


LONG = "tGsj" + "x" * 24
BAD_IDS = [f"{LONG[:20]} b", f"{LONG}/b", "群" * 20, "a" * 65, f"{LONG}\n", f"{LONG}.b"]
BAD_IDS += ["\ud800" * 20, 5, [LONG], {LONG: "b"}, True]


@pytest.mark.parametrize("bad", BAD_IDS, ids=repr)
@pytest.mark.parametrize("spelling", ["openGId", "opengid"])
def test_an_id_that_wechat_cannot_have_written_is_refused(spelling: str, bad: Any) -> None:
    with pytest.raises(UnsealError):
        group_in({spelling: bad})
    assert not is_opaque_id(bad)


@pytest.mark.parametrize("spelling", ["openGId", "opengid"])
def test_an_id_proven_by_an_envelope_has_at_least_twenty_characters(spelling: str) -> None:
    for size in (1, 4, 19, 65):
        with pytest.raises(UnsealError) as refused:
            group_in({spelling: LONG.ljust(65, "x")[:size]})
        assert refused.value.reason == "bad_group_id"
    for size in (20, 28, 29, 64):
        assert group_in({spelling: LONG.ljust(65, "x")[:size]})


# As WeChat documents the other data that it seals for a phone, and as a list may hold it.
OTHER_DATA = [
    {"openId": "oGZ"},
    {"unionId": "ocM"},
    {"nickName": "Band"},
    {"gender": 1},
    {"language": "zh_CN"},
    {"city": "Guangzhou"},
    {"province": "Guangdong"},
    {"country": "CN"},
    {"avatarUrl": "https://thirdwx.qlogo.cn/"},
    {"phoneNumber": "13580006666"},
    {"purePhoneNumber": "13580006666"},
    {"countryCode": "86"},
    {"stepInfoList": [{"timestamp": 1445866601, "step": 100}]},
    {"dataList": [{"dataType": {"type": 1}, "value": 1}]},
]


@pytest.mark.parametrize("other", OTHER_DATA, ids=lambda other: next(iter(other)))
@pytest.mark.parametrize("spelling", ["openGId", "opengid"])
def test_a_group_beside_other_kinds_of_data_is_refused(spelling: str, other: Any) -> None:
    [(key, value)] = other.items()
    for name in (key, key.lower(), key.upper()):
        with pytest.raises(UnsealError) as refused:
            group_in({spelling: LONG, name: value})
        assert refused.value.reason == "other_data"
    assert group_in(other) is None, "names no group"


def test_what_may_come_with_a_group_or_is_new_is_no_other_kind_of_data() -> None:
    entered = {"opengid": LONG, "chat_type": 3, "group_openid": "oG", "open_single_roomid": ""}
    assert group_in({**entered, "watermark": {}, "something_new": 1}) == LONG


def test_ids_are_one_to_sixty_four_characters() -> None:
    assert is_opaque_id("a") and is_opaque_id("-_Az09" + "z" * 58)
    assert not is_opaque_id("") and not is_opaque_id("a" * 65)


# Pushes


AES_KEY = "".join(chr(ord("a") + place % 26) for place in range(42)) + "B"


def pushed(text: bytes, aes_key: str = AES_KEY) -> str:
    """Encrypt any text of whole blocks, padding included, which WeChat would never push."""
    key = decode_aes_key(aes_key)
    return b64(AES.new(key, AES.MODE_CBC, key[:16]).encrypt(text))


def framed(message: bytes, app_id: str = APP, length: int | None = None) -> bytes:
    size = len(message) if length is None else length
    return bytes(16) + size.to_bytes(4) + message + app_id.encode()


def padded_by_32(text: bytes) -> bytes:
    count = 32 - len(text) % 32
    return text + bytes([count]) * count


def test_the_platforms_own_push_opens() -> None:
    message = unseal_push(PUSHED["encoding_aes_key"], PUSHED["appid"], PUSHED["Encrypt"])
    assert json.loads(message)["debug_str"] == "hello world"


@settings(max_examples=100, deadline=None)
@given(key=st.binary(min_size=32, max_size=32), message=st.binary(max_size=100))
def test_unseal_push_is_the_inverse_of_seal_push(key: bytes, message: bytes) -> None:
    aes_key = b64(key).rstrip("=")
    sealed = seal_push(aes_key, APP, message)
    assert unseal_push(aes_key, APP, sealed) == message
    assert sealed != seal_push(aes_key, APP, message), "16 random bytes come first"


def test_the_last_character_of_an_aes_key_may_be_any() -> None:
    # WeChat draws it from 62 characters, only 16 of which encode 32 bytes canonically.
    for last in "AB09z":
        aes_key = "k" * 42 + last
        assert len(decode_aes_key(aes_key)) == 32
        assert unseal_push(aes_key, APP, seal_push(aes_key, APP, b"{}")) == b"{}"


@pytest.mark.parametrize(
    "aes_key", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 23, "密" * 43, "A" * 42 + " "]
)
def test_a_key_of_another_shape_opens_and_seals_nothing(aes_key: str) -> None:
    with pytest.raises(UnsealError):
        unseal_push(aes_key, APP, seal_push(AES_KEY, APP, b"{}"))
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        decode_aes_key(aes_key)
    assert not aes_key or aes_key not in str(refused.value)


@pytest.mark.parametrize("count", range(1, 33))
def test_every_byte_of_the_padding_of_a_push_counts(count: int) -> None:
    right = padded_by_32(framed(b"x" * (96 - 20 - len(APP) - count)))
    assert right[-1] == count and unseal_push(AES_KEY, APP, pushed(right))
    for place in range(1, count + 1):
        wrong = bytearray(right)
        wrong[-place] ^= 0x40
        with pytest.raises(UnsealError):
            unseal_push(AES_KEY, APP, pushed(bytes(wrong)))


UNOPENED = {
    "another appid": framed(b"{}", "wx0000000000000000"),
    "the appid and more": framed(b"{}", APP + "x"),
    "no appid": framed(b"{}", ""),
    "a length of one less": framed(b"{}", length=1),
    "a length of one more": framed(b"{}", length=3),
    "a length beyond the end": framed(b"{}", length=2**32 - 1),
    "only the random bytes": bytes(16),
    "nothing": b"",
}


@pytest.mark.parametrize("text", UNOPENED.values(), ids=UNOPENED)
def test_a_push_for_another_app_or_out_of_frame_does_not_open(text: bytes) -> None:
    with pytest.raises(UnsealError) as refused:
        unseal_push(AES_KEY, APP, pushed(padded_by_32(text)))
    assert str(refused.value) == ""


@pytest.mark.parametrize(
    "text",
    [
        padded_by_32(framed(b"{}"))[:-16],
        framed(b"x" * 26) + bytes([16]) * 16,
        framed(b"{}").ljust(64, b"\x00"),
        framed(b"{}").ljust(64, b"\x21"),
        b"",
    ],
    ids=["half a block less", "padded for blocks of 16", "zeroes", "33", "nothing at all"],
)
def test_the_padding_of_a_push_is_of_blocks_of_32(text: bytes) -> None:
    with pytest.raises(UnsealError):
        unseal_push(AES_KEY, APP, pushed(text))


@pytest.mark.parametrize("text", ["", "a", "密文", "\ud800", "AAAA AAAA", " " * 44, "A" * 43 + "="])
def test_a_text_that_is_not_base64_of_whole_blocks_is_not_a_push(text: str) -> None:
    with pytest.raises(UnsealError):
        unseal_push(AES_KEY, APP, text)


def test_another_key_opens_no_push() -> None:
    sealed = seal_push(AES_KEY, APP, b'{"Event":"x"}')
    for number in range(1_000):
        with pytest.raises(UnsealError):
            unseal_push(b64(number.to_bytes(32)).rstrip("="), APP, sealed)
