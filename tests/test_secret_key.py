"""SECRET_KEY_FALLBACKS: what was made with a former SECRET_KEY stays valid, and nothing new is made
with one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.checks import WARNING, run_checks
from django.test import Client as Browser

from accounts.models import WeChatUser
from console.models import OperatorSession
from console.sign_in import sign_in_path
from groups.models import Group, Report
from groupsite.logs import ReportFilter
from tests.cast import DOUBTFUL, FAMILY, Person

OLD = "the-former-key-" + "0a1b2c3d4e" * 5
NEW = "the-present-key-" + "9z8y7x6w5v" * 5
PASSWORD = "a password only olga knows"


@dataclass
class Scene:
    alice: Person
    bob: Person

    def operator(self) -> Browser:
        browser = Browser()
        User.objects.get_or_create(username="otto", is_staff=True, is_superuser=True)
        browser.post(sign_in_path(User.objects.get()))
        return browser


@pytest.fixture
def scene(alice: Person, bob: Person, group: Group, media: Any) -> Scene:
    return Scene(alice, bob)


Works = Callable[[], bool]


def page_link(scene: Scene) -> Works:
    path = urlsplit(scene.alice.post(f"groups/{FAMILY}/link").json()["url"]).path
    return lambda: Browser().get(path).status_code == 200


def cursor(scene: Scene) -> Works:
    path = f"groups/{FAMILY}/ranking?limit=1"
    following = scene.alice.get(path).json()["next"]
    return lambda: scene.alice.get(f"{path}&cursor={following}").status_code == 200


def ticket(scene: Scene) -> Works:
    resolved = scene.alice.post("groups/resolve", scene.alice.envelope("family")).json()
    resolved.pop("expiresIn")
    return lambda: scene.alice.post("groups/bind", resolved).status_code == 200


def drawn_avatar(scene: Scene) -> Works:
    path = urlsplit(scene.alice.get("me").json()["avatar"]).path
    return lambda: Browser().get(path).status_code == 200


def session(scene: Scene) -> Works:
    browser = scene.operator()
    return lambda: browser.get("/admin/account/").status_code == 200


def sign_in_link(scene: Scene) -> Works:
    path = sign_in_path(User.objects.create_superuser("olga"))
    return lambda: Browser().get(path).status_code == 200


def known_browser(scene: Scene) -> Works:
    """Sign in once, and be let in while that name has no guesses left from elsewhere."""
    olga = User.objects.create_superuser("olga", password=PASSWORD)
    browser = Browser()
    right = {"username": "olga", "password": PASSWORD}
    assert browser.post("/admin/login/", right).status_code == 302
    assert olga.sessions.all().delete()[0] == 1

    def is_let_in() -> bool:
        for number in range(20):
            elsewhere = Browser(REMOTE_ADDR=f"192.0.2.{number}")
            elsewhere.post("/admin/login/", {"username": "olga", "password": "wrong"})
        return browser.post("/admin/login/", right).status_code == 302

    return is_let_in


def page_of_sessions(scene: Scene) -> Works:
    """Keep a page open that names a session, and end that session with it."""
    here = scene.operator()
    key = here.cookies["__Host-sessionid"].value
    [named] = here.get("/admin/account/").context["sessions"]

    def is_ended() -> bool:
        # Signed in anew: this is about the page alone, not about the session of who sends it.
        again = scene.operator()
        again.post("/admin/account/", {"session": named.token})
        return not OperatorSession.objects.filter(pk=key).exists()

    return is_ended


def page_of_drafts(scene: Scene) -> Works:
    """Keep the review queue open, and approve a name with it."""
    scene.alice.put("me", {"nickname": DOUBTFUL})
    page = scene.operator().get("/admin/review/").content.decode()
    [item] = set(re.findall(r'value="(nickname-[^"]+)"', page))

    def is_approved() -> bool:
        scene.operator().post("/admin/review/", {"verdict": "approve", "item": [item]})
        return scene.alice.user.nickname == DOUBTFUL

    return is_approved


def report(scene: Scene) -> Works:
    """Report a name; it is the same one that is shown now, and not reported a second time."""
    body = {"member": scene.bob.body["user"]["id"], "reason": "abuse"}
    scene.alice.post(f"groups/{FAMILY}/reports", body)

    def is_known() -> bool:
        english = {"Accept-Language": "en"}
        queue = scene.operator().get("/admin/review/?kind=report", headers=english)
        has_changed = b"Changed by the member" in queue.content
        scene.alice.post(f"groups/{FAMILY}/reports", body)
        return Report.objects.count() == 1 and not has_changed

    return is_known


MADE = [
    page_link,
    cursor,
    ticket,
    drawn_avatar,
    session,
    sign_in_link,
    known_browser,
    page_of_sessions,
    page_of_drafts,
    report,
]


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize(
    ("made_with", "read_with", "works"),
    [
        ([OLD], [NEW, OLD], True),
        ([OLD], [NEW], False),  # the control: without the fallback it is not valid
        ([NEW, OLD], [NEW], True),  # new ones are made with the first
        ([NEW, OLD], [OLD], False),
        ([OLD, NEW], [NEW, OLD], True),  # two servers in the middle of the change
    ],
)
def test_what_a_former_key_made_stays_valid(
    scene: Scene,
    settings: Any,
    make: Callable[[Scene], Works],
    made_with: list[str],
    read_with: list[str],
    works: bool,
) -> None:
    settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS = made_with
    is_valid = make(scene)
    settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS = read_with
    assert is_valid() is works


def test_an_operator_goes_on_under_the_present_key(scene: Scene, settings: Any) -> None:
    """A session that is in use has moved to the present key before the former one is removed."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []
    browser = scene.operator()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD]
    assert browser.get("/admin/account/").status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    assert browser.get("/admin/account/").status_code == 200


def test_blocks_of_deleted_accounts_do_not_depend_on_the_secret_key(
    scene: Scene, settings: Any
) -> None:
    openid = scene.alice.openid
    WeChatUser.objects.filter(openid=openid).update(status=WeChatUser.Status.BLOCKED)
    scene.alice.delete("me")
    settings.SECRET_KEY = NEW
    assert WeChatUser.objects.meet(scene.bob.user.app_id, openid).is_blocked


@pytest.mark.no_service
def test_a_weak_former_key_gets_a_warning_of_django(db: None, settings: Any) -> None:
    def found() -> list[str]:
        return [each.msg for each in run_checks(include_deployment_checks=True) if is_weak(each)]

    def is_weak(message: Any) -> bool:
        return message.id == "security.W025" and message.level == WARNING

    settings.SECRET_KEY_FALLBACKS = [OLD]
    assert found() == []
    settings.SECRET_KEY_FALLBACKS = [OLD, "short"]
    assert len(found()) == 1 and "SECRET_KEY_FALLBACKS[1]" in found()[0]


@pytest.mark.no_service
@pytest.mark.parametrize(
    ("former", "found"), [([OLD], 0), ([NEW], 1), ([OLD, NEW], 1), ([OLD, OLD], 1)]
)
def test_a_key_that_is_listed_twice_gets_a_warning(
    db: None, settings: Any, former: list[str], found: int
) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, former
    warnings = [each for each in run_checks() if each.id == "core.W003"]
    assert [each.level for each in warnings] == [WARNING] * found
    assert all(key not in str(each) for each in warnings for key in (OLD, NEW))


@pytest.mark.no_service
def test_reports_of_errors_hide_former_keys(settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = [OLD]
    assert OLD not in str(ReportFilter().get_safe_settings())
