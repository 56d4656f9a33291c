"""Test miniprogram/article, the flow of the 2018 article, with today's site."""

import re
import shutil
from collections.abc import Iterator

import pytest
from django.utils import timezone
from playwright.sync_api import Route, expect

from accounts.models import WeChatUser
from groups import ranking
from groups.models import Group, Membership
from tests.settings import APP_ID

from .phones import CARD_WITHOUT_TICKET, MINIPROGRAM, Backend, BrowserPhone, MakePhone, installed

pytestmark = pytest.mark.xdist_group("article")

DEFAULT_SERVER = "http://127.0.0.1:8000"
STEPS = ["login", "/login", "getShareInfo", "/resolve", "/bind", "/ranking"]


@pytest.fixture(scope="session")
def article(node: str, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the article's mini-program with this test's site as its server."""
    folder = tmp_path_factory.mktemp("article")
    shutil.copytree(MINIPROGRAM / "article", folder / "app")
    script = folder / "app" / "app.js"
    source = script.read_text()
    assert DEFAULT_SERVER in source
    script.write_text(source.replace(DEFAULT_SERVER, f"http://127.0.0.1:{port}"))
    with installed(node, folder / "app", folder / "out") as url:
        yield url


def steps(phone: BrowserPhone) -> list[str]:
    """Return the calls of WeChat and the site in order, with the last part of each path."""
    calls = [call["path"] if "path" in call else call["name"] for call in phone.calls]
    return [step for call in calls if (step := re.sub(".*/", "/", call)) in STEPS]


def test_alice_and_bob_open_a_card_and_see_each_other(
    article: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice, bob = phone_of(article, "alice"), phone_of(article, "bob")
    alice.tap_card("family")
    alice.see("1 人的群")
    bob.tap_card("family", card=alice.share())
    bob.see("2 人的群", "微信用户")
    assert Membership.objects.count() == 2
    assert steps(bob) == STEPS
    bob.photograph("miniprogram-article")
    bob.tap_card("work")
    bob.see("1 人的群")
    assert Membership.objects.count() == 3


def test_after_a_log_in_elsewhere_it_starts_again_once(
    article: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice = phone_of(article, "alice")

    def seal_with_a_newer_key(route: Route) -> None:
        alice.wechat.login()
        route.continue_()

    alice.page.route("**/phone/share-info", seal_with_a_newer_key, times=1)
    alice.tap_card("family")
    alice.see("1 人的群")
    assert steps(alice) == [*STEPS[:4], *STEPS]


def test_outside_a_group_and_without_a_ticket_it_says_what_to_do(
    article: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice = phone_of(article, "alice")
    alice.open_outside()
    alice.see("请从微信群里的卡片打开")
    alice.tap_card("family", scene=CARD_WITHOUT_TICKET)
    alice.see("请从微信群里的卡片打开")
    assert not Membership.objects.exists()


def test_at_an_ordinary_start_it_lists_the_group_visited_last(
    article: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice = phone_of(article, "alice")
    for number, chat in enumerate(("family", "work"), start=1):
        alice.tap_card(chat)
        alice.wait_for_responses("/ranking", 200, number)
    Group.objects.filter(pk=Group.objects.latest("pk").pk).update(label="the group of work")
    alice.open_outside()
    alice.see("the group of work", "微信用户")


def test_it_lists_the_whole_group(article: str, backend: Backend, phone_of: MakePhone) -> None:
    alice = phone_of(article, "alice")
    alice.tap_card("family")
    alice.see("1 人的群")
    group = Group.objects.get()
    now = timezone.now()
    for number in range(234):
        user = WeChatUser.objects.create(app_id=APP_ID, openid=f"member-{number}")
        Membership.objects.create(group=group, user=user, joined_at=now, verified_at=now)
    ranking.recent.clear()  # rows written past the services reach no cache
    alice.open_outside()
    expect(alice.page.locator("wx-view.row")).to_have_count(235)


def test_a_gateways_error_page_leaves_no_blank_page(
    article: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice = phone_of(article, "alice")

    def answer(route: Route) -> None:
        route.fulfill(status=502, content_type="text/html", body="<h1>Bad Gateway</h1>")

    for path in ("/login", "/groups/resolve", "/groups/bind", "/ranking"):
        alice.page.route(re.compile(f"/api/v1.*{path}(\\?|$)"), answer, times=1)
        alice.tap_card("family")
        alice.wait_for_responses(path, 502)
        alice.see("服务暂时不可用")
    alice.tap_card("family")
    alice.see("1 人的群")


def test_without_a_network_it_shows_a_message(
    article: str, backend: Backend, phone_of: MakePhone
) -> None:
    alice = phone_of(article, "alice")
    launch = alice.card_in("family")
    alice.open_outside()
    backend.stop()
    alice.open(launch)
    alice.see("网络连接失败")
    backend.start()
    alice.tap_card("family")
    alice.see("1 人的群")
