"""Attacks: one test, or a few, for each row of the table of attacks."""

import json
import logging
import os
import random
import re
import socket
import subprocess
import sys
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from Crypto.Cipher import AES
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client as Browser
from django.utils import timezone
from django.views.debug import ExceptionReporter

from accounts.models import AvatarCheck, WeChatUser
from audit.models import AuditEvent
from console.sign_in import sign_in_path
from core.vault import decrypt
from groups.models import Board, Group, Membership, Score, ServerKey, VerificationFile
from groups.services import FOUNDING_LIMIT
from groupsite.settings import DEVELOPMENT_FIELD_KEY
from tests.cast import (
    API,
    BAD_MARKS,
    BAD_TEXTS,
    DOUBTFUL,
    FAMILY,
    GARBAGE,
    KEY,
    RISKY,
    Person,
    b64,
    encrypted_for,
    everything_stored,
    fault,
    later,
    padded,
    refused,
    sealed_for,
    ticket,
    verdict_event,
)
from tests.servers import ROOT, unused_port
from tests.settings import APP_ID, OTHER_APP_ID
from tests.site_map import ADMIN_ROUTES, admin_path, path_of, routes
from wechat.client import Suggestion
from wechat.crypto import seal
from wechat.gate import forget_failures
from wechat.push import channel_for
from wechat.sandbox import Sandbox, open_gid_of

pytestmark = pytest.mark.no_service

# 20,000 queries with each of 5 keys: ATTACK_QUERIES=20000 ATTACK_KEYS=5.
QUERIES = int(os.environ.get("ATTACK_QUERIES", "1000"))
KEYS = int(os.environ.get("ATTACK_KEYS", "1"))


def everything_but_attempts() -> dict[str, list[Any]]:
    """Return every row of every table, but for the record of the attempt itself."""
    stored = everything_stored()
    del stored["audit_attempt"]
    return stored


