"""Many requests at the same moment: two real servers, sixteen clients, one real database."""

import json
import os
import re
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from html import unescape
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from groups.periods import Period, Window
from groups.services import FOUNDING_LIMIT
from tests.cast import GREEN, RED, YELLOW, picture
from tests.servers import (
    MAKE_BOARD,
    PATIENCE,
    ROOT,
    Caller,
    Site,
    at_once,
    send_form,
    superusers,
    two_servers,
)
from tests.settings import APP_ID
from wechat.push import channel_for
from wechat.sandbox import Fault, Phone

pytestmark = pytest.mark.xdist_group("races")

CLIENTS, ROUNDS = 16, 40


ANOTHER_LOG_IN = """
import sys
import django
django.setup()
from django.db import transaction
from django.utils import timezone
from accounts.models import WeChatUser
from wechat.client import Session

with transaction.atomic():
    user = WeChatUser.objects.select_for_update().get(pk=sys.argv[1])
    print("begun", flush=True)
    sys.stdin.readline()
    user.keep_session(Session(user.openid, sys.argv[2]), timezone.now())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with two_servers(tmp_path_factory.mktemp("races")) as site:
        yield site


@pytest.fixture(autouse=True)
def check_logs(site: Site) -> Iterator[None]:
    """Check after each race that no server logged an error."""
    yield
    assert "database is locked" not in site.said()
    assert "Traceback" not in site.said()


def posts(callers: list[Caller], path: str, bodies: list[Any]) -> list[tuple[int, Any]]:
    """Let each caller post at the same moment, half of them to each server."""
    return at_once(
        [
            lambda caller=caller, body=body, server=server: caller.post(path, body, server)
            for server, (caller, body) in enumerate(zip(callers, bodies, strict=True))
        ]
    )


def rounds_of_entries(people: int) -> Iterator[list[tuple[int, str]]]:
    """Yield forty rounds of sixteen entries: (person, chat) of each."""
    for number, kind in zip(range(ROUNDS), cycle(["many", "one", "some", "again"]), strict=False):
        match kind:
            case "many":  # everyone, into a new group
                yield [(person, f"chat-{number}") for person in range(people)]
            case "one":  # one person sixteen times, into a new group
                yield [(number % people, f"chat-{number}")] * people
            case "some":  # four people four times each, into a new group
                yield [((number + i % 4) % people, f"chat-{number}") for i in range(people)]
            case "again":  # everyone, into a group they are in
                yield [(person, f"chat-{number - 3}") for person in range(people)]


def test_640_racing_binds_create_each_membership_once(site):
    began = a_day_with_time_left()
    people = [site.log_in(f"racer-{number}") for number in range(CLIENTS)]
    rounds = list(rounds_of_entries(CLIENTS))
    pairs = {entry for entries in rounds for entry in entries}
    envelopes = {(who, chat): people[who].envelope(chat) for who, chat in pairs}
    answers = []
    for entries in rounds:
        callers = [people[who] for who, _chat in entries]
        got = posts(callers, "groups/bind", [envelopes[entry] for entry in entries])
        answers += zip(entries, got, strict=True)
    assert began == today(), "the race took two minutes or more"
    assert len(answers) == 640
    assert Counter(status for _entry, (status, _body) in answers).keys() == {200, 201}, answers
    firsts = [entry for entry, (status, _body) in answers if status == 201]
    assert sorted(firsts) == sorted(pairs)
    assert all(body["created"] == (status == 201) for _entry, (status, body) in answers)

    assert site.ask("Group.objects.count()") == len({chat for _who, chat in pairs})
    assert site.ask("Membership.objects.count()") == len(pairs)
    scores = site.ask("[*Score.objects.values_list('period', 'value', 'user', 'scope')]")
    assert {value for _period, value, _user, _scope in scores} == {1}
    assert Counter(period for period, *_rest in scores) == dict.fromkeys(began, len(pairs))
    members = site.ask("[*Membership.objects.values_list('user', 'group')]")
    assert {(user, scope) for _period, _value, user, scope in scores} == set(map(tuple, members))


def a_day_with_time_left() -> list[str]:
    """Return today's periods; shortly before midnight in Shanghai, wait for tomorrow's."""
    now = datetime.now().astimezone()
    left = (Period.current(Window.DAY, now).end - now).total_seconds()
    if left < 120:
        time.sleep(left)
    return today()


def today() -> list[str]:
    now = datetime.now().astimezone()
    return [Period.current(window, now).key for window in Window]


@pytest.mark.parametrize("name", ["twin-1", "twin-2", "twin-3"])
def test_sixteen_first_log_ins_of_one_person_create_one_user_and_sixteen_tokens(site, name):
    caller = Caller(site, Phone(site.sandbox.url, name, APP_ID))
    codes = [{"code": caller.phone.login()} for _ in range(CLIENTS)]
    answers = posts([caller] * CLIENTS, "login", codes)
    assert [status for status, _body in answers] == [200] * CLIENTS, answers
    [me] = {body["user"]["id"] for _status, body in answers}
    tokens = {body["token"] for _status, body in answers}
    assert len(tokens) == CLIENTS
    mine = [Caller(site, caller.phone, token).get("me") for token in tokens]
    assert [(status, body["id"]) for status, body in mine] == [(200, me)] * CLIENTS
    assert site.ask(f"Token.objects.filter(user={me}).count()") == CLIENTS


def test_a_log_in_that_overlaps_another_keeps_the_other_session_key(site):
    caller = site.log_in("overlapping")
    me = caller.get("me")[1]["id"]
    key = b64encode(os.urandom(16)).decode()
    with (
        subprocess.Popen(
            [sys.executable, "-c", ANOTHER_LOG_IN, me, key],
            cwd=ROOT,
            env=site.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as another,
        ThreadPoolExecutor(1) as pool,
    ):
        assert another.stdout.readline() == "begun\n"
        mine = pool.submit(caller.post, "login", {"code": caller.phone.login()})
        time.sleep(0.5)  # until mine waits for the other's row
        another.communicate("go on\n", timeout=PATIENCE)
        assert mine.result(PATIENCE)[0] == 200
    mine_and_theirs = [
        site.ask(f"decrypt(WeChatUser.objects.get(pk={me}).{name})")
        for name in ("session_key", "previous_session_key")
    ]
    assert mine_and_theirs[1] == key != mine_and_theirs[0]


def test_of_sixteen_bad_envelopes_at_once_ten_are_stale_and_the_rest_are_locked_out(site):
    mallory = site.log_in("mallory")
    assert stale_and_locked(mallory) == (10, 6)
    assert stale_and_locked(mallory) == (0, 16)
    an_hour_ago = "timezone.now() - timedelta(hours=1)"
    changed = "WeChatUser.objects.exclude(stale_since=None).update(stale_since={})"
    assert site.ask(changed.format(an_hour_ago)) == 1
    assert stale_and_locked(mallory) == (10, 6)


def stale_and_locked(caller: Caller) -> tuple[int, int]:
    garbage = [
        {"encryptedData": b64encode(os.urandom(64)).decode(), "iv": b64encode(bytes(16)).decode()}
        for _ in range(CLIENTS)
    ]
    calls = [
        lambda body=body, number=number: caller.post(
            ["groups/bind", "groups/resolve"][number // 2 % 2], body, number
        )
        for number, body in enumerate(garbage)
    ]
    got = Counter((status, body["code"]) for status, body in at_once(calls))
    stale, locked = got.pop((409, "session_stale"), 0), got.pop((429, "bind_locked"), 0)
    assert not got
    return stale, locked


def test_a_person_founds_a_hundred_groups_a_day_however_fast(site):
    founder = site.log_in("founder")
    chats = [f"founded-{number}" for number in range(CLIENTS * 8)]
    envelopes = [founder.envelope(chat) for chat in chats]
    answers = []
    for start in range(0, len(chats), CLIENTS):
        answers += posts([founder] * CLIENTS, "groups/bind", envelopes[start : start + CLIENTS])
    outcomes = Counter((status, body.get("code")) for status, body in answers)
    over = len(chats) - FOUNDING_LIMIT
    assert outcomes == {(201, None): FOUNDING_LIMIT, (429, "throttled"): over}
    me = answers[0][1]["user"]["id"]
    assert site.ask(f"Group.objects.filter(founded_by={me}).count()") == FOUNDING_LIMIT
    assert site.ask(f"Membership.objects.filter(user={me}).count()") == FOUNDING_LIMIT


def test_a_member_who_hides_leaves_or_is_blocked_or_erased_is_gone_from_the_other_server(site):
    chat = "a family of five"
    alice = site.log_in("watching")
    open_gid = alice.post("groups/bind", alice.envelope(chat))[1]["openGId"]
    link = alice.post(f"groups/{open_gid}/link", {})[1]["url"]
    others = {}
    for name in ("hider", "leaver", "blocked", "eraser"):
        others[name] = site.log_in(name)
        others[name].post("groups/bind", others[name].envelope(chat), server=1)
        others[name].call("PUT", "me", 1, json={"nickname": f"the {name}"})
    me = f"groups/{open_gid}/membership"
    changes = {
        "hider": lambda: others["hider"].call("PUT", me, 0, json={"hidden": True}),
        "leaver": lambda: others["leaver"].call("DELETE", me, 0),
        "blocked": lambda: site.ask(BLOCK),
        "eraser": lambda: others["eraser"].call("DELETE", "me", 0),
    }
    for name, change in changes.items():
        assert all(f"the {name}" in text for text in shown(alice, open_gid, link))
        change()
        assert not any(f"the {name}" in text for text in shown(alice, open_gid, link))


BLOCK = "block(WeChatUser.objects.get(nickname='the blocked'), Actor(None))"


def shown(viewer: Caller, open_gid: str, link: str) -> tuple[str, str]:
    """Return what the other server's API and page say of a group."""
    status, ranking = viewer.get(f"groups/{open_gid}/ranking", server=1)
    page = requests.get(
        viewer.site.urls[1].replace("/api/v1/", urlsplit(link).path), timeout=PATIENCE
    )
    assert (status, page.status_code) == (200, 200)
    return str(ranking), page.text


