"""Test signing in with a second factor, and the page of an export, in a browser."""

from base64 import b32decode
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP
from playwright.sync_api import expect

from console.models import OperatorSession, SecondFactor
from core import limits

from .accessibility import assert_accessible
from .cast import both_schemes

every_width = pytest.mark.parametrize("width", [360, 1280])
PASSWORD = "a password only olga knows"


@every_width
@both_schemes
def test_an_operator_sets_up_a_second_factor_and_signs_in(
    visit, olga: User, settings, width: int, scheme: str
) -> None:
    settings.OPERATOR_TOTP = True
    limits.limiter_on.cache_clear()
    olga.set_password(PASSWORD)
    olga.save()
    visitor = visit(width, scheme)
    page = visitor.open("/admin/")
    page.fill("[name=username]", "olga")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    key = page.locator(".secret").inner_text().replace(" ", "")
    qr = page.locator(".qr img")
    assert qr.evaluate("image => image.complete && image.naturalWidth > 0")
    visitor.photograph(f"otp-enrol-{width}-{scheme}", whole=True)
    assert_accessible(page)

    page.fill("[name=code]", "000000")
    page.click("#login-form [type=submit]")
    expect(page.locator(".errorlist")).to_be_visible()
    page.fill("[name=code]", f"{TOTP(b32decode(key)).token():06}")
    page.click("#login-form [type=submit]")
    expect(page.locator(".codes li")).to_have_count(10)
    visitor.photograph(f"otp-codes-{width}-{scheme}", whole=True)
    assert_accessible(page)
    code = page.locator(".codes code").first.inner_text()
    page.locator("a.default").click()
    page.wait_for_url("**/admin/")
    expect(page.locator(".me-button")).to_be_visible()

    visitor.open("/admin/otp/")
    visitor.photograph(f"otp-renew-{width}-{scheme}", whole=True)
    assert_accessible(page)

    SecondFactor.objects.update(throttling_failure_timestamp=timezone.now())
    other = visit(width, scheme, operator=olga)
    page = other.open("/admin/")
    page.fill("[name=code]", "000000")
    page.click("#login-form [type=submit]")
    expect(page.locator(".errorlist")).to_be_visible()
    other.photograph(f"otp-enter-{width}-{scheme}", whole=True)
    assert_accessible(page)
    page.wait_for_timeout(1100)
    page.fill("[name=code]", code.upper())
    page.click("#login-form [type=submit]")
    page.wait_for_url("**/admin/")


@every_width
@both_schemes
def test_guessing_passwords_is_slowed_down(visit, olga: User, width: int, scheme: str) -> None:
    limits.limiter_on.cache_clear()
    visitor = visit(width, scheme)
    page = visitor.open("/admin/login/")
    for _ in range(6):
        page.fill("[name=username]", "olga")
        page.fill("[name=password]", "wrong")
        page.click("[type=submit]")
        page.wait_for_load_state()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    visitor.photograph(f"guesses-{width}-{scheme}", whole=True)
    assert_accessible(page)
    limits.limiter_on.cache_clear()


@every_width
@both_schemes
def test_a_filtered_list_is_downloaded(visit, crowd, olga: User, width: int, scheme: str) -> None:
    family = crowd("全家福")
    for name in ("小明", "小红", "李雷"):
        family.add(name, 7)
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/export/members/?q=小")
    visitor.photograph(f"export-{width}-{scheme}", whole=True)
    assert_accessible(page)
    page.check("[name=openids]")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    head, *rows = download.value.path().read_text("utf-8-sig").splitlines()
    assert "openid" in head and len(rows) == 2
    with page.expect_download() as download:
        page.get_by_role("button", name="XLSX").click()
    assert download.value.suggested_filename.endswith(".xlsx")


@every_width
@both_schemes
def test_a_form_that_is_sent_after_the_session_ended_is_not_lost_without_a_word(
    visit, crowd, olga: User, width: int, scheme: str
) -> None:
    family = crowd("全家福")
    olga.set_password(PASSWORD)
    olga.save()
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open(f"/admin/act/hide_group/{family.group.pk}/")
    page.fill("[name=reason]", "群里全是广告，成员举报了三次")
    OperatorSession.objects.update(seen_at=timezone.now() - timedelta(hours=2))
    page.locator(".act .tools [type=submit], .why [type=submit]").first.click()
    expect(page.locator("textarea")).to_have_value("群里全是广告，成员举报了三次")
    visitor.photograph(f"session-ended-{width}-{scheme}", whole=True)
    assert_accessible(page)
    page.locator("main a").click()
    page.wait_for_url("**/admin/login/**")
    visitor.photograph(f"login-{width}-{scheme}", whole=True)
    assert_accessible(page)
    page.fill("[name=username]", "olga")
    page.fill("[name=password]", PASSWORD)
    page.click("#login-form [type=submit]")
    expect(page.locator(".me-button")).to_be_visible()
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert {"__Host-sessionid", "__Host-csrftoken"} <= set(cookies)
    assert all(cookie["secure"] and cookie["httpOnly"] for cookie in cookies.values())
    visitor.open("/admin/account/")
    visitor.photograph(f"account-{width}-{scheme}", whole=True)
    assert_accessible(page)


@every_width
@both_schemes
def test_an_operator_is_signed_out_by_another(visit, olga: User, width: int, scheme: str) -> None:
    otto = User.objects.create_user("otto", is_staff=True)
    for agent in ("Chrome/142 Windows Edg/142", "Version/19.0 Safari/604.1 iPhone"):
        Client(headers={"User-Agent": agent}).force_login(otto)
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open(f"/admin/auth/user/{otto.pk}/change/")
    page.get_by_role("button", name="生成新的登录链接").click()
    visitor.photograph(f"operator-link-{width}-{scheme}", whole=True)
    page.get_by_role("link", name="登录中的会话").click()
    expect(page.locator(".effect div")).to_have_count(2)
    visitor.photograph(f"end-sessions-{width}-{scheme}", whole=True)
    assert_accessible(page)
    page.get_by_label("设备丢失").check()
    page.get_by_role("button", name="结束会话").click()
    page.wait_for_url(f"**/admin/auth/user/{otto.pk}/change/")
    assert otto.sessions.count() == 0
