"""Test the console's lists and pages on a phone and a desktop, in light and in dark."""

import re

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from playwright.sync_api import expect

from groups.models import Group, Membership
from tests.settings import APP_ID, OTHER_APP_ID

from .cast import HOSTILE_NAMES, NAMES, both_schemes

WIDTHS = (390, 1280)
every_width = pytest.mark.parametrize("width", WIDTHS)


@every_width
@both_schemes
def test_a_groups_page_shows_its_ranking_and_unlisted_members(
    visit, family, olga: User, width: int, scheme: str
) -> None:
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open(f"/groups/{family.group.pk}/?board=points")
    expect(page.locator(".standings li")).to_have_count(len(NAMES + HOSTILE_NAMES))
    visitor.photograph(f"admin-group-page-{width}-{scheme}", whole=True)
    visitor.assert_accessible()
    page.click("a[href$='#unlisted']")
    expect(page.locator("#unlisted + .standings li")).to_have_count(3)
    page.locator(".more").last.click()
    visitor.photograph(f"admin-group-unlisted-{width}-{scheme}", whole=True)
    visitor.assert_accessible()


@every_width
@both_schemes
def test_a_members_page_shows_groups_scores_and_audit_events(
    visit, family, olga: User, width: int, scheme: str
) -> None:
    for member in (family.members[len(NAMES) + 3], family.members[-1]):
        visitor = visit(width, scheme, operator=olga)
        visitor.open(f"/admin/accounts/wechatuser/{member.pk}/change/")
        visitor.photograph(f"admin-member-{member.status}-{width}-{scheme}", whole=True)
        visitor.assert_accessible()


@both_schemes
def test_an_operator_hides_a_member_from_the_groups_page(
    visit, family, olga: User, scheme: str
) -> None:
    visitor = visit(390, scheme, operator=olga)
    page = visitor.open(f"/groups/{family.group.pk}/?board=points")
    page.locator(".standings .row-buttons .button").first.click()
    page.fill("[name=reason]", "举报属实")
    visitor.photograph(f"admin-act-390-{scheme}", whole=True)
    visitor.assert_accessible()
    page.locator(".why button").click()
    expect(page.locator(".standings li").first).not_to_contain_text("郑辰嘉")
    assert Membership.objects.get(user=family.members[0], group=family.group).withheld


@every_width
def test_a_memberships_page_links_to_its_actions(visit, family, olga: User, width: int) -> None:
    membership = Membership.objects.get(user=family.members[0])
    page = visit(width, operator=olga).open(f"/admin/groups/membership/{membership.pk}/change/")
    page.click("a[href*='/act/hide/']")
    expect(page).to_have_url(re.compile("/admin/act/hide/"))


@every_width
def test_an_operator_labels_groups_in_bulk(visit, crowd, olga: User, width: int) -> None:
    for name in ("小明", "W" * 32):
        crowd().add(name, 1)
    visitor = visit(width, operator=olga)
    page = visitor.open("/groups/")
    for box in page.locator("[name=group]").all():
        box.check()
    page.locator("#labels button").click()
    visitor.photograph(f"admin-labels-{width}", whole=True)
    visitor.assert_accessible()
    page.locator("[name^=label-]").first.fill("新名称")
    page.locator("form.labels button").click()
    expect(page.locator("table.groups")).to_contain_text("新名称")


@every_width
def test_lists_follow_the_chosen_mini_program(
    visit, crowd, olga: User, settings: LazySettings, width: int
) -> None:
    settings.WECHAT_APPS = {APP_ID: {"SECRET": "x"}, OTHER_APP_ID: {"SECRET": "y"}}
    crowd("一群").add("小明", 1)
    visitor = visit(width, operator=olga)
    page = visitor.open("/groups/")
    page.get_by_role("button", name="olga").click()
    page.select_option("[name=mini_program]", OTHER_APP_ID)
    page.locator("#mini-program button").click()
    expect(page.locator("table.groups")).to_have_count(0)
    visitor.photograph(f"admin-switch-{width}", whole=True)
    visitor.assert_accessible()


@pytest.mark.parametrize("language", ["zh-CN", "en-US"])
def test_the_members_list_fits_beside_its_filters(visit, family, olga: User, language: str) -> None:
    page = visit(1280, operator=olga, language=language).open("/admin/accounts/wechatuser/")
    assert (
        page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.results'))")
        == 0
    )


@pytest.mark.parametrize("chosen", ["light", "dark"])
def test_the_groups_pages_follow_the_scheme_chosen_in_the_console(
    visit, family, olga: User, chosen: str
) -> None:
    other = {"light": "dark", "dark": "light"}[chosen]
    colours = set()
    for scheme, choice in ((other, chosen), (chosen, "auto")):
        visitor = visit(1280, scheme, operator=olga)
        page = visitor.open("/admin/")
        page.evaluate(f"localStorage.setItem('theme', '{choice}')")
        page = visitor.open(f"/groups/{family.group.pk}/")
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        visitor.assert_accessible()
    assert len(colours) == 1


def test_the_sort_links_of_the_groups_do_not_overlap_in_english(visit, family, olga: User) -> None:
    page = visit(360, operator=olga, language="en-US").open("/groups/")
    for tab in page.locator(".chips a").all():
        assert tab.evaluate("e => e.scrollWidth - e.clientWidth") == 0


def test_a_name_on_a_groups_page_links_to_the_member(visit, family, olga: User) -> None:
    Group.objects.filter(pk=family.group.pk).update(hidden=True)
    page = visit(1280, operator=olga).open(f"/groups/{family.group.pk}/?board=points")
    pill = page.locator("h1 .pill.off").bounding_box()
    assert pill is not None and pill["height"] >= 20
    page.get_by_role("link", name="郑辰嘉").click()
    page.wait_for_url(f"**/wechatuser/{family.members[0].pk}/change/")