@pytest.mark.parametrize("name", [f"restless-{number}" for number in range(5)])
def test_an_erasure_among_other_calls_leaves_nothing_and_causes_no_error(site, name):
    person = site.log_in(name)
    openid = site.ask("WeChatUser.objects.latest('pk').openid")
    envelopes = [person.envelope(f"{name}-{chat}") for chat in range(4)]
    calls = [("POST", "groups/bind", envelope) for envelope in envelopes]
    calls += [("PUT", "me", {"nickname": f"{name} {turn}"}) for turn in range(4)]
    calls += [("POST", "me/consent", {"version": "1", "purposes": ["groups"]})] * 3
    calls += [("DELETE", "me", None), ("GET", "me/data", None)] * 2

    def send(server: int) -> int:
        method, path, body = calls[server]
        return person.call(method, path, server, json=body)[0]

    got = at_once([partial(send, server) for server in range(len(calls))])
    assert set(got) <= {200, 201, 204, 401} and got.count(204) == 1, got
    assert site.ask(f"WeChatUser.objects.filter(openid={openid!r}).count()") == 0


FATES = {"red": (RED, "refused"), "yellow": (YELLOW, "pending"), "green": (GREEN, "approved")}


@pytest.mark.parametrize(("colour", "fate"), FATES.values(), ids=FATES)
def test_wechat_fetches_an_avatar_and_pushes_the_verdict(site, colour, fate):
    """Upload to one server, which WeChat fetches from; the verdict is pushed to the other."""
    channel = channel_for(APP_ID)
    slash = "" if fate == "approved" else "/"  # WeChat calls the address as it was typed in
    address = site.urls[1].replace("/api/v1/", f"/wechat/push/{APP_ID}{slash}")
    site.sandbox.state.push_to(APP_ID, address, channel.token, channel.aes_key)
    painter = site.log_in(f"painter-of-{fate}")
    status, me = painter.call(
        "POST", "me/avatar", 0, files={"avatar": ("tmp.png", picture(colour))}
    )
    assert (status, me["avatarState"]) in {(200, "pending"), (200, fate)}
    site.sandbox.settle()
    assert painter.get("me", server=1)[1]["avatarState"] == fate


