"""Test the frame of the console: its navigation, drawer, and what is the operator's own."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from .accessibility import fits
from .cast import both_schemes, chinese


@both_schemes
def test_the_navigation_is_a_drawer_on_a_phone(visit, family, olga: User, scheme: str) -> None:
    visitor = visit(390, scheme, olga)
    page = visitor.open("/groups/")
    drawer = page.get_by_role("navigation", name=chinese("Console"))
    expect(drawer).to_be_hidden()
    page.get_by_role("button", name=chinese("Menu")).click()
    expect(drawer).to_be_visible()
    visitor.photograph(f"drawer-390-{scheme}")
    visitor.assert_accessible()
    assert fits(page)
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    page.get_by_role("button", name=chinese("Menu")).click()
    drawer.get_by_role("link", name=chinese("Members")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(chinese("Members"))
    expect(drawer).to_be_hidden()


def test_the_navigation_stands_beside_the_page_on_a_desktop(visit, family, olga: User) -> None:
    page = visit(1280, operator=olga).open(f"/groups/{family.group.pk}/")
    drawer = page.get_by_role("navigation", name=chinese("Console"))
    expect(drawer).to_be_visible()
    expect(page.get_by_role("button", name=chinese("Menu"))).to_be_hidden()
    here = drawer.locator("[aria-current]")
    expect(here).to_have_text(chinese("Groups and rankings"))
    # One of the family awaits review.
    expect(drawer.locator(".count")).to_have_text("1")
    crumbs = page.get_by_role("navigation", name=chinese("Breadcrumbs"))
    expect(crumbs.get_by_role("link")).to_have_text(["概览", chinese("Groups and rankings")])


def test_the_keyboard_is_enough(visit, family, olga: User) -> None:
    page = visit(390, operator=olga).open("/groups/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the content
    assert page.evaluate("document.activeElement.id") == "content-start"
    page = visit(390, operator=olga).open("/groups/")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the menu
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.closest('#navigation') !== null")
    assert focused, "what the menu opened comes next"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/accounts/wechatuser/")


@pytest.mark.parametrize("width", [390, 1280])
def test_what_is_the_operators_own_stands_in_one_place(visit, olga: User, width: int) -> None:
    visitor = visit(width, operator=olga)
    page = visitor.open("/admin/account/")
    visitor.photograph(f"account-{width}", whole=True)
    own = page.locator("#me")
    expect(own).to_be_hidden()
    page.get_by_role("button", name="olga").click()
    expect(own).to_be_visible()
    visitor.photograph(f"me-{width}")
    visitor.assert_accessible()
    assert fits(page)
    own.locator(".theme-toggle").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    own.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark", "it stays"
    page.get_by_role("button", name="olga").click()
    own.get_by_role("button", name="Sign out").click()
    expect(page.locator("#login-form")).to_be_visible()


def test_another_session_is_ended(visit, olga: User) -> None:
    here, there = visit(1280, operator=olga), visit(390, operator=olga)
    page = here.open("/admin/account/")
    page.get_by_role("button", name=chinese("End this one"), exact=True).click()
    expect(page.locator(".messagelist")).to_be_visible()
    expect(page.get_by_role("button", name=chinese("End this one"), exact=True)).to_have_count(0)
    there.page.goto(f"{there.base_url}/admin/account/")
    expect(there.page.locator("#login-form")).to_be_visible()
