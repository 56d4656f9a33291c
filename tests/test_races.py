"""Many requests at the same moment: two real servers, sixteen clients, one real database."""

import os
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from groups.periods import Period, Window
from groups.services import FOUNDING_LIMIT
from tests.cast import GREEN, RED, YELLOW, picture
from tests.servers import PATIENCE, ROOT, Caller, Site, at_once, scratch_database, serving
from tests.settings import APP_ID
from wechat.push import channel_for
from wechat.sandbox import Phone, Sandbox

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
    directory = tmp_path_factory.mktemp("races")
    logs = [directory / "server-0.log", directory / "server-1.log"]
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": stack.enter_context(scratch_database(directory)),
            "WECHAT_APPS": f"{APP_ID}:secret",
            "WECHAT_API_URL": sandbox.url,
        }
        site = Site(environment, [], logs, sandbox)
        site.run("manage.py", "migrate", "--verbosity", "0")
        site.urls += [stack.enter_context(serving(environment, log)) for log in logs]
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


BLOCK = "WeChatUser.objects.filter(nickname='the blocked').update(status='blocked')"


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
    address = site.urls[1].replace("/api/v1/", f"/wechat/push/{APP_ID}/")
    site.sandbox.state.push_to(APP_ID, address, channel.token, channel.aes_key)
    painter = site.log_in(f"painter-of-{fate}")
    status, me = painter.call(
        "POST", "me/avatar", 0, files={"avatar": ("tmp.png", picture(colour))}
    )
    assert (status, me["avatarState"]) in {(200, "pending"), (200, fate)}
    site.sandbox.settle(PATIENCE)
    assert painter.get("me", server=1)[1]["avatarState"] == fate


HAMMERED = {
    "best-desc": ("desc", "best"),
    "best-asc": ("asc", "best"),
    "sum": ("desc", "sum"),
    "latest": ("desc", "latest"),
}
MAKE_BOARD = (
    "Board.objects.create(app_id={app!r}, key={key!r}, order={order!r}, policy={policy!r},"
    " scope='app', writer='client').pk"
)


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