@pytest.mark.parametrize("slash", ["", "/"])
def test_consent_withdrawn_in_wechat_is_pushed_and_obeyed(site, slash):
    channel = channel_for(APP_ID)
    address = site.urls[1].replace("/api/v1/", f"/wechat/push/{APP_ID}{slash}")
    site.sandbox.state.push_to(APP_ID, address, channel.token, channel.aes_key)
    person = site.log_in(f"withdraws{slash and '-with-a-slash'}")
    assert person.call("PUT", "me", 0, json={"nickname": "小明"})[0] == 200
    person.phone.revoke_authorization("19")
    site.sandbox.settle()
    assert person.get("me")[1]["nickname"] == ""
    person.phone.cancel_account()
    site.sandbox.settle()
    assert person.get("me")[0] == 401


def test_no_log_in_of_a_burst_is_refused(site):
    """Let a group open the card together: 25 in a second, WeChat taking 100 ms each."""
    people = [Caller(site, Phone(site.sandbox.url, f"comes-{n}", APP_ID)) for n in range(25)]
    codes = [person.phone.login() for person in people]
    site.sandbox.state.request_fault("/sns/jscode2session", Fault(delay=0.1), 25)

    def log_in(n: int) -> int:
        time.sleep(n * 0.04)
        return people[n].post("login", {"code": codes[n]})[0]

    assert at_once([partial(log_in, n) for n in range(25)]) == [200] * 25


