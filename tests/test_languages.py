"""Every page for people, rendered in both languages and compared: Chinese pages hold no English
sentence, English pages no Chinese one. What people wrote stands in `<bdi>` and is theirs."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import reverse
from django.utils.translation import override

from accounts.models import WeChatUser
from audit.models import Attempt, AuditEvent, Watch
from console.actions import ACTIONS
from groups.links import Link
from groups.models import ACTIVE_DAYS, Board, Group, Membership, Score, ServerKey
from tests.cast import Person, browser_of
from tests.settings import APP_ID
from tests.site_map import PAGES_BY_ROLE, admin_path

pytestmark = pytest.mark.no_service

SPOKEN = ("title", "placeholder", "aria-label", "alt")
# Elements whose text is data, or is written in the language it names.
DATA = {"bdi", "code", "time", "script", "style"}
HAN = re.compile(r"[\u3400-\u9fff]")
# Names that both languages write alike.
NAMES = re.compile(
    r"\b(openid|Openid|openGId|unionid|AppID|appid|AppSecret|access_token|session_key|Excel|XLSX|CSV|WeChat"
    r"|OPERATOR_TOTP|OpenAPI|API|key|manage\.py|reset_totp|App|Microsoft|Google|Authenticator"
    r"|Authorization|Key|id|IP|HTTP|errcode|rid|JSON|URL|operator_\w|alice|backend|abc|txt|steps|GET|REDIS_URL)\b"
)
IDS = re.compile(r"[\w-]*[\d_…-][\w…-]*", re.ASCII)
WORDS = re.compile(r"[A-Za-z]{3,}")
# Words of Django's own catalogue where our pages have better ones, and its spaces between words.
STOCK = re.compile(r"[\u3400-\u9fff] [\u3400-\u9fff]|增加|过滤器|选中的|工作人员|单一登入")
PEOPLE = re.compile("小明|李雷")


class Texts(HTMLParser):
    """Collects what a page says: its text, and what is read out or shown on pointing."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.data = 0
        self.stack: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag not in {"meta", "link", "input", "img", "br", "hr", "use", "path", "rect"}:
            is_data = tag in DATA or ("lang" in given and tag != "html")
            self.stack.append("data" if is_data or "data" in self.stack else tag)
        elif tag == "input" and given.get("type") in {"submit", "button"}:
            self.found.append(given.get("value") or "")
        if tag not in DATA:
            self.found += [value for name in SPOKEN if (value := given.get(name))]

    def handle_endtag(self, tag: str) -> None:
        if self.stack and tag not in {"input", "img", "br", "path", "rect", "use"}:
            self.stack.pop()

    def handle_data(self, text: str) -> None:
        if "data" not in self.stack:
            self.found.append(text)


def texts(page: str) -> list[str]:
    return [" ".join(text.split()) for text in Texts(page).found if text.strip()]


def english_in(page: str) -> list[str]:
    """Find what a Chinese page says in English, or in Django's Chinese instead of ours."""
    return [
        text
        for text in texts(page)
        if WORDS.search(IDS.sub("", NAMES.sub("", text))) or STOCK.search(text)
    ]


def chinese_in(page: str) -> list[str]:
    return [text for text in texts(page) if HAN.search(PEOPLE.sub("", text))]


@pytest.fixture
def site(one_of_everything: None, alice: Person, group: Group) -> str:
    """Return the path of a member's page on a site with a row, and an event, of every kind."""
    user, operator = WeChatUser.objects.earliest("pk"), User.objects.create_superuser("operator_x")
    WeChatUser.objects.filter(pk=user.pk).update(nickname_draft="alice", nickname_state="pending")
    with override("en"):  # as Django notes it
        changed = [str(field.verbose_name) for field in Board._meta.fields if field.editable]
    for action in ACTIONS:
        AuditEvent.objects.create(action=action, target="wechatuser", target_id=user.pk)
    for target in ("board", "group", "membership", "score", "user", "serverkey", "watch", "wechat"):
        facts = {"format": "csv", "rows": 1, "openids": True, "changed": changed}
        AuditEvent.objects.create(
            operator_name=operator.username, action="change", target=target, details=facts
        )
    Watch.objects.begin(APP_ID, everyone=True)
    return f"/g/{Link(user.pk, group.pk, ACTIVE_DAYS).sign()}/"


