"""The integration check: credentials tried with WeChat, and attempts shown step by step."""

import re
from base64 import b64decode
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from Crypto.Cipher import AES
from django.core.management import call_command
from django.test import Client as Browser
from django.utils import timezone
from django.utils.html import escape

from audit import attempts
from audit.causes import CAUSES
from audit.models import Attempt, AuditEvent, Watch
from console.integration import AttemptCard
from console.templatetags.console import code
from core.vault import decrypt
from tests.cast import ROLES, Person, browser_of, everything_stored, refused, sealed_for
from tests.settings import APP_ID
from wechat.sandbox import Fault, Sandbox

CHECK, LIVE = "/admin/check/", "/admin/check/live/"
WATCH, CREDENTIALS = "/admin/check/watch/", "/admin/check/credentials/"
SECRET = "secret-of-the-test-app"
PASTED = {"app": "", "appid": APP_ID, "secret": SECRET}
DOCS = Path(__file__).parent.parent / "docs"


def content(operator: Browser, path: str = CHECK, **query: Any) -> str:
    answer = operator.get(path, query)
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def means(key: str) -> str:
    return str(escape(CAUSES[key].means))


def todo(key: str) -> str:
    return str(escape(CAUSES[key].todo))


def broken(person: Person) -> Any:
    """Bind with an envelope under another log-in's key; not one of 256, whose padding fits."""
    key, last = b64decode(decrypt(person.user.session_key) or ""), 1
    while 1 <= last <= 16:
        envelope = sealed_for(person, {"openGId": "tGxForged"}, key="QUJDREVGR0hJSktMTU5PUA==")
        cipher = AES.new(key, AES.MODE_CBC, b64decode(envelope["iv"]))
        last = cipher.decrypt(b64decode(envelope["encryptedData"]))[-1]
    return person.post("groups/bind", envelope)


# Permissions


@pytest.mark.parametrize("role", ROLES[:4])
def test_moderators_watch_and_managers_test_credentials(db: None, role: str) -> None:
    browser = browser_of(role)
    watches, tests = role in {"moderator", "manager"}, role == "manager"
    assert browser.get(CHECK).status_code == (200 if watches else 403)
    assert browser.get(LIVE).status_code == (204 if watches else 403)
    assert browser.post(WATCH, {"app": APP_ID}).status_code == (302 if watches else 403)
    assert browser.get(CREDENTIALS).status_code == (200 if tests else 403)
    assert Watch.objects.count() == watches
    if watches:
        assert (CREDENTIALS in content(browser)) == tests


# Credentials


def test_the_right_secret_is_accepted(sandbox: Sandbox, olga: Browser) -> None:
    answer = olga.post(CREDENTIALS, PASTED)
    assert "✓" in answer.content.decode()
    assert "✓" in olga.post(CREDENTIALS, {"app": APP_ID}).content.decode()
    assert "✗" not in answer.content.decode()


@pytest.mark.parametrize("errcode", [40013, 40125, 40164])
def test_a_refusal_of_wechat_is_shown_with_its_fix_and_rid(
    sandbox: Sandbox, olga: Browser, errcode: int
) -> None:
    sandbox.state.request_fault("/cgi-bin/stable_token", Fault(errcode=errcode), 1)
    page = olga.post(CREDENTIALS, PASTED).content.decode()
    assert means(str(errcode)) in page and todo(str(errcode)) in page
    assert "rid" in page and f"<dd>{errcode}</dd>" in page
    assert ("203.0.113.7" in page) == (errcode == 40164)


def test_a_wrong_secret_is_reported_as_such(sandbox: Sandbox, olga: Browser) -> None:
    page = olga.post(CREDENTIALS, {**PASTED, "secret": "mistyped"}).content.decode()
    assert means("40125") in page


