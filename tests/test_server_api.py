"""What a team's own back end may do with its key, and what it may not."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import WeChatUser
from core.vault import decrypt
from groups.models import Board, Group, Score, ScoreSource, ServerKey
from groups.periods import Period, Window
from tests.cast import (
    API,
    CHINESE,
    DOUBTFUL,
    FAMILY,
    KEY,
    RISKY,
    Person,
    everything_stored,
    later,
    refused,
    sealed_for,
)
from tests.documented import Block, blocks_of
from tests.settings import APP_ID, OTHER_APP_ID
from wechat.crypto import seal
from wechat.sandbox import openid_of


class Server(Person):
    """A back end with a key."""

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        headers = {"Authorization": f"Key {self.token}", **headers}
        return super().call(method, path, body, **headers)

    def scores(self, *scores: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.post("server/scores", {"scores": list(scores)})
        assert answer.status_code == 200, answer.content
        results: list[dict[str, Any]] = answer.json()["results"]
        assert len(results) == len(scores)
        return results


def server_of(app_id: str) -> Server:
    no_phone: Any = None
    text, _row = ServerKey.objects.issue(app_id, "backend", timezone.now())
    return Server("backend", no_phone, token=text)


@pytest.fixture
def server(db: None) -> Server:
    return server_of(APP_ID)


def score(person: Person, value: int, key: str = "k", **more: Any) -> dict[str, Any]:
    return {
        "openid": person.openid,
        "board": "steps",
        "value": value,
        "idempotencyKey": key,
        **more,
    }


def everything_but_keys() -> dict[str, list[Any]]:
    """Return every row of every table, but for the keys: they note that they were used."""
    stored = everything_stored()
    del stored["groups_serverkey"]
    return stored


# Keys


CALLS = (
    ("POST", "server/scores"),
    ("POST", "server/sessions"),
    ("POST", "server/users"),
    ("GET", "server/users/oX/groups"),
    ("GET", f"server/groups/{FAMILY}/ranking"),
    ("GET", f"server/groups/{FAMILY}/winners"),
)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_a_valid_key_every_call_is_refused(
    alice: Person, group: Group, server: Server, method: str, path: str
) -> None:
    refused(server.call(method, path, Authorization=""), 401, "not_authenticated")
    bearer = f"Bearer {alice.token}"
    refused(server.call(method, path, Authorization=bearer), 401, "not_authenticated")
    for key in ("x", alice.token, server.token + "x", ""):
        refused(server.call(method, path, Authorization=f"Key {key}"), 401, "invalid_token")
    ServerKey.objects.update(revoked_at=timezone.now())
    refused(server.call(method, path), 401, "invalid_token")


def test_a_key_knows_its_first_characters_and_when_it_was_last_used(
    group: Group, server: Server
) -> None:
    path = f"server/groups/{FAMILY}/ranking"

    def last_used() -> Any:
        return ServerKey.objects.get().last_used_at

    assert re.fullmatch(r"gsk_[\w-]{43}", server.token)
    assert ServerKey.objects.get().prefix == server.token[:8]
    assert last_used() is None
    server.get(path)
    first = last_used()
    assert timedelta(0) <= timezone.now() - first < timedelta(seconds=30)
    refused(server.get(path, Authorization=f"Key {server.token}x"), 401, "invalid_token")
    with later(seconds=50):
        server.get(path)
        assert last_used() == first
    with later(seconds=70):
        server.get(path)
        assert last_used() > first


def test_the_use_of_a_key_is_written_once_a_minute(group: Group, server: Server) -> None:
    """Two calls that read the row before either wrote it: the condition lets one write through."""
    both = [ServerKey.objects.get() for _call in range(2)]
    moments = [timezone.now() + timedelta(seconds=number) for number in range(2)]
    for key, moment in zip(both, moments, strict=True):
        key.used(moment)
    assert ServerKey.objects.get().last_used_at == moments[0]
    with CaptureQueriesContext(connection) as queries:
        server.get(f"server/groups/{FAMILY}/ranking")
    assert not [query for query in queries if query["sql"].startswith("UPDATE")]


def test_the_use_of_an_old_text_is_not_noted_for_the_new_one(server: Server) -> None:
    before = ServerKey.objects.get()
    before.used(timezone.now())
    ServerKey.objects.get().rotate(timezone.now())
    before.last_used_at = None
    before.used(timezone.now())
    assert ServerKey.objects.get().last_used_at is None


def test_a_server_key_does_not_work_as_a_members_token(server: Server) -> None:
    refused(server.get("me"), 401, "not_authenticated")
    refused(server.get("me", Authorization=f"Bearer {server.token}"), 401, "invalid_token")


def test_the_old_text_of_a_rotated_key_stops_working_at_once(server: Server) -> None:
    text = ServerKey.objects.get().rotate(timezone.now())
    refused(server.get(f"server/groups/{FAMILY}/ranking"), 401, "invalid_token")
    server.token = text
    refused(server.get(f"server/groups/{FAMILY}/ranking"), 404, "not_found")


def test_the_text_of_a_key_is_not_stored(server: Server) -> None:
    assert server.token not in str(everything_but_keys())
    assert server.token not in repr(ServerKey.objects.get())


def test_a_key_works_for_its_own_mini_program_only(
    alice: Person, group: Group, make_board: Any
) -> None:
    make_board()
    other = server_of(OTHER_APP_ID)
    [result] = other.scores(score(alice, 5))
    assert result["code"] == "not_found"
    for path in (
        f"server/users/{alice.openid}/groups",
        f"server/groups/{FAMILY}/ranking",
        f"server/groups/{FAMILY}/winners?period=2026-W01",
    ):
        refused(other.get(path), 404, "not_found")
    assert not Score.objects.filter(board__key="steps").exists()


# Scores


def test_a_refused_score_does_not_affect_the_others_of_its_batch(
    alice: Person, bob: Person, group: Group, server: Server, make_board: Any
) -> None:
    make_board(writer=Board.Writer.SERVER, max_value=100)
    unknown = {**score(alice, 5), "openid": "oUnknown"}
    results = server.scores(
        score(alice, 5),
        score(bob, 101),
        unknown,
        score(alice, 6, "k2", board="nothing"),
        score(alice, 7, "k3", openGId=FAMILY),
        score(alice, 8),
        score(bob, 9),
    )
    assert [result.get("code") for result in results] == [
        *(None, "invalid", "not_found", "not_found", "invalid", "invalid", None)
    ]
    assert list(results[1]["fields"]) == ["value"] and results[1]["detail"]
    assert list(results[5]["fields"]) == ["idempotencyKey"]
    assert [result["openid"] for result in results[:2]] == [alice.openid, bob.openid]
    assert {p["value"] for p in results[-1]["periods"]} == {9}
    assert alice.get(f"groups/{FAMILY}/ranking?board=steps").json()["me"]["score"] == 5
    assert set(Score.objects.filter(board__key="steps").values_list("source", flat=True)) == {
        ScoreSource.SERVER
    }


def test_a_batch_sent_again_counts_once(
    alice: Person, bob: Person, server: Server, make_board: Any
) -> None:
    make_board(policy="sum")
    batch = [score(alice, 5), score(bob, 7), score(alice, 2, "k2")]
    first = server.scores(*batch)
    assert server.scores(*batch) == first
    kept = dict(Score.objects.filter(period="all").values_list("user", "value"))
    assert kept == {alice.user.pk: 7, bob.user.pk: 7}


def test_a_phone_cannot_use_up_the_servers_key(
    alice: Person, server: Server, make_board: Any
) -> None:
    make_board()
    alice.post("scores", {"board": "steps", "value": 1, "idempotencyKey": "k"})
    [result] = server.scores(score(alice, 5))
    assert "code" not in result


def test_a_score_of_a_group_is_for_its_members(
    alice: Person, charlie: Person, group: Group, server: Server, make_board: Any
) -> None:
    make_board(scope=Board.Scope.GROUP, writer=Board.Writer.SERVER)
    results = server.scores(
        score(alice, 5, openGId=FAMILY), score(charlie, 5, openGId=FAMILY), score(alice, 5, "x")
    )
    assert [result.get("code") for result in results] == [None, "not_found", "invalid"]


def test_the_scores_of_a_blocked_member_are_refused(
    alice: Person, server: Server, make_board: Any
) -> None:
    make_board()
    WeChatUser.objects.update(status="blocked")
    [result] = server.scores(score(alice, 5))
    assert result["code"] == "user_blocked" and not Score.objects.exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"value": 2**53},
        {"value": "5"},
        {"idempotencyKey": None},
        {"idempotencyKey": "x" * 65},
        {"openid": "a b"},
        {"hat": 1},
        {"board": ""},
    ],
)
def test_a_batch_with_a_malformed_score_is_refused(
    alice: Person, server: Server, make_board: Any, bad: dict[str, Any]
) -> None:
    make_board()
    before = everything_but_keys()
    batch = {"scores": [score(alice, 5), {**score(alice, 5, "k2"), **bad}]}
    error = refused(server.post("server/scores", batch), 400, "invalid")
    assert list(error["fields"]) == [f"scores.1.{next(iter(bad))}"]
    assert everything_but_keys() == before


def test_a_batch_has_at_most_five_hundred_scores(
    alice: Person, server: Server, make_board: Any
) -> None:
    make_board(policy="sum", windows="all", default_window="all")
    batch = [score(alice, 1, f"k{number}") for number in range(501)]
    refused(server.post("server/scores", {"scores": batch}), 400, "invalid")
    assert not Score.objects.exists()
    server.scores(*batch[:500])
    assert Score.objects.get().value == 500
    assert server.scores() == []


# Log-ins


def test_a_team_that_logs_in_itself_gets_a_token_for_its_phones(
    server: Server, make_person: Any
) -> None:
    openid = openid_of(APP_ID, "newcomer")
    body = {"openid": openid, "sessionKey": KEY, "unionid": "u1", "nickname": "新人"}
    answer = server.post("server/sessions", body)
    assert answer.status_code == 200, answer.content
    assert answer.json().keys() == {"token", "expiresAt", "user"}
    no_phone: Any = None
    phone = Person("newcomer", no_phone, token=answer.json()["token"], body=answer.json())
    assert phone.get("me").json()["nickname"] == "新人"
    user = phone.user
    assert (user.openid, user.unionid, decrypt(user.session_key)) == (openid, "u1", KEY)
    entered = phone.post("groups/bind", sealed_for(phone, {"openGId": FAMILY}))
    assert entered.status_code == 201


def test_envelopes_open_under_the_servers_new_key_and_for_a_while_under_the_old_one(
    alice: Person, server: Server
) -> None:
    old = alice.envelope("family")
    answer = server.post("server/sessions", {"openid": alice.openid, "sessionKey": KEY})
    assert answer.json()["user"]["id"] == alice.body["user"]["id"]
    assert alice.post("groups/bind", old).status_code == 201
    newer = sealed_for(alice, {"openGId": "tG-another-group-of-alice"})
    assert alice.post("groups/bind", newer).status_code == 201
    assert seal(KEY, {})


def test_a_session_without_a_key_keeps_the_existing_one(alice: Person, server: Server) -> None:
    before = decrypt(alice.user.session_key)
    assert server.post("server/sessions", {"openid": alice.openid}).status_code == 200
    assert decrypt(alice.user.session_key) == before
    alice.enter("family")


def test_nicknames_from_a_server_are_checked_too(alice: Person, server: Server) -> None:
    session = {"openid": alice.openid, "sessionKey": KEY}
    before = everything_but_keys()
    refused(server.post("server/sessions", {**session, "nickname": RISKY}), 400, "invalid")
    assert everything_but_keys() == before
    doubtful = server.post("server/sessions", {**session, "nickname": DOUBTFUL}).json()
    assert doubtful["user"]["nicknameState"] == "pending"


@pytest.mark.parametrize(
    "bad",
    [
        {"openid": "a b"},
        {"openid": 5},
        {"sessionKey": "short"},
        {"sessionKey": KEY[:-2]},
        {"sessionKey": KEY.replace("=", "A")},
        {"unionid": ""},
        {"nickname": " "},
        {"hat": 1},
    ],
)
def test_a_malformed_session_changes_nothing(server: Server, bad: dict[str, Any]) -> None:
    before = everything_but_keys()
    refused(server.post("server/sessions", {"openid": "oX", **bad}), 400, "invalid")
    assert everything_but_keys() == before


def test_a_blocked_member_is_not_logged_in(alice: Person, server: Server) -> None:
    WeChatUser.objects.update(status="blocked")
    answer = server.post("server/sessions", {"openid": alice.openid})
    refused(answer, 403, "user_blocked")


# Reading


def test_the_groups_of_a_member_are_those_they_see_themselves(
    alice: Person, group: Group, server: Server
) -> None:
    for number in range(25):
        alice.enter(f"chat-{number}")
    mine = alice.get("groups").json()
    theirs = server.get(f"server/users/{alice.openid}/groups").json()
    assert theirs["groups"] == mine["groups"] and theirs["next"]
    more = server.get(f"server/users/{alice.openid}/groups?cursor={theirs['next']}").json()
    assert len(more["groups"]) == 6 and more["next"] is None
    refused(server.get(f"server/users/{alice.openid}/groups?cursor=x"), 400, "invalid")


def test_a_ranking_for_the_server_is_that_of_members_without_me(
    alice: Person, bob: Person, group: Group, server: Server
) -> None:
    mine = alice.get(f"groups/{FAMILY}/ranking").json()
    theirs = server.get(f"server/groups/{FAMILY}/ranking").json()
    assert (theirs["me"], theirs["absent"], theirs["percentile"]) == (None, None, None)
    assert theirs.keys() == mine.keys() and theirs["total"] == mine["total"]
    faces = [[entry["member"] for entry in each["entries"]] for each in (mine, theirs)]
    assert [face | {"groupOpenId": None} for face in faces[1]] == faces[0]
    page = server.get(f"server/groups/{FAMILY}/ranking?limit=1").json()
    following = server.get(f"server/groups/{FAMILY}/ranking?limit=1&cursor={page['next']}").json()
    assert following["entries"][0]["member"]["nickname"] == "李雷"


@pytest.fixture
def finished(
    alice: Person, bob: Person, make_person: Any, group: Group, make_board: Any
) -> Iterator[str]:
    """Return last week's key, in which Alice and Bob tied before Dora, with Emil last."""
    make_board()
    people = [alice, bob, *(make_person(name, name) for name in ("dora", "emil"))]
    week = Period.current(Window.WEEK, timezone.now()).key
    for person, value in zip(people, (9, 9, 5, 1), strict=True):
        person.enter("family")
        assert person.post("scores", {"board": "steps", "value": value}).status_code == 200
    with later(days=8):
        yield week