def pages(member_page: str) -> list[str]:
    """Return the path of every page that people see."""
    user, group = WeChatUser.objects.earliest("pk"), Group.objects.earliest("pk")
    rows: dict[Any, Any] = {
        WeChatUser: user,
        Membership: Membership.objects.filter(user=user).first(),
        Score: Score.objects.first(),
        Group: group,
        ServerKey: ServerKey.objects.first(),
        User: User.objects.get(username="operator_x"),
    }
    acts = [
        reverse("console-act", args=[action.key, rows[action.model].pk])
        for action in ACTIONS.values()
    ]
    events = [f"/admin/audit/auditevent/{event.pk}/change/" for event in AuditEvent.objects.all()]
    lists = ["accounts/wechatuser", "audit/auditevent", "groups/membership", "groups/score"]
    empty = [f"/admin/{name}/?q=no+one+here" for name in lists]
    routes = [route for role in PAGES_BY_ROLE.values() for route in role]
    return [
        *map(admin_path, routes),
        *acts,
        *events,
        *empty,
        "/groups/",
        "/groups/?q=no+one+here",
        f"/groups/{group.pk}/?unlisted=1",
        f"/groups/labels/?group={group.pk}",
        "/admin/check/?tester=no+one",
        "/sign-in/1/x-y/",
        member_page,
        f"{member_page}?period=day",
        "/g/altered/",
        "/nothing/here",
    ]


@pytest.mark.parametrize(
    ("language", "foreign"), [("zh-hans", english_in), ("en", chinese_in)], ids=["zh", "en"]
)
def test_every_page_speaks_one_language(site: str, language: str, foreign: Any) -> None:
    browser = browser_of("superuser")
    browser.defaults |= {"HTTP_ACCEPT_LANGUAGE": language}
    User.objects.filter(username="superuser").update(username="operator_y")
    found = {}
    for path in pages(site):
        answer = browser.get(path)
        if answer.streaming or "text/html" not in answer["Content-Type"]:
            continue
        if strange := foreign(answer.content.decode()):
            found[path] = strange
    assert found == {}


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_what_cannot_be_deleted_is_said_in_one_language(db: None, language: str) -> None:
    browser = browser_of("superuser")
    last = User.objects.get()
    User.objects.update(username="operator_y")
    path = f"/admin/auth/user/{last.pk}/delete/"
    page = browser.get(path, headers={"Accept-Language": language}).content.decode()
    assert 'name="reason"' not in page
    assert (english_in if language == "zh-hans" else chinese_in)(page) == []


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_the_ways_in_speak_one_language(db: None, settings: Any, language: str) -> None:
    settings.OPERATOR_TOTP = True
    foreign = english_in if language == "zh-hans" else chinese_in
    operator = User.objects.create_superuser("operator_x", password="x")
    browser = Browser(headers={"Accept-Language": language})
    wrong = browser.post("/admin/login/", {"username": "operator_x", "password": "wrong"})
    assert foreign(wrong.content.decode()) == []
    browser.force_login(operator)
    assert foreign(browser.get("/admin/otp/").content.decode()) == []
    sent = browser.post("/admin/otp/", {"code": "123"})
    assert foreign(sent.content.decode()) == []
    assert Attempt.objects.count() == 0


def test_the_comparison_sees_what_it_is_for() -> None:
    page = (
        '<p title="Save it">x</p><p>保存 <bdi>Bob Smith</bdi> <code>GET me</code></p><b>Add %s</b>'
    )
    assert english_in(page) == ["Save it", "Add %s"]
    assert chinese_in(page) == ["保存"]
