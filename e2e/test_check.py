"""Test the integration check in a browser, while a phone logs in and binds."""

import json
import re
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from console.models import OperatorSession
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
def test_the_page_says_that_it_updates_until_the_session_ends(
    visit, olga: User, live_server, width: int
) -> None:
    visitor = visit(width, operator=olga)
    page = visitor.open("/admin/check/")
    expect(page.get_by_text("自动更新中")).to_be_visible()
    with page.expect_response("**/admin/check/live/**"):
        pass
    assert_accessible(page)
    context = page.context
    context.set_offline(True)
    expect(page.get_by_text("网站没有响应")).to_be_visible()
    context.set_offline(False)
    expect(page.get_by_text("自动更新中")).to_be_visible()
    visitor.problems.clear()  # the calls that failed while offline
    OperatorSession.objects.all().delete()
    expect(page.get_by_text("登录已失效")).to_be_visible()
    expect(page.get_by_text("自动更新中")).to_be_hidden()
    visitor.photograph(f"check-ended-{width}")
    calls: list[str] = []
    page.on("request", lambda request: calls.append(request.url))
    page.wait_for_timeout(2500)
    assert calls == [], "it does not ask any more"
    assert_accessible(page)
    page.get_by_role("link", name="重新登录").click()
    expect(page).to_have_url(re.compile("/admin/login/[?]next=%2Fadmin%2Fcheck%2F"))


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