def test_a_wechat_that_does_not_answer_is_reported(
    sandbox: Sandbox, olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wechat.client.Client.__init__.__defaults__", (0.2,))
    sandbox.state.request_fault("/cgi-bin/stable_token", Fault(delay=30), 1)
    assert means("timeout") in olga.post(CREDENTIALS, PASTED).content.decode()


@pytest.mark.parametrize("secret", [SECRET, "a-secret-mistyped"])
def test_a_secret_is_neither_stored_logged_nor_shown(
    sandbox: Sandbox, olga: Browser, log_output: StringIO, secret: str
) -> None:
    for body in ({**PASTED, "secret": secret}, {**PASTED, "secret": secret, "appid": "wx bad"}):
        assert secret not in olga.post(CREDENTIALS, body).content.decode()
    assert secret not in log_output.getvalue()
    assert secret not in str(everything_stored())
    event = AuditEvent.objects.get()
    outcome = "ok" if secret == SECRET else "40125"
    assert (event.action, event.app_id) == ("test_credentials", APP_ID)
    assert event.details == {"outcome": outcome}


def test_a_text_pasted_as_the_appid_is_not_stored_either(sandbox: Sandbox, olga: Browser) -> None:
    olga.post(CREDENTIALS, {**PASTED, "appid": "perhapsASecret"})
    assert "perhapsASecret" not in str(everything_stored())


def test_attempts_to_test_credentials_are_limited(sandbox: Sandbox, olga: Browser) -> None:
    statuses = [olga.post(CREDENTIALS, PASTED).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]


def test_incomplete_credentials_are_requested_again(sandbox: Sandbox, olga: Browser) -> None:
    for missing in ("appid", "secret"):
        page = olga.post(CREDENTIALS, {**PASTED, missing: ""}).content.decode()
        assert "errorlist" in page
    assert AuditEvent.objects.count() == 0


# Attempts


def test_the_request_id_of_a_refusal_finds_its_cause(alice: Person, olga: Browser) -> None:
    heard = refused(broken(alice), 409, "session_stale")
    page = content(olga, request=heard["requestId"])
    assert means("padding") in page and todo("padding") in page
    assert means("padding") not in str(heard)
    assert page.count("<article") == 1
    assert f"#{alice.user.pk}" in page and alice.openid not in page


@pytest.mark.parametrize(
    ("cause", "mark"),
    [("other_app", {"appid": "wxAnother"}), ("too_old", {"timestamp": 1})],
)
def test_the_exact_fault_of_a_watermark_is_shown(
    alice: Person, olga: Browser, cause: str, mark: dict[str, Any]
) -> None:
    heard = refused(
        alice.post("groups/bind", sealed_for(alice, {"openGId": "tGxMine"}, **mark)),
        409,
        "session_stale",
    )
    assert means(cause) in content(olga, request=heard["requestId"])
    [attempt] = Attempt.objects.all()
    assert [(s["step"], s["ok"]) for s in attempt.steps][-1] == ("watermark", False)


def test_a_log_in_that_wechat_refuses_is_shown_with_its_rid(
    sandbox: Sandbox, make_person: Any, olga: Browser
) -> None:
    alice = make_person("alice")
    code = alice.phone.login()
    assert alice.post("login", {"code": code}).status_code == 200
    heard = refused(alice.post("login", {"code": code}), 401, "invalid_code")
    page = content(olga, request=heard["requestId"])
    assert means("40163") in page and "<dt>rid</dt>" in page
    assert code not in page and code not in str(everything_stored())


def test_successes_are_recorded_of_watched_members_only(
    alice: Person, bob: Person, olga: Browser
) -> None:
    answer = olga.post(WATCH, {"member": alice.user.pk})
    assert answer["Location"] == f"{CHECK}?member={alice.user.pk}"
    alice.log_in().enter("family")
    bob.log_in().enter("family")
    kept = Attempt.objects.order_by("pk").values_list("user", "kind", "outcome")
    assert list(kept) == [(alice.user.pk, "login", ""), (alice.user.pk, "bind", "")]
    event = AuditEvent.objects.get()
    assert (event.action, event.member_id) == ("watch", alice.user.pk)


def test_the_next_member_who_logs_in_is_watched_from_then_on(
    alice: Person, bob: Person, olga: Browser
) -> None:
    olga.post(WATCH, {"app": APP_ID, "who": "next"})
    bob.log_in()
    alice.log_in()
    assert [a.user for a in Attempt.objects.all()] == [bob.user]
    assert Watch.objects.get().user == bob.user


def test_an_operator_can_end_a_watch(alice: Person, olga: Browser) -> None:
    olga.post(WATCH, {"member": alice.user.pk})
    olga.post(WATCH, {"stop": Watch.objects.get().pk})
    alice.log_in()
    assert not Watch.objects.exists() and not Attempt.objects.exists()
    assert set(AuditEvent.objects.values_list("action", flat=True)) == {"watch", "unwatch"}


def test_a_tester_is_found_by_number_or_name(alice: Person, bob: Person, olga: Browser) -> None:
    for text in (str(alice.user.pk), "小"):
        page = content(olga, tester=text)
        assert "小明" in page and "李雷" not in page


def test_members_of_an_unknown_mini_program_cannot_be_watched(olga: Browser) -> None:
    olga.post(WATCH, {"app": "wxUnknown"})
    assert not Watch.objects.exists()


def test_the_live_fragment_has_new_attempts_only(alice: Person, bob: Person, olga: Browser) -> None:
    broken(bob)
    broken(alice)
    fragment = content(olga, LIVE, member=alice.user.pk, since=0)
    assert "<html" not in fragment and fragment.count("<article") == 1
    newest = re.findall(r'data-pk="(\d+)"', fragment)[0]
    assert olga.get(LIVE, {"member": alice.user.pk, "since": newest}).status_code == 204
    assert content(olga, LIVE, since=0).count("<article") == 2


@pytest.mark.parametrize("value", ["x", "-1", "9" * 30, "\x00", "²"])
def test_nonsense_in_the_address_causes_no_error(olga: Browser, value: str) -> None:
    query = dict.fromkeys(("member", "app", "request", "tester", "since"), value)
    assert olga.get(CHECK, query).status_code == 200
    assert olga.get(LIVE, query).status_code == 204
    assert olga.post(WATCH, {"member": value}).status_code in {302, 404}


def test_attempts_are_gone_after_a_day(alice: Person, olga: Browser) -> None:
    olga.post(WATCH, {"member": alice.user.pk})
    heard = refused(broken(alice), 409, "session_stale")
    Attempt.objects.update(at=timezone.now() - attempts.KEPT)
    Watch.objects.update(until=timezone.now())
    assert "<article" not in content(olga, request=heard["requestId"])
    call_command("purge", verbosity=0)
    assert not Attempt.objects.exists() and not Watch.objects.exists()


def test_the_page_takes_the_same_queries_however_many_attempts(
    alice: Person, olga: Browser, django_assert_max_num_queries: Any
) -> None:
    for _ in range(9):
        broken(alice)
    olga.post(WATCH, {"member": alice.user.pk})
    with django_assert_max_num_queries(8):
        assert content(olga).count("<article") == 9


def test_every_cause_has_its_row_in_the_docs() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| `(\w+)` \|", (DOCS / "integration.md").read_text(), re.MULTILINE
    )
    assert rows == [(cause.key, cause.code) for cause in CAUSES.values()]


