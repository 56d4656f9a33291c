"""Scores and members from a team's server, many at once: the same as one by one, and quick."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.exceptions import APIException, ValidationError

from accounts import services as accounts
from accounts.models import Tombstone, WeChatUser
from accounts.privacy import erase
from accounts.services import UserRow, register
from groups import batches
from groups.batches import PIECE, ScoreRow, submit_batch
from groups.models import MAX_SCORE, Board, Group, IdempotencyKey, Membership, Score, ServerKey
from tests.cast import CHINESE, DOUBTFUL, FAMILY, RISKY, Person, fault, later, refused
from tests.query_counts import rolled_back
from tests.settings import APP_ID, OTHER_APP_ID
from wechat.sandbox import Sandbox


@pytest.fixture
def server(db: None) -> Person:
    no_phone: Any = None
    text, _row = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    return Person("backend", no_phone, token=text)


def post(server: Person, path: str, rows: list[Any], **headers: str) -> Any:
    headers = {"Authorization": f"Key {server.token}", **headers}
    return server.post(f"server/{path}", {path: rows}, **headers)


def results(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def people(number: int) -> list[str]:
    """Make so many people; return their openids."""
    openids = [f"o{place:06}" for place in range(number)]
    WeChatUser.objects.bulk_create(WeChatUser(app_id=APP_ID, openid=openid) for openid in openids)
    return openids


def row(openid: str, value: int = 1, key: str = "k", board: str = "steps", **more: Any) -> Any:
    return {"openid": openid, "board": board, "value": value, "idempotencyKey": key, **more}


# What a refused row says


def test_a_refused_row_names_what_was_not_found(
    alice: Person, charlie: Person, group: Group, server: Person, make_board: Any
) -> None:
    make_board()
    make_board(key="laps", scope=Board.Scope.GROUP)
    rows = [
        (["openid"], row("oUnknown")),
        (["board"], row(alice.openid, board="nothing")),
        (["openid", "board"], row("oUnknown", board="nothing")),
        (["openGId"], row(charlie.openid, board="laps", openGId=FAMILY)),
        (["openGId"], row(alice.openid, board="laps", openGId="tG-no-such-group")),
    ]
    for language in ("zh-CN", "en"):
        sent = [each for _names, each in rows]
        answer = post(server, "scores", sent, **{"Accept-Language": language})
        for (names, _sent), result in zip(rows, results(answer), strict=True):
            assert result.keys() == {"openid", "board", "code", "detail", "fields"}
            assert (result["code"], list(result["fields"])) == ("not_found", names)
            sentences = [sentence for [sentence] in result["fields"].values()]
            assert result["detail"] == " ".join(sentences)
            for sentence in sentences:
                assert bool(CHINESE.search(sentence)) == (language == "zh-CN")
    assert not Score.objects.exclude(board__key="active-days").exists()


def test_what_is_not_allowed_names_its_field(
    alice: Person, bob: Person, group: Group, server: Person, make_board: Any
) -> None:
    make_board(min_value=0, max_value=9)
    make_board(key="laps", scope=Board.Scope.GROUP)
    make_board(key="over", active_to=timezone.now() - timedelta(hours=1))
    make_board(key="total", policy="sum")
    found = results(
        post(
            server,
            "scores",
            [
                row(alice.openid, 10),
                row(alice.openid, 1, openGId=FAMILY),
                row(alice.openid, 1, board="laps"),
                row(alice.openid, 1, board="over"),
                row(alice.openid, 1, "used"),
                row(alice.openid, 2, "used"),
                row(alice.openid, MAX_SCORE, "a", board="total"),
                row(alice.openid, 1, "b", board="total"),
            ],
        )
    )
    assert [list(each.get("fields", ())) for each in found] == [
        *(["value"], ["openGId"], ["openGId"], ["board"], [], ["idempotencyKey"], [], ["value"])
    ]
    assert {each["code"] for each in found if "code" in each} == {"invalid"}


def test_only_entries_write_active_days(
    alice: Person, group: Group, server: Person, make_board: Any
) -> None:
    Board.objects.filter(key="active-days").update(writer=Board.Writer.CLIENT)
    before = list(Score.objects.order_by("pk").values())
    sent = row(alice.openid, 5, board="active-days", openGId=FAMILY)
    for language in ("zh-CN", "en"):
        answer = post(server, "scores", [sent], **{"Accept-Language": language})
        [result] = results(answer)
        assert result["code"] == "permission_denied" and "fields" not in result
        assert bool(CHINESE.search(result["detail"])) == (language == "zh-CN")
        body = {"board": "active-days", "value": 5, "openGId": FAMILY}
        refused(alice.post("scores", body), 403, "permission_denied")
    assert list(Score.objects.order_by("pk").values()) == before
    with later(days=1):
        alice.enter("family")
    assert Score.objects.get(user=alice.user, period="all").value == 2


def test_a_mini_programs_own_board_of_that_name_is_a_board_like_others(
    alice: Person, server: Person, make_board: Any
) -> None:
    make_board(key="active-days")
    [result] = results(post(server, "scores", [row(alice.openid, 5, board="active-days")]))
    assert "code" not in result


# Few statements


STATEMENTS_A_BATCH, STATEMENTS_A_PIECE = 4, 10  # the transaction's own two too


@pytest.mark.parametrize("scope", Board.Scope.values)
def test_a_piece_of_a_batch_takes_a_handful_of_statements(
    server: Person, make_board: Any, scope: str
) -> None:
    make_board(scope=scope, policy="sum")
    openids, more = people(200), {}
    if scope == Board.Scope.GROUP:
        now = timezone.now()
        found = Group.objects.create(app_id=APP_ID, open_gid=FAMILY)
        more = {"openGId": FAMILY}
        Membership.objects.bulk_create(
            Membership(group=found, user=user, joined_at=now, verified_at=now)
            for user in WeChatUser.objects.all()
        )
    # New scores, scores that change, and keys that have lapsed and are used again.
    for turn, days in enumerate((0, 0, 8)):
        with later(days=days), CaptureQueriesContext(connection) as queries:
            key = f"k{turn % 2}"
            rows = [row(openid, 1, key, **more) for openid in openids]
            assert not any("code" in each for each in results(post(server, "scores", rows)))
        # SQLite takes no more than 999 parameters, so Django cuts what is long.
        cut = 4 * 9 * PIECE // 999 + 1 if connection.vendor == "sqlite" else 0
        pieces = len(rows) // PIECE
        assert len(queries) <= STATEMENTS_A_BATCH + (STATEMENTS_A_PIECE + cut) * pieces


def test_what_is_refused_is_decided_before_anything_is_written(
    server: Person, make_board: Any
) -> None:
    make_board(policy="sum", max_value=MAX_SCORE)
    [one, two] = people(2)
    rows = [row(one, MAX_SCORE, "a"), row(one, 1, "b"), row(two, 7, "c"), row("oUnknown", 7)]
    with CaptureQueriesContext(connection) as queries:
        found = results(post(server, "scores", rows))
    assert [each.get("code") for each in found] == [None, "invalid", None, "not_found"]
    kinds = [query["sql"].split()[0] for query in queries]
    assert "ROLLBACK" not in kinds
    first = next(
        place for place, kind in enumerate(kinds) if kind in {"INSERT", "UPDATE"} and place > 5
    )
    assert "SELECT" not in kinds[first:], "all is read before anything is written"


def test_a_piece_that_fails_is_not_written_at_all(
    server: Person, make_board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_board(policy="sum")
    openids = people(PIECE + 1)

    def crash(self: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("groups.services._Memory.save", crash)
    answer = post(server, "scores", [row(openid) for openid in openids])
    refused(answer, 500, "server_error")
    assert not Score.objects.exists()


# As if each were sent by itself


SHANGHAI = timezone.get_default_timezone()
WINDOWS = ("day", "week", "month", "all")
START = datetime(2026, 12, 31, 15, 0, tzinfo=UTC)  # an hour before a year ends in Shanghai
KEYS_LAST = timedelta(days=7)


def key_of(window: str, moment: datetime) -> str:
    """Return the key of the period that `moment` falls in."""
    day = moment.astimezone(SHANGHAI).date()
    year, week, _weekday = day.isocalendar()
    keys = {"day": f"{day}", "week": f"{year}-W{week:02}", "month": f"{day:%Y-%m}", "all": "all"}
    return keys[window]


@dataclass
class Model:
    """What the contract says about scores, in dictionaries; people and groups are numbers."""

    boards: dict[str, dict[str, Any]]
    members: set[tuple[str, str]]
    blocked: set[str]
    scores: dict[tuple[str, str, str | None, str], tuple[int, datetime]] = field(
        default_factory=dict
    )
    answers: dict[tuple[str, str], tuple[Any, Any, datetime]] = field(default_factory=dict)

    def submit(self, sent: ScoreRow, now: datetime) -> Any:
        """Return periods, or the code and the names of the fields."""
        board = self.boards.get(sent.board)
        absent = [name for name, there in (("openid", sent.openid in PEOPLE), ("board", board))
                  if not there]  # fmt: skip
        if absent or board is None:
            return "not_found", absent
        if sent.openid in self.blocked:
            return "user_blocked", []
        if sent.open_gid is not None and (sent.openid, sent.open_gid) not in self.members:
            return "not_found", ["openGId"]
        if (board["scope"] == "group") != (sent.open_gid is not None):
            return "invalid", ["openGId"]
        body = (sent.board, sent.value, sent.open_gid)
        known = self.answers.get((sent.openid, sent.key))
        if known and known[2] > now - KEYS_LAST:
            return known[1] if known[0] == body else ("invalid", ["idempotencyKey"])
        low, high = board["min_value"], board["max_value"]
        if (low is not None and sent.value < low) or (high is not None and sent.value > high):
            return "invalid", ["value"]
        return self.write(sent, board, body, now)

    def write(self, sent: ScoreRow, board: dict[str, Any], body: Any, now: datetime) -> Any:
        place = (sent.board, sent.openid, sent.open_gid)
        at = max(
            [now, *(at for (*where, _p), (_v, at) in self.scores.items() if (*where,) == place)]
        )
        new = {}
        for window in board["windows"].split(","):
            before = self.scores.get((*place, key_of(window, at)), (None, None))[0]
            both = [sent.value] if before is None else [before, sent.value]
            after = {
                ("best", "desc"): max(both),
                ("best", "asc"): min(both),
                ("sum", board["order"]): sum(both),
                ("latest", board["order"]): sent.value,
            }[board["policy"], board["order"]]
            if board["policy"] == "sum" and abs(after) > MAX_SCORE:
                return "invalid", ["value"]
            new[key_of(window, at)] = (before, after)
        for period, (before, after) in new.items():
            if after != before:
                self.scores[*place, period] = (after, at)
        answer = [(period, after, after != before) for period, (before, after) in new.items()]
        self.answers[sent.openid, sent.key] = (body, answer, now)
        return answer


PEOPLE = ("ann", "ben", "cid")
GROUPS = ("tG-first", "tG-second")
BOARDS = ("one", "two")

board_of = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(Board.Policy.values),
        "order": st.sampled_from(Board.Order.values),
        "scope": st.sampled_from(Board.Scope.values),
        "windows": st.lists(st.sampled_from(WINDOWS), min_size=1, unique=True).map(
            lambda chosen: ",".join(window for window in WINDOWS if window in chosen)
        ),
        "min_value": st.none() | st.just(-5),
        "max_value": st.none() | st.just(MAX_SCORE - 1),
    }
)
row_of = st.builds(
    ScoreRow,
    openid=st.sampled_from([*PEOPLE, *PEOPLE, "noone"]),
    board=st.sampled_from([*BOARDS, *BOARDS, *BOARDS, "none"]),
    value=st.integers(-7, 7) | st.sampled_from([MAX_SCORE, MAX_SCORE - 1, -MAX_SCORE]),
    open_gid=st.none() | st.sampled_from(GROUPS),
    key=st.sampled_from("abcdefgh"),
)
# Sent one after another; how many hours pass before each, also back.
batches_of = st.lists(
    st.tuples(st.sampled_from([0, 0, 2, 30, 24 * 8, -3, -40]), st.lists(row_of, max_size=24)),
    min_size=1,
    max_size=3,
)


def as_modelled(answer: Any) -> Any:
    """Return an answer as the model has it."""
    if not isinstance(answer, APIException):
        return [(each.key, each.value, each.changed) for each in answer]
    fields = answer.detail if isinstance(answer, ValidationError) else {}
    return answer.default_code, list(fields or getattr(answer, "fields", {}))


def stored() -> Any:
    """Return all scores and remembered answers, by the names of what they are about."""
    gids = {0: None, **dict(Group.objects.values_list("pk", "open_gid"))}
    scores = {
        (s.board.key, s.user.openid, gids[s.scope], s.period): (s.value, s.achieved_at)
        for s in Score.objects.select_related("board", "user")
    }
    keys = IdempotencyKey.objects.values_list("user__openid", "key", "created_at")
    return scores, {(openid, key): at for openid, key, at in keys}


def send(sent: list[tuple[int, list[ScoreRow]]], whole: bool) -> Iterator[Any]:
    """Send batches, whole or row by row, by a clock that stands still within each."""
    now = START
    for hours, rows in sent:
        now += timedelta(hours=hours)
        with mock.patch.object(timezone, "now", lambda now=now: now):
            for part in [rows] if whole else [[each] for each in rows]:
                yield from map(as_modelled, submit_batch(APP_ID, part))


@given(
    boards=st.tuples(board_of, board_of),
    members=st.sets(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(GROUPS))),
    blocked=st.sets(st.sampled_from(PEOPLE), max_size=1),
    sent=batches_of,
)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@pytest.mark.django_db
def test_a_batch_does_what_its_rows_would_do_one_by_one(
    boards: Any, members: set[tuple[str, str]], blocked: set[str], sent: Any
) -> None:
    """By every policy, order, scope and window, for rows of the same and of other people."""
    named = dict(zip(BOARDS, boards, strict=True))
    model, expected, now = Model(named, members, blocked), [], START
    for hours, rows in sent:
        now += timedelta(hours=hours)
        expected += [model.submit(each, now) for each in rows]
    outcomes = []
    for whole in (True, False):
        with rolled_back(), mock.patch.object(batches, "PIECE", 5):
            make_world(named, members, blocked)
            outcomes.append((list(send(sent, whole)), stored()))
    assert outcomes[0] == outcomes[1]
    answers, (scores, keys) = outcomes[0]
    assert answers == expected
    assert scores == model.scores
    assert keys == {whose: at for whose, (_body, _answer, at) in model.answers.items()}


def make_world(boards: Any, members: set[tuple[str, str]], blocked: set[str]) -> None:
    for key, how in boards.items():
        Board.objects.create(app_id=APP_ID, key=key, **how)
    # Not in the order in which they will be locked.
    users = {
        openid: WeChatUser.objects.create(
            app_id=APP_ID, openid=openid, status="blocked" if openid in blocked else "active"
        )
        for openid in reversed(PEOPLE)
    }
    groups = {gid: Group.objects.create(app_id=APP_ID, open_gid=gid) for gid in GROUPS}
    for openid, gid in members:
        Membership.objects.create(
            group=groups[gid],
            user=users[openid],
            joined_at=START,
            verified_at=START + timedelta(days=1),
        )


def test_rows_of_a_batch_keep_their_order_in_a_tie(server: Person, make_board: Any) -> None:
    """Who is named first has reached the score first, as if the rows came one by one."""
    make_board()
    openids = list(reversed(people(PIECE + 5)))
    post(server, "scores", [row(openid, 5) for openid in openids])
    scores = Score.objects.filter(period="all").order_by("achieved_at").values_list("user__openid")
    assert [openid for (openid,) in scores] == openids


# Members


def test_people_become_members_without_a_session(server: Person) -> None:
    rows = [
        {"openid": "oB", "unionid": "u-b"},
        {"openid": "oA", "nickname": "小红"},
        {"openid": "oC"},
    ]
    found = results(post(server, "users", rows))
    assert [each["openid"] for each in found] == ["oB", "oA", "oC"]
    for each in found:
        user = WeChatUser.objects.get(openid=each["openid"])
        assert each.keys() == {"openid", "user"} and each["user"]["id"] == str(user.pk)
        assert (user.app_id, user.status, user.session_key) == (APP_ID, "active", "")
    assert [user.unionid for user in WeChatUser.objects.order_by("openid")] == ["", "u-b", ""]
    assert not WeChatUser.objects.exclude(tokens=None).exists()
    again = results(post(server, "users", rows))
    assert again == found and WeChatUser.objects.count() == 3


def test_a_nickname_from_a_batch_waits_for_an_operator_without_a_call_to_wechat(
    alice: Person, server: Person, sandbox: Sandbox
) -> None:
    fault(sandbox, times=99, path="/wxa/msg_sec_check", status=500)
    rows = [{"openid": f"o{n}", "nickname": name} for n, name in enumerate((RISKY, DOUBTFUL, "好"))]
    rows.append({"openid": alice.openid, "nickname": "阿明"})
    rows.append({"openid": alice.openid, "unionid": "u-a"})
    found = results(post(server, "users", rows))
    fault(sandbox, times=0, path="/wxa/msg_sec_check")
    assert {each["user"]["nicknameState"] for each in found} == {"pending"}
    assert [each["user"]["nickname"] for each in found[:3]] == [RISKY, DOUBTFUL, "好"]
    assert set(WeChatUser.objects.exclude(pk=alice.user.pk).values_list("nickname", flat=True)) == {
        ""
    }
    user = alice.user
    assert (user.nickname, user.nickname_draft, user.unionid) == ("小明", "阿明", "u-a")
    since = user.review_since
    with later(seconds=60):
        post(server, "users", rows)
    assert alice.user.review_since == since, "the same again changes nothing"
    assert alice.user.nickname_draft_at == user.nickname_draft_at
    # The name that others see already needs no review, as in `PUT me`.
    [result] = results(post(server, "users", [{"openid": alice.openid, "nickname": "小明"}]))
    assert (result["user"]["nickname"], result["user"]["nicknameState"]) == ("小明", "approved")


def test_without_content_safety_a_nickname_from_a_batch_is_shown(
    alice: Person, server: Person, settings: Any
) -> None:
    settings.CONTENT_SAFETY = False
    rows = [{"openid": "oNew", "nickname": "新人"}, {"openid": alice.openid, "nickname": "阿明"}]
    found = results(post(server, "users", rows))
    assert {each["user"]["nicknameState"] for each in found} == {"approved"}
    names = WeChatUser.objects.values_list("nickname", "nickname_draft")
    assert set(names) == {("新人", ""), ("阿明", "")}


def test_of_two_rows_of_one_person_the_later_counts(server: Person, settings: Any) -> None:
    settings.CONTENT_SAFETY = False
    rows = [{"openid": "oNew", "nickname": name} for name in ("a", "b", "a")]
    results(post(server, "users", rows))
    assert WeChatUser.objects.get().nickname == "a"
    results(post(server, "users", rows[:2]))
    assert WeChatUser.objects.get().nickname == "b"


def test_a_block_and_a_lock_outlive_an_erasure_also_in_a_batch(
    alice: Person, bob: Person, server: Person
) -> None:
    WeChatUser.objects.filter(pk=alice.user.pk).update(status="blocked")
    locked_at = timezone.now()
    WeChatUser.objects.filter(pk=bob.user.pk).update(stale_count=10, stale_since=locked_at)
    openids = [alice.openid, bob.openid]
    for person in (alice, bob):
        erase(person.user)
    rows = [{"openid": openid, "nickname": "又来了"} for openid in [*openids, "oNew"]]
    found = results(post(server, "users", rows))
    assert [each.get("code") for each in found] == ["user_blocked", None, None]
    blocked = WeChatUser.objects.get(openid=openids[0])
    assert (blocked.is_blocked, blocked.nickname_draft) == (True, "")
    again = WeChatUser.objects.get(openid=openids[1])
    assert (again.stale_count, again.stale_since) == (10, locked_at)
    assert not Tombstone.objects.filter(blocked=True).exists()
    found = results(post(server, "users", rows))
    assert [each.get("code") for each in found] == ["user_blocked", None, None]


def test_of_a_blocked_member_a_batch_changes_nothing(alice: Person, server: Person) -> None:
    WeChatUser.objects.update(status="blocked")
    before = list(WeChatUser.objects.values())
    rows = [{"openid": alice.openid, "nickname": "阿明", "unionid": "u"}, {"openid": "oNew"}]
    found = results(post(server, "users", rows))
    assert [each.get("code") for each in found] == ["user_blocked", None]
    assert list(WeChatUser.objects.filter(pk=before[0]["id"]).values()) == before


@pytest.mark.parametrize(
    "bad",
    [
        {"openid": "a b"},
        {"openid": None},
        {"unionid": ""},
        {"nickname": " "},
        {"nickname": "x" * 33},
        {"sessionKey": "tiihtNczf5v6AKRyjwEUhQ=="},
        {"hat": 1},
    ],
)
def test_a_batch_with_a_malformed_person_is_refused(server: Person, bad: dict[str, Any]) -> None:
    rows = [{"openid": "oA"}, {"openid": "oB", **bad}]
    error = refused(post(server, "users", rows), 400, "invalid")
    assert list(error["fields"]) == [f"users.1.{next(iter(bad))}"]
    assert not WeChatUser.objects.exists()


def test_a_batch_has_at_most_five_hundred_people(server: Person) -> None:
    rows = [{"openid": f"o{number}"} for number in range(501)]
    refused(post(server, "users", rows), 400, "invalid")
    assert not WeChatUser.objects.exists()
    assert len(results(post(server, "users", rows[:500]))) == 500
    assert results(post(server, "users", [])) == []


def test_a_key_makes_members_of_its_own_mini_program(alice: Person, server: Person) -> None:
    WeChatUser.objects.filter(pk=alice.user.pk).update(app_id=OTHER_APP_ID)
    [result] = results(post(server, "users", [{"openid": alice.openid}]))
    assert result["user"]["id"] != str(alice.user.pk)
    assert WeChatUser.objects.count() == 2


@pytest.mark.django_db
def test_people_are_made_and_changed_in_few_statements() -> None:
    rows = [UserRow(f"o{number}", f"u{number}", "名") for number in range(200)]
    fields = len(WeChatUser._meta.concrete_fields)
    inserts = 1 if connection.vendor != "sqlite" else 1 + len(rows) // (999 // fields)
    with CaptureQueriesContext(connection) as queries:
        register(APP_ID, rows)
    assert len(queries) <= inserts + 8
    renamed = [UserRow(f"o{number}", "", "新名") for number in range(200)]
    with CaptureQueriesContext(connection) as queries:
        register(APP_ID, renamed)
    assert len(queries) <= 2 + 5 * len(rows) // accounts.PIECE
    with CaptureQueriesContext(connection) as queries:
        register(APP_ID, renamed)
    assert len(queries) == 1, "what is the same already is only read"


def test_a_person_who_is_made_at_the_same_moment_is_met(
    server: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone logs in between the look-up and the insert: their row stays, and takes the name."""
    real = WeChatUser.objects.bulk_create

    def after_a_log_in(rows: Any, **how: Any) -> Any:
        WeChatUser.objects.create(app_id=APP_ID, openid="oB", unionid="u-phone")
        return real(rows, **how)

    monkeypatch.setattr(WeChatUser.objects, "bulk_create", after_a_log_in)
    rows = [{"openid": "oA"}, {"openid": "oB", "nickname": "名"}]
    found = results(post(server, "users", rows))
    assert [each["user"]["nickname"] for each in found] == ["", "名"]
    assert WeChatUser.objects.get(openid="oB").unionid == "u-phone"
    assert json.dumps(found)
