"""Provide phones that run a mini-program, the site it calls, and a sandbox instead of WeChat.

A phone is a browser window with a mini-program that `miniprogram/harness` has built: its own
templates, styles and scripts on WeChat's component framework, with real HTTP.
"""

import base64
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.db import connection, connections, transaction
from django.test import TransactionTestCase
from playwright.sync_api import Browser, Error, Locator, Page, expect

from tests.servers import find_program, forget_counts
from tests.settings import APP_ID
from wechat.sandbox import Phone, Sandbox, open_gid_of

MINIPROGRAM = Path(__file__).resolve().parent.parent / "miniprogram"
SCREENSHOTS = Path(__file__).parent / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDTH, HEIGHT = 375, 812
TIMEOUT = 20_000  # milliseconds; the game alone takes ten seconds

CARD_WITH_TICKET, CARD_WITHOUT_TICKET, FROM_SEARCH = 1044, 1008, 1053
GROUP_CHAT, SINGLE_CHAT = 3, 1

Launch = dict[str, Any]


def capture(page: Page, name: str, *, whole: bool = False) -> None:
    """Write a picture of the page to `screenshots/`.

    A busy Chromium now and then refuses a capture that it takes a moment later ("Unable to capture
    screenshot"); the third refusal is raised.
    """
    SCREENSHOTS.mkdir(exist_ok=True)
    for remaining in (2, 1, 0):
        try:
            page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=whole)
            return
        except Error as error:
            if not remaining or "Unable to capture screenshot" not in error.message:
                raise
            page.wait_for_timeout(500)


