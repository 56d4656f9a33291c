"""Test boards and their preview, server keys, and the download of a ranking in a browser."""

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from groups.models import Board, ServerKey
from tests.settings import APP_ID

from .accessibility import fits
from .cast import NAMES, both_schemes

WIDTHS = (360, 1280)
every_width = pytest.mark.parametrize("width", WIDTHS)


@every_width
@both_schemes
def test_an_operator_previews_a_board_before_saving_it(
    visit, crowd, olga: User, width: int, scheme: str
) -> None:
    family = crowd("全家福")
    for place, name in enumerate(NAMES):
        family.add(name, place)
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/groups/board/add/")
    page.fill("[name=key]", "steps")
    page.fill("[name=title_zh]", "步数")
    page.fill("[name=title_en]", "Steps")
    page.fill("[name=unit_zh]", "步")
    visitor.photograph(f"board-{width}-{scheme}", whole=True)
    page.click("[name=_preview]")
    expect(page.locator("#preview tbody tr")).to_have_count(10)
    expect(page.locator("#preview")).to_contain_text("样例")
    expect(page.locator("#preview")).to_be_in_viewport()
    visitor.photograph(f"preview-{width}-{scheme}", whole=True)
    assert fits(page)
    visitor.assert_accessible()
    assert not Board.objects.filter(key="steps").exists()
    assert page.input_value("[name=title_zh]") == "步数"
    page.click("[name=_save]")
    page.wait_for_url(re.compile(r"/admin/groups/board/(#.*)?$"))
    assert Board.objects.get(key="steps").app_id == APP_ID
    visitor.photograph(f"boards-{width}-{scheme}", whole=True)


@every_width
@both_schemes
def test_a_board_that_cannot_be_changed_has_a_preview(
    visit, family, olga: User, width: int, scheme: str
) -> None:
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open(f"/admin/groups/board/{Board.objects.active_days().pk}/change/")
    page.get_by_role("link", name="预览").click()
    expect(page.locator("#preview tbody tr").first).to_be_visible()
    page.evaluate("scrollTo(0, 0)")  # or the bar of the frame hides half of a button
    visitor.photograph(f"fixed-board-{width}-{scheme}", whole=True)
    assert fits(page)
    visitor.assert_accessible()


@every_width
@both_schemes
def test_a_stale_form_says_what_changed(
    visit, points: Board, olga: User, width: int, scheme: str
) -> None:
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open(f"/admin/groups/board/{points.pk}/change/")
    Board.objects.filter(pk=points.pk).update(title_zh="总积分", order="asc")
    page.fill("[name=title_zh]", "我的积分")
    page.click("[name=_save]")
    expect(page.locator("#content")).to_contain_text("总积分")
    assert page.input_value("[name=title_zh]") == "我的积分"
    visitor.photograph(f"stale-{width}-{scheme}", whole=True)
    assert fits(page)
    visitor.assert_accessible()
    page.click("[name=_save]")
    page.wait_for_url(re.compile(r"/admin/groups/board/(#.*)?$"))


@every_width
@both_schemes
def test_a_server_key_is_shown_once(visit, olga: User, width: int, scheme: str) -> None:
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/groups/serverkey/add/")
    page.fill("[name=name]", "结算服务")
    page.click("[name=_save]")
    text = page.inner_text("#shown-once")
    assert re.fullmatch(r"gsk_[\w-]{43}", text) and ServerKey.objects.valid(text)
    visitor.photograph(f"server-key-{width}-{scheme}", whole=True)
    assert fits(page)
    visitor.assert_accessible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="复制").click()
    expect(page.get_by_role("status")).to_have_text("已复制")
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.reload()
    assert text not in page.content() and ServerKey.objects.count() == 1
    page.get_by_role("link", name="轮换").click()
    page.fill("[name=reason]", "泄露")
    visitor.photograph(f"rotate-{width}-{scheme}", whole=True)
    assert fits(page)
    visitor.assert_accessible()
    page.get_by_role("button", name="轮换").click()
    assert page.inner_text("#shown-once") != text
    visitor.open("/admin/groups/serverkey/")
    visitor.photograph(f"server-keys-{width}-{scheme}", whole=True)