HAMMERED = {
    "best-desc": ("desc", "best"),
    "best-asc": ("asc", "best"),
    "sum": ("desc", "sum"),
    "latest": ("desc", "latest"),
}


@pytest.mark.parametrize("key", HAMMERED)
def test_sixteen_scores_at_once_are_all_counted(site, key):
    order, policy = HAMMERED[key]
    site.ask(MAKE_BOARD.format(app=APP_ID, key=key, order=order, policy=policy))
    player = site.log_in(f"player-of-{key}")
    sent = [CLIENTS * turn + number for turn in range(6) for number in range(CLIENTS)]
    shuffled = sorted(sent, key=lambda value: (value * 37) % 97)
    last = []
    for start in range(0, len(sent), CLIENTS):
        last = shuffled[start : start + CLIENTS]
        answers = posts(
            [player] * CLIENTS, "scores", [{"board": key, "value": value} for value in last]
        )
        assert [status for status, _body in answers] == [200] * CLIENTS, answers
    right = {
        "best-desc": {max(sent)},
        "best-asc": {min(sent)},
        "sum": {sum(sent)},
        "latest": set(last),
    }[key]
    rows = site.ask(f"[*Score.objects.filter(board__key={key!r}).values_list('value', flat=True)]")
    assert len(rows) == len(Window)
    assert len(set(rows)) == 1 and set(rows) <= right, "all windows agree"


