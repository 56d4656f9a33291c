"""What operators have of their own: navigation, password, sessions, language."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.utils import timezone

from audit.models import AuditEvent
from console.models import OperatorSession
from console.navigation import NAVIGATION
from console.sessions import SEEN_EVERY, device_name
from tests.cast import Person, browser_of
from tests.site_map import PAGES_BY_ROLE, admin_path

pytestmark = pytest.mark.no_service

ACCOUNT = "/admin/account/"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1"
SECRET = "a password only olga knows"


@pytest.fixture
def olga(db: None) -> User:
    return User.objects.create_superuser("olga", password=SECRET)


def signed_in(agent: str) -> Browser:
    browser = Browser(headers={"User-Agent": agent})
    answer = browser.post("/admin/login/", {"username": "olga", "password": SECRET})
    assert answer.status_code == 302
    return browser


def sessions(browser: Browser) -> list[Any]:
    return list(browser.get(ACCOUNT).context["sessions"])


# Sessions


def test_an_operator_sees_where_they_are_signed_in(olga: User) -> None:
    here, _there = signed_in(WINDOWS), signed_in(IPHONE)
    first, second = sessions(here)
    assert (first.device, first.is_current) == ("Edge · Windows", True)
    assert (second.device, second.is_current) == ("Safari · iPhone", False)
    assert first.address == "127.0.0.1"
    page = here.get(ACCOUNT).content.decode()
    for key in OperatorSession.objects.values_list("pk", flat=True):
        assert key not in page, "a page must not hold what another session is opened with"


def test_one_other_session_is_ended(olga: User) -> None:
    here, there, third = signed_in(WINDOWS), signed_in(IPHONE), signed_in("curl")
    phone = next(each for each in sessions(here) if each.device == "Safari · iPhone")
    assert here.post(ACCOUNT, {"session": phone.token}).status_code == 302
    assert there.get(ACCOUNT).status_code == 302
    assert third.get(ACCOUNT).status_code == here.get(ACCOUNT).status_code == 200
    event = AuditEvent.objects.get(action="end_sessions")
    assert (event.target_id, event.details) == (olga.pk, {"count": 1})


def test_all_other_sessions_are_ended(olga: User) -> None:
    here, others = signed_in(WINDOWS), [signed_in(IPHONE), signed_in("curl")]
    here.post(ACCOUNT, {"others": "1"})
    assert here.get(ACCOUNT).status_code == 200
    assert [each.get(ACCOUNT).status_code for each in others] == [302, 302]


def test_no_one_ends_the_session_of_another_operator(olga: User) -> None:
    here = signed_in(WINDOWS)
    mine = sessions(here)[0].token
    other = browser_of("superuser")
    for chosen in ({"session": mine}, {"session": ""}, {"session": "x"}, {}):
        other.post(ACCOUNT, chosen)
    other.post(ACCOUNT, {"others": "1"})
    assert here.get(ACCOUNT).status_code == 200
    assert AuditEvent.objects.filter(action="end_sessions").count() == 0


def test_the_time_of_last_use_is_kept_to_a_few_minutes(
    olga: User, django_assert_max_num_queries: Any
) -> None:
    browser = signed_in(WINDOWS)
    long_ago = timezone.now() - 2 * SEEN_EVERY
    OperatorSession.objects.update(seen_at=long_ago)
    browser.get(ACCOUNT)
    seen = OperatorSession.objects.get().seen_at
    assert seen > timezone.now() - SEEN_EVERY
    browser.get(ACCOUNT)
    assert OperatorSession.objects.get().seen_at == seen, "no write for each request"


def test_the_sessions_of_a_deleted_operator_are_gone(olga: User) -> None:
    signed_in(WINDOWS)
    olga.delete()
    assert OperatorSession.objects.count() == 0


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (WINDOWS, "Edge · Windows"),
        (IPHONE, "Safari · iPhone"),
        ("Mozilla/5.0 (Linux; Android 16) Chrome/142 MicroMessenger/8.0", "WeChat · Android"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0", "Firefox · Linux"),
        ("", ""),
        ("x" * 10_000, ""),
    ],
)
def test_browsers_are_named(agent: str, name: str) -> None:
    assert device_name(agent) == name


# Password


def test_an_operator_without_a_password_sets_one(olga: User) -> None:
    olga.set_unusable_password()
    olga.save()
    browser = Browser()
    browser.force_login(olga)
    new = {"new_password1": "correct horse battery", "new_password2": "correct horse battery"}
    assert 'name="old_password"' not in browser.get("/admin/password_change/").content.decode()
    assert browser.post("/admin/password_change/", new).headers["Location"] == ACCOUNT
    olga.refresh_from_db()
    assert olga.check_password("correct horse battery")
    assert AuditEvent.objects.get(action="change_password").target_id == olga.pk


def test_an_operator_with_a_password_needs_it_to_change_it(olga: User) -> None:
    browser = signed_in(WINDOWS)
    new = {"new_password1": "correct horse battery", "new_password2": "correct horse battery"}
    assert browser.post("/admin/password_change/", new).status_code == 200
    olga.refresh_from_db()
    assert olga.check_password(SECRET)


# Navigation and language


@pytest.mark.parametrize("role", ["viewer", "moderator", "manager", "superuser"])
def test_the_navigation_leads_only_to_what_opens(one_of_everything: None, role: str) -> None:
    browser = browser_of(role)
    navigation = browser.get("/admin/").context["navigation"]
    entries = [entry for part in navigation.parts for entry in part]
    for entry in entries:
        assert browser.get(entry.url).status_code == 200, entry.url
    shown = {entry.url for entry in entries}
    for entry in (entry for part in NAVIGATION for entry in part):
        assert entry.url in shown or browser.get(entry.url).status_code == 403, entry.url


@pytest.mark.parametrize("route", [route for role in PAGES_BY_ROLE.values() for route in role])
def test_every_page_stands_in_the_navigation(one_of_everything: None, route: str) -> None:
    answer = browser_of("superuser").get(admin_path(route))
    if answer.status_code != 200 or "text/html" not in answer["Content-Type"]:
        return
    if not (answer.context and "navigation" in answer.context):
        assert route == "admin/check/live/", "every page has the navigation"
        return
    navigation = answer.context["navigation"]
    assert navigation.here is not None, route
    page = answer.content.decode()
    assert page.count('aria-current="page"') + page.count('aria-current="true"') > 0
    for crumb in navigation.crumbs:
        assert f'href="{crumb.url}"' in page


def test_the_navigation_counts_what_awaits_review(one_of_everything: None, alice: Person) -> None:
    from accounts.models import WeChatUser

    browser = browser_of("moderator")
    before = browser.get("/admin/").context["navigation"].waiting
    WeChatUser.objects.filter(pk=alice.user.pk).update(
        nickname_draft="小爱", nickname_state="pending"
    )
    answer = browser.get("/groups/")
    assert answer.context["navigation"].waiting == before + 1
    assert f'<b class="count">{before + 1}</b>' in answer.content.decode()


def test_an_operator_chooses_the_language(olga: User) -> None:
    browser = signed_in(WINDOWS)
    assert "退出登录" in browser.get(ACCOUNT).content.decode()
    chosen = {"language": "en", "next": ACCOUNT}
    assert browser.post("/admin/language/", chosen).headers["Location"] == ACCOUNT
    page = browser.get(ACCOUNT).content.decode()
    assert "Sign out" in page and '<html lang="en"' in page
    outside = {"language": "en", "next": "https://example.com/"}
    assert "example.com" not in browser.post("/admin/language/", outside).headers["Location"]


def test_no_page_of_the_console_loads_jquery(one_of_everything: None) -> None:
    browser = browser_of("superuser")
    for route in (route for role in PAGES_BY_ROLE.values() for route in role):
        answer = browser.get(admin_path(route))
        if not answer.streaming and "text/html" in answer["Content-Type"]:
            page = answer.content.decode().lower()
            assert "jquery" not in page and "xregexp" not in page, route