@every_width
@both_schemes
def test_a_new_operator_gets_a_role_and_a_link(visit, olga: User, width: int, scheme: str) -> None:
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/auth/user/add/")
    page.fill("[name=username]", "vera")
    page.fill("[name=first_name]", "王薇")
    visitor.photograph(f"new-operator-{width}-{scheme}", whole=True)
    assert fits(page)
    visitor.assert_accessible()
    page.get_by_role("radio", name=re.compile("^审核员")).check()
    page.click("[name=_save]")
    link = page.inner_text("#shown-once")
    visitor.photograph(f"operator-link-{width}-{scheme}", whole=True)
    assert fits(page)
    visitor.assert_accessible()
    assert User.objects.get(username="vera").groups.get().name == "moderator"
    page.get_by_role("button", name="复制").click()
    expect(page.get_by_role("status")).to_have_text("已复制")
    visitor.open("/admin/auth/user/")
    visitor.photograph(f"operators-{width}-{scheme}", whole=True)
    visitor.open("/admin/auth/group/")
    visitor.photograph(f"roles-{width}-{scheme}", whole=True)
    page.get_by_role("link", name="审核员").click()
    visitor.photograph(f"role-{width}-{scheme}", whole=True)
    assert fits(page)
    visitor.assert_accessible()
    visitor.open(f"/admin/auth/user/{User.objects.get(username='vera').pk}/password/")
    visitor.photograph(f"password-{width}-{scheme}", whole=True)
    visitor.assert_accessible()
    page.goto(link)
    page.get_by_role("button").first.click()
    page.wait_for_url("**/groups/")


@pytest.mark.parametrize(
    ("section", "fields", "most"),
    [
        ("管理员", {"username": "vera"}, 3),
        ("服务端密钥", {"name": "结算服务"}, 3),
        ("榜单", {"key": "steps", "title_zh": "步数", "title_en": "Steps"}, 4),
    ],
)
def test_clicks_from_the_front_page(
    visit, olga: User, section: str, fields: dict[str, str], most: int
) -> None:
    page = visit(1280, operator=olga).open("/admin/")
    clicks = 0

    def click(name: str, role: str = "link") -> None:
        nonlocal clicks
        page.get_by_role(role, name=name).first.click()
        clicks += 1

    click(section)
    click("新增")
    for name, value in fields.items():
        page.fill(f"[name={name}]", value)
    click("保存", "button")
    assert clicks <= most
    made = {"管理员": "#shown-once", "服务端密钥": "#shown-once", "榜单": ".messagelist"}
    expect(page.locator(made[section]).first).to_be_visible()


def test_an_operator_downloads_a_ranking(visit, crowd, olga: User) -> None:
    family = crowd("全家福")
    family.add("小明", 7)
    visitor = visit(1280, operator=olga)
    page = visitor.open(f"/groups/{family.group.pk}/")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    rows = download.value.path().read_text("utf-8-sig").splitlines()
    assert len(rows) == 2 and "小明" in rows[1]


@every_width
def test_what_is_done_to_all_that_are_ticked_is_offered_once_something_is(
    visit, crowd, olga: User, width: int
) -> None:
    family = crowd("全家福")
    for name in NAMES[:3]:
        member = family.add(name, 7)
        member.propose("nickname", f"{name}新")
        member.save()
    visitor = visit(width, operator=olga)
    page = visitor.open("/groups/")
    expect(page.locator(".bulk")).to_be_hidden()
    page.locator("[name=group]").check()
    expect(page.locator(".bulk button")).to_be_in_viewport()
    visitor.assert_accessible()
    page = visitor.open("/admin/review/")
    expect(page.locator("#selected")).to_be_hidden()
    expect(page.locator(".every button")).to_have_text("通过本页全部 3 项")
    page.locator(".queue [type=checkbox]").first.check()
    expect(page.locator(".every")).to_be_hidden()
    expect(page.locator("#selected")).to_be_in_viewport()
    visitor.assert_accessible()


@every_width
@both_schemes
def test_the_page_of_an_action_and_a_correction_are_readable_and_accessible(
    visit, family, olga: User, width: int, scheme: str
) -> None:
    member = family.members[1]
    membership = family.group.memberships.get(user=member)
    score = member.scores.get(period__contains="-W")
    visitor = visit(width, scheme, operator=olga)
    for name, path in {
        "hide": f"act/hide/{membership.pk}/",
        "block": f"act/block/{member.pk}/",
        "erase": f"act/erase/{member.pk}/",
        "correct": f"groups/score/{score.pk}/change/",
    }.items():
        page = visitor.open(f"/admin/{path}")
        expect(page.locator("[autofocus]")).to_be_focused()
        visitor.photograph(f"act-{name}-{width}-{scheme}", whole=True)
        page.set_viewport_size({"width": 320, "height": 740})
        assert fits(page), name
        page.set_viewport_size({"width": width, "height": 900})
        visitor.assert_accessible()
