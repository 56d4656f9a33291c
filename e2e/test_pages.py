"""Test the web pages of operators and members on small phones, phones and desktops."""

from itertools import pairwise

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import Page, expect

from console.sign_in import sign_in_path
from groups.models import Group, Membership
from tests.settings import APP_ID

from .accessibility import assert_readable, fits
from .cast import HOSTILE_NAMES, NAMES, both_schemes, chinese, paint
from .phones import SCREENSHOTS

WIDTHS = (320, 360, 1280)
LONGEST_SCORE = 2**53 - 1

every_width = pytest.mark.parametrize("width", WIDTHS)


@every_width
@both_schemes
def test_an_operator_sees_all_groups(visit, crowd, olga: User, width: int, scheme: str) -> None:
    crowd("产品设计交流群").add("小明", 3)
    quiet = Group.objects.create(app_id=APP_ID, open_gid="tGxGroupWithoutMembers")
    unlabelled = crowd()
    for nickname in HOSTILE_NAMES[:2]:
        unlabelled.add(nickname)
    for number, name in enumerate(("周末爬山", "W" * 60, "三年二班家长群 🎒")):
        group = crowd(name)
        for member in range(number * 3 + 1):
            group.add(f"成员{member}")
    visitor = visit(width, scheme, olga)
    page = visitor.open("/groups/")
    expect(page.locator(".groups tbody tr")).to_have_count(6)
    visitor.photograph(f"list-{width}-{scheme}", whole=True)
    expect(page.get_by_text(quiet.open_gid)).to_be_visible()
    assert_readable(page)