@pytest.fixture
def no_lock(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off what protects binding: the lock and the throttles."""
    settings.THROTTLES = "off"
    monkeypatch.setattr("accounts.models.STALE_LIMIT", 30_000)


# A client names an openGId or openid that is not its own


def test_naming_a_group_does_not_let_a_user_in(
    alice: Person, charlie: Person, group: Group
) -> None:
    alices = alice.post("groups/resolve", alice.envelope("family")).json()
    mine = charlie.post("groups/resolve", charlie.envelope("other")).json()
    before = everything_but_attempts()
    for stolen in (
        ticket(alices),
        ticket(alices, openid=charlie.openid),
        ticket(mine, openGId=group.open_gid),
        ticket(mine, openGId=group.open_gid, openid=alice.openid),
        ticket(mine, openid=alice.openid),
    ):
        refused(charlie.post("groups/bind", stolen), 403, "group_not_proven")
    refused(charlie.get(f"groups/{group.open_gid}"), 404, "not_found")
    assert everything_but_attempts() == before


# Forging by padding oracle


def bad_envelopes(person: Person, other: Person) -> Iterator[dict[str, str]]:
    """Make envelopes that are well formed, and wrong in every way there is."""
    chance = random.Random(2018)
    for blocks in chain.from_iterable(repeat(range(1, 13), 10)):
        yield {"encryptedData": b64(chance.randbytes(16 * blocks)), "iv": b64(chance.randbytes(16))}
    for text in BAD_TEXTS.values():
        if len(text) < 150_000:  # longer ones are refused unread
            yield encrypted_for(person, padded(text))
    for last in (0, *range(17, 256, 5)):
        yield encrypted_for(person, b'{"openGId":"tGsj"}'.ljust(32, bytes([last])))
    for count in range(2, 17):
        right = padded(b'{"openGId":"' + b"x" * (34 - count) + b'"}')
        for place in range(2, count + 1):
            yield encrypted_for(person, right[:-place] + b"\0" + right[len(right) - place + 1 :])
    genuine = {"openGId": FAMILY}
    yield sealed_for(other, genuine)
    yield sealed_for(person, genuine, key=KEY)
    yield sealed_for(person, genuine, marked=False)
    yield sealed_for(person, {}, marked=False)
    for mark in (*BAD_MARKS.values(), {"timestamp": 0}, {"timestamp": 10**11}, {"timestamp": "0"}):
        yield sealed_for(person, genuine, **mark)
    key = decrypt(person.user.session_key) or ""
    for watermark in (None, [], "x", {}, {"appid": APP_ID}):
        yield seal(key, {"opengid": FAMILY, "watermark": watermark})
    for bad in (" ", "a b", "群", "a" * 65, "a/b", 5, ["x"], {"a": "b"}, True, "A", FAMILY[:19]):
        yield sealed_for(person, {"openGId": bad})
    for key in ("nickName", "phoneNumber", "stepInfoList", "openId", "dataList"):
        yield sealed_for(person, genuine | {key: "x"})
    for text in (b"{}", b'{"opengid":"A"}', b'{"opengid":""}', b'{"a":1}'):
        yield encrypted_for(person, padded(text))
    whole = sealed_for(person, genuine)
    data = b64decode(whole["encryptedData"])
    for cut in range(16, len(data), 16):
        yield whole | {"encryptedData": b64(data[:-cut])}
        yield whole | {"encryptedData": b64(data[cut:])}


def seen(answer: Any) -> tuple[Any, ...]:
    """Return all of an answer that an attacker sees, but for the request's id."""
    headers = {name: value for name, value in answer.headers.items() if name != "X-Request-ID"}
    body = answer.content.replace(answer["X-Request-ID"].encode(), b"")
    return answer.status_code, body, tuple(sorted(headers.items()))


@pytest.mark.usefixtures("no_lock")
def test_every_envelope_that_does_not_open_gets_the_same_answer(alice: Person, bob: Person) -> None:
    corpus = list(bad_envelopes(alice, bob))
    assert len(corpus) >= 300
    before = Group.objects.count()
    answers: dict[Any, dict[str, str]] = {}
    for number, envelope in enumerate(corpus):
        path = "groups/bind" if number % 2 else "groups/resolve"
        answers.setdefault(seen(alice.post(path, envelope)), envelope)
    assert len(answers) == 1, answers
    refused(alice.post("groups/bind", corpus[0]), 409, "session_stale")
    assert Group.objects.count() == before


class Attack:
    """Charlie's attack: he knows his own genuine envelope, byte for byte, and sends altered ones.

    He knows what is in it as well, but for the key.
    """

    def __init__(self, charlie: Person, envelope: dict[str, str] | None = None) -> None:
        self.charlie = charlie
        genuine = envelope or charlie.envelope("his own")
        self.data, self.iv = b64decode(genuine["encryptedData"]), b64decode(genuine["iv"])
        key = b64decode(decrypt(charlie.user.session_key) or "")
        self.text = AES.new(key, AES.MODE_CBC, self.iv).decrypt(self.data)
        self.chance = random.Random(2018)

    def ask(self, data: bytes, iv: bytes) -> Any:
        return self.charlie.post("groups/bind", {"encryptedData": b64(data), "iv": b64(iv)})

    def probes(self) -> Iterator[tuple[bytes, bytes]]:
        """Ask as Vaudenay does: for the last byte of each block, then the one before, …"""
        blocks = [self.data[at : at + 16] for at in range(0, len(self.data), 16)]
        while True:
            for target in blocks:
                for place in (15, 14):
                    for guess in range(256):
                        before = bytearray(self.chance.randbytes(16))
                        before[place] = guess
                        yield target, bytes(before)

    def forgeries(self, wanted: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Make forgeries of `wanted` by CBC-R: guess blocks, and alter or shuffle the envelope."""
        blocks = [wanted[at : at + 16] for at in range(0, len(wanted), 16)]
        own = [self.data[at : at + 16] for at in range(0, len(self.data), 16)]
        while True:
            chain = [self.chance.randbytes(16) for _ in range(len(blocks) + 1)]
            yield b"".join(chain[1:]), chain[0]
            at = 16 * self.chance.randrange(len(self.data) // 16)
            altered = bytearray(self.data)
            altered[at : at + 16] = xor(self.data[at : at + 16], self.chance.choice(blocks))
            yield bytes(altered), self.iv
            yield b"".join(self.chance.choices(own, k=len(blocks))), self.chance.randbytes(16)

    def written(self, start: bytes, block: int) -> tuple[bytes, bytes]:
        """Write `start` over a block by its iv, and cut off what stands before that block."""
        at = 16 * block
        before = self.data[at - 16 : at] if block else self.iv
        return self.data[at:], xor(xor(before, self.text[at : at + 16]), start)


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


@pytest.mark.usefixtures("no_lock")
def test_a_padding_oracle_attack_learns_nothing(charlie: Person) -> None:
    attack = Attack(charlie)
    answers = {seen(attack.ask(*probe)) for probe in islice(attack.probes(), QUERIES)}
    assert len(answers) == 1
    assert not Group.objects.exists()


@pytest.mark.usefixtures("no_lock")
def test_a_cbc_r_attack_enters_and_founds_no_group(
    alice: Person, charlie: Person, group: Group
) -> None:
    """Forge with blocks that are guessed, altered and shuffled."""
    alice.enter("work")
    groups = Group.objects.count()
    mark = {"appid": APP_ID, "timestamp": int(timezone.now().timestamp())}
    wanted = json.dumps({"openGId": group.open_gid, "watermark": mark}, separators=(",", ":"))
    for _key in range(KEYS):
        attack = Attack(charlie.log_in())
        for forgery in islice(attack.forgeries(padded(wanted.encode())), QUERIES):
            refused(attack.ask(*forgery), 409, "session_stale")
    assert Group.objects.count() == groups
    assert not charlie.user.memberships.exists()


@pytest.mark.usefixtures("no_lock")
@pytest.mark.parametrize("age", [0, 400])
def test_a_single_block_of_ones_own_names_no_group(charlie: Person, bob: Person, age: int) -> None:
    """Open one block to `{"opengid":"A"}` by its iv; its watermark, be it old, is cut off."""
    for person in (charlie, bob):
        mark = {"timestamp": int(time.time()) - age * 86_400}
        attack = Attack(person, sealed_for(person, {"openGId": open_gid_of(APP_ID, "own")}, **mark))
        for start in (b'{"opengid":"A"}\x01', b'{"opengid":"AB"}', b'{"opengid":5}\x03\x03\x03'):
            data, iv = attack.written(start, 0)
            for cut in (data[:16], data[-16:]):
                refused(attack.ask(cut, iv), 409, "session_stale")
    assert not Group.objects.exists()


def named(person: Person, text: str, **mark: Any) -> dict[str, str]:
    """Seal the profile of someone who chose their name, as wx.getUserInfo once gave it."""
    profile = {
        "openId": person.openid,
        "nickName": text,
        "gender": 1,
        "language": "zh_CN",
        "city": "",
        "province": "",
        "country": "",
        "avatarUrl": "https://thirdwx.qlogo.cn/mmopen/x",
        "unionId": person.user.unionid,
    }
    return sealed_for(person, profile, **mark)


@pytest.mark.usefixtures("no_lock")
@pytest.mark.parametrize("required", [True, False], ids=["watermarks required", "and not"])
def test_a_text_of_ones_own_choice_names_no_group(
    charlie: Person, group: Group, settings: Any, required: bool
) -> None:
    """Cut a profile in the middle of a long nickname that holds the end of a group's id."""
    settings.WATERMARK_REQUIRED = required
    groups = Group.objects.count()
    start = b'{"opengid":"' + group.open_gid[:4].encode()
    for shift in range(16):
        attack = Attack(charlie, named(charlie, "x" * (16 + shift) + group.open_gid[4:]))
        end = attack.text.index(group.open_gid[4:].encode())
        if end % 16:
            continue
        assert attack.text[end:].startswith(f'{group.open_gid[4:]}","gender"'.encode())
        refused(attack.ask(*attack.written(start, end // 16 - 1)), 409, "session_stale")
        break
    else:
        raise AssertionError("never at the edge of a block")
    assert Group.objects.count() == groups and not charlie.user.memberships.exists()


# What a changed iv can still do: see docs/design.md, "What remains"


def openings() -> Iterator[tuple[str, bytes]]:
    """Make all 16 bytes that begin an id: its first characters, four of them at most."""
    for spelling in ("opengid", "openGId"):
        for count in range(5):
            yield "evil"[:count], f'{{"{spelling}":"'.encode().rjust(16 - count) + b"evil"[:count]


def test_a_changed_iv_rewrites_four_characters_of_an_id_of_ones_own_and_no_more(
    alice: Person, charlie: Person, group: Group, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mount what remains, and count it: every cut and every opening of both kinds of envelopes.

    What comes out ends as an id of Charlie's own does; no such group is another's.
    """
    settings.THROTTLES = "off"
    monkeypatch.setattr("accounts.models.STALE_LIMIT", 30_000)
    alice.enter("work")
    others = set(Group.objects.values_list("open_gid", flat=True))
    own = open_gid_of(APP_ID, "his own")
    proven = set()
    shared = charlie.envelope("his own")
    for envelope in (
        shared,
        charlie.phone.group_enter_info(group_openid=True),
        charlie.phone.group_enter_info(group_openid=True, watermark=False),
    ):
        attack = Attack(charlie, envelope)
        for block in range(len(attack.data) // 16):
            for _chosen, start in openings():
                answer = attack.ask(*attack.written(start, block))
                if answer.status_code != 409:
                    assert answer.status_code in {200, 201}
                    proven.add(answer.json()["openGId"])
    by_group = {name for name in proven if name[-24:] == own[-24:]}
    assert by_group == {"evil"[:count] + own[-24:] for count in range(5)}
    # wx.getGroupEnterInfo also tells Charlie's own id in that chat, of which the end is left.
    by_person = proven - by_group
    assert {len(name) for name in by_person} == {20, 21, 22, 23, 24}
    assert len({name[-20:] for name in by_person}) == 1
    assert len(proven) == 10
    assert proven.isdisjoint(others) and own not in proven
    assert not charlie.user.memberships.filter(group__open_gid__in=others).exists()


def test_a_changed_iv_founds_a_hundred_groups_a_day(
    charlie: Person, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.THROTTLES = "off"
    attack = Attack(charlie)
    codes = []
    for number in range(FOUNDING_LIMIT + 5):
        start = f'{{"openGId":"{number:04}'.encode()
        codes.append(attack.ask(*attack.written(start, 0)).status_code)
    assert codes == [201] * FOUNDING_LIMIT + [429] * 5
    tails = {open_gid[4:] for open_gid in Group.objects.values_list("open_gid", flat=True)}
    assert tails == {open_gid_of(APP_ID, "his own")[4:]}


def test_an_attacker_may_ask_ten_times_an_hour(charlie: Person) -> None:
    attack = Attack(charlie)
    codes = [attack.ask(*probe).status_code for probe in islice(attack.probes(), 30)]
    assert codes == [409] * 10 + [429] * 20


# Replaying another user's, another mini-program's or an old envelope


def test_bob_cannot_use_alices_envelope(alice: Person, bob: Person) -> None:
    sealed = alice.envelope("family")
    before = Membership.objects.count()
    refused(bob.post("groups/bind", sealed), 409, "session_stale")
    assert Membership.objects.count() == before
    assert alice.post("groups/bind", sealed).status_code == 201, "it was genuine"


def test_an_envelope_of_another_mini_program_is_refused(alice: Person) -> None:
    for spelling in ("openGId", "opengid"):
        sealed = sealed_for(alice, {spelling: FAMILY}, appid=OTHER_APP_ID)
        refused(alice.post("groups/bind", sealed), 409, "session_stale")
    assert not Group.objects.exists()


def test_an_old_envelope_is_refused_even_from_its_owner(alice: Person) -> None:
    sealed = alice.envelope("family")
    with later(seconds=305):
        refused(alice.post("groups/bind", sealed), 409, "session_stale")
    assert alice.post("groups/bind", sealed).status_code == 201


# A former member still reads


def test_a_former_member_reads_nothing_after_thirty_one_days(
    alice: Person, group: Group, settings: Any
) -> None:
    settings.LINK_MAX_AGE = 10**9
    path = urlsplit(alice.post(f"groups/{FAMILY}/link").json()["url"]).path
    alice.user.tokens.update(expires_at=timezone.now() + timedelta(days=99))
    assert alice.get(f"groups/{FAMILY}/ranking").status_code == 200
    with later(days=31):
        refused(alice.get(f"groups/{FAMILY}"), 404, "not_found")
        refused(alice.get(f"groups/{FAMILY}/ranking"), 404, "not_found")
        assert alice.get("groups").json()["groups"] == []
        assert Browser().get(path).status_code == 404


# session_key, app secret or token leak


class Canaries:
    """Secrets that are sent through everything, and the places where they might leak."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.answers: list[str] = []
        self.reports: list[str] = []

    def add(self, **secrets: str) -> None:
        for name, secret in secrets.items():
            assert len(secret) >= 16, name
            self.secrets[f"{name} #{len(self.secrets)}"] = secret

    def answered(self, answer: Any, *but: str) -> Any:
        """Keep an answer to search it later, without `but`, which it is meant to hold."""
        text = (
            f"{answer.status_code} {dict(answer.headers)} {answer.content.decode(errors='replace')}"
        )
        for secret in but:
            text = text.replace(secret, "")
        self.answers.append(text)
        return answer

    def hits_in(self, text: str) -> set[str]:
        return {name for name, secret in self.secrets.items() if secret in text}


FIELD_CANARY = urlsafe_b64encode(b"canary-of-the-field-keys-at-rest").decode()

PUSH_CANARY, AES_CANARY = "canaryOfThePushToken", "canaryOfTheEncodingAESKey".ljust(43, "0")


@pytest.fixture
def canaries(
    settings: Any,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Canaries:
    """Give the site secrets that can be searched for, and let every logger log all it can."""
    canaries = Canaries()
    canaries.add(
        app_secret="canary-of-the-app-secret",
        field_key=FIELD_CANARY,
        signing_key="canary-of-the-signing-key-" * 3,
        push_token=PUSH_CANARY,
        push_key=AES_CANARY,
    )
    settings.WECHAT_APPS = {APP_ID: {"SECRET": "canary-of-the-app-secret"}}
    monkeypatch.setitem(sandbox.state.apps, APP_ID, "canary-of-the-app-secret")
    settings.WECHAT_PUSH = {APP_ID: {"TOKEN": PUSH_CANARY, "AES_KEY": AES_CANARY}}
    settings.FIELD_KEYS = [FIELD_CANARY]
    settings.SECRET_KEY = "canary-of-the-signing-key-" * 3
    for name in ("", "django", "urllib3", "requests", "wechat", "groupsite"):
        caplog.set_level(logging.DEBUG, logger=name or None)
    return canaries


def push_approval(browser: Browser, trace_id: str) -> Any:
    """Push that WeChat approves a picture."""
    check = AvatarCheck(app_id=APP_ID, trace_id=trace_id)
    query, body = channel_for(APP_ID).write(
        verdict_event(check, Suggestion.PASS), safe=True, xml=False
    )
    return browser.post(f"/wechat/push/{APP_ID}/?{urlencode(query)}", body, "application/json")


def log_in_watched(person: Person, canaries: Canaries) -> Any:
    """Log in; the code, token and session_key are canaries from now on."""
    code = person.phone.login()
    canaries.add(code=code)
    answer = person.post("login", {"code": code})
    if answer.status_code == 200:
        person.body = answer.json()
        person.token = person.body["token"]
        key = decrypt(person.user.session_key) or ""
        canaries.add(token=person.token, session_key=key, raw_key=repr(b64decode(key)))
    canaries.answered(answer, person.token)
    return answer


FAULTS: list[dict[str, Any]] = [
    *({"errcode": errcode} for errcode in (-1, 40029, 40226, 45011, 40125, 40013, 45009, 77)),
    {"status": 502},
    {"body": ""},
    {"body": "<html>"},
    {"body": "x" * 70_000},
    {"body": '{"openid": "o", "session_key": "Y2FuYXJ5"}'},
    {"close": True},
    {"delay": 30},
    {"drip": 0.05},
]


def test_no_success_or_failure_leaks_a_secret(
    make_person: Any,
    canaries: Canaries,
    log_output: Any,
    sandbox: Sandbox,
    settings: Any,
    olga: Browser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wechat.client.Client.__init__.__defaults__", (0.1,))
    alice = make_person("alice")
    assert log_in_watched(alice, canaries).status_code == 200
    use_everything(alice, canaries)
    for what in FAULTS:
        forget_failures()  # or no call would be made any more
        fault(sandbox, times=2, **what)
        assert log_in_watched(alice, canaries).status_code != 200, what
        fault(sandbox, times=0)
    used = alice.phone.login()
    canaries.add(code=used)
    for _ in range(2):
        canaries.answered(alice.post("login", {"code": used}), alice.token)
    change_the_profile_while_wechat_fails(alice, canaries, sandbox)
    settings.WECHAT_API_URL = f"http://127.0.0.1:{unused_port()}"
    assert log_in_watched(alice, canaries).status_code == 503
    misplace_tokens(alice, canaries)
    logged = log_output.getvalue()
    assert "secret=***" in logged and "js_code=***" in logged, "urllib3 spoke, and was redacted"
    assert canaries.hits_in(logged) == set()
    assert [
        canaries.hits_in(answer) for answer in canaries.answers if canaries.hits_in(answer)
    ] == []
    assert canaries.hits_in(str(everything_stored())) == set()
    for path in admin_pages():
        assert canaries.hits_in(olga.get(path).getvalue().decode(errors="replace")) == set(), path


CHECKS = ("/wxa/msg_sec_check", "/wxa/media_check_async", "/cgi-bin/stable_token")


def change_the_profile_while_wechat_fails(
    alice: Person, canaries: Canaries, sandbox: Sandbox
) -> None:
    for what in [*FAULTS, {"errcode": 40001}, {"errcode": 61010}]:
        forget_failures()
        for path in CHECKS:
            fault(sandbox, path=path, times=2, **what)
        canaries.answered(alice.put("me", {"nickname": "小红"}))
        canaries.answered(alice.upload())
        canaries.add(access_token=sandbox.state.stable_token(**CREDENTIALS)["access_token"])
    for path in CHECKS:
        fault(sandbox, path=path, times=0)


CREDENTIALS = {
    "appid": APP_ID,
    "secret": "canary-of-the-app-secret",
    "grant_type": "client_credential",
}


def use_everything(alice: Person, canaries: Canaries) -> None:
    sealed = alice.envelope("family")
    resolved = alice.post("groups/resolve", sealed)
    proof = resolved.json()["ticket"]
    canaries.add(ticket=proof)
    canaries.answered(resolved, proof)
    mine = f"groups/{FAMILY}"
    link = alice.post("groups/bind", ticket(resolved.json())) and alice.post(f"{mine}/link")
    for answer in (
        alice.post("groups/bind", sealed),
        alice.post("groups/bind", GARBAGE),
        alice.post("groups/bind", ticket(resolved.json(), openGId="tGother")),
        alice.post("groups/bind", ticket(resolved.json(), ticket=proof + "x")),
        alice.post("groups/bind", {**ticket(resolved.json()), "hat": proof}),
        alice.get("me"),
        alice.put("me", {"nickname": "小明"}),
        alice.put("me", {"nickname": RISKY}),
        alice.put("me", {"nickname": DOUBTFUL}),
        alice.put(f"{mine}/membership", {"alias": DOUBTFUL}),
        alice.upload(),
        alice.upload(b"no picture"),
        push_approval(alice.browser, AvatarCheck.objects.latest("pk").trace_id),
        alice.browser.post(
            f"/wechat/push/{APP_ID}/?msg_signature={PUSH_CANARY}", b"{}", "text/xml"
        ),
        alice.post("me/consent", {"version": "1", "purposes": ["groups"]}),
        alice.get("me/data"),
        alice.get("groups"),
        alice.get(mine),
        alice.get(f"{mine}/ranking"),
        link,
        Browser().get(urlsplit(link.json()["url"]).path),
        alice.get("boards"),
    ):
        canaries.answered(answer)


def misplace_tokens(alice: Person, canaries: Canaries) -> None:
    """Send a token and a code where they do not belong."""
    token = alice.token
    for answer in (
        alice.get(f"me?token={token}&access_token={token}", Authorization=""),
        alice.get(f"nothing?token={token}"),
        alice.get("me", Authorization=f"Token {token}"),
        alice.get("me", Authorization=f"Bearer {token}x"),
        alice.get("me", Authorization=f"Bearer {token}", Host="evil.example"),
        alice.post("login", {"code": token, "appid": token}),
        alice.post("login", {"code": [token]}),
        alice.post("logout"),
    ):
        canaries.answered(answer)


def test_no_sign_in_link_is_logged(canaries: Canaries, log_output: Any, otto: User) -> None:
    """Post it from another site too: it stays valid then, and a warning quotes the path."""
    path = sign_in_path(otto)
    canaries.add(sign_in_token=path.strip("/").rpartition("/")[2])
    assert Browser(enforce_csrf_checks=True).post(path).status_code == 403
    assert [Browser().post(path).status_code for _ in range(2)] == [302, 410]
    assert "sign-in" in log_output.getvalue()
    assert canaries.hits_in(log_output.getvalue() + str(everything_stored())) == set()


def test_no_members_link_is_logged(alice: Person, group: Group, log_output: Any) -> None:
    path = urlsplit(alice.post(f"groups/{FAMILY}/link").json()["url"]).path
    with later(hours=2):
        assert Browser().get(path).status_code == 410, "expired links are no secrets"
    alice.delete(f"groups/{FAMILY}/membership")
    logged = log_output.getvalue()
    assert Browser().get(path).status_code == 404
    line = log_output.getvalue().removeprefix(logged)
    assert '"route": "/g/<str:signed>/", "status": 404' in line
    assert path.split("/")[2] not in line, "it opens again when she comes back"


# Each of these is called where a secret is at hand; without it the call crashes there.
CRASHES = {
    "reading WeChat's answer": "wechat.client._read_answer",
    "reading the session": "wechat.client._read_session",
    "asking WeChat": "wechat.client.http_session",
    "storing the key": "accounts.models.encrypt",
    "encrypting the key": "core.vault.vault",
    "issuing a token": "accounts.models.digest_of",
    "answering the log-in": "accounts.api.LoginOutput",
    "reading a token": "accounts.models.TokenManager.valid",
    "opening an envelope": "wechat.crypto.unpad",
    "reading what was opened": "accounts.models.check_watermark",
    "redeeming a ticket": "core.signed.signing.TimestampSigner.unsign_object",
    "binding": "groups.services._find_or_found",
    "asking about a name": "accounts.services.write_name",
    "asking about an avatar": "accounts.services._take_avatar",
    "reading a verdict": "wechat.client.read_verdict",
    "opening a push": "wechat.push.unseal_push",
    "taking a verdict": "accounts.services.settle_avatar",
    "listing what is stored": "groups.privacy._scores_of",
    "erasing": "accounts.models.TombstoneManager.replace",
}


@pytest.mark.parametrize("place", CRASHES.values(), ids=CRASHES)
def test_no_secret_is_in_djangos_error_report(
    make_person: Any,
    canaries: Canaries,
    caplog: pytest.LogCaptureFixture,
    log_output: Any,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """Search what an e-mail or an error tracker would get: frames, locals, settings."""
    alice = make_person("alice")
    log_in_watched(alice, canaries)
    resolved = alice.post("groups/resolve", alice.envelope("family")).json()
    canaries.add(ticket=resolved["ticket"])
    sealed = alice.envelope("family")
    alice.browser.raise_request_exception = False
    code = alice.phone.login()
    canaries.add(code=code)
    caplog.clear()
    with monkeypatch.context() as patch:
        patch.setattr(place, None)
        answers = [
            alice.post("groups/bind", sealed),
            alice.post("groups/bind", ticket(resolved)),
            alice.post("login", {"code": code}),
            alice.put("me", {"nickname": "小红"}),
            alice.upload(),
            push_approval(alice.browser, "unknown"),
            alice.get("me/data"),
            alice.delete("me"),
        ]
    crashes = [record for record in caplog.records if record.exc_info and record.exc_info[0]]
    assert crashes and 500 in [answer.status_code for answer in answers]
    for record in crashes:
        own = getattr(record, "request", None)
        report = ExceptionReporter(own, *record.exc_info)  # type: ignore[misc]
        assert canaries.hits_in(report.get_traceback_html()) == set()
    for answer in answers:  # what a report says of a request does not depend on the error
        report = ExceptionReporter(answer.wsgi_request, *crashes[0].exc_info)  # type: ignore[misc]
        assert canaries.hits_in(report.get_traceback_text()) == set()
    assert canaries.hits_in(log_output.getvalue()) == set()


def test_no_password_of_a_service_is_in_djangos_error_report(settings: Any) -> None:
    settings.REDIS_URL = "redis://:canary-of-redis@cache:6379/0"
    settings.SENTRY_DSN = "https://canary-of-sentry@sentry.example/1"
    settings.WECHAT_PROXY = "http://user:canary-of-the-proxy@proxy.example:3128"
    try:
        json.loads("")  # crashes elsewhere: the lines around a crash are in its report
    except ValueError as error:
        frames = error.__traceback__ and error.__traceback__.tb_next
        report = ExceptionReporter(None, type(error), error, frames)
    text = report.get_traceback_html()
    assert "REDIS_URL" in text and "SENTRY_DSN" in text
    assert "canary-of-" not in text + report.get_traceback_text()


def test_objects_that_hold_a_secret_do_not_print_it(alice: Person) -> None:
    user = alice.user
    key = decrypt(user.session_key) or ""
    for text in (repr(user), str(user), repr(user.tokens.get()), str(user.tokens.get())):
        assert key not in text and alice.token not in text and user.session_key not in text


# Enumeration, IDOR: who may call what

PERSONAS = ("anonymous", "member", "former member", "outsider", "clerk", "operator")

ANYONE = (200,) * 6
MEMBERS = (401, 200, 200, 200, 401, 401)
OF_THE_GROUP = (401, 200, 404, 404, 401, 401)
SERVERS = (401,) * 6  # for server keys alone, which tests/test_server_api.py tries
OPERATORS = (302, 302, 302, 302, 403, 200)

MATRIX: dict[tuple[str, str], tuple[int, ...]] = {
    ("POST", "api/v1/login"): (400,) * 6,
    ("POST", "api/v1/logout"): (401, 204, 204, 204, 401, 401),
    ("GET", "api/v1/me"): MEMBERS,
    ("PUT", "api/v1/me"): (401, 400, 400, 400, 401, 401),
    ("DELETE", "api/v1/me"): (401, 204, 204, 204, 401, 401),
    ("POST", "api/v1/me/avatar"): (401, 400, 400, 400, 401, 401),
    ("GET", "api/v1/me/consent"): MEMBERS,
    ("POST", "api/v1/me/consent"): (401, 400, 400, 400, 401, 401),
    ("DELETE", "api/v1/me/consent/{}"): MEMBERS,
    ("GET", "api/v1/me/data"): MEMBERS,
    ("GET", "api/v1/groups"): MEMBERS,
    ("POST", "api/v1/groups/resolve"): (401, 400, 400, 400, 401, 401),
    ("POST", "api/v1/groups/bind"): (401, 400, 400, 400, 401, 401),
    ("GET", "api/v1/groups/{}"): OF_THE_GROUP,
    ("PUT", "api/v1/groups/{}/membership"): OF_THE_GROUP,
    ("DELETE", "api/v1/groups/{}/membership"): (401, 204, 404, 404, 401, 401),
    ("GET", "api/v1/groups/{}/ranking"): OF_THE_GROUP,
    ("GET", "api/v1/groups/{}/ranking/around"): OF_THE_GROUP,
    ("POST", "api/v1/groups/{}/link"): OF_THE_GROUP,
    ("POST", "api/v1/groups/{}/reports"): (401, 400, 404, 404, 401, 401),
    ("POST", "api/v1/diagnostics"): (400,) * 6,
    ("GET", "api/v1/boards"): MEMBERS,
    ("POST", "api/v1/scores"): (401, 400, 400, 400, 401, 401),
    ("POST", "api/v1/server/scores"): SERVERS,
    ("POST", "api/v1/server/sessions"): SERVERS,
    ("POST", "api/v1/server/users"): SERVERS,
    ("GET", "api/v1/server/users/{}/groups"): SERVERS,
    ("GET", "api/v1/server/groups/{}/ranking"): SERVERS,
    ("GET", "api/v1/server/groups/{}/winners"): SERVERS,
    ("GET", "api/schema/"): ANYONE,
    ("GET", "api/docs/"): ANYONE,
    ("GET", "^api/"): (404,) * 6,
    ("GET", "groups/"): OPERATORS,
    ("GET", "groups/labels/"): (*OPERATORS[:5], 302),  # no group is ticked
    ("GET", "groups/{}/"): OPERATORS,
    ("POST", "groups/{}/"): OPERATORS,
    ("GET", "g/{}/"): ANYONE,
    ("GET", "avatars/{}.webp"): ANYONE,
    ("GET", "avatars/96/{}.webp"): ANYONE,
    ("GET", "media/avatars/{}.webp"): ANYONE,
    ("GET", "wechat/push/{}"): (403,) * 6,
    ("POST", "wechat/push/{}"): (403,) * 6,
    ("GET", "wechat/push/{}/"): (403,) * 6,
    ("POST", "wechat/push/{}/"): (403,) * 6,
    ("GET", "favicon.ico"): (302,) * 6,
    ("GET", "sign-in/{}/{}/"): (410,) * 6,
    ("POST", "sign-in/{}/{}/"): (410,) * 6,
    ("GET", "livez"): ANYONE,
    ("GET", "readyz"): ANYONE,
    ("GET", "metrics"): (404,) * 6,
    ("GET", ""): (302,) * 6,
    ("GET", "llms.txt"): ANYONE,
    ("GET", "{}.md"): ANYONE,
    ("GET", "{}.txt"): ANYONE,
}

SITE = {re.sub(r"<[^>]+>", "{}", route): route for route, _pattern in routes()}
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


def test_every_route_has_its_row_in_the_matrix() -> None:
    listed = {shape for _method, shape in MATRIX}
    assert {shape for shape in SITE if not shape.startswith("admin/")} == listed


@pytest.fixture
def personas(
    alice: Person, bob: Person, charlie: Person, group: Group, olga: Browser
) -> dict[str, Person]:
    assert bob.delete(f"groups/{FAMILY}/membership").status_code == 204
    clerk = Browser()
    clerk.force_login(User.objects.create_user("clerk", is_staff=True))
    ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    AuditEvent.objects.create(action="block", target="wechatuser")
    VerificationFile.objects.create(name="proof.txt", content="x")
    no_phone: Any = None
    people = (
        Person("anonymous", no_phone),
        alice,
        bob,
        charlie,
        Person("clerk", no_phone, clerk),
        Person("operator", no_phone, olga),
    )
    return dict(zip(PERSONAS, people, strict=True))


def address(shape: str, group: Group, alice: Person) -> str:
    """Return a path of this route where everything that it names exists."""
    if shape == "^api/":
        return "/api/nothing"
    if shape == "g/{}/":
        return urlsplit(alice.post(f"groups/{FAMILY}/link").json()["url"]).path
    values = dict.fromkeys(["openGId", "open_gid"], group.open_gid)
    values |= {"pk": str(group.pk), "token": "x-y", "appid": APP_ID, "openid": "oX"}
    values |= {"name": "proof", "purpose": "avatar"}
    values["signed"] = Path(alice.user.avatar_path).stem
    if shape == "{}.md":
        values["name"] = "docs/settings"
    if shape.startswith("media/"):
        values["name"] = Path(alice.upload().json()["avatar"]).stem
    return path_of(SITE[shape], **values)


@pytest.mark.parametrize(("method", "shape"), MATRIX, ids=[" ".join(row) for row in MATRIX])
def test_who_may_call_what(
    personas: dict[str, Person], group: Group, method: str, shape: str
) -> None:
    path = address(shape, group, personas["member"])
    found = tuple(
        person.call(method, path, {} if method in {"POST", "PUT"} else None).status_code
        for person in personas.values()
    )
    assert dict(zip(PERSONAS, found, strict=True)) == dict(
        zip(PERSONAS, MATRIX[method, shape], strict=True)
    )


@pytest.mark.parametrize("shape", sorted({shape for _method, shape in MATRIX}))
def test_no_route_takes_a_method_that_is_not_in_the_matrix(
    personas: dict[str, Person], group: Group, shape: str
) -> None:
    path = address(shape, group, personas["member"])
    before = everything_stored()
    for method in METHODS:
        if (method, shape) not in MATRIX:
            for person in personas.values():
                headers = {"Authorization": f"Bearer {person.token}"} if person.token else {}
                answer = person.browser.generic(method, path, headers=headers)
                assert answer.status_code in {302, 401, 403, 404, 405}, (method, person.name)
    assert everything_stored() == before


def test_no_route_answers_trace(personas: dict[str, Person], group: Group) -> None:
    paths = [address(shape, group, personas["member"]) for _method, shape in MATRIX]
    for path in {*paths, *admin_pages()}:
        for method in ("TRACE", "CONNECT"):
            for person in (personas["member"], personas["operator"]):
                headers = {"Authorization": f"Bearer {person.token}"} if person.token else {}
                answer = person.browser.generic(method, path, headers=headers)
                assert answer.status_code in {302, 401, 403, 404, 405}, (method, path, person.name)


def test_absent_and_forbidden_get_the_same_answer(charlie: Person, group: Group) -> None:
    answers = {seen(charlie.get(f"groups/{id}")) for id in (FAMILY, FAMILY[::-1], "tGunknown")}
    assert len(answers) == 1


OPEN_TO_ANY_STAFF = {
    "admin/",
    "admin/account/",
    "admin/jsi18n/",
    "admin/password_change/",
}


def admin_pages() -> Iterator[str]:
    return (admin_path(route) for route in ADMIN_ROUTES if not route.startswith("admin/logout"))


def test_the_console_is_for_operators(personas: dict[str, Person]) -> None:
    before = everything_stored()
    for route in set(ADMIN_ROUTES) - {"admin/login/"}:
        for name in PERSONAS[:4]:
            for method in ("GET", "POST"):
                answer = personas[name].call(method, admin_path(route))
                assert answer.status_code == 302, (method, route, name)
                assert answer["Location"].startswith("/admin/"), (method, route, name)
    assert everything_stored() == before


def test_the_console_opens_each_page_for_its_permission_only(personas: dict[str, Person]) -> None:
    before = everything_stored()
    for route in set(ADMIN_ROUTES) - {"admin/login/", "admin/logout/"}:
        for method in ("GET", "POST"):
            opened = personas["clerk"].call(method, admin_path(route)).status_code == 200
            assert opened <= (route in OPEN_TO_ANY_STAFF), (method, route)
        if re.fullmatch(r"admin/(accounts|groups)/\w+/(<path:object_id>/change/)?", route):
            shown = 302 if route.startswith("admin/groups/group/") else 200  # to /groups/
            assert personas["operator"].get(admin_path(route)).status_code == shown, route
    assert everything_stored() == before


# Mass assignment


def names_of(model: Any) -> set[str]:
    """Return every name that a client might try for a model's fields, in both spellings."""
    names = {"pk", "id"}
    for found in model._meta.get_fields():
        names |= {found.name, getattr(found, "attname", found.name)}
    return names | {re.sub("_([a-z])", lambda hit: hit[1].upper(), name) for name in names}


INJECTIONS: dict[str, tuple[str, str, dict[str, Any], Any, set[str]]] = {
    "login": ("POST", "login", {"code": "x"}, WeChatUser, set()),
    "me": ("PUT", "me", {"nickname": "新"}, WeChatUser, {"nickname"}),
    "membership": ("PUT", f"groups/{FAMILY}/membership", {}, Membership, {"hidden", "alias"}),
    "link": ("POST", f"groups/{FAMILY}/link", {}, Score, {"board"}),
    "bind a membership": ("POST", "groups/bind", {}, Membership, {"scene"}),
    "bind a group": ("POST", "groups/bind", {}, Group, set()),
    "bind a board": ("POST", "groups/bind", {}, Board, set()),
}


@pytest.mark.parametrize("what", INJECTIONS)
def test_no_call_accepts_other_fields_of_a_model(
    alice: Person, group: Group, settings: Any, what: str
) -> None:
    settings.THROTTLES = "off"
    method, path, body, model, known = INJECTIONS[what]
    body = body or (alice.envelope("family") if "bind" in what else {})
    before = everything_but_attempts()
    names = names_of(model) - known
    assert len(names) >= 8
    for name in names:
        for value in (1, "active", None):
            error = refused(alice.call(method, path, {**body, name: value}), 400, "invalid")
            assert name in error["fields"]
    assert everything_but_attempts() == before


# Deep JSON


@pytest.mark.parametrize(
    ("method", "shape"),
    [row for row in MATRIX if row[0] in {"POST", "PUT"} and "api/" in row[1]],
)
def test_deep_json_is_invalid_wherever_a_body_is_read(
    alice: Person, group: Group, method: str, shape: str
) -> None:
    path, headers = address(shape, group, alice), {"Authorization": f"Bearer {alice.token}"}
    if "/server/" in shape:
        key, _row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
        headers = {"Authorization": f"Key {key}"}
    for body in (b"[" * 100_000, b'{"a":' * 50_000, b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"):
        answer = alice.browser.generic(method, path, body, "application/json", headers=headers)
        refused(answer, 400, "invalid")


# SSRF


def test_the_server_connects_to_wechat_alone(
    alice: Person, group: Group, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    connect = socket.socket.connect

    def watched(line: socket.socket, where: Any) -> Any:
        called.append(where)
        return connect(line, where)

    code, sealed = alice.phone.login(), alice.envelope("family")
    port = urlsplit(sandbox.url).port
    monkeypatch.setattr(socket.socket, "connect", watched)
    bait = f"http://127.0.0.1:{unused_port()}/"
    alice.post("login", {"code": code})
    alice.post("groups/bind", sealed)
    alice.put("me", {"nickname": bait[:32]})
    refused(alice.put("me", {"nickname": "x", "avatar": bait}), 400, "invalid")
    refused(alice.put("me", {"nickname": "x", "avatarUrl": bait}), 400, "invalid")
    alice.get("me", Referer=bait, Origin=bait, **{"X-Forwarded-Host": "evil.example"})
    assert all(where[1] == port for where in called if isinstance(where, tuple)), called


# Nicknames in pages


def test_a_nickname_is_text_on_every_page(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    alice.rename("<script>alert(1)</script>")
    bob.rename("\"'><img src=x>")
    link = urlsplit(alice.post(f"groups/{FAMILY}/link").json()["url"]).path
    for path in ("/groups/", f"/groups/{group.pk}/", link, "/admin/accounts/wechatuser/"):
        page = olga.get(path).content.decode()
        assert "<script>alert" not in page and "<img src=x" not in page, path
        assert "&lt;script&gt;alert(1)" in page, path


# Clickjacking, CSRF, framing


def responses(
    alice: Person, group: Group, olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Any]]:
    """Yield one of every kind of response, each with its name."""
    stranger = Browser(raise_request_exception=False)
    link = urlsplit(alice.post(f"groups/{FAMILY}/link").json()["url"]).path
    for path in (f"groups/{FAMILY}", "nothing", "me?x=1", "groups?cursor=x"):
        yield f"API {path}", alice.get(path)
    yield "API 204", alice.delete(f"groups/{FAMILY}/membership")
    alice.enter("family")
    yield "API 400", alice.post("groups/bind", {})
    yield "API 401", stranger.get(API + "me")
    yield "API bad host", stranger.get(API + "me", headers={"Host": "evil.example"})
    yield "docs 405", stranger.post("/api/docs/")
    for path in ("/api/docs/", "/api/schema/", "/livez", "/readyz", "/", "/groups/", "/nothing"):
        yield path, stranger.get(path)
    for path in ("/admin/", "/admin/login/", "/sign-in/1/x-y/", "/groups"):
        yield path, stranger.get(path)
    yield "page bad host", stranger.get("/groups/", headers={"Host": "evil.example"})
    for path in ("/groups/", f"/groups/{group.pk}/", "/groups/0/", "/admin/"):
        yield f"operator {path}", olga.get(path)
    yield "avatar", stranger.get(alice.user.avatar_path)
    yield "CSRF", Browser(enforce_csrf_checks=True).post("/sign-in/1/x-y/")
    yield link, stranger.get(link)
    yield "/g/ altered", stranger.get(link[:-2] + "/")
    with later(hours=2):
        yield "/g/ expired", stranger.get(link)
    for path in ("/static/site.css", "/static/nothing.css", "/favicon.ico"):
        yield path, stranger.get(path)
    with monkeypatch.context() as patch:
        patch.setattr("core.limits.Limiter.enter", lambda *counts: 7.0)
        for path in (API + "me", "/groups/"):
            yield f"throttled {path}", stranger.get(path)
    with monkeypatch.context() as patch:
        patch.setattr("django.contrib.auth.middleware.get_user", away)
        patch.setattr("accounts.models.TokenManager.valid", away)
        yield "API 503", alice.get("me")
        for path in ("/groups/", "/admin/"):
            yield f"unavailable {path}", stranger.get(path)
    with monkeypatch.context() as patch:
        patch.setattr("accounts.api.MeView.get", None)
        yield "API 500", alice.get("me")
    with monkeypatch.context() as patch:
        patch.setattr("django.middleware.common.CommonMiddleware.process_request", None)
        for path in (API + "me", "/groups/"):
            yield f"crash {path}", stranger.get(path)


def away(*args: Any) -> None:
    raise OperationalError("the database is locked")


@pytest.fixture
def every_response(
    alice: Person, bob: Person, group: Group, olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    answers = dict(responses(alice, group, olga, monkeypatch))
    yield answers
    for answer in answers.values():
        answer.close()


def policy(answer: Any) -> dict[str, list[str]]:
    parts = answer.get("Content-Security-Policy", "").split(";")
    return {words[0]: words[1:] for part in parts if (words := part.split())}


def lacking(answers: dict[str, Any], good: Callable[[Any], bool]) -> str:
    """List the kinds of responses that are not good, in one line."""
    bad = [f"{name} ({answer.status_code})" for name, answer in answers.items() if not good(answer)]
    return ", ".join(bad)


def is_guarded(answer: Any) -> bool:
    """Tell whether nothing frames it, runs in it, sniffs it, opens it or learns its address."""
    found, text = policy(answer), answer.get("Content-Security-Policy", "unsafe-")
    features = dict(part.split("=") for part in answer.get("Permissions-Policy", "").split(", "))
    return (
        found.get("frame-ancestors") == found.get("default-src") == ["'none'"]
        and found.get("object-src") == found.get("base-uri") == ["'none'"]
        and not re.search(r"unsafe-|\*|https?:", text)
        and answer.get("X-Frame-Options") == "DENY"
        and answer.get("X-Content-Type-Options") == "nosniff"
        and answer.get("Referrer-Policy") in {"same-origin", "no-referrer"}
        and answer.get("Cross-Origin-Opener-Policy") == "same-origin"
        and {"camera", "geolocation", "microphone"} <= features.keys()
        and set(features.values()) == {"()"}
    )


def test_every_kind_of_response_is_guarded(every_response: dict[str, Any]) -> None:
    statuses = {answer.status_code for answer in every_response.values()}
    assert statuses >= {200, 204, 301, 302, 400, 401, 403, 404, 405, 410, 429, 500, 503}
    assert not lacking(every_response, is_guarded)


def test_every_route_is_guarded(personas: dict[str, Person], group: Group) -> None:
    paths = [
        address(shape, group, personas["member"]) for shape in {shape for _method, shape in MATRIX}
    ]
    paths += [path for path in admin_pages() if not path.endswith("/logout/")]
    for path in paths:
        for person in (personas["anonymous"], personas["member"], personas["operator"]):
            for method in ("GET", "POST", "PATCH"):
                answer = person.call(method, path)
                assert is_guarded(answer), (method, path, person.name, answer.status_code)


@pytest.mark.parametrize("host", ["testserver", "evil.example"])
def test_the_redirect_to_https_is_guarded_too(settings: Any, host: str) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = Browser().get("/groups/", headers={"Host": host})
    assert answer.status_code == (301 if host == "testserver" else 400)
    assert is_guarded(answer)


def test_a_members_page_is_not_indexed_and_sends_no_referrer(
    every_response: dict[str, Any],
) -> None:
    pages = {name: found for name, found in every_response.items() if name.startswith("/g/")}
    assert sorted(page.status_code for page in pages.values()) == [200, 404, 410]
    assert not lacking(pages, lambda page: page.get("X-Robots-Tag") == "noindex")
    assert not lacking(pages, lambda page: page.get("Referrer-Policy") == "no-referrer")


def test_no_page_has_inline_scripts_or_styles(every_response: dict[str, Any]) -> None:
    inline = re.compile(r"(?i)<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)")
    for name, answer in every_response.items():
        if answer.get("Content-Type", "").startswith("text/html") and "admin" not in name:
            assert not inline.search(answer.content.decode()), name


def test_browsers_stay_on_https(alice: Person) -> None:
    for path in (API + "me", "/groups/", "/livez"):
        answer = Browser().get(path, secure=True)
        assert "max-age=31536000" in answer["Strict-Transport-Security"], path


def test_every_kind_of_response_keeps_browsers_on_https(
    alice: Person, bob: Person, group: Group, olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.http.HttpRequest.is_secure", lambda request: True)
    answers = dict(responses(alice, group, olga, monkeypatch))
    for answer in answers.values():
        answer.close()
    asked = "max-age=31536000; includeSubDomains; preload"
    assert not lacking(answers, lambda found: found.get("Strict-Transport-Security") == asked)


def test_every_body_says_what_it_is(every_response: dict[str, Any]) -> None:
    """A type that fits, and a charset for each text; JSON is UTF-8 by its definition (RFC 8259)."""
    push = Browser().get(f"/wechat/push/{APP_ID}/")
    for name, answer in {**every_response, "push": push}.items():
        kind, _semicolon, charset = answer.get("Content-Type", "").partition("; charset=")
        if answer.status_code != 204:
            assert kind in {"application/json", "image/webp"} or charset.strip('"') == "utf-8", name
        body = b"" if answer.streaming else answer.content
        assert body.startswith(b"{") == (kind == "application/json"), name


def test_no_folder_is_listed_and_no_file_of_ours_is_served(alice: Person, group: Group) -> None:
    alice.upload()
    for path in (
        *("/static/", "/static/admin/", "/media/", "/media/avatars/", "/docs/", "/avatars/"),
        *("/.git/", "/.git/HEAD", "/.env", "/manage.py", "/requirements.txt", "/db.sqlite3"),
        *("/static/../.env", "/static/%2e%2e/.env", "/media/avatars/../../.env", "/docs/../.env"),
        *("/CHANGELOG.md", "/SECURITY.md/../.env", "/tests/../README.md"),
    ):
        answer = Browser().get(path)
        assert answer.status_code == 404, path
        answer.close()


def test_the_api_does_not_accept_a_session_cookie(olga: Browser, group: Group) -> None:
    for path in ("me", "groups", f"groups/{FAMILY}"):
        refused(olga.get(API + path), 401, "not_authenticated")


def test_a_post_from_another_site_is_refused(group: Group) -> None:
    operator = User.objects.create_superuser("otto")
    path = sign_in_path(operator)
    browser = Browser(enforce_csrf_checks=True)
    assert browser.post(path, headers={"Origin": "https://evil.example"}).status_code == 403
    assert browser.get("/groups/").status_code == 302
    browser.force_login(operator)
    label = f"/groups/{group.pk}/"
    assert browser.post(label, {"label": "forged"}).status_code == 403
    assert Group.objects.get().label == ""


# Private data in a shared cache


def directives(answer: Any) -> set[str]:
    return {part.strip() for part in answer.get("Cache-Control", "").split(",")}


# The same for every reader.
PUBLIC = {"avatar", "CSRF", "page bad host", "docs 405", "crash /groups/", "/groups"}
PUBLIC |= {"/api/docs/", "/api/schema/", "/livez", "/readyz", "/", "/nothing", "/favicon.ico"}
PUBLIC |= {"/static/site.css", "/static/nothing.css", "unavailable /admin/"}


def test_no_cache_stores_what_depends_on_the_reader(every_response: dict[str, Any]) -> None:
    def is_stored_nowhere(answer: Any) -> bool:
        return directives(answer) >= {"private", "no-store"}

    assert set(every_response) > PUBLIC
    private = {name: found for name, found in every_response.items() if name not in PUBLIC}
    assert not lacking(private, is_stored_nowhere)


@pytest.mark.parametrize("path", ["me", "groups", f"groups/{FAMILY}", "boards"])
def test_no_cache_stores_an_answer_of_the_api(alice: Person, group: Group, path: str) -> None:
    assert directives(alice.get(path)) >= {"private", "no-store"}


def test_no_cache_stores_a_token(alice: Person) -> None:
    answer = alice.post("login", {"code": alice.phone.login()})
    assert directives(answer) >= {"private", "no-store"}


def test_two_people_on_one_browser_each_see_their_own(
    alice: Person, bob: Person, group: Group
) -> None:
    ranking = f"groups/{FAMILY}/ranking"
    links = {
        p.name: urlsplit(p.post(f"groups/{FAMILY}/link").json()["url"]).path for p in (alice, bob)
    }
    bob.put(f"groups/{FAMILY}/membership", {"hidden": True})
    browser = Browser()
    for _ in range(3):
        for person, listed in ((alice, 1), (bob, 1)):
            person.browser = browser
            assert person.get("me").json()["id"] == person.body["user"]["id"]
            me = person.get(ranking).json()["me"]["member"]["id"]
            assert me == person.body["user"]["id"]
            assert person.get(ranking).json()["total"] == listed
            page = browser.get(links[person.name]).content.decode()
            assert ("李雷" in page) is (person is bob), "a hidden member sees themselves"


# Bad production settings


GOOD = {
    "DJANGO_SETTINGS_MODULE": "groupsite.settings",
    "DEBUG": "False",
    "SECRET_KEY": "k7Qw-2bVnx9_LzR4tYp0sHdEa6MfGuJc8iXo1WqZ5vBnT3rKyD",
    "FIELD_KEYS": FIELD_CANARY,
    "ALLOWED_HOSTS": "example.com",
    "CSRF_TRUSTED_ORIGINS": "",
    "NUM_PROXIES": "1",
    "DATABASE_URL": "sqlite:///:memory:",
    "REDIS_URL": "",
    "WECHAT_APPS": "wx1:secret",
    "WECHAT_API_URL": "https://api.weixin.qq.com",
    "ALLOW_SANDBOX": "False",
    "THROTTLES": "",
    "SENTRY_DSN": "",
}
# The setting, its bad value, and what the hint has to say.
BAD: dict[str, tuple[str, str, str]] = {
    "no SECRET_KEY": ("SECRET_KEY", "", "token_urlsafe"),
    "a weak SECRET_KEY": ("SECRET_KEY", "canary-short", "token_urlsafe"),
    "any host": ("ALLOWED_HOSTS", "example.com,*", "ALLOWED_HOSTS="),
    "no mini-program": ("WECHAT_APPS", "", "WECHAT_APPS="),
    "a mini-program without its secret": ("WECHAT_APPS", "wx1:canary,wx2:", "appid:secret"),
    "no field key": ("FIELD_KEYS", "", "urlsafe_b64encode"),
    "a bad field key": ("FIELD_KEYS", f"{FIELD_CANARY},Y2FuYXJ5LXNob3J0", "urlsafe_b64encode"),
    "the sandbox": ("WECHAT_API_URL", "http://127.0.0.1:9000", "ALLOW_SANDBOX"),
    "the hosts of a whole domain": ("ALLOWED_HOSTS", "example.com,.com", "ALLOWED_HOSTS="),
    "the field key of development": ("FIELD_KEYS", DEVELOPMENT_FIELD_KEY, "urlsafe_b64encode"),
    "a field key of development": (
        "FIELD_KEYS",
        f"{FIELD_CANARY},{DEVELOPMENT_FIELD_KEY}",
        "urlsafe_b64encode",
    ),
    "the secret key of development": (
        "SECRET_KEY",
        "django-insecure-development-only",
        "token_urlsafe",
    ),
    "plain HTTP": ("CSRF_TRUSTED_ORIGINS", "https://a.example,http://b.example", "https://"),
    "fewer than no proxies": ("NUM_PROXIES", "-1", "0"),
    "proxies in words": ("NUM_PROXIES", "canary", "NUM_PROXIES=0"),
    "envelopes that are never fresh": ("WATERMARK_MAX_AGE", "0", "1"),
    "memberships that end at once": ("MEMBERSHIP_PROOF_DAYS", "-30", "1"),
    "links that never open": ("LINK_MAX_AGE", "0", "1"),
    "links of a day": ("LINK_MAX_AGE", "1 day", "LINK_MAX_AGE=3600"),
    "an unknown limit": ("THROTTLES", "logins=300/minute", "THROTTLES=login=300/minute"),
    "an unreadable limit": ("THROTTLES", "login=many", "THROTTLES=login=300/minute"),
    "a limit below the contract": ("THROTTLES", "login=119/minute", "THROTTLES=login="),
    "an unknown cache": ("REDIS_URL", "memcached://:canary@cache:6379", "REDIS_URL=redis://"),
    "no URL of a cache": ("REDIS_URL", "canary:6379", "REDIS_URL=redis://"),
    "an unknown database": ("DATABASE_URL", "oracle://u:canary@db/x", "DATABASE_URL"),
    "no URL of a database": ("DATABASE_URL", "canary.sqlite3", "sqlite:///"),
    "a database at no port": ("DATABASE_URL", "postgres://u:canary@db:port/x", "sqlite:///"),
    "no DSN": ("SENTRY_DSN", "canary", "DSN"),
    "a DSN without a project": ("SENTRY_DSN", "https://canary@sentry.example/", "Sentry"),
}


def serve(**changed: str) -> subprocess.CompletedProcess[str]:
    """Start what a web server starts, with these settings."""
    return subprocess.run(
        [sys.executable, "-c", "import groupsite.wsgi; print('serving')"],
        env={"PATH": os.environ["PATH"], **GOOD, **changed},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("bad", BAD)
def test_no_server_starts_with_a_bad_setting_and_the_message_says_what_to_do(bad: str) -> None:
    """Start the web server itself; test_checks.py is about `manage.py check`."""
    name, value, hint = BAD[bad]
    run = serve(**{name: value})
    assert run.returncode != 0 and "serving" not in run.stdout
    assert name in run.stderr and hint in run.stderr
    for secret in re.findall(r"[\w=-]*(?:canary|Y2FuYXJ5)[\w=-]*", value):
        assert secret not in run.stdout + run.stderr


def test_a_server_starts_with_good_settings_and_with_the_sandbox_if_allowed() -> None:
    for changed in ({}, {"WECHAT_API_URL": "http://127.0.0.1:9000", "ALLOW_SANDBOX": "True"}):
        run = serve(**changed)
        assert run.returncode == 0 and "serving" in run.stdout, run.stderr


# One-time sign-in links


@pytest.fixture
def otto(db: None) -> User:
    """Create an operator without a password."""
    return User.objects.create_user("otto", is_staff=True, is_superuser=True)


def test_opening_a_sign_in_link_does_not_use_it_up(otto: User) -> None:
    path, browser = sign_in_path(otto), Browser()
    for method in (browser.get, browser.head, browser.get):
        assert method(path).status_code == 200
    assert browser.get("/groups/").status_code == 302, "it has signed no one in yet"
    page = browser.get(path)
    assert b'method="post"' in page.content and directives(page) >= {"private", "no-store"}


def test_pressing_its_button_signs_in_once(otto: User) -> None:
    path, browser = sign_in_path(otto), Browser()
    answer = browser.post(path)
    assert (answer.status_code, answer["Location"]) == (302, "/groups/")
    assert browser.get("/groups/").status_code == 200
    for again in (browser, Browser()):
        for method in (again.post, again.get):
            assert method(path).status_code == 410
    assert Browser().get("/groups/").status_code == 302


def test_an_operators_session_cookie_is_secure(otto: User) -> None:
    cookie = Browser().post(sign_in_path(otto)).cookies["__Host-sessionid"]
    assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] in {"Lax", "Strict"}


def test_using_one_link_invalidates_the_operators_other_links(otto: User) -> None:
    first, second = sign_in_path(otto), sign_in_path(otto)
    Browser().post(first)
    assert Browser().post(second).status_code == 410


@pytest.mark.parametrize("change", [{"is_staff": False}, {"is_active": False}])
def test_the_link_of_a_former_operator_is_refused(otto: User, change: dict[str, bool]) -> None:
    path, browser = sign_in_path(otto), Browser()
    User.objects.update(**change)
    assert (browser.get(path).status_code, browser.post(path).status_code) == (410, 410)
    assert "__Host-sessionid" not in browser.cookies


def test_a_link_of_another_operator_or_older_than_ten_minutes_is_refused(otto: User) -> None:
    other = User.objects.create_user("other", is_staff=True)
    path = sign_in_path(otto)
    token = path.strip("/").rpartition("/")[2]
    for wrong in (f"/sign-in/{other.pk}/{token}/", f"/sign-in/0/{token}/", path[:-2] + "/"):
        assert Browser().post(wrong).status_code == 410
    with later(minutes=10, seconds=2):
        assert Browser().post(path).status_code == 410
    with later(minutes=9):
        page = Browser().get(path)
        assert page.status_code == 200 and "10 分钟" in page.content.decode()
        assert Browser().post(path).status_code == 302


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PUBLIC_URL": "https://rank.example.com"}, "https://rank.example.com/"),
        ({"NUM_PROXIES": 1, "ALLOWED_HOSTS": [".example.com", "a.example.com"]}, "https://a.exam"),
        ({"NUM_PROXIES": 1, "ALLOWED_HOSTS": ["*"]}, "http://127.0.0.1:8000/"),
        ({"NUM_PROXIES": 0, "ALLOWED_HOSTS": ["a.example.com"]}, "http://127.0.0.1:8000/"),
    ],
)
def test_a_link_has_the_sites_own_address_where_settings_tell_it(
    otto: User, settings: Any, capsys: Any, given: dict[str, Any], expected: str
) -> None:
    for name, value in given.items():
        setattr(settings, name, value)
    call_command("sign_in_link", "otto")
    assert capsys.readouterr().out.startswith(expected)


def test_links_are_made_for_operators_only(otto: User, capsys: Any) -> None:
    call_command("sign_in_link", "otto", base_url="https://example.com/")
    url = capsys.readouterr().out.strip()
    assert url.startswith(f"https://example.com/sign-in/{otto.pk}/")
    assert Browser().post(urlsplit(url).path).status_code == 302
    User.objects.create_user("member")
    User.objects.create_superuser("former", is_active=False)
    for name in ("member", "former"):
        with pytest.raises(CommandError, match="not an active operator"):
            call_command("sign_in_link", name)
    with pytest.raises(CommandError, match="add --role"):
        call_command("sign_in_link", "unknown")
    assert User.objects.count() == 3


def test_the_first_operator_is_made_with_the_link_and_has_no_password(
    db: None, capsys: Any
) -> None:
    User.objects.create_user("not-an-operator")
    call_command("sign_in_link", "olga")
    made = User.objects.get(username="olga")
    assert made.is_superuser and made.is_staff and not made.has_usable_password()
    event = AuditEvent.objects.get()
    assert (event.action, event.operator_name, event.target_id) == ("add", "manage.py", made.pk)
    printed = capsys.readouterr()
    assert "superuser" in printed.err, "only the link is on standard output"
    browser = Browser()
    assert browser.post(urlsplit(printed.out.strip()).path).status_code == 302
    assert browser.get("/admin/").status_code == 200


def test_another_operator_is_made_with_a_role_alone(otto: User, capsys: Any) -> None:
    call_command("sign_in_link", "mona", role="moderator")
    mona = User.objects.get(username="mona")
    assert mona.is_staff and not mona.is_superuser
    assert [role.name for role in mona.groups.all()] == ["moderator"]
    call_command("sign_in_link", "sam", role="superuser")
    assert User.objects.get(username="sam").is_superuser
    for name, role, says in (
        ("mona", "manager", "changed in the console"),
        ("Mona", "viewer", "."),
        ("two words", "viewer", "."),
    ):
        with pytest.raises(CommandError, match=says):
            call_command("sign_in_link", name, role=role)
    assert User.objects.count() == 3