def test_an_idempotency_key_sent_sixteen_times_at_once_counts_once(site):
    site.ask(MAKE_BOARD.format(app=APP_ID, key="replayed", order="desc", policy="sum"))
    player = site.log_in("replayer")
    body = {"board": "replayed", "value": 7, "idempotencyKey": "level-1"}
    answers = posts([player] * CLIENTS, "scores", [body] * CLIENTS)
    assert {status for status, _answer in answers} == {200}
    assert all(answer == answers[0][1] for _status, answer in answers)
    values = "[*Score.objects.filter(board__key='replayed').values_list('value', flat=True)]"
    assert set(site.ask(values)) == {7}
    assert site.ask("IdempotencyKey.objects.filter(key='level-1').count()") == 1


# The moment that counts

# Each verb is called shortly before a midnight in Shanghai while another transaction holds the lock
# on its person until a minute after it. Printed, by verb: what must not be earlier than midnight.
WAITING = """
import json
import time
from datetime import datetime, timedelta
from threading import Event, Thread

import django
django.setup()
import time_machine
from django.db import connections, transaction

from accounts.models import Consent, Token, Tombstone, WeChatUser
from accounts.privacy import erase
from accounts.services import UserRow, begin_session, consent, register
from accounts.withdrawals import withdraw
from groups.batches import ScoreRow, submit_batch
from groups.models import Board, IdempotencyKey, Membership, Score, ScoreSource
from groups.services import GroupEntry, Submission, bind, leave, submit_score
from wechat.client import Session

APP = "APP_ID"
MIDNIGHT = datetime.fromisoformat("2026-12-01T00:00:00+08:00")
board = Board.objects.create(app_id=APP, key="waited", scope="app", policy="sum")


def row(user):
    return ScoreRow(user.openid, board.key, 5, None, "k")


def days(user):
    # A day's key is a day of Shanghai: its midnight is the earliest moment of that score.
    keys = Score.objects.filter(user=user, window="day").values_list("period", flat=True)
    return [datetime.fromisoformat(key + "T00:00:00+08:00") for key in keys]


VERBS = {
    "submit": (
        lambda user: submit_score(user, Submission(board, 5, None, "k", ScoreSource.SERVER)),
        lambda user: [
            *days(user),
            *Score.objects.filter(user=user).values_list("achieved_at", flat=True),
            *IdempotencyKey.objects.filter(user=user).values_list("created_at", flat=True),
        ],
    ),
    "batch": (
        lambda user: submit_batch(APP, [row(user)]),
        lambda user: [
            *days(user),
            *Score.objects.filter(user=user).values_list("achieved_at", flat=True),
            *IdempotencyKey.objects.filter(user=user).values_list("created_at", flat=True),
        ],
    ),
    "bind": (
        lambda user: bind(user, GroupEntry("tG-" + user.openid, True)),
        lambda user: [
            *days(user),
            Membership.objects.get(user=user).joined_at,
            Membership.objects.get(user=user).verified_at,
        ],
    ),
    "leave": (
        lambda user: leave(Membership.objects.get(user=user)),
        lambda user: [Membership.objects.get(user=user).left_at],
    ),
    "session": (
        lambda user: begin_session(APP, Session(user.openid, "tiihtNczf5v6AKRyjwEUhQ==")),
        lambda user: [
            WeChatUser.objects.get(pk=user.pk).session_key_at,
            Token.objects.get(user=user).created_at,
        ],
    ),
    "consent": (
        lambda user: consent(user, ["groups"], "1"),
        lambda user: [Consent.objects.get(user=user).given_at],
    ),
    "register": (
        lambda user: register(APP, [UserRow(user.openid, nickname="a name")]),
        lambda user: [WeChatUser.objects.get(pk=user.pk).nickname_draft_at],
    ),
    "erase": (
        lambda user: erase(user),
        lambda user: [
            Tombstone.objects.of(APP, user.openid).expires_at - timedelta(days=1),
        ],
    ),
    # Of what was set while it waited, the last of all, nothing is left.
    "withdraw": (
        lambda user: withdraw(user, "nickname"),
        lambda user: [MIDNIGHT] if not WeChatUser.objects.get(pk=user.pk).nickname else [],
    ),
}


def prepare(verb, user):
    if verb == "leave":
        bind(user, GroupEntry("tG-left", True))
    if verb == "erase":
        WeChatUser.objects.filter(pk=user.pk).update(status="blocked")


def hold(verb, user):
    with transaction.atomic():
        locked = WeChatUser.objects.lock(user.pk)
        held.set()
        go_on.wait(30)
        if verb == "withdraw":
            locked.approve("nickname", "a name")
            locked.save()


def finish(function, *arguments):
    function(*arguments)
    connections.close_all()


found = {}
for verb, (act, moments) in VERBS.items():
    with time_machine.travel(MIDNIGHT - timedelta(seconds=20)) as clock:
        user = WeChatUser.objects.meet(APP, "waiting-to-" + verb)
        prepare(verb, user)
        connections.close_all()
        held, go_on = Event(), Event()
        holder = Thread(target=finish, args=(hold, verb, user))
        holder.start()
        held.wait(30)
        waiter = Thread(target=finish, args=(act, user))
        waiter.start()
        time.sleep(0.5)  # until it waits
        assert waiter.is_alive(), verb + " does not wait for the lock"
        clock.shift(60)
        go_on.set()
        for thread in (holder, waiter):
            thread.join(30)
        found[verb] = [moment >= MIDNIGHT for moment in moments(user)]
print(json.dumps(found))
"""
MOMENTS = (
    "submit",
    "batch",
    "bind",
    "leave",
    "session",
    "consent",
    "register",
    "erase",
    "withdraw",
)


