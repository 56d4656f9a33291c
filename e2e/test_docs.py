"""Test the API's documentation in a browser: its first view, and its examples tried by hand."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import LazySettings
from playwright.sync_api import Locator, Page, expect

from groupsite import demo
from wechat.sandbox import Sandbox

from .accessibility import fits
from .cast import both_schemes
from .phones import Backend

FIRST_VIEW = 600_000  # bytes, of which Swagger UI's own bundle is 430 kB


@pytest.fixture
def demo_wechat(settings: LazySettings, transactional_db: None) -> Iterator[Sandbox]:
    """Let the site be that of the demo's mini-program."""
    with Sandbox({demo.APP_ID: demo.APP_SECRET}) as sandbox:
        settings.WECHAT_APPS = {demo.APP_ID: {"SECRET": demo.APP_SECRET}}
        settings.WECHAT_API_URL = sandbox.url
        yield sandbox


def tried(page: Page, name: str) -> Locator:
    """Try an operation with its example; return its block once an answer is there."""
    block = page.locator(f"[id$='-{name}'].opblock")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response-col_status").first).to_be_visible()
    return block


def answer_of(block: Locator) -> str:
    return block.locator(".live-responses-table").inner_text()


def test_the_first_try_works_from_log_in_to_ranking(visit, demo_wechat: Sandbox) -> None:
    visitor = visit(1280)
    page = visitor.open("/api/docs/")
    answer = answer_of(tried(page, "login"))
    assert "200" in answer
    token = answer.partition('"token": "')[2].partition('"')[0]
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container input").first.fill(token)
    page.locator(".auth-btn-wrapper .authorize").first.click()
    page.locator(".btn-done").first.click()
    assert '"ticket"' in answer_of(tried(page, "resolve"))
    assert '"created": true' in answer_of(tried(page, "bind"))
    assert '"isMe": true' in answer_of(tried(page, "ranking"))
    visitor.photograph("api-docs-tried", whole=True)


@both_schemes
@pytest.mark.parametrize("width", [390, 1280])
def test_the_first_view_is_light_and_follows_the_scheme(
    visit, backend: Backend, width: int, scheme: str
) -> None:
    visitor = visit(width, scheme, language="en")
    visitor.base_url = backend.url  # with our middleware also before static files
    session = visitor.page.context.new_cdp_session(visitor.page)
    received: dict[str, int] = {}
    session.on(
        "Network.loadingFinished",
        lambda event: received.update({event["requestId"]: event["encodedDataLength"]}),
    )
    session.send("Network.enable")
    page = visitor.open("/api/docs/")
    expect(page.locator(".opblock").first).to_be_visible()
    expect(page.locator(".opblock-summary-description").first).to_have_text("Log in")
    page.wait_for_load_state("networkidle")
    visitor.photograph(f"api-docs-{width}-{scheme}")
    assert 100_000 < sum(received.values()) < FIRST_VIEW
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(250, 250, 250)", "dark": "rgb(28, 32, 34)"}[scheme]
    is_dark = page.evaluate("document.documentElement.classList.contains('dark-mode')")
    assert is_dark == (scheme == "dark")
    assert fits(page)
    page.get_by_role("link", name="中文").click()
    expect(page.locator(".opblock-summary-description").first).to_have_text("登录")
    assert urlsplit(page.url).query == "lang=zh-hans"


@both_schemes
def test_the_calls_are_listed_before_any_script(visit, transactional_db, scheme: str) -> None:
    visitor = visit(390, scheme)
    session = visitor.page.context.new_cdp_session(visitor.page)
    session.send("Emulation.setScriptExecutionDisabled", {"value": True})
    page = visitor.open("/api/docs/")
    visitor.photograph(f"api-docs-list-390-{scheme}")
    expect(page.locator(".outline li").first).to_have_text("POST /api/v1/login 登录")
    assert page.locator(".outline li").count() >= 24, "each call once"
    assert fits(page)