@every_width
@both_schemes
def test_an_operator_sees_a_groups_ranking(
    visit, crowd, olga: User, width: int, scheme: str
) -> None:
    group = crowd("产品设计交流群")
    for number, nickname in enumerate(HOSTILE_NAMES[:1] + NAMES + HOSTILE_NAMES[1:]):
        group.add(nickname, 7 - number // 4 if number < 19 else None, 6 if number % 3 else 1)
    visitor = visit(width, scheme, olga)
    page = visitor.open(f"/groups/{group.group.pk}/")
    visitor.photograph(f"group-{width}-{scheme}")
    rows = page.locator(".standings").get_by_role("listitem")
    expect(rows).to_have_count(len(NAMES + HOSTILE_NAMES))
    expect(rows.first).to_contain_text("<script>alert(1)</script>")
    assert_readable(page)


@every_width
@both_schemes
def test_a_member_sees_the_podium_and_their_own_row(
    visit, crowd, points, width: int, scheme: str
) -> None:
    group = crowd("产品设计交流群", points)
    for number in range(120):
        score = 9781 - number * 97 if number < 90 else None
        before = None if number % 7 == 4 else 9781 - (number * 5 % 11 + number) * 90
        group.add(NAMES[number % len(NAMES)], score, before)
    alice = group.members[63]
    visitor = visit(width, scheme)
    page = visitor.open(group.path_for(alice))
    visitor.photograph(f"member-{width}-{scheme}")
    expect(page.locator(".podium li")).to_have_count(3)
    expect(page.locator(".podium li").first).to_contain_text("9,781")
    expect(page.locator(".rows:not(.mine) li")).to_have_count(47)
    mine = page.locator(".mine")
    expect(mine).to_contain_text("64")
    expect(mine).to_be_in_viewport(ratio=1)
    assert_readable(page)

    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    visitor.photograph(f"member-end-{width}-{scheme}")
    page.get_by_role("link", name=chinese("Next page")).click()
    expect(page.locator(".podium")).to_have_count(0)
    expect(page.locator(".rows li.me")).to_have_count(1)
    expect(page.locator(".mine")).to_have_count(0)
    assert_readable(page)


PAINTED = {"郑辰嘉": (200, 60, 40), "许文博": (40, 120, 220), "老王": (120, 80, 200)}


@every_width
@both_schemes
def test_only_approved_avatars_are_shown(visit, crowd, width: int, scheme: str) -> None:
    family = crowd("全家福")
    for place, name in enumerate(NAMES):
        member = family.add(name, 9000 - place)
        if name in PAINTED:
            paint(member, "avatar", PAINTED[name])
        if name == "Olivia":
            paint(member, "avatar_draft", (230, 220, 30))
    visitor = visit(width, scheme)
    page = visitor.open(family.path_for(family.members[1]))
    visitor.photograph(f"faces-{width}-{scheme}")
    sources = page.eval_on_selector_all("img", "all => all.map(one => one.getAttribute('src'))")
    assert sum(source.startswith("/media/avatars/") for source in sources) == len(PAINTED)
    podium, rows = sources[:3], sources[3:]
    assert sum(source.endswith("-192.webp") for source in podium) == 2
    assert sum(source.endswith("-96.webp") for source in rows) == 1
    assert page.evaluate("[...document.images].every(one => !one.complete || one.naturalWidth > 0)")
    assert_readable(page)


@every_width
@both_schemes
def test_hostile_names_run_no_script_and_widen_no_row(
    visit, crowd, points, width: int, scheme: str
) -> None:
    group = crowd("ﷺ" * 20 + "W" * 40, points)
    for number, nickname in enumerate(HOSTILE_NAMES * 2):
        group.add(nickname, (LONGEST_SCORE >> number * 3) * (-1 if number > 14 else 1), number)
    visitor = visit(width, scheme)
    page = visitor.open(group.path_for(group.members[12]))
    visitor.photograph(f"hostile-{width}-{scheme}", whole=True)
    assert_readable(page)
    for row in page.locator(".rows li").all():
        row.scroll_into_view_if_needed()
        box = row.bounding_box()
        assert box is not None
        assert box["height"] == pytest.approx(56, abs=1.1)
        assert row.evaluate("li => li.scrollWidth <= li.clientWidth")


def test_tabs_are_large_enough_to_tap_and_show_other_periods(visit, crowd) -> None:
    group = crowd()
    alice = group.add("Alice", 3)
    page = visit(320, language="en").open(group.path_for(alice))
    tabs = page.locator(".tabs a")
    expect(tabs).to_have_count(4)
    for tab in tabs.all():
        box = tab.bounding_box()
        assert box is not None
        assert box["height"] == 44
        assert box["width"] >= 44
    assert fits(page)
    tabs.last.click()
    expect(tabs.last).to_have_attribute("aria-current", "page")
    assert page.url.endswith("?period=all")


def test_nothing_on_the_pages_needs_a_script(visit, crowd, olga: User) -> None:
    """Operators' pages have scripts of Django's admin alone; the member's page has none."""
    group = crowd()
    alice = group.add("Alice", 3)
    visitor = visit(operator=olga)
    admin = "script[src*='/admin/js/']"
    for path in ("/groups/", f"/groups/{group.group.pk}/", group.path_for(alice)):
        page = visitor.open(path)
        assert bool(page.locator(admin).count()) == path.startswith("/groups/")
        other = f"script:not({admin}), style, [style], [onclick]"
        expect(page.locator(other)).to_have_count(0)


@both_schemes
def test_the_empty_list_of_groups_says_what_to_do(visit, olga: User, scheme: str) -> None:
    visitor = visit(360, scheme, olga)
    page = visitor.open("/groups/")
    visitor.photograph(f"list-empty-360-{scheme}")
    expect(page.get_by_role("heading", level=2)).to_have_text(chinese("No group yet"))
    assert_readable(page)


def test_a_long_list_of_groups_has_pages(visit, olga: User) -> None:
    now = timezone.now()
    Group.objects.bulk_create(
        Group(app_id=APP_ID, open_gid=f"tGx{number:029}", label=f"{number} 班", created_at=now)
        for number in range(120)
    )
    visitor = visit(1280, operator=olga)
    page = visitor.open("/groups/")
    expect(page.locator(".groups tbody tr")).to_have_count(50)
    page.get_by_role("link", name=chinese("Next page")).click()
    page.get_by_role("link", name=chinese("Next page")).click()
    expect(page.locator(".groups tbody tr")).to_have_count(20)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    visitor.photograph("list-last-page-1280")


@both_schemes
def test_a_ranking_without_scores_has_a_message(visit, crowd, scheme: str) -> None:
    group = crowd("新的一周")
    alice, *_others = [group.add(name) for name in ("Alice", "Bob", "Charlie")]
    visitor = visit(360, scheme)
    page = visitor.open(group.path_for(alice))
    visitor.photograph(f"member-empty-360-{scheme}")
    expect(page.get_by_role("heading", level=2)).to_have_text(chinese("No scores yet"))
    expect(page.locator(".rows li")).to_have_count(3)
    assert_readable(page)


@both_schemes
def test_the_only_member_is_in_the_middle(visit, crowd, scheme: str) -> None:
    group = crowd()
    alice = group.add("Alice", 3)
    visitor = visit(360, scheme)
    page = visitor.open(group.path_for(alice))
    visitor.photograph(f"member-alone-360-{scheme}")
    box = page.locator(".podium li").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] / 2 == pytest.approx(180, abs=1)
    assert_readable(page)


