"""The orders in which mini-programs log in, fetch and bind, over HTTP, and how each of them ends:
as the table in docs/miniprogram.md says.

The sandbox makes a new session_key at every wx.login, the worst that WeChat may do.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.utils import timezone

from accounts.models import WeChatUser
from tests.settings import APP_ID
from wechat.sandbox import Phone, Sandbox

DOCS = Path(__file__).resolve().parent.parent / "docs"


class Member:
    """Dana's mini-program, opened from a card in the family's group."""

    def __init__(self, site_url: str, phone: Phone) -> None:
        self.api = f"{site_url}/api/v1"
        self.phone = phone
        self.token = ""
        phone.open_card("family")

    def post(self, path: str, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with requests.Session() as http:
            http.trust_env = False
            answer = http.post(f"{self.api}/{path}", json=body, headers=headers, timeout=10)
        return answer.status_code, answer.json()

    def exchange(self, code: str) -> None:
        status, body = self.post("login", {"code": code})
        assert status == 200, body
        self.token = body["token"]

    def log_in(self) -> None:
        self.exchange(self.phone.login())

    def fetch(self) -> dict[str, str]:
        return self.phone.group_enter_info()

    def bind(self, envelope: dict[str, str]) -> str:
        """Bind; return how it ended: "bound", or the error's code."""
        status, body = self.post("groups/bind", envelope)
        return "bound" if status in {200, 201} else str(body["code"])


def fetch_then_log_in(dana: Member) -> str:
    envelope = dana.fetch()
    dana.log_in()
    return dana.bind(envelope)


def log_in_twice_without_an_exchange(dana: Member) -> str:
    dana.log_in()
    dana.phone.login()
    return dana.bind(dana.fetch())


def log_in_twice_at_once(dana: Member) -> str:
    first, second = dana.phone.login(), dana.phone.login()
    dana.exchange(second)
    dana.exchange(first)
    return dana.bind(dana.fetch())


def send_the_same_again(dana: Member) -> str:
    envelope = stale_envelope(dana)
    dana.log_in()
    return dana.bind(envelope)


def fetch_again(dana: Member) -> str:
    stale_envelope(dana)
    dana.log_in()
    return dana.bind(dana.fetch())


def stale_envelope(dana: Member) -> dict[str, str]:
    """Make an envelope after a wx.login that the server does not know of; see it refused."""
    dana.log_in()
    dana.phone.login()
    envelope = dana.fetch()
    assert dana.bind(envelope) == "session_stale"
    return envelope


Order = Callable[[Member], str]

ORDERS: list[Order] = [
    fetch_then_log_in,
    log_in_twice_without_an_exchange,
    log_in_twice_at_once,
    send_the_same_again,
    fetch_again,
]


@pytest.fixture
def dana(live_server: Any, sandbox: Sandbox) -> Member:
    return Member(live_server.url, Phone(sandbox.url, "dana", APP_ID))


def endings(document: str) -> list[str]:
    """Read the last column of the table of orders, whose rows are numbered."""
    text = (DOCS / document).read_text()
    return [found[1] for found in re.finditer(r"^\| \d \|.*\| `(\w+)`[^|]*\|$", text, re.MULTILINE)]


@pytest.mark.parametrize("number", range(1, len(ORDERS) + 1), ids=lambda n: ORDERS[n - 1].__name__)
def test_each_order_ends_as_the_table_says(dana: Member, number: int) -> None:
    ending = ORDERS[number - 1](dana)
    for document in ("miniprogram.md", "miniprogram.zh-CN.md"):
        table = endings(document)
        assert len(table) == len(ORDERS)
        assert table[number - 1] == ending


def test_the_previous_key_opens_for_ten_minutes(dana: Member) -> None:
    assert log_in_twice_at_once(dana) == "bound"
    user = WeChatUser.objects.get()
    user.session_key_at = timezone.now() - timedelta(minutes=10, seconds=1)
    user.save()
    assert dana.bind(dana.fetch()) == "session_stale"


def test_log_in_then_fetch_then_bind_works(dana: Member) -> None:
    dana.log_in()
    assert dana.bind(dana.fetch()) == "bound"
    assert dana.bind(dana.fetch()) == "bound"