def test_the_winners_of_a_finished_period_have_stable_ids(
    finished: str, alice: Person, bob: Person, server: Server
) -> None:
    path = f"server/groups/{FAMILY}/winners?board=steps&period={finished}"
    found = server.get(path).json()
    assert [(w["rank"], w["score"]) for w in found["winners"]] == [(1, 9), (1, 9), (3, 5)]
    assert [w["member"]["openid"] for w in found["winners"][:2]] == [alice.openid, bob.openid]
    assert found["period"]["key"] == finished and found["total"] == 4
    ids = [winner["id"] for winner in found["winners"]]
    assert len(set(ids)) == 3
    with later(days=3):
        alice.token = ""
        alice.log_in().post("scores", {"board": "steps", "value": 99})
        assert [w["id"] for w in server.get(path).json()["winners"]] == ids
    first = server.get(f"{path}&places=1").json()["winners"]
    assert [winner["id"] for winner in first] == ids[:2], "who ties shares the place"


def test_a_finished_period_does_not_change(finished: str, alice: Person) -> None:
    before = Score.objects.filter(period=finished).values_list("user", "value", "achieved_at")
    kept = list(before)
    alice.post("scores", {"board": "steps", "value": 99})
    assert list(before.all()) == kept


def test_a_hidden_member_does_not_win(finished: str, bob: Person, server: Server) -> None:
    path = f"server/groups/{FAMILY}/winners?board=steps&period={finished}"
    bob.put(f"groups/{FAMILY}/membership", {"hidden": True})
    winners = server.get(path).json()["winners"]
    assert [winner["rank"] for winner in winners] == [1, 2, 3]
    assert bob.openid not in str(winners)


