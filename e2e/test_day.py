"""Test an operator's day: find a member by name, act, undo, export, read the audit log; and how
many clicks the work of a day takes, without what is typed."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django.utils.translation import override
from playwright.sync_api import Page, expect

from accounts.models import Token
from audit.models import AuditEvent
from console.actions import RECORDED
from groups.models import Board, Group
from tests.settings import APP_ID

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
    page.keyboard.press("Enter")


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
    page.locator(".matches a", has_text="韩梅梅").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("产品设计交流群")
    expect(page.locator(".standings li.found")).to_contain_text("韩梅梅")
    expect(page.locator(".standings li.found")).to_be_in_viewport()
    assert "韩梅梅" in names_in_the_api(family, alice)

    act(page, "韩梅梅", "hide")
    expect(page.locator(".messagelist")).to_be_visible()
    visitor.photograph(f"day-hidden-{width}-{scheme}")
    assert_readable(page)
    assert_accessible(page)
    expect(page.locator("ol.standings li", has_text="韩梅梅")).to_have_count(0)
    assert "韩梅梅" not in names_in_the_api(family, alice)
    assert "韩梅梅" not in visit().open(family.path_for(alice)).content()

    expect(page.locator(".messagelist")).to_contain_text("已隐藏 韩梅梅 · 产品设计交流群")
    page.locator(".messagelist button").click()
    expect(page.locator("ol.standings li", has_text="韩梅梅")).to_have_count(1)
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
    assert_accessible(page, but="target-size")  # an open menu covers parts of other buttons


class Clicks:
    """A page on which clicks are counted."""

    def __init__(self, page: Page) -> None:
        self.page, self.count = page, 0

    def click(self, selector: str, **which: str) -> None:
        self.page.locator(selector, **which).locator("visible=true").first.click()
        self.count += 1


def search(page: Page, text: str) -> None:
    """Type a name into the search of the group list, with Enter."""
    page.fill("[name=q]", text)
    page.keyboard.press("Enter")


def test_the_work_of_a_day_takes_few_clicks(visit, crowd, points, olga: User) -> None:
    family = crowd("产品设计交流群", points)
    for place, name in enumerate(NAMES):
        family.add(name, 900 - place)
    Board.objects.filter(pk=points.pk).update(default_for=APP_ID)
    unnamed = crowd("")
    unnamed.add("周杰", 1)
    page = visit(1280, operator=olga).open("/admin/")
    base = page.url.removesuffix("/admin/")
    taken: dict[str, int] = {}

    def begin(path: str = "/admin/") -> Clicks:
        page.goto(base + path)
        return Clicks(page)

    group = f"/groups/{family.group.pk}/"
    do = begin(group)
    do.click(".standings li a.button", has_text=label_of("hide"))
    do.click(".presets button", has_text="广告")
    expect(page.locator(".messagelist")).to_contain_text("已隐藏 郑辰嘉 · 产品设计交流群")
    taken["hide, with its reason"] = do.count

    do = begin(group)
    do.click(".standings li .more summary")
    do.click(".menu a", has_text="清除昵称")
    expect(page.locator("[name=reason]")).to_be_focused()
    page.keyboard.type("群里有人投诉")
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist")).to_be_visible()
    taken["any action of a row's menu"] = do.count

    do = begin()
    do.click("#navigation a", has_text=chinese("Groups and rankings"))
    search(page, "李雷")
    do.click(".matches a")
    expect(page.locator(".standings li.found")).to_be_in_viewport()
    taken["find a person"] = do.count

    do.click(".found .more summary")
    do.click(".menu a", has_text="更正得分")
    page.fill("[name=value]", "777")
    page.fill("[name=reason]", "算错了")
    page.keyboard.press("Enter")
    expect(page.locator(".standings li.found")).to_contain_text("777")
    taken["correct a score"] = do.count

    do = begin()
    do.click("#navigation a", has_text=chinese("Groups and rankings"))
    do.click(".tools-of-row a[href*=labels]")
    expect(page.locator("[name^=label-]")).to_be_focused()
    page.keyboard.type("周末羽毛球")
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist")).to_be_visible()
    taken["label a group"] = do.count

    do = begin()
    do.click("#navigation a", has_text=chinese("Groups and rankings"))
    with page.expect_download():
        do.click(".tools-of-row a[download]")
    taken["export a ranking"] = do.count

    for member in family.members[:10]:
        member.propose("nickname", f"{member.nickname}新")
        member.save()
    do = begin()
    do.click("#navigation a", has_text=chinese("Awaiting review"))
    do.click(".every button")
    expect(page.locator(".messagelist")).to_contain_text("10")
    taken["approve ten names"] = do.count

    assert taken == {
        "hide, with its reason": 2,
        "any action of a row's menu": 2,
        "find a person": 2,
        "correct a score": 4,
        "label a group": 2,
        "export a ranking": 2,
        "approve ten names": 2,
    }


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


@pytest.mark.parametrize("width", [390, 1280])
def test_the_row_that_a_search_leads_to_is_not_hidden_by_the_bar(
    visit, crowd, olga: User, width: int
) -> None:
    family = crowd("产品设计交流群")
    for number in range(60):
        family.add(f"成员{number}号", 60 - number)
    last = family.members[40]
    page = visit(width, operator=olga).open(
        f"/groups/{family.group.pk}/?member={last.pk}#member-{last.pk}"
    )
    row, bar = page.locator(f"#member-{last.pk}"), page.locator("#header")
    expect(row).to_be_in_viewport()
    assert row.bounding_box()["y"] > bar.bounding_box()["height"]
