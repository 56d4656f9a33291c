"""Scores: who may write them, which one is kept, and idempotency keys."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from accounts.models import WeChatUser
from groups.models import MAX_SCORE, Board, Group, IdempotencyKey, Score, ScoreSource
from groups.periods import Window
from groups.serializers import IDEMPOTENCY_KEY
from tests.cast import CHINESE, FAMILY, Person, everything_stored, later, refused
from tests.settings import APP_ID


def values(answer: Any) -> dict[str, int]:
    """Return the values that an answer reports, by window."""
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert body.keys() == {"board", "periods"} and body["board"] == "steps"
    assert all(period.keys() == {"key", "value", "changed"} for period in body["periods"])
    return {period["key"]: period["value"] for period in body["periods"]}


def changes(answer: Any) -> set[bool]:
    return {period["changed"] for period in answer.json()["periods"]}


POLICIES: dict[str, tuple[dict[str, str], list[tuple[int, int, bool]]]] = {
    "best, highest first": ({}, [(5, 5, True), (3, 5, False), (5, 5, False), (9, 9, True)]),
    "best, lowest first": (
        {"order": "asc"},
        [(5, 5, True), (9, 5, False), (5, 5, False), (-3, -3, True)],
    ),
    "latest": ({"policy": "latest"}, [(5, 5, True), (3, 3, True), (3, 3, False), (9, 9, True)]),
    "sum": ({"policy": "sum"}, [(5, 5, True), (3, 8, True), (0, 8, False), (-10, -2, True)]),
}


@pytest.mark.parametrize(("how", "steps"), POLICIES.values(), ids=POLICIES)
def test_a_new_score_replaces_the_old_one_by_the_boards_policy(
    alice: Person, make_board: Any, how: dict[str, str], steps: list[tuple[int, int, bool]]
) -> None:
    make_board(**how)
    for value, then, changed in steps:
        answer = alice.submit(value)
        assert set(values(answer).values()) == {then}
        assert changes(answer) == {changed}
        assert len(values(answer)) == len(Window)
    assert set(Score.objects.values_list("value", "source")) == {(then, ScoreSource.CLIENT)}


def test_achieved_at_is_when_the_value_became_what_it_is(alice: Person, make_board: Any) -> None:
    make_board()
    alice.submit(5)
    first = Score.objects.get(period="all").achieved_at
    for value, moves in ((3, False), (5, False), (6, True)):
        with later(seconds=10):
            alice.submit(value)
        assert (Score.objects.get(period="all").achieved_at > first) is moves, value


def test_only_the_windows_of_the_board_are_counted(alice: Person, make_board: Any) -> None:
    make_board(windows="week,all", default_window=Window.ALL)
    assert len(values(alice.submit(5))) == 2
    alice.enter("family")
    ranking = alice.get(f"groups/{FAMILY}/ranking?board=steps").json()
    assert (ranking["period"]["key"], ranking["me"]["score"]) == ("all", 5)
    refused(alice.get(f"groups/{FAMILY}/ranking?board=steps&period=day"), 400, "invalid")
    [steps] = [b for b in alice.get("boards").json()["boards"] if b["key"] == "steps"]
    assert (steps["windows"], steps["defaultWindow"]) == (["week", "all"], "all")


def test_a_mini_programs_own_board_replaces_the_shared_one_with_its_key(
    alice: Person, make_board: Any
) -> None:
    make_board()
    make_board(app_id="another", key="active-days", title_zh="别人的")
    assert [(board["key"], board["title"]) for board in alice.get("boards").json()["boards"]] == [
        ("active-days", "活跃天数"),
        ("steps", "步数"),
    ]
    make_board(key="active-days", title_zh="来过几天")
    assert [(board["key"], board["title"]) for board in alice.get("boards").json()["boards"]] == [
        ("steps", "步数"),
        ("active-days", "来过几天"),
    ]


def test_a_score_for_all_groups_counts_in_each_of_them(alice: Person, make_board: Any) -> None:
    make_board()
    alice.submit(5)
    for chat in ("family", "colleagues"):
        open_gid = alice.enter(chat)
        assert alice.get(f"groups/{open_gid}/ranking?board=steps").json()["me"]["score"] == 5
    error = refused(alice.submit(6, openGId=FAMILY), 400, "invalid")
    assert list(error["fields"]) == ["openGId"]


def test_a_score_of_one_group_counts_there_alone(alice: Person, make_board: Any) -> None:
    make_board(scope=Board.Scope.GROUP)
    family, other = alice.enter("family"), alice.enter("colleagues")
    assert alice.submit(5, openGId=family).status_code == 200
    assert alice.get(f"groups/{family}/ranking?board=steps").json()["me"]["score"] == 5
    assert alice.get(f"groups/{other}/ranking?board=steps").json()["me"]["score"] is None
    error = refused(alice.submit(6), 400, "invalid")
    assert list(error["fields"]) == ["openGId"]
    refused(alice.submit(6, openGId="tGunknown"), 404, "not_found")


def test_a_user_outside_the_group_cannot_score_in_it(
    charlie: Person, group: Group, make_board: Any
) -> None:
    make_board(scope=Board.Scope.GROUP)
    refused(charlie.submit(5, openGId=FAMILY), 404, "not_found")
    assert not Score.objects.filter(board__key="steps").exists()


def test_only_the_server_writes_unless_the_board_says_otherwise(
    alice: Person, group: Group, make_board: Any
) -> None:
    make_board(writer=Board.Writer.SERVER)
    before = everything_stored()
    refused(alice.submit(5), 403, "permission_denied")
    body = {"board": "active-days", "value": 99, "openGId": FAMILY}
    refused(alice.post("scores", body), 403, "permission_denied")
    assert everything_stored() == before


def test_a_board_of_another_mini_program_is_not_found(alice: Person, make_board: Any) -> None:
    make_board(app_id="wxunknown")
    refused(alice.submit(5), 404, "not_found")


@pytest.mark.parametrize("value", [MAX_SCORE, -MAX_SCORE, 2**53 - 2, 0, -1])
def test_every_safe_integer_of_javascript_is_stored_exactly(
    alice: Person, make_board: Any, value: int
) -> None:
    make_board(policy="latest")
    assert set(values(alice.submit(value)).values()) == {value}
    alice.enter("family")
    assert alice.get(f"groups/{FAMILY}/ranking?board=steps").json()["me"]["score"] == value


@pytest.mark.no_service
@pytest.mark.parametrize("value", [2**53, -(2**53), 1.0, 1.5, "5", None, True, [5], 10**400])
def test_a_value_that_is_not_a_safe_integer_is_invalid(
    alice: Person, make_board: Any, value: Any
) -> None:
    make_board()
    error = refused(alice.submit(value), 400, "invalid")
    assert list(error["fields"]) == ["value"]
    assert not Score.objects.exists()


def test_a_sum_beyond_the_safe_integers_is_refused(alice: Person, make_board: Any) -> None:
    make_board(policy="sum")
    alice.submit(MAX_SCORE - 1)
    alice.submit(1)
    before = everything_stored()
    refused(alice.submit(1, idempotencyKey="k"), 400, "invalid")
    assert everything_stored() == before
    assert set(values(alice.submit(-MAX_SCORE)).values()) == {0}


def test_a_score_outside_the_bounds_is_refused(alice: Person, make_board: Any) -> None:
    make_board(min_value=0, max_value=100)
    for value in (-1, 101):
        error = refused(alice.submit(value), 400, "invalid")
        assert list(error["fields"]) == ["value"]
    for value in (0, 100):
        assert alice.submit(value).status_code == 200


def test_a_board_takes_scores_only_while_it_is_active(alice: Person, make_board: Any) -> None:
    now = timezone.now()
    make_board(active_from=now + timedelta(hours=1), active_to=now + timedelta(hours=2))
    for hours, status in ((0, 400), (1.5, 200), (3, 400)):
        with later(hours=hours):
            assert alice.submit(5).status_code == status
    error = refused(alice.submit(5), 400, "invalid")
    assert list(error["fields"]) == ["board"]


def test_the_same_key_with_the_same_body_counts_once(alice: Person, make_board: Any) -> None:
    make_board(policy="sum")
    first = alice.submit(5, idempotencyKey="level-1")
    alice.submit(3)
    for _ in range(100):
        again = alice.submit(5, idempotencyKey="level-1")
        assert again.content == first.content
    assert set(Score.objects.values_list("value", flat=True)) == {8}
    assert IdempotencyKey.objects.count() == 1


def test_keys_that_differ_in_case_accents_or_spaces_are_different(
    alice: Person, make_board: Any
) -> None:
    make_board(policy="sum")
    keys = ("a", "A", "á", "a a", "a  a", "a" * 64, "分" * 64, "🎲")
    for key in keys:
        assert alice.submit(1, idempotencyKey=key).status_code == 200, key
    assert set(Score.objects.values_list("value", flat=True)) == {len(keys)}


# What JavaScript or Python takes for white space: MariaDB takes the first for nothing at all.
WHITE = " \t\n\v\f\r\x1c\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"


@pytest.mark.no_service
@pytest.mark.parametrize(
    "key",
    [
        *("", " ", "x" * 65),
        *(f"k{space}" for space in WHITE),
        *(f"{space}k" for space in WHITE),
        *("a\tb", "a\x1bb", "a\x7fb", "a\x9fb"),
    ],
)
def test_a_key_with_white_space_at_its_ends_or_a_control_character_is_invalid(
    alice: Person, make_board: Any, key: str
) -> None:
    make_board(policy="sum")
    error = refused(alice.submit(1, idempotencyKey=key), 400, "invalid")
    assert list(error["fields"]) == ["idempotencyKey"]
    assert not re.fullmatch(IDEMPOTENCY_KEY, key) or len(key) > 64, "the schema says so too"
    assert not Score.objects.exists()


def test_a_key_used_with_another_body_is_invalid(
    alice: Person, group: Group, make_board: Any
) -> None:
    make_board(policy="sum")
    make_board(key="other", scope=Board.Scope.GROUP)
    alice.submit(5, idempotencyKey="k")
    before = everything_stored()
    for body in (
        {"board": "steps", "value": 6},
        {"board": "other", "value": 5, "openGId": FAMILY},
    ):
        error = refused(alice.post("scores", {**body, "idempotencyKey": "k"}), 400, "invalid")
        assert list(error["fields"]) == ["idempotencyKey"]
    assert everything_stored() == before


def test_each_user_has_their_own_keys(alice: Person, bob: Person, make_board: Any) -> None:
    make_board()
    assert alice.submit(5, idempotencyKey="k").status_code == 200
    assert bob.submit(7, idempotencyKey="k").status_code == 200


def test_a_key_is_remembered_for_seven_days(alice: Person, make_board: Any) -> None:
    make_board(policy="sum")
    alice.submit(5, idempotencyKey="k")
    with later(days=6, hours=23):
        alice.submit(5, idempotencyKey="k")
        assert Score.objects.get(period="all").value == 5
    with later(days=7, minutes=1):
        alice.submit(5, idempotencyKey="k")
        assert Score.objects.get(period="all").value == 10
    assert IdempotencyKey.objects.count() == 1


def test_a_replay_is_answered_after_the_board_has_closed(alice: Person, make_board: Any) -> None:
    make_board(active_to=timezone.now() + timedelta(hours=1))
    first = alice.submit(5, idempotencyKey="k")
    with later(hours=2):
        assert alice.submit(5, idempotencyKey="k").content == first.content
        refused(alice.submit(5, idempotencyKey="new"), 400, "invalid")


def test_a_refused_score_does_not_use_up_its_key(alice: Person, make_board: Any) -> None:
    make_board(max_value=10)
    refused(alice.submit(11, idempotencyKey="k"), 400, "invalid")
    assert alice.submit(10, idempotencyKey="k").status_code == 200


def test_no_score_is_written_into_an_ended_period_when_the_clock_goes_back(
    alice: Person, make_board: Any
) -> None:
    make_board(policy="sum")
    with later(days=20):
        ahead = values(alice.submit(5))
    behind = values(alice.submit(3))
    assert behind.keys() == ahead.keys() and set(behind.values()) == {8}
    assert Score.objects.count() == len(Window)


@pytest.mark.parametrize("body", [{}, {"board": "steps"}, {"value": 5}, {"board": 5, "value": 5}])
def test_a_score_without_board_or_value_is_invalid(
    alice: Person, make_board: Any, body: dict[str, Any]
) -> None:
    make_board()
    refused(alice.post("scores", body), 400, "invalid")


def test_the_default_board_is_the_operators_choice(
    alice: Person, group: Group, make_board: Any
) -> None:
    assert alice.get(f"groups/{FAMILY}/ranking").json()["board"]["key"] == "active-days"
    board = make_board(default_for=APP_ID)
    assert alice.get(f"groups/{FAMILY}/ranking").json()["board"]["key"] == "steps"
    board.default_for = None
    board.save()
    assert alice.get(f"groups/{FAMILY}/ranking").json()["board"]["key"] == "active-days"


PERIODS = ("x", "2026-W99", "9999-12", "2026-13-01", "day", "month", "2026-11-01")


@pytest.mark.no_service
@pytest.mark.parametrize("path", ["ranking", "ranking/around"])
@pytest.mark.parametrize("period", PERIODS)
def test_a_refused_period_says_which_are_counted(
    alice: Person, group: Group, make_board: Any, period: str, path: str
) -> None:
    make_board(windows="week,all", default_window=Window.ALL)
    with time_machine.travel(datetime.fromisoformat("2026-11-22T12:00:00+08:00"), tick=False):
        alice.log_in()
        for language, words in (("zh-CN", "week (2026-W47)、all"), ("en", "week (2026-W47), all")):
            asked = f"groups/{FAMILY}/{path}?board=steps&period={period}"
            error = refused(alice.get(asked, **{"Accept-Language": language}), 400, "invalid")
            [sentence] = error["fields"]["period"]
            assert words in sentence and "day" not in sentence and "month" not in sentence
            assert bool(CHINESE.search(sentence)) == (language == "zh-CN")


STYLES = {"competition": [1, 2, 2, 4], "dense": [1, 2, 2, 3], "ordinal": [1, 2, 3, 4]}


@pytest.mark.parametrize(("style", "ranks"), STYLES.items())
def test_ties_are_ranked_in_the_boards_style(
    make_person: Any, make_board: Any, style: str, ranks: list[int]
) -> None:
    make_board(rank_style=style)
    people = [make_person(f"player-{number}") for number in range(4)]
    for person, value in zip(people, (9, 7, 7, 1), strict=True):
        person.enter("family")
        person.submit(value)
    entries = people[0].get(f"groups/{FAMILY}/ranking?board=steps").json()["entries"]
    assert [entry["rank"] for entry in entries] == ranks
    assert [entry["member"]["id"] for entry in entries] == [p.body["user"]["id"] for p in people]


def test_the_scores_of_an_erased_user_are_deleted(alice: Person, make_board: Any) -> None:
    make_board()
    alice.submit(5, idempotencyKey="k")
    data = alice.get("me/data").json()
    assert [key["key"] for key in data["idempotencyKeys"]] == ["k"]
    assert {score["source"] for score in data["scores"]} == {"client"}
    alice.delete("me")
    assert not (Score.objects.exists() or IdempotencyKey.objects.exists())
    assert not WeChatUser.objects.exists()


EDGES = {
    "a new year within an ISO week": (
        "2027-01-01T00:00:00+08:00",
        {"2026-12-31", "2026-W53", "2026-12", "all"},
        {"2027-01-01", "2026-W53", "2027-01", "all"},
    ),
    "a new ISO year": (
        "2027-01-04T00:00:00+08:00",
        {"2027-01-03", "2026-W53", "2027-01", "all"},
        {"2027-01-04", "2027-W01", "2027-01", "all"},
    ),
    "a leap day": (
        "2028-02-29T00:00:00+08:00",
        {"2028-02-28", "2028-W09", "2028-02", "all"},
        {"2028-02-29", "2028-W09", "2028-02", "all"},
    ),
    "a month and a week at once": (
        "2027-03-01T00:00:00+08:00",
        {"2027-02-28", "2027-W08", "2027-02", "all"},
        {"2027-03-01", "2027-W09", "2027-03", "all"},
    ),
}


@pytest.mark.parametrize(("midnight", "before", "after"), EDGES.values(), ids=EDGES)
def test_a_score_counts_in_the_periods_of_its_moment_in_shanghai(
    make_person: Any, make_board: Any, midnight: str, before: set[str], after: set[str]
) -> None:
    make_board(policy="sum")
    moment = datetime.fromisoformat(midnight)
    with time_machine.travel(moment - timedelta(microseconds=1), tick=False) as clock:
        alice = make_person("alice")
        assert values(alice.submit(1)) == dict.fromkeys(before, 1)
        clock.move_to(moment)
        assert values(alice.submit(1)) == {key: 1 + (key in before) for key in after}
        clock.move_to(moment - timedelta(seconds=1))
        assert values(alice.submit(1)) == {key: 2 + (key in before) for key in after}