@both_schemes
def test_a_hidden_member_sees_only_their_own_row(visit, crowd, scheme: str) -> None:
    group = crowd("产品设计交流群")
    bob = group.add("Bob", 5)
    alice = group.add("Alice", 7, hidden=True)
    visitor = visit(360, scheme)
    page = visitor.open(group.path_for(alice))
    visitor.photograph(f"member-hidden-360-{scheme}")
    expect(page.locator(".mine")).to_contain_text("Alice")
    expect(page.locator(".hint").first).to_be_visible()
    assert_readable(page)
    page = visit().open(group.path_for(bob))
    assert "Alice" not in page.content()


@both_schemes
def test_only_a_member_hidden_by_an_operator_sees_their_row_with_a_hint(
    visit, crowd, scheme: str
) -> None:
    group = crowd("产品设计交流群")
    bob, alice = group.add("Bob", 5), group.add("Alice", 7)
    Membership.objects.filter(user=alice).update(withheld=True)
    visitor = visit(360, scheme)
    page = visitor.open(group.path_for(alice))
    visitor.photograph(f"member-withheld-360-{scheme}")
    expect(page.locator(".mine")).to_contain_text("Alice")
    hint = chinese("An operator has hidden you here: only you see your row.")
    expect(page.locator(".hint").first).to_have_text(hint)
    assert_readable(page)
    assert "Alice" not in visit().open(group.path_for(bob)).content()


@both_schemes
def test_a_group_hidden_by_an_operator_is_not_found(visit, crowd, scheme: str) -> None:
    group = crowd("产品设计交流群")
    path = group.path_for(group.add("Alice", 7))
    Group.objects.filter(pk=group.group.pk).update(hidden=True)
    visitor = visit(360, scheme)
    page = visitor.open(path, status=404)
    expect(page.get_by_role("heading")).to_have_text(chinese("There is no such page"))
    assert "产品设计交流群" not in page.content()
    assert_readable(page)


def test_my_row_sticks_to_the_bottom_and_then_to_the_top(visit, crowd, points) -> None:
    group = crowd("产品设计交流群", points)
    for number in range(45):
        group.add(NAMES[number % len(NAMES)], 9000 - number, 9000 - number)
    alice = group.members[22]
    visitor = visit(360)
    page = visitor.open(group.path_for(alice))
    height = page.evaluate("document.body.scrollHeight")
    visitor.photograph("member-mine-at-the-bottom")
    mine = page.locator(".rows .me")
    box = mine.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] == pytest.approx(740, abs=1)
    page.locator(".rows li").last.scroll_into_view_if_needed()
    visitor.photograph("member-mine-at-the-top")
    assert page.evaluate("document.body.scrollHeight") == height, (
        "rows change their height when they come into view"
    )
    box = mine.bounding_box()
    assert box is not None
    assert box["y"] == pytest.approx(0, abs=1)


