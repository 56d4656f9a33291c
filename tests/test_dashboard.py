"""The console's front page: what it counts, for which permissions, and in how many queries."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from django.test import RequestFactory
from django.utils import timezone
from django.utils.translation import override

from accounts.models import WeChatUser
from audit.models import Attempt, AuditEvent
from console import dashboard
from console.dashboard import DAYS, HEIGHT, Dashboard
from groups.models import Board, Group, Membership, Score
from groups.periods import CALENDAR, Period, Window
from tests.cast import DOUBTFUL, Person
from tests.query_counts import (
    at_both_sizes,
    count_queries,
    make_boards,
    make_group,
    make_members,
)

pytestmark = pytest.mark.django_db

ENGLISH = {"Accept-Language": "en"}
NOW = datetime(2026, 12, 20, 0, 30, tzinfo=CALENDAR)  # in UTC still the day before


@pytest.fixture
def board() -> Board:
    return Board.objects.active_days()


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("olga")


def otto(*permissions: str, role: str = "") -> User:
    operator = User.objects.create_user("otto", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    operator.groups.set(Role.objects.filter(name=role))
    return operator


def read(operator: User, now: datetime = NOW) -> Dashboard:
    request = RequestFactory().get("/admin/")
    request.user = operator
    with override("en"):
        return dashboard.read(request, now)


def figures(found: Dashboard) -> dict[str, int]:
    return {figure.title: figure.value for figure in found.figures}


def met(created_at: datetime, group: Group | None = None, *days: str) -> WeChatUser:
    """Create a member who first logged in then and entered the group on these days."""
    [user] = make_members(1)
    WeChatUser.objects.filter(pk=user.pk).update(created_at=created_at)
    if group:
        seen = {"joined_at": created_at, "verified_at": created_at}
        Membership.objects.create(group=group, user=user, **seen)
        for day in days:
            enter(group, user, day)
    return user


def enter(group: Group, user: WeChatUser, day: str) -> None:
    """Create the score of this day, and those of its week, its month and of all time."""
    board, noon = Board.objects.active_days(), datetime.fromisoformat(f"{day}T12:00:00+08:00")
    for window in Window:
        Score.objects.get_or_create(
            board=board,
            period=Period.current(window, noon).key,
            scope=group.pk,
            user=user,
            defaults={"value": 1, "achieved_at": noon},
        )


def shanghai(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+08:00")


# What is counted


def test_each_number_links_to_what_it_counts(
    alice: Person, bob: Person, charlie: Person, group: Group, olga: Browser
) -> None:
    Membership.objects.filter(user=bob.user).update(
        verified_at=timezone.now() - timedelta(days=7, minutes=1)
    )
    charlie.put("me", {"nickname": DOUBTFUL})
    page = olga.get("/admin/", headers=ENGLISH)
    shown = page.context["dashboard"].figures
    assert {figure.title: figure.value for figure in shown} == {
        "Groups": 1,
        "Members": 3,
        "Active in 7 days": 1,
        "Awaiting review": 1,
    }
    for figure in shown:
        assert f'href="{figure.link.replace("&", "&amp;")}"' in page.content.decode()
        there = olga.get(figure.link)
        assert there.status_code == 200
        if "membership" in figure.link:
            assert [row.user_id for row in there.context["cl"].result_list] == [alice.user.pk]


def test_a_member_of_two_groups_is_counted_as_active_once(operator: User) -> None:
    users = make_members(2)
    for _ in range(2):
        make_group(users)
    assert figures(read(operator, timezone.now()))["Active in 7 days"] == 2


def test_the_age_of_the_oldest_item_is_shown(operator: User) -> None:
    for hours, user in zip((2, 5), make_members(2), strict=True):
        user.propose("nickname", "新")
        user.review_since = NOW - timedelta(hours=hours)
        user.save()
    [waiting] = [f for f in read(operator).figures if f.title == "Awaiting review"]
    assert (waiting.value, waiting.note) == (2, "the first for 5\xa0hours")


def chart(found: Dashboard, key: str) -> dict[str, int]:
    [chart] = [each for each in found.charts if each.key == key]
    assert len(chart.bars) == DAYS
    assert chart.total == sum(bar.value for bar in chart.bars)
    return {bar.day.isoformat(): bar.value for bar in chart.bars}


def test_new_members_are_counted_by_days_in_shanghai(operator: User) -> None:
    for moment in (
        *("2026-12-20T00:00:00", "2026-12-20T00:29:00", "2026-12-19T23:59:59.999"),
        *("2026-11-21T00:00:00", "2026-11-20T23:59:59.999"),
    ):
        met(shanghai(moment))
    found = chart(read(operator), "newcomers")
    assert (min(found), max(found)) == ("2026-11-21", "2026-12-20")
    assert {day: count for day, count in found.items() if count} == {
        "2026-12-20": 2,
        "2026-12-19": 1,
        "2026-11-21": 1,
    }


def test_proven_entries_are_counted_once_for_each_member_group_and_day(operator: User) -> None:
    one, other = make_group([]), make_group([])
    user = met(shanghai("2026-12-01T08:00:00"), one, "2026-12-01", "2026-12-02", "2026-11-20")
    enter(other, user, "2026-12-02")
    met(shanghai("2026-12-02T08:00:00"), one, "2026-12-02")
    points = Board.objects.create(app_id=user.app_id, key="points")
    Score.objects.create(
        board=points, period="2026-12-02", scope=one.pk, user=user, value=9, achieved_at=NOW
    )
    found = chart(read(operator), "entries")
    assert {day: count for day, count in found.items() if count} == {
        "2026-12-01": 1,
        "2026-12-02": 3,
    }


def test_the_funnel_follows_members_from_log_in_to_their_return(operator: User) -> None:
    group = make_group([])
    first = shanghai("2026-11-28T23:30:00")
    met(first)  # logged in, and no more
    met(first, group, "2026-11-28")  # the same day only
    met(first, group, "2026-11-28", "2026-11-29")  # the next day
    met(first, group, "2026-12-05")  # bound and back on the seventh day
    met(first, group, "2026-11-28", "2026-12-06")  # too late; its month is no day either
    met(shanghai("2026-11-20T23:59:59"), group, "2026-11-21")  # no longer among the last 30 days
    found = [(step.title, step.value, step.share) for step in read(operator).funnel]
    assert found == [("Logged in", 5, 100), ("Bound a group", 4, 80), ("Came back", 2, 40)]


def test_where_people_are_many_one_in_so_many_is_looked_at(
    operator: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = make_group([])
    for _ in range(40):
        met(NOW - timedelta(days=1), group, NOW.date().isoformat())
    monkeypatch.setattr(dashboard, "SAMPLE", 20)
    found = read(operator)
    [active] = [figure for figure in found.figures if figure.title == "Active in 7 days"]
    assert (active.value, active.text) == (40, "约 40")
    assert [(step.text, step.share) for step in found.funnel] == [
        ("40", 100),
        ("约 40", 100),
        ("约 40", 100),
    ]
    monkeypatch.setattr(dashboard, "SAMPLE", 40)
    assert [step.text for step in read(operator).funnel] == ["40"] * 3


def test_an_empty_site_causes_no_division_by_zero(operator: User) -> None:
    found = read(operator)
    assert set(figures(found).values()) == {0}
    assert [step.share for step in found.funnel] == [0, 0, 0]
    assert {bar.height for each in found.charts for bar in each.bars} == {0}


def test_the_latest_rows_of_the_audit_come_first(operator: User, olga_sees: Any) -> None:
    for number in range(10):
        AuditEvent.objects.create(
            operator_name="otto",
            action="block",
            target="wechatuser",
            target_id=number,
            reason="<b>",
        )
    page = olga_sees()
    assert re.findall(r"Block · Member #(\d)", page) == ["9", "8", "7", "6", "5", "4", "3", "2"]
    assert "<i>" not in page


@pytest.fixture
def olga_sees(operator: User) -> Any:
    browser = Browser()
    browser.force_login(operator)
    return lambda: browser.get("/admin/", headers=ENGLISH).content.decode()


# How it is drawn


def test_bars_are_as_high_as_their_numbers_and_small_ones_are_visible() -> None:
    days = dashboard.days_until(NOW)
    values = {days[0].isoformat(): 1, days[1].isoformat(): 500, days[2].isoformat(): 1000}
    bars = dashboard._chart("x", "", "", days, values).bars
    assert [bar.height for bar in bars[:4]] == [1, HEIGHT // 2, HEIGHT, 0]
    assert all(bar.y + bar.height == HEIGHT for bar in bars)
    assert [bar.x for bar in bars] == sorted({bar.x for bar in bars})


def test_every_chart_has_a_name_and_its_numbers_in_a_table(olga_sees: Any, alice: Person) -> None:
    page = olga_sees()
    drawn = re.findall(r'role="img" aria-labelledby="([\w-]+)"', page)
    assert drawn == ["chart-newcomers", "chart-entries"]
    assert all(f'<title id="{name}">' in page for name in drawn)
    today = timezone.localtime().strftime("%Y-%m-%d")
    rows = re.findall(r'<th scope="row">([\d-]+)</th>\s*<td>(\d+)</td>', page)
    assert len(rows) == 2 * DAYS
    assert [row for row in rows if row[0] == today] == [(today, "1"), (today, "0")]
    assert "style=" not in page


# What needs attention


def alerts(operator: User) -> list[str]:
    return [alert.text.split(":")[0] for alert in read(operator).alerts]


def test_a_cache_that_processes_do_not_share_causes_an_alert(operator: User, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert alerts(operator) == ["No shared cache"]
    settings.DEBUG = True
    assert alerts(operator) == []
    settings.DEBUG = False
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache"}}
    assert alerts(operator) == []


@pytest.fixture
def shared(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache"}}


@pytest.mark.usefixtures("shared")
def test_content_safety_that_is_off_causes_an_alert(operator: User, settings: Any) -> None:
    settings.CONTENT_SAFETY = False
    assert alerts(operator) == ["Content safety is off"]


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (3, ["WeChat failed 3 times within 24 hours."])]
)
def test_errors_of_wechat_within_a_day_cause_an_alert_that_links_to_their_causes(
    operator: User, count: int, expected: list[str]
) -> None:
    for at in [NOW - timedelta(days=2), *[NOW - timedelta(hours=23)] * count]:
        Attempt.objects.create(at=at, kind="login", outcome="wechat_unavailable", request_id="x")
    Attempt.objects.create(at=NOW, kind="login", outcome="invalid_code", request_id="x")
    assert alerts(operator) == expected
    assert alerts(otto(role="viewer")) == []


def test_proofs_without_a_watermark_cause_an_alert_that_links_to_them(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    Membership.objects.filter(user=bob.user).update(watermarked=False)
    found = olga.get("/admin/", headers=ENGLISH).context["dashboard"].alerts
    [alert] = [each for each in found if "watermark" in each.text]
    assert alert.text.startswith("1 membership was last proven")
    assert [row.user_id for row in olga.get(alert.link).context["cl"].result_list] == [bob.user.pk]
    old = timezone.now() - timedelta(days=8)
    Membership.objects.filter(user=bob.user).update(verified_at=old)
    assert not any("watermark" in text for text in alerts(User.objects.get()))


# Permissions and queries


PARTS = {
    "view_group": {"Groups"},
    "view_wechatuser": {"Members", "Awaiting review", "newcomers", "funnel"},
    "view_membership": {"Awaiting review"},
    "change_membership": {"Awaiting review"},
    "view_score": {"entries"},
    "view_auditevent": {"audit"},
    "view_board": set(),
}


def parts(found: Dashboard) -> set[str]:
    return {
        *(figure.title for figure in found.figures),
        *(chart.key for chart in found.charts),
        *(["funnel"] if found.funnel else []),
        *(["audit"] if found.audit else []),
    }


@pytest.mark.parametrize(("permission", "expected"), PARTS.items(), ids=PARTS)
def test_each_part_needs_the_permission_for_what_it_counts(
    permission: str, expected: set[str]
) -> None:
    make_group(make_members(2))
    AuditEvent.objects.create(action="block", target="wechatuser")
    assert parts(read(otto(permission))) == expected


def test_an_operator_without_permissions_causes_no_queries(
    django_assert_num_queries: Any, alice: Person
) -> None:
    clerk = otto()
    clerk.has_perm("groups.view_group")  # the permissions themselves
    with django_assert_num_queries(0):
        assert parts(read(clerk)) == set()
    browser = Browser()
    browser.force_login(clerk)
    page = browser.get("/admin/", headers=ENGLISH)
    assert page.status_code == 200
    assert "figures" not in page.content.decode() and "funnel" not in page.content.decode()


def test_a_viewer_sees_the_numbers_without_a_link_to_the_review(
    alice: Person, group: Group
) -> None:
    found = read(otto(role="viewer"), timezone.now())
    assert set(figures(found)) == {"Groups", "Members", "Active in 7 days", "Awaiting review"}
    assert [figure.title for figure in found.figures if not figure.link] == ["Awaiting review"]


def test_the_front_page_takes_five_queries_however_many_rows_there_are(olga: Browser) -> None:
    def measure(rows: int) -> int:
        for user in make_members(rows):
            make_group([user])
            user.propose("nickname", "新")
            user.save()
            AuditEvent.objects.create(action="block", target="wechatuser", target_id=user.pk)
        return count_queries(olga, "/admin/")

    assert at_both_sizes(measure) == 2 + 5, (
        "session and operator, and five as console/dashboard.py says"
    )


# The first steps


def steps(operator: User) -> list[tuple[str, bool, bool]]:
    return [(step.title, step.is_done, step.is_next) for step in read(operator).steps]


def test_a_new_site_says_what_to_do_first(operator: User) -> None:
    tested, seen, group, board = (step.title for step in read(operator).steps)
    assert [step.link for step in read(operator).steps] == [
        "/admin/check/credentials/",
        "/admin/check/",
        "/admin/check/",
        "/admin/groups/board/add/",
    ]
    undone = [(seen, False, False), (group, False, False), (board, False, False)]
    assert steps(operator) == [(tested, False, True), *undone]
    AuditEvent.objects.create(
        action="test_credentials", target="wechat", details={"outcome": "invalid_secret"}
    )
    assert steps(operator)[0] == (tested, False, True), "a test that failed is no step"
    AuditEvent.objects.create(action="test_credentials", target="wechat", details={"outcome": "ok"})
    assert steps(operator)[:2] == [(tested, True, False), (seen, False, True)]
    met(NOW)
    assert steps(operator)[1:3] == [(seen, True, False), (group, False, True)]
    make_group(make_members(1))
    assert steps(operator)[2:] == [(group, True, False), (board, False, True)]
    make_boards(1)
    assert steps(operator) == [], "the front page is the dashboard alone"


def test_a_site_in_use_is_not_asked_to_make_boards(operator: User) -> None:
    for _ in range(3):
        make_group(make_members(1))
    assert steps(operator) == []


def test_the_steps_lead_only_where_the_operator_may_go() -> None:
    found = read(otto(role="viewer")).steps
    assert len(found) == 4 and not any(step.link for step in found)
