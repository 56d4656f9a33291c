"""Test the console's front page and its review queue in a browser."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import AvatarCheck, WeChatUser
from accounts.review import Reviewed, State
from audit.models import AuditEvent
from groups.models import Board, Membership, Score
from groups.periods import day_of
from tests.settings import APP_ID

from .accessibility import assert_accessible
from .cast import HOSTILE_NAMES, NAMES, both_schemes, paint

every_width = pytest.mark.parametrize("width", [360, 1280])


@pytest.fixture
def busy(crowd: Any) -> Any:
    """Create a month of members who log in, enter a group, and in part come back."""
    family, now = crowd("全家福"), timezone.now()
    for number in range(40):
        came = now - timedelta(days=number * 7 % 30, hours=1)
        member = family.add(NAMES[number % len(NAMES)])
        WeChatUser.objects.filter(pk=member.pk).update(created_at=came)
        for later in range(number % 9):
            moment = came + timedelta(days=later)
            if moment < now:
                Score.objects.create(
                    board=Board.objects.active_days(),
                    period=day_of(moment).isoformat(),
                    scope=family.group.pk,
                    user=member,
                    value=1,
                    achieved_at=moment,
                )
    for number in range(5):
        alone = f"o-alone-{number}"
        WeChatUser.objects.create(app_id=APP_ID, openid=alone, created_at=now - timedelta(days=3))
    return family


def propose(record: Reviewed, name: str, value: str, **age: float) -> None:
    record.propose(name, value)
    record.review_since = timezone.now() - timedelta(**age)
    record.save(update_fields=record.columns_of(name))


@pytest.fixture
def waiting(crowd: Any) -> list[WeChatUser]:
    """Create nicknames, avatars and aliases that wait for review."""
    family = crowd("产品设计交流群")
    for name in (*NAMES[:4], *HOSTILE_NAMES[:7]):
        family.add(name, 1)
    people: list[WeChatUser] = family.members
    for place, draft in enumerate(("加V信领红包", *HOSTILE_NAMES[:6])):
        propose(people[place], "nickname", draft, hours=30 - place)
    for place, colour in enumerate([(220, 60, 40), (40, 120, 220), (230, 200, 30)], start=7):
        paint(people[place], "avatar_draft", colour)
        people[place].refresh_from_db()
        WeChatUser.objects.filter(pk=people[place].pk).update(
            review_since=timezone.now() - timedelta(hours=40 - place)
        )
    paint(people[8], "avatar", (90, 160, 90))
    WeChatUser.objects.filter(pk=people[8].pk).update(avatar_state=State.PENDING)
    seen = people[8].avatar_draft
    AvatarCheck.objects.create(
        app_id=APP_ID,
        trace_id="t1",
        user=people[8],
        avatar=seen,
        suggestion="review",
        label="10001",
    )
    propose(Membership.objects.get(user=people[1]), "alias", "Donaudampfschiff" * 4, days=3)
    return people


@every_width
@both_schemes
def test_an_operator_sees_the_current_activity(
    visit: Any, busy: Any, waiting: Any, olga: User, width: int, scheme: str, settings: Any
) -> None:
    settings.CONTENT_SAFETY = False
    Membership.objects.filter(user=busy.members[0]).update(watermarked=False)
    for number, action in enumerate(("hide", "block", "reset_nickname", "label", "erase")):
        AuditEvent.objects.create(
            operator_name="olga",
            action=action,
            target="wechatuser",
            target_id=number,
            reason="" if action == "label" else "举报属实，多次发布广告" * (number + 1),
        )
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/")
    expect(page.locator(".figures li")).to_have_count(4)
    expect(page.locator(".chart svg")).to_have_count(2)
    visitor.photograph(f"dashboard-{width}-{scheme}", whole=True)
    assert_accessible(page)
    page.locator(".chart summary").first.click()
    expect(page.locator(".chart table").first.locator("tbody tr")).to_have_count(30)
    assert_accessible(page)
    page.locator(".figures a").last.click()
    page.wait_for_url("**/admin/review/")


def test_a_site_without_members_is_accessible(visit: Any, olga: User) -> None:
    visitor = visit(360, operator=olga)
    page = visitor.open("/admin/")
    visitor.photograph("dashboard-empty", whole=True)
    assert_accessible(page)
    page = visitor.open("/admin/review/")
    expect(page.locator(".nothing")).to_be_visible()
    assert_accessible(page)


@every_width
@both_schemes
def test_an_operator_reviews_avatars_and_names(
    visit: Any, waiting: list[WeChatUser], olga: User, width: int, scheme: str
) -> None:
    visitor = visit(width, scheme, operator=olga)
    page = visitor.open("/admin/review/")
    cards = page.locator(".queue > li")
    expect(cards).to_have_count(11)
    visitor.photograph(f"queue-{width}-{scheme}", whole=True)
    assert_accessible(page)
    assert page.evaluate("[...document.images].every(one => !one.complete || one.naturalWidth > 0)")

    card = cards.filter(has_text="加V信领红包")
    card.locator("summary").click()
    card.locator("[name=reason]").fill("广告")
    visitor.photograph(f"queue-refuse-{width}-{scheme}")
    assert_accessible(page)
    card.locator("[value=refuse]").click()
    expect(cards).to_have_count(10)
    waiting[0].refresh_from_db()
    assert (waiting[0].nickname, waiting[0].nickname_state) == (NAMES[0], State.REFUSED)

    for box in page.locator(".queue [type=checkbox]").all()[:4]:
        box.check()
    visitor.photograph(f"queue-ticked-{width}-{scheme}")
    page.locator("#selected [value=approve]").click()
    expect(cards).to_have_count(6)
    visitor.photograph(f"queue-approved-{width}-{scheme}")
    assert AuditEvent.objects.filter(action__startswith="approve_").count() == 4


def test_enter_in_the_reason_field_refuses_and_never_approves(
    visit: Any, waiting: list[WeChatUser], olga: User
) -> None:
    visitor = visit(1280, operator=olga)
    page = visitor.open("/admin/review/?kind=nickname")
    page.locator(".queue [type=checkbox]").first.check()
    page.fill("#reason", "广告")
    page.press("#reason", "Enter")
    expect(page.locator(".queue > li")).to_have_count(6)
    card = page.locator(".queue > li").first
    card.locator("summary").click()
    card.locator("[name=reason]").fill("冒充")
    card.locator("[name=reason]").press("Enter")
    expect(page.locator(".queue > li")).to_have_count(5)
    events = AuditEvent.objects.order_by("pk").values_list("action", "reason")
    assert list(events) == [("refuse_nickname", "广告"), ("refuse_nickname", "冒充")]


def test_the_queue_requires_a_reason_to_reset(
    visit: Any, waiting: list[WeChatUser], olga: User
) -> None:
    visitor = visit(360, operator=olga)
    page = visitor.open("/admin/review/")
    page.locator(".queue [type=checkbox]").first.check()
    page.locator("#selected [value=reset]").click()
    assert page.evaluate("document.activeElement.id") == "reason"
    expect(page.locator(".queue > li")).to_have_count(11)
    assert not AuditEvent.objects.exists()
