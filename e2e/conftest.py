"""Provide a browser, a server, and the cast: Alice, Bob, Charlie (members), Olga (operator).

Run with `make e2e`. A page must cause no CSP violation, script error, dialog, or request to another
host.
"""

import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.models import WeChatUser
from groups.links import Link
from groups.models import Board, Group, Membership, Score
from groups.periods import Period, Window
from tests.settings import APP_ID

from .accessibility import assert_accessible
from .cast import HOSTILE_NAMES, NAMES
from .phones import (  # noqa: F401
    FLAGS,
    backend,
    capture,
    django_db_modify_db_settings,
    file_before_server,
    native_browser,
    node,
    phone_of,
    port,
    quick_flush,
    wechat,
)

# Playwright's sync API runs an event loop in this thread, where Django then refuses the ORM.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

# The first is the same engine without a window, whose contexts take a quarter of the CPU.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser_path() -> str:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        names = ", ".join(BROWSERS)
        message = f"No browser: none of {names} is installed (apt install {BROWSERS[0]})."
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def chromium(browser_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """A browser window with a size and a colour scheme, which records the problems of its pages."""

    def __init__(self, context: BrowserContext, base_url: str) -> None:
        self.base_url = base_url
        self.problems: list[str] = []
        context.expose_function("addProblem", lambda problem: self.problems.append(problem))
        context.add_init_script(
            "addEventListener('securitypolicyviolation', e =>"
            " addProblem(`CSP: ${e.violatedDirective} ${e.blockedURI}`))"
        )
        context.on("request", self._watch_request)
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("console", self._watch_console)
        self.page.on("dialog", self._watch_dialog)

    def open(self, path: str, status: int = 200) -> Page:
        response = self.page.goto(self.base_url + path)
        assert response is not None
        assert response.status == status
        return self.page

    def photograph(self, name: str, *, whole: bool = False) -> None:
        self.page.evaluate(
            """() => Promise.all([...document.images].filter(image => {
              const box = image.getBoundingClientRect();
              return box.top < innerHeight && box.bottom > 0;
            }).map(image => image.decode()))"""
        )
        capture(self.page, name, whole=whole)

    def assert_accessible(self) -> None:
        problems = list(self.problems)
        assert_accessible(self.page)
        self.page.wait_for_timeout(50)
        # axe itself writes a style, which the CSP of the console blocks.
        self.problems[:] = problems

    def _watch_request(self, request) -> None:
        if not request.url.startswith((self.base_url, "data:")):
            self.problems.append(f"request to another host: {request.url}")

    def _watch_console(self, message) -> None:
        if message.type not in {"error", "warning"}:
            return
        # Chromium also logs the status of the page itself, which each test asserts, and the missing
        # icon of Django's admin.
        url = message.location["url"]
        expected = url == self.page.url or url == f"{self.base_url}/favicon.ico"
        if not (expected and message.text.startswith("Failed to load resource")):
            self.problems.append(f"console: {message.text} {url}")

    def _watch_dialog(self, dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def visit(chromium: Browser, live_server: LiveServer, settings: LazySettings):
    """Yield a function that creates visitors, and assert that their pages had no problems."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    def visit(
        width: int = 360,
        scheme: str = "light",
        operator: User | None = None,
        language: str = "zh-CN",
    ) -> Visitor:
        context = chromium.new_context(
            viewport={"width": width, "height": 740 if width < 800 else 900},
            device_scale_factor=2 if width < 800 else 1,
            color_scheme=scheme,
            locale=language,
            timezone_id="Asia/Shanghai",
        )
        contexts.append(context)
        if operator:
            client = Client()
            client.force_login(operator)
            session = client.cookies[settings.SESSION_COOKIE_NAME].value
            name = settings.SESSION_COOKIE_NAME
            # Chromium takes such cookies (__Host-) from localhost; Playwright asks for HTTPS.
            url = live_server.url.replace("http://", "https://")
            context.add_cookies([{"name": name, "value": session, "url": url}])
        visitors.append(Visitor(context, live_server.url))
        return visitors[-1]

    yield visit
    for context in contexts:
        context.close()
    assert [problem for visitor in visitors for problem in visitor.problems] == []


@pytest.fixture
def olga(transactional_db) -> User:
    return User.objects.create_superuser("olga", password=None)


class Crowd:
    """A group that tests fill with members."""

    def __init__(self, label: str = "", board: Board | None = None) -> None:
        self.now = timezone.now()
        open_gid = f"tGxBrowserTests_{Group.objects.count():012}"
        self.group = Group.objects.create(
            app_id=APP_ID,
            open_gid=open_gid,
            label=label,
            seen_from=self.now - timedelta(days=100),
        )
        self.board = board or Board.objects.active_days()
        self.members: list[WeChatUser] = []

    def add(
        self,
        nickname: str,
        score: int | None = None,
        before: int | None = None,
        hidden: bool = False,
    ) -> WeChatUser:
        """Add a member with a score in every current period, and one in the previous periods."""
        number = len(self.members)
        user = WeChatUser.objects.create(
            app_id=APP_ID, openid=f"o-{self.group.pk}-{number}", nickname=nickname
        )
        joined = self.now - timedelta(days=20, seconds=-number)
        Membership.objects.create(
            group=self.group, user=user, joined_at=joined, verified_at=self.now, hidden=hidden
        )
        self.members.append(user)
        scores = []
        for window in Window:
            current = Period.current(window, self.now)
            scores += self._score(user, current, score, self.now - timedelta(seconds=900 - number))
            if current.previous:
                scores += self._score(user, current.previous, before, joined)
        Score.objects.bulk_create(scores)
        return user

    def path_for(self, member: WeChatUser) -> str:
        return f"/g/{Link(member.pk, self.group.pk, self.board.key).sign()}/"

    def _score(
        self, user: WeChatUser, period: Period, value: int | None, achieved_at: datetime
    ) -> Iterator[Score]:
        if value is not None:
            yield Score(
                board=self.board,
                scope=self.board.scope_in(self.group.pk),
                user=user,
                period=period.key,
                value=value,
                achieved_at=achieved_at,
            )


@pytest.fixture
def points(transactional_db) -> Board:
    """Return the board of a game, with scores that need thousands separators."""
    return Board.objects.create(
        app_id=APP_ID, key="points", title_zh="积分", title_en="Points", unit_zh="分", unit_en="pts"
    )


@pytest.fixture
def crowd(transactional_db):
    return Crowd


@pytest.fixture
def family(crowd, points):
    """Return a group with every kind of name, and some unlisted members."""
    family = crowd("产品设计交流群", points)
    for place, name in enumerate(NAMES + HOSTILE_NAMES):
        family.add(name, 9781 - 97 * place)
    for name in ("躲起来的人", "被隐藏的人", "被封禁的人"):
        family.add(name, 5)
    hider, withheld, blocked = family.members[-3:]
    Membership.objects.filter(user=hider).update(hidden=True)
    Membership.objects.filter(user=withheld).update(withheld=True)
    WeChatUser.objects.filter(pk=blocked.pk).update(status="blocked", nickname_state="pending")
    return family
