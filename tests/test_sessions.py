"""Operators' sessions and cookies: when they end, who ends them, and what the log says of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit.models import AuditEvent
from console.guesses import digest_of_name
from console.models import OperatorSession
from console.sign_in import sign_in_path
from groups.models import Group
from tests.cast import Person

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.no_service

ACCOUNT, LOGIN, LIVE = "/admin/account/", "/admin/login/", "/admin/check/live/"
NOON = 1_795_579_200
MINUTE, HOUR = 60, 3600
PASSWORD = "a password only otto knows"


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(NOON, tick=False) as clock:
        yield clock


@pytest.fixture
def otto(db: None) -> User:
    return User.objects.create_superuser("otto", password=PASSWORD)


def signed_in(name: str = "otto") -> Browser:
    browser = Browser()
    answer = browser.post(LOGIN, {"username": name, "password": PASSWORD})
    assert answer.status_code == 302
    return browser


def is_in(browser: Browser) -> bool:
    return bool(browser.get(ACCOUNT).status_code == 200)


def lines(log_output: StringIO, message: str) -> list[dict[str, Any]]:
    found = map(json.loads, log_output.getvalue().splitlines())
    return [line for line in found if line["message"] == message]


# Without use, and at the latest


def test_a_session_ends_after_an_hour_without_use(
    otto: User, clock: Any, log_output: StringIO
) -> None:
    browser = signed_in()
    clock.shift(54 * MINUTE)
    assert is_in(browser)
    clock.shift(HOUR)
    key = browser.cookies["__Host-sessionid"].value
    assert not is_in(browser)
    assert not OperatorSession.objects.filter(pk=key).exists(), "no clock brings it back"
    [line] = lines(log_output, "An operator's session ended.")
    assert (line["way"], line["operator"]) == ("idle", digest_of_name("otto")[:16])
    assert line["requestId"], "which leads to the address"


def test_a_session_in_use_ends_twelve_hours_after_the_sign_in(
    otto: User, clock: Any, settings: Any, log_output: StringIO
) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True  # each time Django would count from the start
    browser = signed_in()
    for _ in range(23):
        clock.shift(30 * MINUTE)
        assert is_in(browser)
    clock.shift(30 * MINUTE)
    assert not is_in(browser)
    assert [line["way"] for line in lines(log_output, "An operator's session ended.")] == ["age"]


def test_a_new_sign_in_begins_another_twelve_hours(otto: User, clock: Any) -> None:
    browser = signed_in()
    for _ in range(22):
        clock.shift(30 * MINUTE)
        is_in(browser)
    browser.post(LOGIN, {"username": "otto", "password": PASSWORD})
    for _ in range(20):
        clock.shift(30 * MINUTE)
        assert is_in(browser)


def test_what_a_page_asks_by_itself_is_no_use(otto: User, clock: Any) -> None:
    browser = signed_in()
    for _ in range(5):
        clock.shift(10 * MINUTE)
        assert browser.get(LIVE).status_code in {200, 204}
    clock.shift(10 * MINUTE)
    assert browser.get(LIVE).status_code == 302


def test_a_request_reads_its_session_with_one_statement(otto: User) -> None:
    browser = signed_in()
    with CaptureQueriesContext(
        connection,
    ) as taken:
        assert is_in(browser)
    table = OperatorSession._meta.db_table
    about = [each["sql"] for each in taken if f'FROM "{table}"' in each["sql"].replace("`", '"')]
    assert len(about) == 2, "the session, and the list that this page shows"


def test_sessions_that_ended_are_not_listed_and_are_deleted(otto: User, clock: Any) -> None:
    signed_in()
    clock.shift(HOUR)
    here = signed_in()
    assert len(here.get(ACCOUNT).context["sessions"]) == 1
    assert OperatorSession.objects.count() == 2
    call_command("clearsessions")
    assert OperatorSession.objects.count() == 1 and is_in(here)


# A form that is sent too late


def test_a_form_that_is_sent_too_late_shows_what_was_typed_and_saves_nothing(
    otto: User, group: Group
) -> None:
    browser = signed_in()
    OperatorSession.objects.all().delete()
    typed = {"label": "周末 <羽毛球>", "next": "/groups/", "seen": "x1", "password": PASSWORD}
    answer = browser.post(f"/groups/{group.pk}/", typed)
    page = answer.content.decode()
    assert answer.status_code == 403 and "no-store" in answer["Cache-Control"]
    assert "没有保存任何内容" in page and "周末 &lt;羽毛球&gt;" in page
    assert PASSWORD not in page and "x1" not in page
    assert Group.objects.get().label == ""


def test_the_sign_in_page_says_that_a_session_has_ended_once(otto: User) -> None:
    browser = signed_in()
    OperatorSession.objects.all().delete()
    answer = browser.get("/groups/", follow=True)
    assert answer.redirect_chain[-1][0] == "/admin/login/?next=/groups/"
    assert "会话已结束" in answer.content.decode()
    assert "会话已结束" not in browser.get("/groups/", follow=True).content.decode()
    assert "会话已结束" not in Browser().get("/groups/", follow=True).content.decode()


def test_who_signs_out_too_late_just_signs_in(otto: User) -> None:
    browser = signed_in()
    OperatorSession.objects.all().delete()
    answer = browser.post("/admin/logout/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/admin/login/")


# Sessions of other operators


def with_rights(name: str, *codenames: str) -> Browser:
    """Sign in an operator who holds these permissions alone."""
    operator = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return signed_in(name)


def act(operator: User) -> str:
    return reverse("console-act", args=["end_sessions", operator.pk])


def test_who_may_change_an_operator_sees_and_ends_their_sessions(otto: User) -> None:
    una = with_rights("una", "view_user", "change_user")
    vera = with_rights("vera")
    operator = User.objects.get(username="vera")
    assert act(operator) in una.get(f"/admin/auth/user/{operator.pk}/change/").content.decode()
    page = una.get(act(operator)).content.decode()
    assert "127.0.0.1" in page
    for key in OperatorSession.objects.values_list("pk", flat=True):
        assert key not in page
    assert una.post(act(operator), {"reason": ""}).status_code == 200 and is_in(vera)
    answer = una.post(act(operator), {"reason": "设备丢失"})
    assert (answer.status_code, is_in(vera), is_in(una)) == (302, False, True)
    event = AuditEvent.objects.get(action="end_sessions")
    assert (event.operator_name, event.target_id, event.reason) == ("una", operator.pk, "设备丢失")
    assert event.details == {"count": 1}
    una.post(act(operator), {"reason": "设备丢失"})
    assert AuditEvent.objects.filter(action="end_sessions").count() == 1


def test_no_one_sees_or_ends_sessions_of_who_outranks_them_nor_their_own_here(otto: User) -> None:
    above, una = signed_in(), with_rights("una", "view_user", "change_user")
    viewer = with_rights("vera", "view_user")
    for browser, operator in (
        (una, otto),
        (una, User.objects.get(username="una")),
        (viewer, User.objects.get(username="una")),
    ):
        assert browser.get(act(operator)).status_code == 403
        assert browser.post(act(operator), {"reason": "设备丢失"}).status_code == 403
    assert is_in(above) and is_in(una)
    assert act(otto) not in una.get(f"/admin/auth/user/{otto.pk}/change/").content.decode()


@pytest.mark.parametrize("left_out", ["is_active", "is_staff"])
def test_an_operator_who_is_let_in_again_signs_in_anew(otto: User, left_out: str) -> None:
    here, vera = signed_in(), with_rights("vera")
    operator = User.objects.get(username="vera")
    address = f"/admin/auth/user/{operator.pk}/change/"
    rights = {"username": "vera", "is_active": "on", "is_staff": "on"}
    assert here.post(address, {k: v for k, v in rights.items() if k != left_out}).status_code == 302
    assert operator.sessions.count() == 0
    assert here.post(address, rights).status_code == 302
    assert User.objects.get(username="vera").is_active and not is_in(vera)


def test_a_new_password_ends_the_other_sessions_whoever_sets_it(otto: User) -> None:
    here, there = signed_in(), signed_in()
    new = "another password that only otto knows"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert here.post("/admin/password_change/", form).status_code == 302
    assert otto.sessions.count() == 1 and is_in(here) and not is_in(there)
    vera = with_rights("vera")
    operator = User.objects.get(username="vera")
    form = {"password1": new, "password2": new, "set-password": ""}
    assert here.post(f"/admin/auth/user/{operator.pk}/password/", form).status_code == 302
    assert operator.sessions.count() == 0 and not is_in(vera) and is_in(here)


# What the log says


def test_signing_out_is_logged_with_who_and_where(otto: User, log_output: StringIO) -> None:
    vera = with_rights("vera")
    vera.post("/admin/logout/", REMOTE_ADDR="192.0.2.9")
    vera.post("/admin/logout/")
    expected = {"operator": digest_of_name("vera")[:16], "client": "192.0.2.9"}
    [line] = lines(log_output, "An operator signed out.")
    assert line.items() >= (expected | {"level": "INFO"}).items()
    assert line["requestId"]
    assert "vera" not in log_output.getvalue()


# Cookies


def test_every_cookie_is_for_this_host_and_https_alone(otto: User, alice: Person) -> None:
    browser, linked = Browser(), Browser()
    answers = [browser.get("/admin/"), browser.get(LOGIN), linked.get(sign_in_path(otto))]
    answers += [browser.post(LOGIN, {"username": "otto", "password": PASSWORD})]
    answers += [browser.post("/admin/language/", {"language": "en", "next": ACCOUNT})]
    answers += [
        browser.post(reverse("console-act", args=["block", alice.user.pk]), {"reason": "x"})
    ]
    answers += [browser.get("/admin/"), browser.post("/admin/logout/")]
    answers += [linked.post(sign_in_path(User.objects.get()))]
    cookies = [cookie for answer in answers for cookie in answer.cookies.values()]
    assert {cookie.key.removeprefix("__Host-") for cookie in cookies} == {
        *("sessionid", "csrftoken", "messages", "django_language", "operator_device")
    }
    for cookie in cookies:
        assert cookie.key.startswith("__Host-"), cookie
        assert cookie["secure"] and (cookie["path"], cookie["domain"]) == ("/", ""), cookie
        assert cookie["samesite"] == "Lax", cookie
        assert cookie["httponly"] or not cookie.value, cookie


@pytest.mark.parametrize("debug", ["True", "False"])
def test_only_development_does_without_https(debug: str, tmp_path: Path) -> None:
    code = (
        "from django.conf import settings as s; from groupsite.pages import MessageCookieStorage;"
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.LANGUAGE_COOKIE_NAME,"
        " MessageCookieStorage.cookie_name, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE,"
        " s.LANGUAGE_COOKIE_SECURE)"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "groupsite.settings", "DEBUG": debug}
    environment |= {"DATABASE_URL": "sqlite:///:memory:", "MEDIA_ROOT": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    prefix, secure = ("", "False") if debug == "True" else ("__Host-", "True")
    names = ("sessionid", "csrftoken", "django_language", "messages")
    assert run.stdout.split() == [*(prefix + name for name in names), *[secure] * 3], run.stderr


def test_a_browser_without_cookies_hears_why_its_form_is_refused(otto: User) -> None:
    page = Browser(enforce_csrf_checks=True).post(LOGIN, {"username": "otto"})
    assert page.status_code == 403 and "https://" in page.content.decode()
    browser = Browser(enforce_csrf_checks=True)
    browser.get(LOGIN)
    page = browser.post(LOGIN, {"username": "otto"})
    assert page.status_code == 403 and "https://" not in page.content.decode()


def test_the_sign_in_page_says_how_to_get_a_link(db: None, settings: Any) -> None:
    settings.SIGN_IN_COMMAND = "make signin"
    assert "<code>make signin</code>" in Browser().get(LOGIN).content.decode()


# Passwords


@pytest.mark.parametrize(
    ("password", "accepted"),
    [
        ("Password123", False),
        ("qwertyuiop123", False),
        ("k7Qw-2bV", True),
        ("k7Qw-2b", False),
        ("长" * 200, True),
        (f"  {'a b ' * 30}", True),
    ],
)
def test_short_common_and_breached_passwords_are_refused_and_long_ones_are_not(
    otto: User, settings: Any, password: str, accepted: bool
) -> None:
    rules = [dict(rule) for rule in settings.AUTH_PASSWORD_VALIDATORS]
    rules[1]["OPTIONS"] = {"min_length": 8}
    settings.AUTH_PASSWORD_VALIDATORS = rules
    form = {"old_password": PASSWORD, "new_password1": password, "new_password2": password}
    answer = signed_in().post("/admin/password_change/", form)
    otto.refresh_from_db()
    assert (answer.status_code == 302, otto.check_password(password)) == (accepted, accepted)


def test_a_password_without_a_second_factor_is_longer(settings: Any) -> None:
    assert settings.OPERATOR_TOTP is False
    assert {"min_length": 15} in [each.get("OPTIONS") for each in settings.AUTH_PASSWORD_VALIDATORS]