@pytest.fixture(scope="module")
def waited(site: Site) -> dict[str, list[bool]]:
    environment = site.environment | {"CONTENT_SAFETY": "True"}
    said = Site(environment, [], [], site.sandbox).run("-c", WAITING.replace("APP_ID", APP_ID))
    return dict(json.loads(said))


@pytest.mark.parametrize("verb", MOMENTS)
def test_a_moment_is_taken_after_the_lock(waited, verb):
    """So what a period's end overtakes counts in the next one: a finished period stays as it is."""
    assert waited[verb] and all(waited[verb])


def test_every_verb_that_waits_was_tried(waited):
    assert waited.keys() == set(MOMENTS)


# Batches

MAKE_KEY = """
from django.utils import timezone
from groups.models import ServerKey
print(ServerKey.objects.issue({app!r}, "backend", timezone.now())[0])
"""


def batch_of(site: Site, path: str, rows: list[Any]) -> Any:
    """Return a function that posts a batch to a server, by a key of its own."""
    key = site.execute(MAKE_KEY.format(app=APP_ID)).strip()

    def send(server: int, part: list[Any]) -> tuple[int, Any]:
        answer = requests.post(
            site.urls[server % 2] + path,
            json={path.partition("/")[2]: part},
            headers={"Authorization": f"Key {key}"},
            timeout=PATIENCE,
        )
        return answer.status_code, answer.json()

    def run(server: int) -> tuple[int, Any]:
        return send(server, rows if server % 4 < 2 else rows[::-1])

    return run


def test_sixteen_batches_about_the_same_people_in_both_orders_are_all_counted(site):
    """A lock in the order of the rows is a deadlock here, on PostgreSQL and MariaDB."""
    site.ask(MAKE_BOARD.format(app=APP_ID, key="batched", order="desc", policy="sum"))
    openids = [f"batched-{number}" for number in range(120)]
    made = batch_of(site, "server/users", [{"openid": openid} for openid in openids])
    assert made(0)[0] == 200
    for turn in range(3):
        rows = [{"openid": openid, "board": "batched", "value": 1} for openid in openids]
        runs = [
            batch_of(
                site,
                "server/scores",
                [{**row, "idempotencyKey": f"{turn}-{number}"} for row in rows],
            )
            for number in range(8)
        ]
        answers = at_once([partial(run, number) for number, run in enumerate([*runs, *runs])])
        assert {status for status, _body in answers} == {200}
        assert not any("code" in each for _status, body in answers for each in body["results"])
        values = "[*Score.objects.filter(board__key='batched').values_list('value', flat=True)]"
        assert Counter(site.ask(values)) == {8 * (turn + 1): len(openids) * len(Window)}