SHORT_NAMES = ["郑强", "韩梅梅", "欧阳娜娜", "Olivia", "Bob"]


@both_schemes
@pytest.mark.parametrize("top", [9781, 98765, 9_999_999, -12_345_678_901], ids=lambda top: f"{top}")
def test_short_names_stay_whole_on_a_small_phone(
    visit, crowd, points, scheme: str, top: int
) -> None:
    group = crowd("产品设计交流群", points)
    for number in range(45):
        before = top - 700 * (number * 7 % 45) if number % 5 else None
        group.add(SHORT_NAMES[number % len(SHORT_NAMES)], top - 600 * number, before)
    visitor = visit(320, scheme)
    page = visitor.open(group.path_for(group.members[2 if scheme == "dark" else 13]))
    visitor.photograph(f"short-names-{top}-320-{scheme}", whole=True)
    cut = page.eval_on_selector_all(
        "bdi",
        "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)",
    )
    assert cut == []
    assert_readable(page)


def test_long_ranks_and_moves_keep_apart_on_a_small_phone(visit, crowd) -> None:
    group = crowd("产品设计交流群")
    for number in range(125):
        group.add(SHORT_NAMES[number % len(SHORT_NAMES)], 999 - number, number)
    visitor = visit(320)
    page = visitor.open(group.path_for(group.members[122]) + "?around")
    visitor.photograph("long-ranks-320")
    boxes = page.locator(".rows .rank, .rows .move")
    assert boxes.last.inner_text().strip().endswith("124")
    is_wide = (
        "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
    )
    assert boxes.evaluate_all(is_wide) == []


def test_my_row_leads_to_my_place_and_back(visit, crowd, points) -> None:
    group = crowd("产品设计交流群", points)
    for number in range(120):
        group.add(NAMES[number % len(NAMES)], 9781 - number * 67, 9781 - number)
    visitor = visit(360)
    page = visitor.open(group.path_for(group.members[63]))
    page.locator(".mine a").click()
    mine = page.locator(".rows .me")
    expect(mine).to_contain_text("64")
    ranks = page.locator(".rows .rank").all_inner_texts()
    assert [rank.split()[-1] for rank in ranks] == [str(rank) for rank in range(39, 90)]
    visitor.photograph("around-360")
    expect(page.locator(".mine")).to_have_count(0)
    assert_in_the_middle(page)
    assert_readable(page)
    visitor.assert_accessible()
    page.evaluate("scrollTo(0, 0)")
    mine.locator("a").click()
    assert_in_the_middle(page)
    page.get_by_role("link", name=chinese("Next page")).click()
    expect(page.locator(".rows .rank").first).to_contain_text("90")
    page.go_back()
    page.get_by_role("link", name=chinese("Back to the top")).click()
    expect(page.locator(".podium li")).to_have_count(3)
    assert "around" not in page.url


def test_my_row_on_the_first_page_leads_to_itself(visit, crowd) -> None:
    group = crowd("产品设计交流群")
    for number in range(45):
        group.add(NAMES[number % len(NAMES)], 9000 - number)
    visitor = visit(360)
    for place in (3, 30, 44):
        page = visitor.open(group.path_for(group.members[place]))
        page.locator(".rows .me a").click()
        assert page.url.endswith("#me")
        if place == 30:
            assert_in_the_middle(page)
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.locator(".rows .me a").click()
            assert_in_the_middle(page)


def assert_in_the_middle(page: Page) -> None:
    """Assert that my row is in its place between its neighbours, in the middle of the view."""
    page.wait_for_timeout(100)
    boxes = page.evaluate(
        """() => {
          const me = document.querySelector('.rows .me');
          return [me.previousElementSibling, me, me.nextElementSibling]
            .map(row => row.getBoundingClientRect().top);
        }"""
    )
    before, mine, after = boxes
    assert (mine - before, after - mine) == (pytest.approx(56, abs=1.1),) * 2
    assert 0.3 < mine / 740 < 0.6


