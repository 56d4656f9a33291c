"""Test the members' page on a slow phone: size, layout shifts, accessibility, and use of scripts.

The budget is for 1.6 Mbit/s with a latency of 150 ms and a processor four times slower.
"""

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from .accessibility import assert_accessible, assert_readable
from .cast import HOSTILE_NAMES, NAMES, both_schemes, chinese
from .phones import SCREENSHOTS

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
    """A page with a slow network and processor, which counts the bytes it receives."""

    page: Page
    received: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.page.add_init_script(OBSERVE)
        session = self.page.context.new_cdp_session(self.page)
        paths: dict[str, str] = {}

        def requested(event) -> None:
            paths[event["requestId"]] = urlsplit(event["request"]["url"]).path

        def finished(event) -> None:
            self.received[paths[event["requestId"]]] = round(event["encodedDataLength"])

        session.on("Network.requestWillBeSent", requested)
        session.on("Network.loadingFinished", finished)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", SLOW)
        session.send("Emulation.setCPUThrottlingRate", {"rate": 4})

    def vitals(self) -> dict[str, float]:
        return self.page.evaluate("vitals")


def sizes(page: Page, path: str) -> tuple[int, int]:
    """Return the bytes of a text as our server sends it, and as a compressing proxy would."""
    body = page.request.get(path).body()
    return len(body), len(gzip.compress(body, 6))


def below_the_fold(page: Page) -> set[str]:
    """Return the pictures below the first view, which browsers load early."""
    addresses = page.evaluate(
        """[...document.images]
            .filter(image => image.getBoundingClientRect().top >= innerHeight)
            .map(image => image.src)"""
    )
    return {urlsplit(address).path for address in addresses}


@pytest.fixture
def players(crowd, points):
    """Return a group of 120 members."""
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
    size = sum(count for sent, count in phone.received.items() if sent not in below)
    for sheet in (path, urlsplit(page.locator("link[rel=stylesheet]").get_attribute("href")).path):
        plain, compressed = sizes(page, visitor.base_url + sheet)
        size -= plain - compressed
    vitals = phone.vitals()
    measured = {"first view": size, "all": sum(phone.received.values()), **vitals}
    SCREENSHOTS.mkdir(exist_ok=True)
    (SCREENSHOTS / f"budget-{scheme}.json").write_text(json.dumps(measured))
    assert path in phone.received
    assert len(set(phone.received) - below) > 10
    assert size <= FIRST_VIEW, phone.received
    assert vitals["largest"] > 0
    assert vitals["shift"] < 0.001


@both_schemes
def test_the_layout_does_not_shift_while_scrolling(visit, players, scheme: str) -> None:
    visitor = visit(360, scheme)
    phone = SlowPhone(visitor.page)
    page = visitor.open(players.path_for(players.members[63]))
    for _turn in range(8):
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(150)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("scrollY") > 1000
    assert phone.vitals()["shift"] < 0.001


# The height of each place on the podium, and what it is before its name and score have come.
HALVES = """still => {
    const podium = document.querySelector('.podium').cloneNode(true);
    document.querySelector('.podium').after(podium);
    podium.classList.toggle('still', still);
    return [...podium.children].map(place => {
        const whole = place.getBoundingClientRect().height;
        place.querySelectorAll('.name, .score, .move').forEach(part => part.remove());
        return [whole, place.getBoundingClientRect().height];
    });
}"""


@pytest.mark.parametrize("still", [False, True])
def test_the_podium_does_not_grow_while_the_page_comes_in_pieces(
    visit, players, still: bool
) -> None:
    page = visit(360).open(players.path_for(players.members[63]))
    places = page.evaluate(HALVES, still)
    assert len(places) == 3
    assert all(abs(whole - half) < 1 for whole, half in places), places


def test_the_page_works_without_scripts(visit, players) -> None:
    visitor = visit(360)
    session = visitor.page.context.new_cdp_session(visitor.page)
    session.send("Emulation.setScriptExecutionDisabled", {"value": True})
    page = visitor.open(players.path_for(players.members[63]))
    expect(page.locator(".podium li")).to_have_count(3)
    expect(page.locator(".mine")).to_contain_text("64")
    page.get_by_role("link", name=chinese("Next page")).click()
    expect(page.locator(".rows li.me")).to_have_count(1)
    page.locator(".tabs a").last.click()
    expect(page.locator(".tabs a").last).to_have_attribute("aria-current", "page")
    expect(page.locator(".podium li")).to_have_count(3)


@both_schemes
@pytest.mark.parametrize("width", [320, 360])
def test_hostile_names_stay_readable(visit, crowd, points, width: int, scheme: str) -> None:
    group = crowd("ﷺ" * 20 + "W" * 40, points)
    for number, nickname in enumerate(HOSTILE_NAMES + NAMES * 5):
        group.add(nickname, 2**53 - 1 >> number, 2**53 - 1 >> number * 3 % 40)
    visitor = visit(width, scheme)
    page = visitor.open(group.path_for(group.members[-1]))
    visitor.photograph(f"readable-{width}-{scheme}")
    assert_readable(page)
    assert_accessible(page)