def test_sixteen_batches_that_make_the_same_people_make_each_once(site):
    for turn in range(3):
        openids = [f"made-{turn}-{number}" for number in range(120)]
        rows = [{"openid": openid, "nickname": "Name"} for openid in openids]
        run = batch_of(site, "server/users", rows)
        answers = at_once([partial(run, server) for server in range(CLIENTS)])
        assert {status for status, _body in answers} == {200}, answers
        ids = {
            (each["openid"], each["user"]["id"])
            for _status, body in answers
            for each in body["results"]
        }
        assert len(ids) == len(openids)
        names = (
            f"WeChatUser.objects.filter(openid__startswith='made-{turn}-', nickname_draft='Name')"
        )
        assert site.ask(f"{names}.count()") == len(openids)


RIGHTS = {"is_active": "on", "is_staff": "on"}


@pytest.mark.parametrize("how", ["demote", "lock-out", "delete"])
def test_two_last_superusers_who_remove_each_other_at_once_leave_one(site, how):
    for number in range(3):
        names = [f"{how}-{number}-{side}" for side in ("left", "right")]
        both = superusers(site, *names)
        others = f"User.objects.exclude(username__in={names}).update(is_superuser=False)"
        site.ask(others)

        def remove(server: int, both: Any = both, names: Any = names) -> int:
            (_pk, session), (other, _session) = both[server], both[1 - server]
            page = f"/admin/auth/user/{other}"
            if how == "delete":
                sent = {"post": "yes", "reason": "离职"}
                return send_form(site, session, server, f"{page}/delete/", **sent)
            rights = RIGHTS if how == "demote" else {"is_staff": "on", "is_superuser": "on"}
            sent = {"username": names[1 - server], **rights}
            return send_form(site, session, server, f"{page}/change/", **sent)

        answers = at_once([partial(remove, 0), partial(remove, 1)])
        assert 302 in answers
        left = "User.objects.filter(is_superuser=True, is_active=True).count()"
        assert site.ask(left) == 1, answers


def test_a_form_for_a_key_sent_eight_times_at_once_makes_one(site):
    [(_pk, session)] = superusers(site, "key maker")
    sent = {"app_id": APP_ID, "name": "结算服务"}
    path = "/admin/groups/serverkey/add/"
    calls = [partial(send_form, site, session, server, path, **sent) for server in range(8)]
    assert sorted(at_once(calls)) == [200] * 7 + [302]
    assert site.ask("ServerKey.objects.filter(name='结算服务').count()") == 1


def test_of_eight_forms_for_one_board_opened_together_one_is_saved(site):
    [(_pk, session)] = superusers(site, "board maker")
    pk = site.ask(MAKE_BOARD.format(app=APP_ID, key="tabs", order="desc", policy="best"))
    path = f"/admin/groups/board/{pk}/change/"
    page = requests.get(
        site.urls[0].replace("/api/v1/", path),
        headers={"Cookie": f"__Host-sessionid={session}"},
        timeout=PATIENCE,
    ).text
    [seen] = re.findall(r'name="seen" value="([^"]*)"', page)
    sent = {"app_id": APP_ID, "key": "tabs", "order": "desc", "policy": "best", "scope": "app"}
    sent |= {"rank_style": "dense", "decimals": "0", "windows": "week", "writer": "client"}
    sent |= {"default_window": "week", "title_en": "Steps", "seen": unescape(seen)}
    calls = [
        partial(send_form, site, session, tab, path, **sent, title_zh=f"步数 {tab}")
        for tab in range(8)
    ]
    assert sorted(at_once(calls)) == [200] * 7 + [302]