@pytest.mark.parametrize(
    ("text", "shown"),
    {
        "Send `iv` & `scene`.": "Send <code>iv</code> &amp; <code>scene</code>.",
        "`<b>`": "<code>&lt;b&gt;</code>",
        "no <code>": "no &lt;code&gt;",
        "one ` alone": "one ` alone",
    }.items(),
)
def test_text_between_backticks_is_shown_as_code(text: str, shown: str) -> None:
    assert code(text) == shown


def test_the_page_names_its_member_and_shows_facts_in_words(olga: Browser) -> None:
    assert "只显示成员 #619 的记录" in content(olga, member="619")
    assert "只显示成员" not in content(olga) + content(olga, member="x")
    facts = {"key": "current", "previous": "tried", "fields": ["iv"]}
    card = AttemptCard(Attempt(kind="bind", steps=[{"step": "envelope", "ok": False, **facts}]))
    assert [str(value) for _name, value in card.facts] == ["当前密钥", "也解不开", "iv"]


def test_the_time_left_of_a_watch_is_shown_as_such(alice: Person, olga: Browser) -> None:
    olga.post(WATCH, {"member": alice.user.pk})
    watch = Watch.objects.get()
    for left, shown in {30: "还剩 30 分钟", 12: "还剩 12 分钟", 0.5: "还剩 1 分钟"}.items():
        Watch.objects.update(until=timezone.now() + timedelta(minutes=left))
        page = content(olga)
        assert f">{shown}</span>" in page and f"> · {watch.app_id}" not in page
    assert "data-until=" in page


def test_the_page_can_say_whether_it_updates_by_itself(alice: Person, olga: Browser) -> None:
    page = content(olga)
    states = re.findall(r'data-state="(\w+)" hidden>', page)
    assert states == ["updating", "offline", "ended", "refused"], "hidden without the script"
    assert "/admin/login/?next=%2Fadmin%2Fcheck%2F" in page
    assert 'id="live"' not in content(olga, request="0" * 32), "one request: nothing follows"


def test_the_page_polls_what_tells_that_the_session_has_ended(olga: Browser) -> None:
    assert olga.get(LIVE).status_code == 204
    olga.logout()
    answer = olga.get(LIVE)
    assert answer.status_code == 302 and answer["Location"].startswith("/admin/login/")


def test_the_time_of_an_attempt_is_in_the_consoles_style(alice: Person, olga: Browser) -> None:
    broken(alice)
    at = timezone.localtime(Attempt.objects.get().at)
    assert f'title="{at:%Y-%m-%d %H:%M:%S}">{at:%m-%d %H:%M}</time>' in content(olga)
