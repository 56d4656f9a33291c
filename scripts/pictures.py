"""Take the pictures of the READMEs, from a demo of its own: `make pictures`.

python -m scripts.pictures            all of them, into docs/
python -m scripts.pictures ranking    only those named

The demo stands at one moment, so that people, scores and dates are the same each time, and pictures
differ in a few edges at most. It needs chromium and, for the mini-program, Node with the kit's
packages.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import time_machine
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from groupsite import demo
from wechat.sandbox import Phone, Sandbox, open_gid_of

ROOT = Path(__file__).resolve().parent.parent
DOCS, KIT = ROOT / "docs", ROOT / "miniprogram"
MOMENT = datetime.fromisoformat("2026-11-25T20:18:00+08:00")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
WITHOUT_CORS = "--disable-web-security"  # as `wx.request` is
COLOURS, GAP = 256, 16
PERSON, CHAT, CHAT_NAME = "demo-alice", "demo-chat-1", "五百人大群"
GAME_NAME = "十秒点点"


class Studio:
    """A running demo, and a browser to look at it."""

    def __init__(
        self, browser: Browser, base_url: str, sandbox_url: str, paths: dict[str, str]
    ) -> None:
        self.browser = browser
        self.base_url = base_url
        self.sandbox_url = sandbox_url
        self.paths = paths

    @contextmanager
    def window(
        self, width: int, height: int, scheme: Any = "light", scale: float = 1
    ) -> Iterator[Page]:
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            color_scheme=scheme,
            locale="zh-CN",
            timezone_id="Asia/Shanghai",
            reduced_motion="reduce",
        )
        context.clock.set_fixed_time(MOMENT)
        yield context.new_page()
        context.close()

    def ranking(self) -> Image.Image:
        """Show a group's ranking on a phone."""
        with self.window(360, 740, scale=2) as page:
            page.goto(self.base_url + self.paths["ranking"])
            return taken(page)

    def console(self) -> Image.Image:
        """Show a group's page in the console, and the same on a phone in the dark."""
        pictures = []
        with self.window(1280, 800) as page:
            page.goto(self.base_url + self.paths["sign in"])
            page.locator("form button").click()
            page.goto(self.base_url + self.paths["group"])
            pictures.append(taken(page))
            cookies = page.context.cookies()
        with self.window(390, 800, "dark") as page:
            page.context.add_cookies(cookies)  # type: ignore[arg-type]
            page.goto(self.base_url + self.paths["group"])
            pictures.append(taken(page))
        return side_by_side(pictures)

    def miniprogram(self) -> Image.Image:
        """Show the example mini-program: rankings, consent, the settings of a group."""
        pictures = []
        with TemporaryDirectory() as folder, built_example(Path(folder), self.base_url) as url:
            for scheme, link in (
                ("light", ""),
                ("dark", ""),
                ("light", "我的资料"),
                ("light", "群设置"),
            ):
                with self.window(375, 812, scheme) as page:
                    self.open_example(page, url, scheme)
                    if link:
                        page.get_by_text(link, exact=True).locator("visible=true").first.click()
                        page.wait_for_timeout(1000)
                    pictures.append(taken(page))
        return side_by_side(pictures)

    def open_example(self, page: Page, url: str, scheme: str) -> None:
        """Tap a card in the group, and look at the game's ranking."""
        settings = {
            "person": PERSON,
            "appid": demo.APP_ID,
            "sandbox": self.sandbox_url,
            "theme": scheme,
            "chats": {open_gid_of(demo.APP_ID, CHAT): CHAT_NAME},
        }
        launch = Phone(self.sandbox_url, PERSON).open_card(CHAT) | {"chatType": 3}
        page.goto(url)
        page.evaluate("([launch, settings]) => device.launch(launch, settings)", [launch, settings])
        page.locator("[class*='--boards']").get_by_text(GAME_NAME, exact=True).click()
        page.wait_for_timeout(1500)


def taken(page: Page) -> Image.Image:
    """Photograph what is in view, once its pictures are there."""
    page.wait_for_load_state("networkidle")
    page.evaluate(
        """() => Promise.all([...document.images].filter(image => {
          const box = image.getBoundingClientRect();
          return image.offsetParent && box.top < innerHeight && box.bottom > 0;
        }).map(image => image.decode().catch(() => {})))"""
    )
    page.wait_for_timeout(500)  # for those inside components, which no script here sees
    return Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures) + GAP * (len(pictures) - 1)
    whole = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP
    return whole


@contextmanager
def built_example(folder: Path, base_url: str) -> Iterator[str]:
    """Build the example, with the kit in it, for a browser; serve it and yield its address."""
    app, out = folder / "app", folder / "out"
    ignored = shutil.ignore_patterns("node_modules", "miniprogram_npm", "package.json")
    shutil.copytree(KIT / "example", app, ignore=ignored)
    shutil.copytree(KIT / "groups", app / "groups")
    for file in [*app.rglob("*.js"), *app.rglob("*.json")]:
        text = file.read_text().replace("http://127.0.0.1:8000", base_url)
        text = text.replace("require('groupsite')", "require('./groups/index')")
        file.write_text(text.replace('"groupsite/group-', '"/groups/group-'))
    node = shutil.which("node") or sys.exit("The mini-program's picture needs Node 20.")
    subprocess.run([node, KIT / "harness" / "build.mjs", app, out], cwd=KIT, check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietFiles, directory=str(out)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


PICTURES: dict[str, Callable[[Studio], Image.Image]] = {
    "ranking": Studio.ranking,
    "console": Studio.console,
    "miniprogram": Studio.miniprogram,
}


def find_paths(base_url: str) -> dict[str, str]:
    """Return where the pictures are taken; it asks the database, as no browser is open yet."""
    from django.urls import reverse

    from groups.models import Group

    group = Group.objects.get(label=CHAT_NAME)
    return {
        "ranking": demo.print_addresses(base_url),
        "sign in": demo.operator_path(),
        "group": f"{reverse('group-page', args=[group.pk])}?board={demo.GAME}",
    }


def main(names: list[str]) -> None:
    if unknown := set(names) - PICTURES.keys():
        sys.exit(f"No such picture: {', '.join(unknown)}. There are {', '.join(PICTURES)}.")
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit("The pictures need a browser: apt install chromium 请先安装 chromium")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # the browser's loop runs in this thread
    with (
        time_machine.travel(MOMENT),
        TemporaryDirectory() as home,
        Sandbox({demo.APP_ID: demo.APP_SECRET}) as sandbox,
    ):
        demo.set_up(sandbox.url, Path(home))
        with demo.running("127.0.0.1", 0, sandbox, Path(home)) as base_url:
            paths = find_paths(base_url)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=browser_path, args=[*FLAGS, WITHOUT_CORS]
                )
                studio = Studio(browser, base_url, sandbox.url, paths)
                for name in names or PICTURES:
                    picture = PICTURES[name](studio)
                    file = DOCS / f"{name}.png"
                    picture.quantize(COLOURS).save(file, optimize=True)
                    demo.say(f"{file.relative_to(ROOT)} {picture.size} {file.stat().st_size} bytes")
                browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
