"""The OpenAPI schema agrees with what the code accepts."""

import re
from base64 import b64encode
from datetime import date
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from groups.periods import PATTERN, Period, UnreadablePeriod, Window
from tests.cast import Person
from wechat.crypto import DATA_PATTERN, IV_PATTERN, Envelope, MalformedEnvelopeError

pytestmark = pytest.mark.no_service

IV = b64encode(bytes(16)).decode()


@pytest.fixture
def schema(client: Any) -> dict[str, Any]:
    answer = client.get("/api/schema/", headers={"Accept": "application/json"})
    return dict(answer.json())


def matches(pattern: str, text: str) -> bool:
    """Match `text` as JavaScript does, where `$` is the very end."""
    return re.search(pattern.removesuffix("$") + r"\Z", text, re.ASCII) is not None


def opens(data: str, iv: str = IV) -> bool:
    try:
        Envelope.parse(data, iv)
    except MalformedEnvelopeError:
        return False
    return True


# Envelopes


def test_the_patterns_of_an_envelope_are_right_at_every_length() -> None:
    for size in range(200):
        text = b64encode(bytes(range(256 - size, 256))).decode()
        assert matches(DATA_PATTERN, text) == opens(text) == (size > 0 and size % 16 == 0)
        assert matches(IV_PATTERN, text) == opens(IV, text) == (size == 16)


@given(st.from_regex(DATA_PATTERN.removesuffix("$") + r"\Z"))
def test_a_text_that_matches_is_well_formed(text: str) -> None:
    assert opens(text)


@given(st.binary(min_size=16, max_size=80), st.data())
def test_a_text_that_does_not_match_is_malformed(raw: bytes, data: Any) -> None:
    text = list(b64encode(raw).decode())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] = data.draw(st.sampled_from("AQgwBEIM4_-=+/ \n"))
    assert matches(DATA_PATTERN, "".join(text)) == opens("".join(text))


# Other texts


@given(st.dates(date(2000, 1, 1), date(2026, 11, 1)), st.sampled_from(Window))
def test_every_period_matches(day: date, window: Window) -> None:
    assert matches(PATTERN, Period.holding(window, day).key)
    assert matches(PATTERN, window.value)


@pytest.mark.parametrize(
    "text", ["", "year", "week ", "2026", "2026-11-22\n", "2026-w47", "x2026-11", "٢٠٢٦-11"]
)
def test_a_text_that_does_not_match_is_not_a_period(text: str) -> None:
    assert not matches(PATTERN, text)
    with pytest.raises(UnreadablePeriod):
        Period.parse(text, timezone.now())


def test_the_texts_of_every_input_have_a_pattern(schema: dict[str, Any]) -> None:
    shapes = schema["components"]["schemas"]
    patterns = {
        f"{name}.{key}": field.get("pattern")
        for name, shape in shapes.items()
        if name.endswith("Input")
        for key, field in shape.get("properties", {}).items()
        if field.get("type") == "string" and field.get("format") != "binary"
    }
    assert patterns["EnvelopeInput.encryptedData"] == patterns["BindEnvelopeInput.encryptedData"]
    assert patterns.pop("MeInput.nickname") is None
    assert patterns.pop("MembershipInput.alias") is None
    assert patterns.pop("SessionInput.nickname") is None
    assert patterns.pop("ServerUserInput.nickname") is None
    assert None not in patterns.values()
    assert shapes["MeInput"]["properties"]["nickname"]["minLength"] == 1


def test_every_body_that_must_be_sent_is_required(schema: dict[str, Any]) -> None:
    required = {
        call["operationId"]: call["requestBody"].get("required", False)
        for calls in schema["paths"].values()
        for call in calls.values()
        if "requestBody" in call
    }
    optional = {name for name, must in required.items() if not must}
    assert {"login", "bind", "resolve", "update_me"} <= required.keys() - optional
    assert optional == {"update_membership", "link", "logout"}


@pytest.mark.parametrize("key", ["openGId", "openid"])
def test_an_id_with_a_space_is_another_id(alice: Person, key: str) -> None:
    ticket = alice.post("groups/resolve", alice.envelope("family")).json()
    body = {name: ticket[name] for name in ("openGId", "openid", "ticket")}
    answer = alice.post("groups/bind", body | {key: f" {body[key]}"})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [key])
