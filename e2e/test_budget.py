"""The members' page on a slow phone: light, still, legible, and whole without a script.

The budget is for 1.6 Mbit/s with 150 ms and a processor four times slower.
"""

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from .axe import violations
from .conftest import SCREENSHOTS
from .test_pages import HOSTILE, NAMES, both_schemes, looks_right, text

CSS = Path(__file__).parent.parent / "static/site.css"
FIRST_VIEW, STYLES = 60_000, 3_000
MBIT = 1e6 / 8
SLOW = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1.6 * MBIT,
    "uploadThroughput": 0.75 * MBIT,
}

OBSERVE = """
  window.vitals = {shift: 0, largest: 0};
  new PerformanceObserver(list => list.getEntries().forEach(entry => vitals.shift += entry.value))
    .observe({type: 'layout-shift', buffered: true});
  new PerformanceObserver(list => vitals.largest = list.getEntries().at(-1).startTime)
    .observe({type: 'largest-contentful-paint', buffered: true});
"""


@dataclass
class SlowPhone:
    """A page behind a slow network and processor, that counts the bytes it is sent."""

    page: Page
    sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.page.add_init_script(OBSERVE)
        self.line = self.page.context.new_cdp_session(self.page)
        paths: dict[str, str] = {}

        def requested(event) -> None:
            paths[event["requestId"]] = urlsplit(event["request"]["url"]).path

        def finished(event) -> None:
            self.sent[paths[event["requestId"]]] = round(event["encodedDataLength"])

        self.line.on("Network.requestWillBeSent", requested)
        self.line.on("Network.loadingFinished", finished)
        self.line.send("Network.enable")
        self.line.send("Network.emulateNetworkConditions", SLOW)
        self.line.send("Emulation.setCPUThrottlingRate", {"rate": 4})

    def vitals(self) -> dict[str, float]:
        return self.page.evaluate("vitals")


def compressed(page: Page, path: str) -> tuple[int, int]:
    """The bytes of a text as our server sends it, and as a proxy in front of it would."""
    body = page.request.get(path).body()
    return len(body), len(gzip.compress(body, 6))


def below_the_fold(page: Page) -> set[str]:
    """The pictures that come early though nobody sees them yet: browsers read ahead."""
    addresses = page.evaluate(
        """[...document.images]
            .filter(image => image.getBoundingClientRect().top >= innerHeight)
            .map(image => image.src)"""
    )
    return {urlsplit(address).path for address in addresses}


@pytest.fixture
def players(crowd, points):
    """A group of 120, with whoever is in the middle as the reader."""
    group = crowd("产品设计交流群", points)
    for number in range(120):
        group.add(NAMES[number % len(NAMES)], 9781 - number * 67, 9700 - number * 5 % 11 * 90)
    return group


def test_the_style_sheet_is_small() -> None:
    assert len(gzip.compress(CSS.read_bytes(), 6)) <= STYLES


@both_schemes
def test_the_first_view_keeps_to_the_budget(visit, players, scheme: str) -> None:
    visitor = visit(360, scheme)
    phone = SlowPhone(visitor.page)
    path = players.path_for(players.members[63])
    page = visitor.open(path)
    page.wait_for_load_state("networkidle")
    below = below_the_fold(page)
    weight = sum(size for sent, size in phone.sent.items() if sent not in below)
    for sheet in (path, urlsplit(page.locator("link[rel=stylesheet]").get_attribute("href")).path):
        plain, packed = compressed(page, visitor.base_url + sheet)
        weight -= plain - packed
    vitals = phone.vitals()
    measured = {"first view": weight, "all": sum(phone.sent.values()), **vitals}
    SCREENSHOTS.mkdir(exist_ok=True)
    (SCREENSHOTS / f"budget-{scheme}.json").write_text(json.dumps(measured))
    assert path in phone.sent
    assert len(set(phone.sent) - below) > 10
    assert weight <= FIRST_VIEW, phone.sent
    assert vitals["largest"] > 0
    assert vitals["shift"] < 0.001


@both_schemes
def test_nothing_jumps_while_one_scrolls_to_the_end(visit, players, scheme: str) -> None:
    visitor = visit(360, scheme)
    phone = SlowPhone(visitor.page)
    page = visitor.open(players.path_for(players.members[63]))
    for _turn in range(8):
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(150)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("scrollY") > 1000
    assert phone.vitals()["shift"] < 0.001


def test_all_of_it_works_without_a_script(visit, players) -> None:
    visitor = visit(360)
    line = visitor.page.context.new_cdp_session(visitor.page)
    line.send("Emulation.setScriptExecutionDisabled", {"value": True})
    page = visitor.open(players.path_for(players.members[63]))
    expect(page.locator(".podium li")).to_have_count(3)
    expect(page.locator(".mine")).to_contain_text("64")
    page.get_by_role("link", name=text("Next page")).click()
    expect(page.locator(".rows li.me")).to_have_count(1)
    page.locator(".tabs a").last.click()
    expect(page.locator(".tabs a").last).to_have_attribute("aria-current", "page")
    expect(page.locator(".podium li")).to_have_count(3)


@both_schemes
@pytest.mark.parametrize("width", [320, 360])
def test_everybody_can_read_it(visit, crowd, points, width: int, scheme: str) -> None:
    group = crowd("ﷺ" * 20 + "W" * 40, points)
    for number, nickname in enumerate(HOSTILE + NAMES * 5):
        group.add(nickname, 2**53 - 1 >> number, 2**53 - 1 >> number * 3 % 40)
    visitor = visit(width, scheme)
    page = visitor.open(group.path_for(group.members[-1]))
    visitor.photograph(f"everybody-{width}-{scheme}")
    looks_right(page)
    assert violations(page) == []
