"""Pushes of WeChat: the documented sample, all four formats, and what is refused."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.http import QueryDict
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.settings import APP_ID
from wechat.client import Suggestion, Verdict
from wechat.crypto import seal_push
from wechat.push import (
    MAX_BODY,
    Channel,
    MediaVerdict,
    PushError,
    Withdrawal,
    channel_for,
    media_verdict,
    withdrawal,
)

pytestmark = pytest.mark.no_service

PUSHED = json.loads((Path(__file__).parent / "vectors.json").read_text())["push"]
APP, TOKEN, AES_KEY = "wx0000000000000001", "CanaryOfTheToken", "CanaryOfTheKey".ljust(43, "0")
CHANNEL, PLAIN = Channel(APP, TOKEN, AES_KEY), Channel(APP, TOKEN)
FORMATS = [(safe, xml) for safe in (False, True) for xml in (False, True)]

# As mediaCheckAsync documents it.
EVENT: dict[str, Any] = {
    "ToUserName": "gh_9df7d78a1234",
    "FromUserName": "o4_t144jTUSEoxydysUA2E234_tc",
    "CreateTime": 1626959646,
    "MsgType": "event",
    "Event": "wxa_media_check",
    "appid": APP,
    "trace_id": "60f96f1d-3845297a-1976a3ae",
    "version": 2,
    "detail": [
        {"strategy": "content_model", "errcode": 0, "suggest": "pass", "label": 100, "prob": 90}
    ],
    "errcode": 0,
    "errmsg": "ok",
    "result": {"suggest": "risky", "label": 20002},
}


def signed(body: bytes = b"{}", *more: str, name: str = "signature", **query: str) -> Any:
    """Return a query signed with the token, and the body."""
    query = {"timestamp": str(int(time.time())), "nonce": "415670741", **query}
    parts = sorted([TOKEN, query["timestamp"], query["nonce"], *more])
    return {**query, name: hashlib.sha1("".join(parts).encode()).hexdigest()}, body


def sealed_in(body: bytes, aes_key: str = AES_KEY, app_id: str = APP) -> Any:
    """Return a signed query, and `body` in an envelope."""
    sealed = seal_push(aes_key, app_id, body)
    return signed(json.dumps({"Encrypt": sealed}).encode(), sealed, name="msg_signature")


def channel_of(safe: bool) -> Channel:
    """Return the channel that reads sealed pushes, or the one that reads plain ones."""
    return CHANNEL if safe else PLAIN


def refusal(query: Any, body: bytes, channel: Channel = CHANNEL) -> str:
    """Return why a push is refused; check that the reason quotes no secret."""
    with pytest.raises(PushError) as refused:
        channel.read(query, body)
    for canary in (TOKEN, AES_KEY, "Canary"):
        assert canary not in repr(refused.value)
    return str(refused.value)


# What is read


def test_the_platforms_own_sample_is_read() -> None:
    channel = Channel(PUSHED["appid"], PUSHED["token"], PUSHED["encoding_aes_key"])
    query = {key: PUSHED[key] for key in ("timestamp", "nonce", "msg_signature")}
    body = json.dumps({"ToUserName": "gh_97417a04a28d", "Encrypt": PUSHED["Encrypt"]}).encode()
    with time_machine.travel(1714112445):
        message = channel.read(query, body)
    assert message == {
        "ToUserName": "gh_97417a04a28d",
        "FromUserName": "o9AgO5Kd5ggOC-bXrbNODIiE3bGY",
        "CreateTime": 1714112445,
        "MsgType": "event",
        "Event": "debug_demo",
        "debug_str": "hello world",
    }


def test_an_event_in_xml_has_the_same_nesting_and_only_text() -> None:
    body = b"""<?xml version="1.0" encoding="utf-8"?>
<xml>
  <MsgType><![CDATA[event]]></MsgType>
  <CreateTime>1659967849</CreateTime>
  <detail><strategy><![CDATA[a]]></strategy><errcode>0</errcode></detail>
  <detail><strategy><![CDATA[b]]></strategy><errcode>0</errcode></detail>
  <errmsg></errmsg>
  <!-- nothing -->
  <result>
    <suggest><![CDATA[\xe8\xbf\x9d & <\xe8\xa7\x84>]]></suggest>
    <label>100</label>
  </result>
