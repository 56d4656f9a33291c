"""Test the integration check in a browser, while a phone logs in and binds."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from tests.settings import APP_ID
from wechat.crypto import seal
from wechat.sandbox import Phone, Sandbox

from .accessibility import assert_accessible
from .cast import both_schemes

every_width = pytest.mark.parametrize("width", [360, 1280])


def post(address: str, body: dict[str, Any], token: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with urlopen(Request(address, json.dumps(body).encode(), headers)) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)


@every_width
@both_schemes
def test_an_operator_sees_live_at_which_step_a_bind_fails(
    visit,
    olga: User,
    live_server,
    wechat: Sandbox,
    width: int,
    scheme: str,
) -> None:
    api = f"{live_server.url}/api/v1/"
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/check/")
    page.click("button[value=next]")
    page.wait_for_url(f"**/admin/check/?app={APP_ID}")
    page.evaluate("window.sameDocument = true")

    phone = Phone(wechat.url, "alice", APP_ID)
    _status, session = post(api + "login", {"code": phone.login()})
    expect(page.locator("article")).to_have_count(1)
    envelope = phone.share_info(phone.open_card("family")["shareTicket"])
    assert post(api + "groups/bind", envelope, session["token"])[0] == 201
    expect(page.locator("article")).to_have_count(2)
    expect(page.locator("article").first.locator("li.passed")).to_have_count(5)
    forged = seal("QUJDREVGR0hJSktMTU5PUA==", {"openGId": "tGxForged"})
    status, refusal = post(api + "groups/bind", forged, session["token"])
    assert (status, refusal["code"]) == (409, "session_stale")
    newest = page.locator("article").first
    expect(newest).to_contain_text(refusal["requestId"])
    expect(newest.locator("li.failed")).to_have_count(1)
    expect(newest).to_contain_text("wx.login")
    assert page.evaluate("window.sameDocument")

    visitor.photograph(f"check-{width}-{scheme}", whole=True)
    assert_accessible(page)


@every_width
@both_schemes
def test_an_operator_tests_a_secret(
    visit,
    olga: User,
    wechat: Sandbox,
    width: int,
    scheme: str,
) -> None:
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/check/credentials/")
    page.fill("[name=appid]", APP_ID)
    page.fill("[name=secret]", "a-secret-mistyped")
    page.click("#content button[type=submit]")
    expect(page.locator("[role=status]")).to_contain_text("40125")
    assert "a-secret-mistyped" not in page.content()
    visitor.photograph(f"credentials-{width}-{scheme}", whole=True)
    assert_accessible(page)
