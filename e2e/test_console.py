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
    expect(page.locator("#content tbody tr")).to_have_count(10)
    expect(page.locator("#content")).to_contain_text("样例")
    visitor.photograph(f"preview-{width}-{scheme}", whole=True)
    assert not Board.objects.filter(key="steps").exists()
    page.get_by_role("link", name="返回修改").click()
    page.click("[name=_save]")
    page.wait_for_url("**/admin/groups/board/")
    assert Board.objects.get(key="steps").app_id == APP_ID


@every_width
@both_schemes
def test_a_server_key_is_shown_once(visit, olga: User, width: int, scheme: str) -> None:
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/groups/serverkey/add/")
    page.fill("[name=name]", "结算服务")
    page.click("[name=_save]")
    text = page.inner_text("#key-text")
    assert re.fullmatch(r"[\w-]{43}", text) and ServerKey.objects.valid(text)
    visitor.photograph(f"server-key-{width}-{scheme}", whole=True)
    assert fits(page)
    page.get_by_role("link", name="我已复制").click()
    assert text not in page.content()


def test_an_operator_downloads_a_ranking(visit, crowd, olga: User) -> None:
    family = crowd("全家福")
    family.add("小明", 7)
    visitor = visit(1280, operator=olga)
    page = visitor.open(f"/groups/{family.group.pk}/")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    rows = download.value.path().read_text("utf-8-sig").splitlines()
    assert len(rows) == 2 and "小明" in rows[1]