</xml>
"""
    assert PLAIN.read(*signed(body)) == {
        "MsgType": "event",
        "CreateTime": "1659967849",
        "detail": [{"strategy": "a", "errcode": "0"}, {"strategy": "b", "errcode": "0"}],
        "errmsg": "",
        "result": {"suggest": "违 & <规>", "label": "100"},
    }


def test_json_in_an_xml_envelope_and_the_other_way_round() -> None:
    for inner in (b'{"a": "1"}', b"<xml><a>1</a></xml>"):
        sealed = seal_push(AES_KEY, APP, inner)
        for outer in (json.dumps({"Encrypt": sealed}), f"<xml><Encrypt>{sealed}</Encrypt></xml>"):
            query, body = signed(outer.encode(), sealed, name="msg_signature")
            assert CHANNEL.read(query, body) == {"a": "1"}


def test_anything_beside_an_envelope_is_ignored() -> None:
    # In compatible mode WeChat sends both, but only the sealed one is proven.
    sealed = seal_push(AES_KEY, APP, b'{"Event": "genuine"}')
    body = json.dumps({"Event": "forged", "Encrypt": sealed}).encode()
    assert CHANNEL.read(*signed(body, sealed, name="msg_signature")) == {"Event": "genuine"}


texts = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cn"]), max_size=20)
events = st.fixed_dictionaries(
    {"ToUserName": texts},
    optional={
        "errmsg": texts,
        "result": st.fixed_dictionaries({"suggest": texts, "label": texts}),
        "detail": st.lists(st.fixed_dictionaries({"strategy": texts}), min_size=2, max_size=3),
    },
)


@examples(max_examples=200, deadline=None)
@given(event=events, form=st.sampled_from(FORMATS))
@example(event={"ToUserName": "<![CDATA[a]]>b]]>&amp;"}, form=(True, True))
def test_read_is_the_inverse_of_write_in_all_four_formats(
    event: Any, form: tuple[bool, bool]
) -> None:
    safe, xml = form
    query, body = CHANNEL.write(event, safe=safe, xml=xml)
    assert channel_of(safe).read(query, body) == event


@pytest.mark.parametrize(("safe", "xml"), FORMATS)
def test_a_push_is_written_as_wechat_writes_it(safe: bool, xml: bool) -> None:
    query, body = CHANNEL.write(EVENT, safe=safe, xml=xml)
    plain = {"signature", "timestamp", "nonce"}
    assert query.keys() == (plain | {"msg_signature", "encrypt_type"} if safe else plain)
    assert body.startswith(b"<xml><ToUserName><![CDATA[gh_9df7d78a1234]]>" if xml else b'{"')
    assert (b"wxa_media_check" in body) is not safe
    assert CHANNEL.write(EVENT, safe=safe, xml=xml)[0]["nonce"] != query["nonce"]


def test_a_query_may_be_a_querydict_of_django() -> None:
    query, body = CHANNEL.write(EVENT, safe=True, xml=False)
    django = QueryDict(mutable=True)
    django.update(query)
    assert CHANNEL.read(django, body) == EVENT


# What is refused


@pytest.mark.parametrize(("safe", "xml"), FORMATS)
@pytest.mark.parametrize("part", ["timestamp", "nonce", "signature"])
def test_a_query_that_was_changed_is_refused(safe: bool, xml: bool, part: str) -> None:
    query, body = CHANNEL.write(EVENT, safe=safe, xml=xml)
    part = "msg_signature" if safe and part == "signature" else part
    channel = channel_of(safe)
    for wrong in ("", "0" * 40, query[part] + "0", query[part][:-1], "签名", "\ud800"):
        assert refusal({**query, part: wrong}, body, channel).endswith("signature is wrong")
    del query[part]
    assert refusal(query, body, channel).endswith("signature is wrong")


def test_another_token_is_refused() -> None:
    for safe, xml in FORMATS:
        other = Channel(APP, "another", AES_KEY if safe else "")
        why = refusal(*CHANNEL.write(EVENT, safe=safe, xml=xml), channel=other)
        assert why.endswith("signature is wrong")


def test_an_envelope_needs_the_signature_that_covers_it() -> None:
    query, body = CHANNEL.write(EVENT, safe=True, xml=False)
    _other_query, other_body = CHANNEL.write(EVENT, safe=True, xml=False)
    assert refusal(query, other_body) == "msg_signature is wrong"
    del query["msg_signature"]
    assert refusal(query, body) == "msg_signature is wrong"


OTHERS = {
    "another appid": lambda: sealed_in(b"{}", app_id="wx0000000000000002"),
    "another key": lambda: sealed_in(b"{}", aes_key="Another".ljust(43, "0")),
    "too short": lambda: signed(b'{"Encrypt": "AAAA"}', "AAAA", name="msg_signature"),
    "nothing": lambda: signed(b'{"Encrypt": ""}', "", name="msg_signature"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_an_envelope_of_another_app_or_key_is_refused(what: str) -> None:
    assert refusal(*OTHERS[what]()) == "EncodingAESKey and appid do not open it"


def test_a_channel_without_a_key_takes_plain_pushes_only() -> None:
    assert PLAIN.read(*CHANNEL.write(EVENT, safe=False, xml=False)) == EVENT
    assert "sealed" in refusal(*CHANNEL.write(EVENT, safe=True, xml=True), PLAIN)


@pytest.mark.parametrize("xml", [False, True])
def test_where_there_is_a_key_plain_pushes_are_refused(xml: bool) -> None:
    assert refusal(*CHANNEL.write(EVENT, safe=False, xml=xml)) == "not sealed"


def test_a_plain_push_cannot_be_forged_from_the_signature_of_a_sealed_one() -> None:
    # WeChat signs time and nonce of a sealed push in `signature` as well.
    query, _body = CHANNEL.write({"Event": "debug_demo"}, safe=True, xml=False)
    assert "signature" in query
    for forged in (json.dumps(EVENT), json.dumps(EVENT | {"Encrypt": None}), "<xml><a>1</a></xml>"):
        refusal(query, forged.encode())


@pytest.mark.parametrize("age", [-601, -599, 0, 599, 601, 10 * 365 * 86400])
def test_a_sealed_push_is_read_for_ten_minutes(age: int) -> None:
    sealed = seal_push(AES_KEY, APP, json.dumps(EVENT).encode())
    made_at = str(int(time.time()) - age)
    body = json.dumps({"Encrypt": sealed}).encode()
    query, _body = signed(body, sealed, name="msg_signature", timestamp=made_at)
    if abs(age) < 600:
        assert CHANNEL.read(query, body) == EVENT
    else:
        assert refusal(query, body).startswith("older than ten minutes")


@pytest.mark.parametrize(
    "text", ["", "now", "-5", "１７１４１１２４４５", "1e9", "9" * 5000, " 1714112445"]
)
def test_a_time_that_is_none_is_no_fresh_one(text: str) -> None:
    sealed = seal_push(AES_KEY, APP, b"{}")
    body = json.dumps({"Encrypt": sealed}).encode()
    query, _body = signed(body, sealed, name="msg_signature", timestamp=text)
    assert refusal(query, body).startswith("older than ten minutes")


@pytest.mark.parametrize("encrypt", [b"5", b"null", b'["AAAA"]', b'{"a": "b"}', b'"\\ud800"'])
def test_an_envelope_of_another_type_is_refused(encrypt: bytes) -> None:
    for channel in (CHANNEL, PLAIN):
        refusal(*signed(b'{"Encrypt": %s}' % encrypt), channel)
        refusal(*signed(b'{"Encrypt": %s}' % encrypt, name="msg_signature"), channel)


NESTED = b"<a>" * 9 + b"</a>" * 9
NO_MESSAGES = {
    "nothing": b"",
    "spaces": b"  \n",
    "a list": b"[]",
    "a string": b'"success"',
    "null": b"null",
    "NaN": b'{"a": NaN}',
    "half the JSON": b'{"a": ',
    "deep JSON": b'{"a":' + b"[" * 100_000,
    "a form": b"Event=wxa_media_check",
    "no UTF-8": b'{"a": "\xff"}',
    "no UTF-8 in XML": b"<xml><a>\xff</a></xml>",
    "half the XML": b"<xml><a>1</a>",
    "text in XML": b"<xml>success</xml>",
    "empty XML": b"<xml/>",
    "XML and more": b"<xml><a/></xml><xml/>",
    "nested beyond sense": b"<xml>" + NESTED + b"</xml>",
    "deep XML": b"<a>" * 35_000 + b"</a>" * 35_000,
    "deep XML, open": b"<a>" * 80_000,
    "an unbound prefix": b"<xml><a:b/></xml>",
    "a NUL": b"<xml><a>\x00</a></xml>",
}


@pytest.mark.parametrize("body", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_a_body_without_a_message_is_refused_outside_and_inside_an_envelope(body: bytes) -> None:
    reason = "neither a JSON object nor a message in XML"
    assert refusal(*signed(body)) == refusal(*signed(body), PLAIN) == reason
    if len(body) < MAX_BODY // 2:
        assert refusal(*sealed_in(body)) == reason


ENTITIES = {
    "a billion laughs": b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><xml><c>&b;</c></xml>',
    "a file": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><c>&a;</c></xml>',
    "a parameter entity": b'<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:9/">%a;]><xml/>',
    "an outer DTD": b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><xml><c>1</c></xml>',
    "a bare DTD": b"<!DOCTYPE x><xml><c>1</c></xml>",
}


@pytest.mark.parametrize("body", ENTITIES.values(), ids=ENTITIES)
def test_dtds_and_entities_are_never_read(body: bytes) -> None:
    refusal(*signed(body), PLAIN)
    refusal(*sealed_in(body))


@pytest.mark.parametrize("spare", [0, 1])
def test_a_body_has_at_most_256_kib(spare: int) -> None:
    assert MAX_BODY == 256 * 1024
    query, body = signed(b'{"a": 1}'.ljust(MAX_BODY + spare))
    if spare:
        assert "bytes" in refusal(query, body, PLAIN)
    else:
        assert PLAIN.read(query, body) == {"a": 1}


# The console's test of the address


def test_the_console_gets_its_echo() -> None:
    query, _body = signed(echostr="4375120948345356249")
    assert CHANNEL.echo(query) == "4375120948345356249"


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": "0" * 40},
        {"nonce": "1"},
        {"timestamp": ""},
        {"echostr": ""},
        {"signature": ""},
    ],
)
def test_a_wrong_query_gets_no_echo(changed: dict[str, str]) -> None:
    query, _body = signed(echostr="4375120948345356249")
    with pytest.raises(PushError):
        CHANNEL.echo({**query, **changed})
    with pytest.raises(PushError):
        CHANNEL.echo({})


# Channels


def test_a_channel_is_found_by_appid(settings: Any) -> None:
    settings.WECHAT_PUSH = {APP_ID: {"TOKEN": TOKEN, "AES_KEY": ""}}
    assert channel_for(APP_ID) == Channel(APP_ID, TOKEN)
    with pytest.raises(KeyError):
        channel_for("wxunknown")


def test_a_channel_prints_no_secret() -> None:
    assert "Canary" not in repr(CHANNEL) and APP in repr(CHANNEL)


# Verdicts on pictures


def verdict(**changed: Any) -> Verdict:
    found = media_verdict(EVENT | changed)
    assert found is not None and found.trace_id == EVENT["trace_id"]
    return found.verdict


@pytest.mark.parametrize(("safe", "xml"), FORMATS)
def test_a_verdict_is_the_same_in_every_format(safe: bool, xml: bool) -> None:
    event = channel_of(safe).read(*CHANNEL.write(EVENT, safe=safe, xml=xml))
    assert media_verdict(event) == MediaVerdict(
        "60f96f1d-3845297a-1976a3ae", Verdict(Suggestion.RISKY, "20002")
    )


@pytest.mark.parametrize("suggestion", Suggestion)
@pytest.mark.parametrize("label", [100, "100"])
def test_the_label_may_be_a_number_or_a_string(suggestion: Suggestion, label: Any) -> None:
    result = {"suggest": suggestion.value, "label": label}
    assert verdict(result=result) == Verdict(suggestion, "100")


@pytest.mark.parametrize("label", [None, "", "<b>", "1 2", -1, 1.5, [1], {"a": 1}, "1" * 10, "١"])
def test_a_label_that_is_not_a_number_is_left_out(label: Any) -> None:
    result = {"suggest": "pass", "label": label}
    assert verdict(result=result) == Verdict(Suggestion.PASS, "")
    assert verdict(result={"suggest": "pass"}) == Verdict(Suggestion.PASS, "")


UNDECIDED: dict[str, dict[str, Any]] = {
    "not fetched": {"errcode": -1008, "result": {}},
    "not fetched, in XML": {"errcode": "-1008", "result": ""},
    "an error beside a pass": {"errcode": -1008, "result": {"suggest": "pass", "label": 100}},
    "half an error": {"errcode": 0.5, "result": {"suggest": "pass", "label": 100}},
    "an errcode that is none": {"errcode": None, "result": {"suggest": "pass", "label": 100}},
    "an unknown suggestion": {"result": {"suggest": "maybe", "label": 100}},
    "a suggestion of another case": {"result": {"suggest": "PASS", "label": 100}},
    "no suggestion": {"result": {"label": 100}},
    "two suggestions": {"result": {"suggest": ["pass", "risky"], "label": 100}},
    "two results": {"result": [{"suggest": "pass"}, {"suggest": "pass"}]},
    "no result": {"result": None},
    "a result of another type": {"result": "pass"},
}


@pytest.mark.parametrize("changed", UNDECIDED.values(), ids=UNDECIDED)
def test_what_wechat_does_not_decide_is_for_a_human(changed: dict[str, Any]) -> None:
    assert verdict(**changed) == Verdict(Suggestion.REVIEW, "")


@pytest.mark.parametrize("trace_id", ["", None, 5, "a b", "a" * 65, "a/b", ["a"], "<b>", "\ud800"])
def test_a_verdict_without_a_usable_trace_id_is_refused(trace_id: Any) -> None:
    with pytest.raises(PushError):
        media_verdict(EVENT | {"trace_id": trace_id})
    with pytest.raises(PushError):
        media_verdict({"MsgType": "event", "Event": "wxa_media_check"})


@pytest.mark.parametrize(
    "changed",
    [
        {"Event": "debug_demo"},
        {"Event": ["wxa_media_check"]},
        {"Event": None},
        {"MsgType": "text", "Content": "wxa_media_check"},
    ],
)
def test_another_message_is_not_a_verdict(changed: dict[str, Any]) -> None:
    assert media_verdict(EVENT | changed) is None
    assert media_verdict({}) is None


# Withdrawn consent


# As WeChat documents 授权用户信息变更.
REVOKED: dict[str, Any] = {
    "ToUserName": "gh_870882ca4b1",
    "FromUserName": "oaKk346BaWE-eIn4oSRWbaM9vR7s",
    "CreateTime": 1627359464,
    "MsgType": "event",
    "Event": "user_authorization_revoke",
    "OpenID": "oaKk343WOktAaT4ygOX1h-7Zdkwc",
    "RevokeInfo": "6",
    "AppID": APP,
}
OPENID = REVOKED["OpenID"]
BOTH = frozenset({"nickname", "avatar"})
PURPOSES = {
    "6": BOTH,
    "14": frozenset({"avatar"}),
    "19": frozenset({"nickname"}),
    "20": frozenset({"avatar"}),
    "12": frozenset(),
    "301": frozenset(),
    "": frozenset(),
}


@pytest.mark.parametrize("xml", [False, True])
@pytest.mark.parametrize("info", PURPOSES)
def test_each_number_withdraws_what_wechat_documents(info: str, xml: bool) -> None:
    event = REVOKED | {"RevokeInfo": info}
    read = CHANNEL.read(*CHANNEL.write(event, safe=True, xml=xml))
    assert withdrawal(read) == Withdrawal(OPENID, 1627359464, PURPOSES[info])


@pytest.mark.parametrize("xml", [False, True])
def test_a_changed_profile_and_a_closed_account_are_read(xml: bool) -> None:
    modified = REVOKED | {"Event": "user_info_modified"}
    closed = REVOKED | {"Event": "user_authorization_cancellation"}
    for event, heard in (
        (modified, Withdrawal(OPENID, 1627359464, BOTH)),
        (closed, Withdrawal(OPENID, 1627359464, closes_account=True)),
    ):
        assert withdrawal(CHANNEL.read(*CHANNEL.write(event, safe=True, xml=xml))) == heard


def test_a_number_may_come_as_one() -> None:
    heard = withdrawal(REVOKED | {"RevokeInfo": 19})
    assert heard is not None and heard.purposes == {"nickname"}


@pytest.mark.parametrize(
    "changed",
    [
        *({"OpenID": wrong} for wrong in (None, "", "a b", 5, ["o"], "o" * 65)),
        *({"CreateTime": wrong} for wrong in (None, "", "x", -5, "1e9", "١", [1], "9" * 12, 1.5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("event", ["user_authorization_revoke", "user_authorization_cancellation"])
def test_a_withdrawal_without_a_person_or_a_time_is_refused(event: str, changed: Any) -> None:
    with pytest.raises(PushError):
        withdrawal(REVOKED | {"Event": event} | changed)


@pytest.mark.parametrize(
    "changed", [{"MsgType": "text"}, {"Event": "debug_demo"}, {"Event": None}, {"Event": ["x"]}]
)
def test_another_message_withdraws_nothing(changed: dict[str, Any]) -> None:
    assert withdrawal(REVOKED | changed) is None
    assert withdrawal({}) is None and withdrawal(EVENT) is None
