"""Attempts: operators see the exact cause of a refusal, clients only its error code."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client as Browser
from django.utils import timezone
from django.utils.translation import override

from audit import attempts
from audit.actors import Actor
from audit.causes import CAUSES
from audit.models import Attempt, AuditEvent, Watch
from groups.models import Group
from tests.cast import (
    FAMILY,
    GARBAGE,
    KEY,
    Person,
    encrypted_for,
    fault,
    later,
    refused,
    sealed_for,
    ticket,
)
from tests.settings import APP_ID
from wechat.sandbox import Sandbox


def last() -> Attempt:
    return Attempt.objects.latest("pk")


def steps(attempt: Attempt) -> str:
    """List the steps that were passed and the one that was not: `scene envelope !watermark`."""
    return " ".join(step["step"] if step["ok"] else f"!{step['step']}" for step in attempt.steps)


OPENS = {"openGId": FAMILY}
ENVELOPES: dict[str, Any] = {
    "padding": lambda alice: encrypted_for(
        alice, b"fifteen letters\0"
    ),  # another key may seem to fit
    "encoding": lambda alice: encrypted_for(alice, b"\xff\xfe" + b"\x0e" * 14),
    "json": lambda alice: encrypted_for(alice, b"[]" + b"\x0e" * 14),
    "one_block": lambda alice: encrypted_for(alice, b'{"opengid":"A"}\x01'),
    "no_watermark": lambda alice: sealed_for(alice, OPENS, marked=False),
    "bad_watermark": lambda alice: sealed_for(alice, OPENS, timestamp="soon"),
    "other_app": lambda alice: sealed_for(alice, OPENS, appid="wxother"),
    "too_old": lambda alice: sealed_for(alice, OPENS, timestamp=int(time.time()) - 1000),
    "too_new": lambda alice: sealed_for(alice, OPENS, timestamp=int(time.time()) + 1000),
    "bad_group_id": lambda alice: sealed_for(alice, {"openGId": FAMILY[:19]}),
    "other_data": lambda alice: sealed_for(alice, {**OPENS, "nickName": "小明"}),
    "single_chat": lambda alice: sealed_for(alice, {"open_single_roomid": "x", "chat_type": 1}),
    "no_group": lambda alice: sealed_for(alice, {"openId": "x"}),
}
REACHED = {
    **dict.fromkeys(("padding", "encoding", "json", "one_block"), "scene !envelope"),
    **dict.fromkeys(
        ("no_watermark", "bad_watermark", "other_app", "too_old", "too_new"),
        "scene envelope !watermark",
    ),
    **dict.fromkeys(
        ("bad_group_id", "other_data", "single_chat", "no_group"),
        "scene envelope watermark !group",
    ),
}


@pytest.mark.parametrize("cause", ENVELOPES)
def test_an_envelope_that_is_refused_leaves_its_cause_and_step(alice: Person, cause: str) -> None:
    answer = alice.post("groups/bind", ENVELOPES[cause](alice))
    code = "not_a_group" if cause in {"single_chat", "no_group"} else "session_stale"
    refused(answer, 409, code)
    attempt = last()
    assert (attempt.cause, attempt.outcome) == (cause, code)
    assert steps(attempt) == REACHED[cause]
    assert (attempt.user, attempt.app_id) == (alice.user, APP_ID)
    assert attempt.request_id == answer["X-Request-ID"]


def test_an_attempt_has_the_facts_that_help_to_fix_it(alice: Person) -> None:
    alice.post("groups/bind", ENVELOPES["too_old"](alice))
    assert 999 <= last().steps[-1]["seconds"] <= 1010
    alice.post("groups/bind", ENVELOPES["other_app"](alice))
    assert last().steps[-1]["appid"] == "wxother"


def test_an_attempt_says_that_the_previous_key_was_tried_too(alice: Person) -> None:
    old = alice.envelope("family")
    with later(minutes=1):
        alice.log_in()
    with later(minutes=30):
        alice.log_in()
    refused(alice.post("groups/bind", old), 409, "session_stale")
    # A wrong key's padding is right four times in a thousand.
    assert last().cause in {"padding", "encoding", "json"}
    assert last().steps[-1]["previous"] == "tried"


def test_the_eleventh_bad_envelope_is_recorded_as_locked(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MAX_A_SECOND", 1000)
    monkeypatch.setattr(attempts, "_pace", attempts._Pace())
    for _ in range(10):
        alice.post("groups/bind", GARBAGE)
    refused(alice.post("groups/bind", alice.envelope("family")), 429, "bind_locked")
    assert (last().cause, steps(last())) == ("locked", "scene !envelope")


TICKETS: dict[str, Any] = {
    "ticket_altered": lambda mine, theirs: ticket(mine, ticket=mine["ticket"] + "x"),
    "ticket_of_another": lambda mine, theirs: ticket(mine, ticket=theirs["ticket"]),
    "other_openid": lambda mine, theirs: ticket(mine, openid=theirs["openid"]),
    "other_group": lambda mine, theirs: ticket(mine, openGId="tGother"),
}


@pytest.mark.parametrize("cause", TICKETS)
def test_a_ticket_that_is_refused_leaves_its_cause(alice: Person, bob: Person, cause: str) -> None:
    mine = alice.post("groups/resolve", alice.envelope("family")).json()
    theirs = bob.post("groups/resolve", bob.envelope("family")).json()
    refused(alice.post("groups/bind", TICKETS[cause](mine, theirs)), 403, "group_not_proven")
    assert (last().kind, last().cause, steps(last())) == ("redeem", cause, "scene !ticket")


def test_a_ticket_that_is_too_old_is_recorded_as_expired(alice: Person) -> None:
    mine = alice.post("groups/resolve", alice.envelope("family")).json()
    with later(seconds=400):
        alice.post("groups/bind", ticket(mine))
    assert last().cause == "ticket_expired"


FAULTS: dict[str, tuple[dict[str, Any], int]] = {
    "40029": ({"errcode": 40029}, 401),
    "40226": ({"errcode": 40226}, 403),
    "45011": ({"errcode": 45011}, 429),
    "40013": ({"errcode": 40013}, 503),
    "40125": ({"errcode": 40125}, 503),
    "40164": ({"errcode": 40164}, 503),
    "wechat_other": ({"errcode": 77}, 503),
    "http": ({"status": 502}, 503),
    "unreadable": ({"body": "<html>"}, 503),
    "broken": ({"close": True}, 503),
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_log_in_that_fails_leaves_what_wechat_said(
    make_person: Any, sandbox: Sandbox, cause: str
) -> None:
    alice = make_person("alice")
    what, status = FAULTS[cause]
    fault(sandbox, times=2, **what)
    try:
        answer = alice.post("login", {"code": alice.phone.login()})
    finally:
        fault(sandbox, times=0)
    assert answer.status_code == status
    attempt = last()
    assert (attempt.kind, attempt.cause, steps(attempt)) == ("login", cause, "!code")
    assert attempt.outcome == answer.json()["code"]
    if "errcode" in what:
        assert attempt.steps[-1]["rid"] and attempt.steps[-1]["errcode"] == what["errcode"]


def test_the_address_that_the_whitelist_lacks_is_recorded(
    make_person: Any, sandbox: Sandbox
) -> None:
    alice = make_person("alice")
    fault(sandbox, times=1, errcode=40164)
    alice.post("login", {"code": alice.phone.login()})
    assert last().steps[-1]["address"] == "203.0.113.7"


def test_a_malformed_request_is_recorded_as_such(alice: Person) -> None:
    refused(alice.post("groups/bind", {"iv": "x"}), 400, "invalid")
    assert (last().cause, steps(last())) == ("malformed", "scene !envelope")
    refused(alice.post("login", {"code": "x", "appid": "wxunknown"}), 400, "invalid")
    assert (last().cause, last().kind) == ("unknown_app", "login")


def test_a_bind_to_a_hidden_group_is_recorded_as_such(alice: Person, group: Group) -> None:
    Group.objects.update(hidden=True)
    refused(alice.post("groups/bind", alice.envelope("family")), 404, "not_found")
    assert (last().cause, steps(last())) == (
        "group_hidden",
        "scene envelope watermark group !membership",
    )


def test_a_success_is_recorded_only_of_a_watched_member(
    alice: Person, bob: Person, olga: Browser
) -> None:
    alice.enter("family")
    assert Attempt.objects.count() == 0
    attempts.watch(Actor(User.objects.get(username="olga")), APP_ID, alice.user.pk)
    for person in (alice, bob):
        person.enter("family")
    assert [attempt.user for attempt in Attempt.objects.all()] == [alice.user]
    assert steps(last()) == "scene envelope watermark group membership"
    assert last().outcome == "" and AuditEvent.objects.get().action == "watch"
    with later(minutes=31):
        alice.enter("family")
    assert Attempt.objects.count() == 1


def test_an_open_watch_follows_the_next_member_who_logs_in(
    alice: Person, make_person: Any, olga: Browser
) -> None:
    attempts.watch(Actor(User.objects.get(username="olga")), APP_ID)
    alice.enter("family")
    assert Attempt.objects.count() == 0
    tester = make_person("tester")
    make_person("another")
    assert [(a.kind, a.user) for a in Attempt.objects.all()] == [("login", tester.user)]
    assert Watch.objects.get().user == tester.user
    tester.enter("family")
    assert (last().kind, last().user) == ("bind", tester.user)


def test_an_open_watch_finds_the_next_member_although_everyone_is_watched(
    alice: Person, make_person: Any, olga: Browser
) -> None:
    operator = Actor(User.objects.get(username="olga"))
    attempts.watch(operator, APP_ID, everyone=True)
    attempts.watch(operator, APP_ID, alice.user.pk)
    attempts.watch(operator, APP_ID)
    alice.log_in()  # she is watched already, so the open watch goes on waiting
    assert Watch.objects.filter(user=None, everyone=False).count() == 1
    tester = make_person("tester")
    assert Watch.objects.latest("pk").user == tester.user
    another = make_person("another")  # is watched with everyone else
    assert (last().kind, last().user, last().outcome) == ("login", another.user, "")


def test_a_call_goes_on_when_its_attempt_cannot_be_recorded(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no attempts today")

    monkeypatch.setattr(Attempt, "save", crash)
    refused(alice.post("groups/bind", GARBAGE), 409, "session_stale")
    assert Attempt.objects.count() == 0


def test_attempts_are_limited_for_each_member_and_each_second(
    alice: Person, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.THROTTLES = "off"
    monkeypatch.setattr(attempts, "KEPT_EACH", 3)
    monkeypatch.setattr(attempts, "MAX_A_SECOND", 1000)
    monkeypatch.setattr(attempts, "_pace", attempts._Pace())
    for _ in range(6):
        alice.post("groups/bind", {"iv": "x"})
    assert Attempt.objects.count() == 3
    monkeypatch.setattr(attempts, "MAX_A_SECOND", 2)
    monkeypatch.setattr(attempts, "_pace", attempts._Pace())
    newest = last().pk
    for _ in range(6):
        alice.post("groups/bind", {"iv": "x"})
    assert Attempt.objects.filter(pk__gt=newest).count() == 2


def test_attempts_are_deleted_after_a_day_by_the_next_one_or_by_the_purge(alice: Person) -> None:
    alice.post("groups/bind", GARBAGE)
    with later(hours=25):
        alice.post("login", {"code": "x"})
        assert Attempt.objects.count() == 1
    with later(hours=50):
        call_command("purge", verbosity=0)
        assert Attempt.objects.count() == 0


def test_an_attempt_has_no_secret(alice: Person, bob: Person) -> None:
    envelope = sealed_for(alice, OPENS, key=KEY)
    alice.post("groups/bind", envelope)
    mine = alice.post("groups/resolve", alice.envelope("family")).json()
    alice.post("groups/bind", ticket(mine, openid=bob.openid))
    stored = str(list(Attempt.objects.values()))
    for secret in (*envelope.values(), mine["ticket"], alice.openid, bob.openid, alice.token):
        assert secret not in stored


def test_attempts_are_in_my_data_and_erased_with_the_member(alice: Person) -> None:
    alice.post("groups/bind", GARBAGE)
    [attempt] = alice.get("me/data").json()["attempts"]
    assert (attempt["kind"], attempt["outcome"]) == ("bind", "session_stale")
    alice.delete("me")
    assert Attempt.objects.count() == 0


def test_every_cause_says_what_to_do_in_both_languages() -> None:
    for cause in CAUSES.values():
        texts = []
        for language in ("zh-hans", "en"):
            with override(language):
                texts.append((str(cause.means), str(cause.todo)))
        assert all(all(pair) for pair in texts) and texts[0] != texts[1], cause.key


def test_errors_of_wechat_are_counted_for_the_front_page(
    make_person: Any, sandbox: Sandbox
) -> None:
    alice = make_person("alice")
    fault(sandbox, times=1, errcode=40125)
    alice.post("login", {"code": alice.phone.login()})
    assert attempts.wechat_failures(timezone.now() - timedelta(hours=1)).count() == 1
    assert attempts.wechat_failures(timezone.now() + timedelta(hours=1)).count() == 0