@pytest.mark.parametrize("period", ["week", "all", "month", "9999-W01", "x", ""])
def test_a_period_that_has_not_ended_has_no_winners(
    group: Group, server: Server, period: str
) -> None:
    path = f"server/groups/{FAMILY}/winners?period={period}"
    error = refused(server.get(path), 400, "invalid")
    assert list(error["fields"]) == ["period"]
    refused(server.get(f"server/groups/{FAMILY}/winners"), 400, "invalid")
    for places in (0, 101, "x"):
        path = f"server/groups/{FAMILY}/winners?period=2026-W01&places={places}"
        refused(server.get(path), 400, "invalid")


ENDS = {  # by period, the last moment that is too early, as the sentence names the one after it
    "2026-11-16": ("2026-11-17T00:00:59.999999+08:00", "2026-11-17 00:01"),
    "2026-W47": ("2026-11-23T00:00:59.999999+08:00", "2026-11-23 00:01"),
    "2026-11": ("2026-12-01T00:00:59.999999+08:00", "2026-12-01 00:01"),
}


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize(("period", "early", "ready"), [(key, *ENDS[key]) for key in ENDS])
def test_winners_are_known_a_minute_after_the_end_and_a_refusal_says_when(
    group: Group,
    server: Server,
    make_board: Any,
    period: str,
    early: str,
    ready: str,
    language: str,
) -> None:
    make_board()
    path = f"server/groups/{FAMILY}/winners?board=steps&period={period}"
    last = datetime.fromisoformat(early)
    # Also long before the period begins.
    for moment in (last, last - timedelta(seconds=60), last - timedelta(days=90)):
        with time_machine.travel(moment, tick=False):
            error = refused(server.get(path, **{"Accept-Language": language}), 400, "invalid")
        [sentence] = error["fields"]["period"]
        assert ready in sentence and bool(CHINESE.search(sentence)) == (language == "zh-CN")
    with time_machine.travel(last + timedelta(microseconds=1), tick=False):
        assert server.get(path).status_code == 200


def test_all_time_has_no_winners_and_no_moment_is_named(group: Group, server: Server) -> None:
    for period in ("all", "9999-W01", "x"):
        path = f"server/groups/{FAMILY}/winners?period={period}"
        [sentence] = refused(server.get(path), 400, "invalid")["fields"]["period"]
        assert not re.search(r"\d\d:\d\d", sentence)


@pytest.mark.parametrize(
    "block",
    blocks_of("tests/test_server_api.py::test_the_example_of_the_documentation_runs"),
    ids=str,
)
def test_the_example_of_the_documentation_runs(
    live_server: Any, make_person: Any, settings: Any, block: Block
) -> None:
    alice, server = make_person("alice"), server_of(APP_ID)
    Board.objects.create(app_id=APP_ID, key="steps", scope=Board.Scope.APP)
    environment = {
        **os.environ,
        "API": live_server.url + API.rstrip("/"),
        "KEY": server.token,
        "OPENID": alice.openid,
    }
    run = subprocess.run(
        [sys.executable, "-c", block.code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{alice.openid} ok [")
    assert set(Score.objects.values_list("value", flat=True)) == {8123}
    assert timedelta(0) < timezone.now() - Score.objects.earliest("pk").achieved_at