# The site


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadedWSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int) -> None:
        self._connections: set[socket.socket] = set()
        from groupsite.wsgi import application  # asks the database, which a fixture makes

        super().__init__(("127.0.0.1", port), _QuietHandler)
        self.set_app(application)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        # Open connections would still be answered although the site is down.
        for each in list(self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the phone closed the connection; the site itself reports its own errors


class Backend:
    """The site on one port; tests can stop it and start it again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}"
        self.start()

    def start(self) -> None:
        self._server = _Server(self._port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="backend", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Put SQLite into a file: in memory, all threads of a server would share one connection.

    It need not survive the machine, as a site's own does, which waits for the disk at each commit.
    """
    default = connections["default"]
    if default.vendor == "sqlite" and default.is_in_memory_db():
        file = tmp_path_factory.mktemp("database") / "tests.sqlite3"
        default.settings_dict["TEST"]["NAME"] = str(file)
        default.settings_dict["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"


@pytest.fixture(scope="session", autouse=True)
def file_before_server(django_db_setup: None) -> None:
    """Create the database before `live_server` checks whether it is in memory."""


@pytest.fixture(scope="session", autouse=True)
def quick_flush(file_before_server: None, django_db_blocker: Any) -> Iterator[None]:
    """Let SQLite put back after a test, in one transaction, what a flush makes row by row.

    Content types, permissions and roles are made by the signal post_migrate.
    """
    if connection.vendor != "sqlite":
        yield
        return
    flush = partial(call_command, "flush", interactive=False, reset_sequences=False, verbosity=0)
    with django_db_blocker.unblock():
        flush()
        made = list(stored_rows())

    def flush_and_restore(case: TransactionTestCase) -> None:
        flush(inhibit_post_migrate=True)
        with transaction.atomic(), connection.cursor() as cursor:
            for table, rows in made:
                places = ", ".join(["%s"] * len(rows[0]))
                cursor.executemany(f"INSERT INTO {table} VALUES ({places})", rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", flush_and_restore)
        yield


def stored_rows() -> Iterator[tuple[str, list[Any]]]:
    """Yield each table that has rows, with them."""
    with connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True):
            cursor.execute(f"SELECT * FROM {table}")
            if rows := cursor.fetchall():
                yield table, rows


@pytest.fixture(scope="session")
def port() -> int:
    """Return the port of every test's site; built mini-programs contain the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def backend(
    port: int, wechat: Sandbox, settings: LazySettings, transactional_db: None
) -> Iterator[Backend]:
    forget_counts()
    backend = Backend(port)
    channel = settings.WECHAT_PUSH[APP_ID]
    push_url = f"{backend.url}/wechat/push/{APP_ID}/"
    wechat.state.push_to(APP_ID, push_url, channel["TOKEN"], channel["AES_KEY"])
    yield backend
    backend.stop()


@pytest.fixture
def wechat(settings: LazySettings) -> Iterator[Sandbox]:
    with Sandbox({id: app["SECRET"] for id, app in settings.WECHAT_APPS.items()}) as sandbox:
        settings.WECHAT_API_URL = sandbox.url
        yield sandbox


# Mini-programs


@pytest.fixture(scope="session")
def node() -> str:
    """Return the path of Node, and require the packages of the harness."""
    path = find_program("node")
    if not (MINIPROGRAM / "node_modules").is_dir():
        missing = "miniprogram/node_modules is missing (npm ci)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return path


def run(
    *command: str | Path, cwd: Path = MINIPROGRAM, timeout: int = 120, **environment: str
) -> str:
    """Run a command and return its output; fail with the output if the command fails."""
    completed = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def installed(node: str, app: Path, out: Path) -> Iterator[str]:
    """Build the mini-program in `app` into `out`, serve it, and yield its address."""
    run(node, MINIPROGRAM / "harness" / "build.mjs", app, out)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(out)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()
    thread.join()


# Phones


@pytest.fixture(scope="session")
def native_browser(chromium: Browser, browser_path: str) -> Iterator[Browser]:
    """Yield a browser without CORS, because `wx.request` has none."""
    browser = chromium.browser_type.launch(
        executable_path=browser_path, args=[*FLAGS, "--disable-web-security"]
    )
    yield browser
    browser.close()


class BrowserPhone:
    """The phone of `person`; `settings` are those of `miniprogram/harness/device.mjs`."""

    def __init__(
        self,
        browser: Browser,
        app_url: str,
        wechat: Sandbox,
        person: str,
        scheme: str = "light",
        width: int = WIDTH,
        **settings: Any,
    ) -> None:
        self.app_url = app_url
        self.person = person
        self.wechat = Phone(wechat.url, person, APP_ID)
        self.settings = {
            "person": person,
            "appid": APP_ID,
            "sandbox": wechat.url,
            "theme": scheme,
            "chats": {},
        } | settings
        self.errors: list[str] = []
        self.running = False
        self._context = browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            device_scale_factor=2,
            color_scheme=scheme,
            locale=str(settings.get("language", "zh_CN")).replace("_", "-"),
            timezone_id="Asia/Shanghai",
        )
        self._context.set_default_timeout(TIMEOUT)
        self.page = self._context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(f"{person}: {error}"))
        self.page.on("console", self._watch_console)

    # Opening and closing

    def card_in(self, chat: str, scene: int = CARD_WITH_TICKET, card: Any = None) -> Launch:
        """Return the launch options of a tap on a card in `chat`; `card` is one from `share`."""
        path, _, query = (card or {"path": ""})["path"].lstrip("/").partition("?")
        if card and not card["withShareTicket"] and scene == CARD_WITH_TICKET:
            scene = CARD_WITHOUT_TICKET
        pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        launch = self.wechat.open_card(chat, scene, pairs) | {"chatType": GROUP_CHAT}
        self.settings["chats"][open_gid_of(APP_ID, chat)] = chat
        return launch | ({"path": path} if path else {})

    def tap_card(self, chat: str, scene: int = CARD_WITH_TICKET, card: Any = None) -> None:
        self.open(self.card_in(chat, scene, card))

    def open_single(self) -> None:
        self.open(self.wechat.open_single() | {"chatType": SINGLE_CHAT})

    def open_outside(self) -> None:
        self.open({"scene": FROM_SEARCH, "query": {}})

    def open(self, launch: Launch) -> None:
        """Start the mini-program, or bring it back if it still runs in the background."""
        if self.running:
            self.home()
            self.set(chats=self.settings["chats"])
            first_page = self.evaluate("miniProgram.app.pages[0]")
            return self._device("show", {"path": first_page} | launch)
        self.running = True
        self.page.goto(self.app_url)
        return self.page.evaluate(
            "([launch, settings]) => device.launch(launch, settings)", [launch, self.settings]
        )

    def home(self, *, interrupting: bool = False) -> None:
        """Go to the background; `interrupting` ends requests, as WeChat does after five seconds."""
        self._device("hide", {"interrupting": interrupting})

    def resume(self) -> None:
        """Return from the background with the old scene and ticket, as on Android."""
        self._device("show", None)

    def kill(self) -> None:
        """End the mini-program as WeChat does; its storage stays."""
        self.page.goto("about:blank")
        self.running = False

    def back(self) -> None:
        self._device("back")

    def pull_down(self) -> None:
        self._device("pullDown")
        self.page.wait_for_function("!device.isRefreshing()")

    def scroll(self, top: int) -> None:
        """Scroll the list that is open to `top` pixels, or to its end."""
        lists = self.page.locator("wx-scroll-view[refresher]").locator("visible=true")
        lists.first.evaluate("(list, top) => list.scrollTo(0, top)", top)

    def share(self) -> Any:
        """Share with 转发 in the menu, and return the card."""
        return self._device("share")

    # Looking and tapping

    def find(self, text: str, *, exact: bool = False) -> Locator:
        return self.page.get_by_text(text, exact=exact).locator("visible=true").first

    def see(self, *texts: str) -> None:
        for text in texts:
            expect(self.find(text)).to_be_visible(timeout=TIMEOUT)

    def not_see(self, *texts: str) -> None:
        """Expect that the texts are not on the screen, or disappear in time."""
        for text in texts:
            visible = self.page.get_by_text(text).locator("visible=true")
            expect(visible).to_have_count(0, timeout=TIMEOUT)

    def tap(self, text: str) -> None:
        self.find(text, exact=True).click()

    def tap_selector(self, selector: str) -> None:
        """Tap an element without text, such as `wx-switch`."""
        self.page.locator(selector).locator("visible=true").first.click()

    def tap_fast(self, selector: str, times: int) -> None:
        """Tap many times within one call, because a slow machine could not keep up."""
        self.page.locator(selector).locator("visible=true").first.evaluate(
            """(element, times) => {
              const types = Array.from({ length: times }, () => ['mousedown', 'mouseup', 'click'])
              for (const type of types.flat()) {
                element.dispatchEvent(new MouseEvent(type, { bubbles: true }))
              }
            }""",
            times,
        )

    def type_in(self, placeholder: str, text: str) -> None:
        self.page.get_by_placeholder(placeholder).locator("visible=true").fill(text)

    def fill_suggestion(self, placeholder: str, text: str) -> None:
        """Fill a field as the keyboard's suggestion does, without an input event."""
        field = self.page.get_by_placeholder(placeholder).locator("visible=true")
        field.evaluate("(field, text) => { field.value = text }", text)

    def set_next_picture(self, picture: bytes) -> None:
        """Set the picture that a `chooseAvatar` button gives from now on."""
        self.set(nextPicture=base64.b64encode(picture).decode())

    def photograph(self, name: str) -> None:
        self.page.evaluate(
            """() => Promise.all([...document.images].filter(image => image.offsetParent)
                 .map(image => image.decode().catch(() => {})))"""
        )
        capture(self.page, name)

    # The device and its requests

    def set(self, **settings: Any) -> None:
        self.settings |= settings
        if self.running:
            self._device("set", settings)

    def offline(self, offline: bool = True) -> None:
        self._context.set_offline(offline)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Return the `wx` calls since the start; requests have their status."""
        return self.page.evaluate("device.calls")

    def requests(self, ending: str = "") -> list[tuple[str, str, int | None]]:
        """Return the requests whose path ends so: method, path, and status after a response."""
        return [
            (call["method"], call["path"], call.get("status"))
            for call in self.calls
            if "path" in call and call["path"].endswith(ending)
        ]

    def wait_for_responses(self, ending: str, status: int, times: int = 1) -> None:
        """Wait until requests whose path ends so have had this status so many times."""
        self.page.wait_for_function(
            """([ending, status, times]) => times <= device.calls.filter(
                 call => (call.path || '').endsWith(ending) && call.status === status).length""",
            arg=[ending, status, times],
        )

    def evaluate(self, expression: str, argument: Any = None) -> Any:
        return self.page.evaluate(expression, argument)

    def close(self) -> None:
        self._context.close()

    def _device(self, method: str, argument: Any = None) -> Any:
        return self.page.evaluate(
            "([method, argument]) => device[method](argument ?? undefined)", [method, argument]
        )

    def _watch_console(self, message: Any) -> None:
        if message.type != "error":
            return
        url = message.location["url"]
        # Tests provoke errors of the API and outages on purpose, but never a missing picture.
        is_call = "/api/v1/" in url or "/phone/" in url
        if message.text.startswith("Failed to load resource") and (
            is_call or "net::ERR_" in message.text
        ):
            return
        self.errors.append(f"{self.person}: {message.text} {url}")


MakePhone = Callable[..., BrowserPhone]


@pytest.fixture
def phone_of(native_browser: Browser, wechat: Sandbox) -> Iterator[MakePhone]:
    """Yield `phone_of(app_url, person, **settings)`; fail if any of its phones logs an error."""
    with ExitStack() as stack:
        phones: list[BrowserPhone] = []

        def phone_of(app_url: str, person: str, **settings: Any) -> BrowserPhone:
            phone = BrowserPhone(native_browser, app_url, wechat, person, **settings)
            stack.callback(phone.close)
            phones.append(phone)
            return phone

        yield phone_of
        errors = [error for phone in phones for error in phone.errors]
    assert errors == []
