"""Test an operator's day: find a group by a name in it, act, undo, export, read the audit log."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django.utils.translation import override
from playwright.sync_api import Page, expect

from accounts.models import Token
from audit.models import AuditEvent
from console.actions import RECORDED
from groups.models import Group

from .accessibility import assert_accessible, assert_readable
from .cast import HOSTILE_NAMES, NAMES, both_schemes, chinese

WIDTHS = (360, 1280)
every_width = pytest.mark.parametrize("width", WIDTHS)


def names_in_the_api(crowd, member) -> list[str]:
    token, _row = Token.objects.issue(member, timezone.now())
    path = f"/api/v1/groups/{crowd.group.open_gid}/ranking"
    entries = Client().get(path, headers={"Authorization": f"Bearer {token}"}).json()["entries"]
    return [entry["member"]["nickname"] for entry in entries]


def label_of(key: str) -> str:
    with override("zh-hans"):
        return str(RECORDED[key])


def act(page: Page, name: str, key: str) -> None:
    """Open an action of the row with this name, and give a reason."""
    row = page.locator(".standings li", has_text=name)
    row.get_by_role("link", name=label_of(key), exact=True).locator("visible=true").first.click()
    page.fill("[name=reason]", "群里有人投诉")
    page.locator("#content button[type=submit]").click()


@every_width
@both_schemes
def test_an_operators_day(visit, crowd, olga: User, width: int, scheme: str) -> None:
    for label in ("周末爬山", "三年二班家长群 🎒", "读书会"):
        crowd(label).add(f"{label}的人", 1)
    family = crowd("产品设计交流群")
    for place, name in enumerate(NAMES):
        family.add(name, 20 - place, 20 - place * 7 % 5)
    alice = family.members[0]

    visitor = visit(width, scheme, olga)
    page = visitor.open("/groups/")
    page.fill("[name=q]", "韩梅")
    page.get_by_role("button", name=chinese("Search")).click()
    expect(page.locator(".groups tbody tr")).to_have_count(1)
    visitor.photograph(f"day-found-{width}-{scheme}")
    page.get_by_role("link", name="产品设计交流群").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("产品设计交流群")
    assert "韩梅梅" in names_in_the_api(family, alice)

    act(page, "韩梅梅", "hide")
    expect(page.locator(".messagelist")).to_be_visible()
    visitor.photograph(f"day-hidden-{width}-{scheme}")
    assert_readable(page)
    assert_accessible(page)
    expect(page.locator(".standings li", has_text="韩梅梅")).to_have_count(0)
    assert "韩梅梅" not in names_in_the_api(family, alice)
    assert "韩梅梅" not in visit().open(family.path_for(alice)).content()

    page.locator(".messagelist a").click()
    page.fill("[name=reason]", "误会")
    page.locator("#content button[type=submit]").click()
    expect(page.locator(".standings li", has_text="韩梅梅")).to_have_count(1)
    assert "韩梅梅" in names_in_the_api(family, alice)

    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "韩梅梅" in download.value.path().read_text("utf-8-sig")

    page = visitor.open("/admin/audit/auditevent/")
    done = page.locator("#result_list .field-what")
    expect(done).to_have_text([label_of(key) for key in ("export", "show", "hide")])
    expect(page.locator("#result_list")).to_contain_text("群里有人投诉")
    visitor.photograph(f"day-audit-{width}-{scheme}", whole=True)
    kept = AuditEvent.objects.filter(group_id=family.group.pk).order_by("pk")
    assert [event.action for event in kept] == ["hide", "show", "export"]
    assert all(event.operator_name == "olga" for event in kept)


@every_width
@both_schemes
def test_the_list_and_a_groups_page_are_accessible(
    visit, crowd, points, olga: User, width: int, scheme: str
) -> None:
    for label in ("周末爬山", "", "ﷺ" * 20 + "W" * 40):
        group = crowd(label)
        for name in NAMES[: len(label) % 7 + 1]:
            group.add(name, 3)
    family = crowd("产品设计交流群", points)
    for place, name in enumerate(NAMES + HOSTILE_NAMES):
        family.add(name, 9781 - place * 97 if place < 18 else None, 9000 - place * 31 % 7)
    Group.objects.filter(label="周末爬山").update(hidden=True)
    visitor = visit(width, scheme, olga)
    page = visitor.open("/groups/?sort=members")
    visitor.photograph(f"groups-{width}-{scheme}", whole=True)
    expect(page.locator(".groups tbody tr").first).to_contain_text("产品设计交流群")
    assert_readable(page)
    assert_accessible(page)
    page = visitor.open(f"/groups/{family.group.pk}/?board=points")
    visitor.photograph(f"operators-{width}-{scheme}")
    expect(page.get_by_role("navigation", name=chinese("Board")).locator("a")).to_have_count(2)
    assert_readable(page)
    assert_accessible(page)
    page.locator(".standings summary").nth(1).click()
    visitor.photograph(f"operators-open-{width}-{scheme}")
    links = [link for link in page.locator(".menu a").all() if link.is_visible()]
    for link in links:
        box = link.bounding_box()
        assert box is not None
        assert box["height"] < 44, "a label on one line"
    assert len(links) >= 3
    assert_readable(page)
    assert_accessible(page)


ODD = ["\u3164\u3164", "\u202e\u2066\u2067ab", "𒐫" * 32, "=1+1"]
OPERATORS = ("/groups/", "/groups/?q=script", "/groups/{}/", "/groups/{}/?period=all")


@pytest.mark.parametrize("width", [320, 1280])
def test_hostile_names_break_no_layout_and_run_no_script(
    visit, crowd, olga: User, width: int
) -> None:
    group = crowd()
    for number, nickname in enumerate(HOSTILE_NAMES + ODD):
        group.add(nickname, 90 - number, number)
    crowd("<script>alert(2)</script>").add("x")
    crowd("W" * 60)
    visitor = visit(width, operator=olga)
    for path in (*OPERATORS, group.path_for(group.members[2])):
        page = visitor.open(path.format(group.group.pk))
        visitor.photograph(f"odd-{OPERATORS.index(path) if path in OPERATORS else 'm'}-{width}")
        assert_readable(page)
        expect(page.locator("script:not([src])")).to_have_count(0)
        for row in page.locator(".standings li, .rows li, .groups tbody tr").all():
            assert row.evaluate("it => it.scrollWidth <= it.clientWidth")
    download = Client()
    download.force_login(olga)
    sheet = download.get(f"/admin/export/ranking/{group.group.pk}.csv").content.decode("utf-8-sig")
    assert "'=1+1" in sheet and ",=1+1" not in sheet