@both_schemes
def test_an_expired_link_says_how_to_get_a_new_one(visit, crowd, settings, scheme: str) -> None:
    group = crowd()
    path = group.path_for(group.add("Alice", 3))
    settings.LINK_MAX_AGE = -1
    visitor = visit(360, scheme)
    page = visitor.open(path, status=410)
    visitor.photograph(f"expired-360-{scheme}")
    expect(page.get_by_role("heading")).to_have_text(chinese("This link has expired"))
    assert_readable(page)


@both_schemes
def test_an_altered_link_is_not_found(visit, crowd, scheme: str) -> None:
    group = crowd()
    path = group.path_for(group.add("Alice", 3))
    visitor = visit(360, scheme)
    page = visitor.open(path.replace(":", ":x", 1), status=404)
    visitor.photograph(f"not-found-360-{scheme}")
    assert_readable(page)


@both_schemes
def test_a_sign_in_link_works_once_and_only_with_its_button(visit, olga: User, scheme: str) -> None:
    path = sign_in_path(olga)
    previewing, olgas, stranger = visit(), visit(360, scheme), visit(360, scheme)

    previewing.open(path)
    previewing.open(path)
    olgas.open(path)
    olgas.photograph(f"sign-in-360-{scheme}")
    assert_readable(olgas.page)
    stranger.open(path)
    olgas.page.get_by_role("button").click()
    olgas.page.wait_for_url("**/groups/")
    expect(olgas.page.get_by_role("heading", level=1)).to_have_text(chinese("Groups and rankings"))

    stranger.page.get_by_role("button").click()
    expect(stranger.page.get_by_role("heading")).to_have_text(chinese("This link no longer works"))
    stranger.photograph(f"sign-in-used-360-{scheme}")
    assert_readable(stranger.page)
    stranger.open(path, status=410)
    assert stranger.open("/groups/").url.startswith(f"{stranger.base_url}/admin/login/")


def test_the_list_of_groups_fits_a_small_phone_in_english(visit, olga: User) -> None:
    visitor = visit(320, operator=olga, language="en")
    page = visitor.open("/groups/")
    visitor.photograph("list-english-320")
    assert fits(page)


def test_the_api_docs_work_without_another_host(visit, transactional_db) -> None:
    visitor = visit(1280)
    page = visitor.open("/api/docs/")
    expect(page.locator(".opblock").first).to_be_visible()
    expect(page.locator(".opblock-summary-path", has_text="ranking").first).to_be_visible()
    visitor.photograph("api-docs-1280")


@both_schemes
def test_the_page_prints_without_what_only_a_screen_needs(
    visit, crowd, points, scheme: str
) -> None:
    group = crowd("产品设计交流群", points)
    for number in range(60):
        group.add(NAMES[number % len(NAMES)], 9781 - number * 67, 9781 - number)
    for member in (group.members[8], group.members[55]):
        visitor = visit(700, scheme)
        page = visitor.open(group.path_for(member))
        page.emulate_media(media="print")
        visitor.photograph(f"print-{member.pk}-{scheme}", whole=True)
        page.pdf(path=SCREENSHOTS / f"print-{member.pk}-{scheme}.pdf")
        for hidden in page.locator(".tabs, .pager").all():
            expect(hidden).not_to_be_visible()
        boxes = page.eval_on_selector_all(
            ".rows li", "all => all.map(row => row.getBoundingClientRect().toJSON())"
        )
        assert all(below["top"] >= above["bottom"] - 1 for above, below in pairwise(boxes))
        assert_readable(page)
        exact = "all => all.map(one => getComputedStyle(one).printColorAdjust)"
        assert set(page.eval_on_selector_all(".podium .rank, .podium img, .me", exact)) == {"exact"}
