"""Rankings: the ranks, who is listed, and the pages.

Rows are made by the ORM and time stands still, so that every tie is meant.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.core import signing
from django.db import transaction
from django.db.models import F, Window
from django.db.models.functions import Rank
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone as clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Token, WeChatUser
from groups import ranking
from groups.links import Link
from groups.models import ACTIVE_DAYS, Board, Group, Membership, Score
from groups.periods import Period
from tests.chats import LAST_WEEK, NOW, THIS_WEEK, Chat, call, found, make_board, person
from tests.settings import APP_ID, OTHER_APP_ID

MONDAY = datetime(2026, 11, 23, tzinfo=timezone(timedelta(hours=8)))
BIGGEST = 2**53 - 1

pytestmark = pytest.mark.django_db
examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def frozen(time_machine: Any) -> Any:
    time_machine.move_to(NOW, tick=False)
    return time_machine


@pytest.fixture
def chat() -> Chat:
    return Chat(found(), make_board())


def names(answer: Any) -> list[str]:
    """Return the names in an answer of the API, or in a Ranking."""
    if isinstance(answer, ranking.Ranking):
        return [standing.member.nickname for standing in answer.entries]
    return [entry["member"]["nickname"] for entry in answer["entries"]]


def column(answer: Any, name: str) -> dict[str, Any]:
    return {entry["member"]["nickname"]: entry[name] for entry in answer["entries"]}


def refused(answer: Any, name: str) -> bool:
    """Tell whether the answer is a 400 that names this parameter and no other."""
    body = answer.json()
    return (answer.status_code, body["code"], [*body["fields"]]) == (400, "invalid", [name])


# Order and ranks


def test_equal_scores_share_a_rank_and_the_next_place_is_skipped(chat):
    for name, value in [("first", 9), ("second", 7), ("also second", 7), ("fourth", 5)]:
        chat.add(name, value)
    ranks = {"first": 1, "second": 2, "also second": 2, "fourth": 4}
    assert column(chat.read("first"), "rank") == ranks


def test_within_a_tie_the_earlier_achiever_then_the_earlier_member_then_the_smaller_id(chat):
    chat.add("late", 7, at=9, joined=0)
    chat.add("early", 7, at=1, joined=8)
    chat.add("same time, joined later", 7, at=5, joined=6)
    chat.add("same time, joined earlier", 7, at=5, joined=2)
    chat.add("same time, joined earlier, newer account", 7, at=5, joined=2)
    answer = chat.read("late")
    assert names(answer) == [
        "early",
        "same time, joined earlier",
        "same time, joined earlier, newer account",
        "same time, joined later",
        "late",
    ]
    assert {*column(answer, "rank").values()} == {1}


def test_a_microsecond_decides_a_tie(chat):
    chat.add("second", 7, joined=0)
    chat.add("first", 7, joined=1)
    Score.objects.filter(user=chat.people["first"]).update(
        achieved_at=F("achieved_at") - timedelta(microseconds=1)
    )
    assert names(chat.read("second")) == ["first", "second"]


def test_members_without_a_score_come_last_by_join_time_and_without_a_rank(chat):
    chat.add("joined last", joined=9)
    chat.add("joined first", joined=1)
    chat.add("scored", -5, joined=5)
    chat.add("joined first, newer account", joined=1)
    answer = chat.read("joined last")
    assert names(answer) == [
        "scored",
        "joined first",
        "joined first, newer account",
        "joined last",
    ]
    assert [entry["rank"] for entry in answer["entries"]] == [1, None, None, None]
    nothing = ("rank", "movement", "score", "scoreText", "achievedAt")
    assert {answer["me"][name] for name in nothing} == {None}
    assert (answer["total"], answer["group"]["memberCount"]) == (4, 4)


def test_zero_is_a_score(chat):
    chat.add("nothing", joined=0)
    chat.add("nought", 0, joined=1)
    answer = chat.read("nought")
    assert names(answer) == ["nought", "nothing"]
    assert (answer["me"]["rank"], answer["me"]["score"], answer["me"]["scoreText"]) == (1, 0, "0")


def test_on_an_ascending_board_the_lowest_score_comes_first(frozen):
    chat = Chat(found(), make_board(order="asc"))
    for name, value in [("slow", 90), ("fast", 7), ("also fast", 7), ("none", None)]:
        chat.add(name, value, before=value)
    chat.add("below nought", -1, before=95)
    answer = chat.read("slow")
    assert column(answer, "rank") == {
        "below nought": 1,
        "fast": 2,
        "also fast": 2,
        "slow": 4,
        "none": None,
    }
    assert answer["board"]["order"] == "asc"
    assert answer["me"]["movement"] == -1
    assert answer["percentile"] == 25


def test_an_entry_has_its_member_score_and_time(chat):
    chat.add("alice", 9, before=3)
    alice = chat.people["alice"]
    expected = {
        "rank": 1,
        "movement": 0,
        "member": {
            "id": str(alice.pk),
            "nickname": "alice",
            "avatar": f"http://testserver{alice.avatar_path}",
            "groupOpenId": None,
        },
        "score": 9,
        "scoreText": "9",
        "achievedAt": "2026-11-22T11:00:00.000+08:00",
        "isMe": True,
    }
    answer = chat.read("alice")
    assert answer["entries"] == [expected]
    assert answer["me"] == expected
    assert answer["serverTime"] == "2026-11-22T12:00:00.000+08:00"


def test_only_my_own_entry_is_me(chat):
    for name, value in [("alice", 3), ("bob", 3), ("carol", None)]:
        chat.add(name, value)
    for name in chat.people:
        answer = chat.read(name)
        assert answer["me"] in answer["entries"]
        assert [who for who, mine in column(answer, "isMe").items() if mine] == [name]


# Score texts


@pytest.mark.parametrize(
    ("decimals", "value", "text"),
    [
        (0, 0, "0"),
        (0, 999, "999"),
        (0, 9781, "9,781"),
        (0, -1234567, "-1,234,567"),
        (0, BIGGEST, "9,007,199,254,740,991"),
        (0, -BIGGEST, "-9,007,199,254,740,991"),
        (1, 5, "0.5"),
        (2, 1250, "12.50"),
        (2, 978100, "9,781.00"),
        (2, 5, "0.05"),
        (2, -5, "-0.05"),
        (2, -100, "-1.00"),
        (3, -1234567, "-1,234.567"),
        (6, BIGGEST, "9,007,199,254.740991"),
    ],
)
def test_scores_are_exact_and_written_with_separators_and_decimals(decimals, value, text):
    chat = Chat(found(), make_board(decimals=decimals))
    chat.add("alice", value)
    me = chat.read("alice")["me"]
    assert (me["score"], me["scoreText"]) == (value, text)


# Who is listed


def hide(membership: Membership) -> None:
    membership.hidden = True


def leave(membership: Membership) -> None:
    membership.left_at = NOW


def lapse(membership: Membership) -> None:
    membership.verified_at = NOW - timedelta(days=30, microseconds=1)


def block(membership: Membership) -> None:
    membership.user.status = WeChatUser.Status.BLOCKED
    membership.user.save()


WAYS_OUT = [hide, leave, lapse, block]


def go(chat: Chat, name: str, way: Callable[[Membership], None]) -> None:
    membership = chat.membership(name)
    way(membership)
    membership.save()


@pytest.mark.parametrize("way", WAYS_OUT)
def test_a_member_who_is_no_longer_listed_is_gone_at_once_and_the_ranks_close_up(olga, way):
    chat = Chat(found(), Board.objects.active_days())
    for name, value in [("goer", 9), ("alice", 7), ("bob", 5), ("carol", None)]:
        chat.add(name, value, before=value)
    before = chat.read("alice")
    assert (before["me"]["rank"], before["total"], before["percentile"]) == (2, 4, 66)
    assert "goer" in before["group"]["title"]
    link = Link(chat.people["alice"].pk, chat.group.pk, ACTIVE_DAYS).sign()
    pages = [reverse("member-page", args=[link]), reverse("group-page", args=[chat.group.pk])]
    assert all("goer" in olga.get(page).content.decode() for page in pages)

    go(chat, "goer", way)

    after = chat.read("alice")
    assert column(after, "rank") == {"alice": 1, "bob": 2, "carol": None}
    assert {*column(after, "movement").values()} == {0, None}
    assert (after["total"], after["percentile"]) == (3, 100)
    assert names(chat.read("alice", "ranking/around")) == ["alice", "bob", "carol"]
    count = 4 if way is hide else 3
    mine = call(chat.people["alice"], "groups").json()["groups"][0]
    one = call(chat.people["alice"], f"groups/{chat.group.open_gid}").json()
    for group in after["group"], mine, one:
        assert group["memberCount"] == count
        assert "goer" not in group["title"]
    for page in [*pages, reverse("group-list")]:
        assert "goer" not in olga.get(page).content.decode()


@pytest.mark.parametrize("way", [leave, lapse])
@pytest.mark.parametrize("path", ["ranking", "ranking/around"])
def test_a_former_member_reads_nothing(chat, way, path):
    chat.add("goer", 9)
    chat.add("alice", 7)
    go(chat, "goer", way)
    answer = chat.ask("goer", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_proof_lasts_for_thirty_days_to_the_microsecond(chat):
    chat.add("alice", 9, verified_at=NOW - timedelta(days=30))
    assert names(chat.read("alice")) == ["alice"]


def test_a_new_proof_brings_a_member_back_with_their_score(chat):
    chat.add("alice", 9)
    chat.add("lapsed", 12, verified_at=NOW - timedelta(days=31))
    assert names(chat.read("alice")) == ["alice"]
    Membership.objects.filter(user=chat.people["lapsed"]).update(verified_at=NOW)
    assert column(chat.read("alice"), "rank") == {"lapsed": 1, "alice": 2}


@pytest.mark.parametrize("path", ["ranking", "ranking/around"])
def test_a_hidden_member_sees_the_others_and_that_they_are_hidden(chat, path):
    chat.add("hidden", 9, before=3)
    chat.add("alice", 7)
    assert chat.read("hidden", path)["absent"] is None
    go(chat, "hidden", hide)
    answer = chat.read("hidden", path)
    assert answer["absent"] == "hidden"
    assert answer["me"]["isMe"] is True
    assert (answer["me"]["rank"], answer["me"]["movement"]) == (None, None)
    assert (answer["me"]["score"], answer["me"]["scoreText"]) == (9, "9")
    assert (answer["total"], answer["percentile"]) == (1, None)
    assert names(answer) == (["alice"] if path == "ranking" else [])
    assert chat.read("alice", path)["absent"] is None


def test_hiding_and_showing_has_effect_in_the_next_read(chat):
    chat.add("shy", 9)
    chat.add("alice", 7)
    token, _row = Token.objects.issue(chat.people["shy"], NOW)
    for hidden, listed in [(True, ["alice"]), (False, ["shy", "alice"])]:
        changed = Browser().put(
            f"/api/v1/groups/{chat.group.open_gid}/membership",
            {"hidden": hidden},
            "application/json",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert changed.status_code == 200
        assert names(chat.read("alice")) == listed


def test_only_members_are_listed_whatever_scores_there_are(chat):
    chat.add("alice", 7)
    stranger = person("stranger")
    chat.people["stranger"] = stranger
    chat.score("stranger", 99)
    answer = chat.read("alice")
    assert (names(answer), answer["me"]["rank"], answer["percentile"]) == (["alice"], 1, 100)


# Movement


def test_movement_compares_with_last_weeks_ranks_of_todays_members(chat):
    chat.add("left since", before=100, left_at=NOW)
    chat.add("hides", 99, before=90, hidden=True)
    chat.add("blocked", 99, before=80)
    go(chat, "blocked", block)
    chat.add("falls", 8, before=50)
    chat.add("climbs", 9, before=40)
    chat.add("stays", 7, before=30)
    chat.add("newcomer", 6)
    chat.add("rests", before=20)
    assert column(chat.read("climbs"), "movement") == {
        "climbs": 1,
        "falls": -1,
        "stays": 0,
        "newcomer": "new",
        "rests": None,
    }


def test_a_former_member_does_not_count_in_movement(chat):
    chat.add("alice", 5, before=5)
    chat.add("champion", 99, before=99)
    go(chat, "champion", leave)
    assert chat.read("alice")["me"]["movement"] == 0


def test_ties_move_by_their_shared_rank(chat):
    for name, value, before in [("a", 5, 1), ("b", 5, 3), ("c", 4, 3), ("d", 9, 3)]:
        chat.add(name, value, before=before)
    assert column(chat.read("a"), "movement") == {"d": 0, "a": 2, "b": -1, "c": -3}


def test_there_is_no_movement_over_all_of_time(chat):
    chat.add("alice", 5, before=9)
    chat.add("bob", 5, before=9)
    chat.score("alice", 7, "all")
    assert column(chat.read("bob", period="all"), "movement") == {"alice": None, "bob": None}


@pytest.mark.parametrize(
    ("window", "now", "before"),
    [("day", "2026-11-22", "2026-11-21"), ("month", "2026-11", "2026-10")],
)
def test_every_window_moves_against_its_own_previous_period(chat, window, now, before):
    chat.add("alice", 99, before=1)
    chat.add("bob", 98, before=2)
    for name, value, value_before in [("alice", 1, 5), ("bob", 2, 4)]:
        chat.score(name, value, now)
        chat.score(name, value_before, before)
    assert column(chat.read("alice", period=window), "movement") == {"bob": 1, "alice": -1}


# Percentile


def percentiles(chat: Chat) -> dict[str, int | None]:
    return {name: chat.read(name)["percentile"] for name in chat.people}


def test_percentile_is_the_share_of_the_others_ranked_below_me(chat):
    for name, value in [("a", 5), ("b", 4), ("c", 4), ("d", 1), ("e", None)]:
        chat.add(name, value)
    assert percentiles(chat) == {"a": 100, "b": 50, "c": 50, "d": 25, "e": None}


def test_percentile_is_rounded_down(chat):
    for name, value in [("a", 4), ("b", 3), ("c", 2), ("d", 1)]:
        chat.add(name, value)
    assert percentiles(chat) == {"a": 100, "b": 66, "c": 33, "d": 0}


def test_the_only_member_with_a_score_has_a_percentile_of_a_hundred(chat):
    chat.add("alice", 1)
    assert percentiles(chat) == {"alice": 100}
    chat.add("hidden", 9, hidden=True)
    assert percentiles(chat) == {"alice": 100, "hidden": None}
    Score.objects.all().delete()
    assert percentiles(chat) == {"alice": None, "hidden": None}


def test_with_equal_scores_the_percentile_is_zero(chat):
    for name in "abc":
        chat.add(name, 7)
    assert percentiles(chat) == dict.fromkeys("abc", 0)


def test_the_example_of_the_contract_is_right(chat):
    for place in range(1, 121):
        chat.add(f"p{place}", 1000 - place)
    answer = chat.read("p23")
    assert (answer["total"], answer["me"]["rank"], answer["percentile"]) == (120, 23, 81)


# Boards, scopes and periods


@pytest.fixture
def two_chats() -> tuple[Chat, Chat]:
    board = make_board(scope="app")
    first, second = Chat(found("one"), board), Chat(found("two"), board)
    both = first.add("both", 5)
    second.add("both", user=both)
    first.add("only in one", 9)
    second.add("only in two", 3)
    return first, second


def test_one_score_of_an_app_wide_board_is_compared_in_each_group(two_chats):
    first, second = two_chats
    assert column(first.read("both"), "score") == {"only in one": 9, "both": 5}
    assert column(second.read("both"), "score") == {"both": 5, "only in two": 3}
    assert (first.read("both")["me"]["rank"], second.read("both")["me"]["rank"]) == (2, 1)
    assert (first.read("both")["percentile"], second.read("both")["percentile"]) == (0, 100)
    assert first.read("both")["board"]["scope"] == "app"


def test_a_member_who_left_one_group_is_still_ranked_in_the_other(two_chats):
    first, second = two_chats
    go(first, "both", leave)
    assert names(first.read("only in one")) == ["only in one"]
    assert names(second.read("both")) == ["both", "only in two"]


def test_a_score_of_one_group_is_not_shown_in_another():
    board = make_board()
    first, second = Chat(found("one"), board), Chat(found("two"), board)
    both = first.add("both", 5)
    second.add("both", user=both)
    assert first.read("both")["me"]["score"] == 5
    assert second.read("both")["me"]["score"] is None


def test_boards_do_not_mix(chat):
    chat.add("alice", 5)
    other = Chat(chat.group, make_board("other"), chat.people)
    assert other.read("alice")["me"]["score"] is None
    assert other.read("alice")["board"]["key"] == "other"


def test_without_a_board_the_ranking_is_of_active_days_this_week(chat):
    chat.add("alice", 5)
    answer = call(chat.people["alice"], f"groups/{chat.group.open_gid}/ranking").json()
    assert answer["board"] == {
        "key": "active-days",
        "title": "Active days",
        "order": "desc",
        "unit": "days",
        "decimals": 0,
        "scope": "group",
    }
    assert answer["period"]["key"] == THIS_WEEK


@pytest.mark.parametrize("path", ["ranking", "ranking/around"])
def test_a_board_that_is_unknown_or_of_another_mini_program_is_not_found(chat, path):
    chat.add("alice", 5)
    make_board("foreign", app_id=OTHER_APP_ID)
    for key in ["foreign", "nothing", "POINTS", "点"]:
        answer = chat.ask("alice", path, board=key)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("asked", "key", "start", "end", "previous", "next"),
    [
        ("day", "2026-11-22", "2026-11-22", "2026-11-23", "2026-11-21", None),
        ("week", "2026-W47", "2026-11-16", "2026-11-23", "2026-W46", None),
        ("month", "2026-11", "2026-11-01", "2026-12-01", "2026-10", None),
        ("2026-W47", "2026-W47", "2026-11-16", "2026-11-23", "2026-W46", None),
        ("2026-W46", "2026-W46", "2026-11-09", "2026-11-16", "2026-W45", "2026-W47"),
        ("2026-11-21", "2026-11-21", "2026-11-21", "2026-11-22", "2026-11-20", "2026-11-22"),
        ("2026-01", "2026-01", "2026-01-01", "2026-02-01", "2025-12", "2026-02"),
    ],
)
def test_an_answer_says_which_period_it_is(chat, asked, key, start, end, previous, next):
    chat.add("alice", 5)
    period = chat.read("alice", period=asked)["period"]
    assert period.pop("title")
    assert period == {
        "key": key,
        "window": Period.parse(key, NOW).window,
        "start": f"{start}T00:00:00.000+08:00",
        "end": f"{end}T00:00:00.000+08:00",
        "previous": previous,
        "next": next,
    }


def test_all_of_time_has_neither_ends_nor_neighbours(chat):
    chat.add("alice", 5)
    period = chat.read("alice", period="all")["period"]
    assert (period["key"], period["window"], period["title"]) == ("all", "all", "All time")
    assert {period[name] for name in ("start", "end", "previous", "next")} == {None}


@pytest.mark.parametrize(
    ("seen", "previous"),
    [
        ("2026-11-15T23:59:59.999999+08:00", "2026-W46"),
        ("2026-11-16T00:00:00+08:00", None),  # when that week ended
        ("2026-11-18T12:00:00+08:00", None),
    ],
)
def test_a_period_that_ended_before_the_group_was_seen_is_not_the_previous_one(
    chat: Chat, seen: str, previous: str | None
) -> None:
    """No one has moved then: the scores of that week are not about this group."""
    chat.add("ann", 9, before=1)
    chat.add("ben", 5, before=2)
    # The row may be older, or younger where a group was imported.
    Group.objects.update(seen_from=seen, created_at=NOW - timedelta(days=300))
    answer = chat.read("ann")
    assert answer["period"]["previous"] == previous
    moved = [entry["movement"] for entry in answer["entries"]]
    assert moved == ([1, -1] if previous else [None, None])


def test_past_periods_stay_readable_by_key(chat):
    chat.add("alice", 1, before=5)
    chat.add("bob", 2, before=4)
    chat.score("alice", 3, "2026-W45")
    chat.score("bob", 9, "2026-W45")
    answer = chat.read("alice", period=LAST_WEEK)
    assert column(answer, "score") == {"alice": 5, "bob": 4}
    assert column(answer, "movement") == {"alice": 1, "bob": -1}


def test_a_boards_default_window_is_its_own():
    chat = Chat(found(), make_board(default_window="month"))
    chat.add("alice", 5)
    assert chat.read("alice")["period"]["key"] == "2026-11"


@pytest.mark.parametrize("path", ["ranking", "ranking/around"])
@pytest.mark.parametrize("period", [" ", "Week", "2026-W48", "2026-02-30", "２０２６-11", "year"])
def test_an_unreadable_period_is_invalid(chat, path, period):
    chat.add("alice", 5)
    assert refused(chat.ask("alice", path, period=period), "period")


# Pages


@pytest.mark.parametrize("limit", [0, 101, -1, "abc", "1.5"])
def test_a_limit_outside_1_to_100_is_invalid(chat, limit):
    chat.add("alice", 5)
    assert refused(chat.ask("alice", limit=limit), "limit")


def test_a_page_has_fifty_entries_by_default(chat):
    for number in range(101):
        chat.add(f"p{number}")
    assert len(chat.read("p0")["entries"]) == 50
    assert len(chat.read("p0", limit=1)["entries"]) == 1
    assert len(chat.read("p0", limit=100)["entries"]) == 100


def walk(chat: Chat, name: str, limit: int, **query: Any) -> list[list[str]]:
    """Read the names on each page, from the first page to the last."""
    pages, cursor = [], {}
    for _page in range(len(chat.people) + 1):
        answer = chat.read(name, limit=limit, **query, **cursor)
        pages.append(names(answer))
        if answer["next"] is None:
            return pages
        cursor = {"cursor": answer["next"]}
    raise AssertionError(f"no end after {pages}")


def flat(pages: list[list[str]]) -> list[str]:
    return [name for page in pages for name in page]


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_the_pages_show_each_member_once_for_every_page_size(order):
    chat = Chat(found(), make_board(order=order))
    values = [7, 7, 7, 5, 5, None, None, None, 7, 5, 0]
    for number, value in enumerate(values):
        chat.add(f"p{number}", value, joined=number // 4)
    [whole] = walk(chat, "p0", 100)
    assert sorted(whole) == sorted(chat.people)
    for limit in range(1, len(values) + 1):
        pages = walk(chat, "p0", limit)
        assert flat(pages) == whole
        assert {len(page) for page in pages[:-1]} <= {limit}


def test_every_page_carries_the_same_totals_and_me(chat):
    for number in range(5):
        chat.add(f"p{number}", number)
    top = chat.read("p0", limit=2)
    below = chat.read("p0", limit=2, cursor=top["next"])
    for name in ("me", "total", "percentile", "group", "board", "period", "absent"):
        assert top[name] == below[name]
    assert [entry["rank"] for entry in below["entries"]] == [3, 4]


def test_a_cursor_works_after_its_member_is_gone(chat):
    for number in range(4):
        chat.add(f"p{number}", 7)
    cursor = chat.read("p3", limit=2)["next"]
    go(chat, "p1", leave)
    assert names(chat.read("p3", cursor=cursor)) == ["p2", "p3"]


def test_the_pages_stay_in_their_week_across_midnight(chat, frozen):
    frozen.move_to(MONDAY - timedelta(microseconds=1), tick=False)
    for number in range(4):
        chat.add(f"p{number}", 7)
    cursor = chat.read("p0", limit=2)["next"]
    frozen.move_to(MONDAY, tick=False)
    assert chat.read("p0")["period"]["key"] == "2026-W48"
    for period in {}, {"period": "week"}, {"period": THIS_WEEK}:
        answer = chat.read("p0", cursor=cursor, **period)
        assert answer["period"]["key"] == THIS_WEEK
        assert names(answer) == ["p2", "p3"]
    assert refused(chat.ask("p0", cursor=cursor, period="2026-W48"), "cursor")


def unfit_cursors(chat: Chat) -> Iterator[str]:
    def cursor(chat: Chat, **query: Any) -> str:
        return str(chat.read("alice", limit=1, **query)["next"])

    mine = cursor(chat)
    elsewhere = Chat(found("elsewhere"), chat.board)
    elsewhere.add("alice", 1, user=chat.people["alice"])
    elsewhere.add("bob", 1, user=chat.people["bob"])
    other_board = Chat(chat.group, make_board("other"), chat.people)
    yield from (cursor(elsewhere), cursor(other_board))
    yield from (cursor(chat, period=key) for key in ("day", "month", "all", LAST_WEEK, "2026-W45"))
    yield from (mine[:-1], mine[1:], mine + "x", mine.swapcase(), mine.replace(":", "."))
    yield ("A" if mine[0] != "A" else "B") + mine[1:]
    yield from ("x", "::", "a:b:c", "2026-W47", "💥", "' OR 1=1 --", "A" * 5000)
    yield signing.dumps([THIS_WEEK, 0, 0, 0, 0, 0])
    yield Link(chat.people["alice"].pk, chat.group.pk, chat.board.key).sign()


def test_a_cursor_of_another_list_or_a_forged_one_is_invalid(chat):
    chat.add("alice", 5)
    chat.add("bob", 4)
    cursors = [*unfit_cursors(chat)]
    fit = [
        text
        for text in cursors
        if not refused(chat.ask("alice", cursor=text, period=THIS_WEEK), "cursor")
    ]
    assert fit == []


# Around me


@pytest.fixture
def nine(chat: Chat) -> Chat:
    """Add p1 … p7 with scores, best first, then p8 and p9 without."""
    for place in range(1, 10):
        chat.add(f"p{place}", 100 - place if place < 8 else None)
    return chat


@pytest.mark.parametrize(
    ("name", "size", "first", "last"),
    [
        ("p1", 2, 1, 3),
        ("p2", 2, 1, 4),
        ("p5", 2, 3, 7),
        ("p5", 1, 4, 6),
        ("p5", 25, 1, 9),
        ("p7", 1, 6, 8),
        ("p8", 2, 6, 9),
        ("p9", 1, 8, 9),
    ],
)
def test_around_shows_my_neighbours_on_each_side(nine, name, size, first, last):
    answer = nine.read(name, "ranking/around", size=size)
    assert names(answer) == [f"p{place}" for place in range(first, last + 1)]
    assert [who for who, mine in column(answer, "isMe").items() if mine] == [name]
    whole = nine.read(name)
    assert answer["entries"] == whole["entries"][first - 1 : last]
    for same in ("me", "total", "percentile", "group", "board", "period", "absent"):
        assert answer[same] == whole[same]


def test_around_shows_five_on_each_side_by_default(chat):
    for place in range(1, 21):
        chat.add(f"p{place}", 100 - place)
    assert names(chat.read("p10", "ranking/around")) == [f"p{place}" for place in range(5, 16)]


def test_the_pages_go_on_below_around(nine):
    cursor = nine.read("p3", "ranking/around", size=2)["next"]
    assert names(nine.read("p3", cursor=cursor)) == ["p6", "p7", "p8", "p9"]
    assert nine.read("p8", "ranking/around", size=2)["next"] is None


@pytest.mark.parametrize("size", [26, -1, "abc", "1.5"])
def test_a_size_that_is_not_a_number_up_to_25_is_invalid(nine, size):
    assert refused(nine.ask("p5", "ranking/around", size=size), "size")


def test_around_in_a_past_period_is_centred_on_my_place_then(nine):
    nine.score("p9", 5, LAST_WEEK)
    answer = nine.read("p9", "ranking/around", size=1, period=LAST_WEEK)
    assert names(answer) == ["p9", "p1"]


# Against a model and against the database, on random groups


@dataclass
class Row:
    """A member of a random group; small numbers, so that nearly everything ties."""

    value: int | None
    achieved: int
    joined: int
    before: int | None
    hidden: bool
    name: str = ""

    def key(self, sign: int) -> tuple[int, ...]:
        if self.value is None:
            return (1, 0, 0, self.joined, int(self.name))
        return (0, sign * self.value, self.achieved, self.joined, int(self.name))


values = st.none() | st.integers(-2, 2)
few = st.integers(0, 2)
rows = st.builds(Row, values, few, few, values, st.sampled_from([False] * 5 + [True]))
groups = st.lists(rows, min_size=1, max_size=12)
orders = st.sampled_from(["desc", "asc"])


@contextmanager
def random_chat(members: list[Row], order: str) -> Iterator[Chat]:
    """Store the members in the database until the example ends."""
    with transaction.atomic():
        chat = Chat(found(), make_board(order=order))
        for number, row in enumerate(members):
            row.name = str(number)
            chat.add(
                row.name,
                row.value,
                row.achieved,
                joined=row.joined,
                before=row.before,
                hidden=row.hidden,
            )
        ranking.recent.clear()  # the last example's group had the same number
        yield chat
        transaction.set_rollback(True)


def model_ranks(listed: list[Row], sign: int, column: str) -> dict[str, int]:
    scored = {
        row.name: sign * getattr(row, column) for row in listed if getattr(row, column) is not None
    }
    return {
        name: 1 + sum(other < mine for other in scored.values()) for name, mine in scored.items()
    }


@examples
@given(groups, orders, st.integers(1, 13))
def test_a_ranking_agrees_with_a_plain_model(members, order, limit):
    sign = -1 if order == "desc" else 1
    with random_chat(members, order) as chat:
        listed = sorted((row for row in members if not row.hidden), key=lambda row: row.key(sign))
        ranks = model_ranks(listed, sign, "value")
        ranks_before = model_ranks(listed, sign, "before")
        order_of_names = [row.name for row in listed]

        whole = chat.standings(limit=100)
        assert names(whole) == order_of_names
        assert whole.total == len(listed)
        assert whole.group.member_count == len(members)
        for standing in whole.entries:
            name = standing.member.nickname
            assert standing.rank == ranks.get(name)
            movement = None
            if name in ranks:
                before = ranks_before.get(name)
                movement = "new" if before is None else before - ranks[name]
            assert standing.movement == movement
        for row in members:
            check_viewer(chat, row, whole, ranks)

        seen, cursor = [], None
        for _page in range(-(-len(listed) // limit) or 1):
            page = chat.standings(limit=limit, cursor=cursor)
            seen += names(page)
            cursor = page.next
        assert (seen, cursor) == (order_of_names, None)


def check_viewer(chat: Chat, row: Row, whole: ranking.Ranking, ranks: dict[str, int]) -> None:
    """Check that what a member reads about themselves agrees with the list, in every call."""
    user = chat.people[row.name]
    seen = chat.standings(viewer=user, limit=100)
    mine = seen.me
    near = ranking.around(chat.group, chat.board, clock.now(), user, size=2)
    assert mine == near.me
    assert mine.member.nickname == row.name
    assert (mine.rank, mine.score) == (None if row.hidden else ranks.get(row.name), row.value)
    others = whole.total - 1
    percentile = None
    if mine.rank is not None:
        below = sum(1 for s in whole.entries if s.rank is None or s.rank > mine.rank)
        percentile = below * 100 // others if others else 100
    assert seen.percentile == near.percentile == percentile
    assert names(seen) == names(whole)
    assert [s for s in seen.entries if s.is_me] == ([] if row.hidden else [mine])
    if row.hidden:
        assert near.entries == []
        return
    place = names(whole).index(row.name)
    assert names(near) == names(whole)[max(0, place - 2) : place + 3]


@examples
@given(groups, orders)
def test_ranks_agree_with_the_databases_own_window_function(members, order):
    with random_chat(members, order) as chat:
        best_first = F("value").desc() if order == "desc" else F("value").asc()
        listed = Membership.objects.filter(group=chat.group, hidden=False).values("user")
        scores = Score.objects.filter(board=chat.board, period=THIS_WEEK, user__in=listed)
        ranked = scores.annotate(rank=Window(Rank(), order_by=best_first))
        expected = dict(ranked.values_list("user", "rank"))
        whole = chat.standings(limit=100)
        assert {s.member.id: s.rank for s in whole.entries if s.rank is not None} == expected


improvements = st.lists(
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 3)), max_size=4), max_size=12
)


@examples
@given(groups, orders, st.integers(1, 5), improvements)
def test_while_scores_improve_the_pages_show_no_member_twice(members, order, limit, improvements):
    sign = 1 if order == "desc" else -1
    with random_chat(members, order) as chat:
        moved, seen, cursor = set(), [], None
        for step in range(len(members) + 1):
            page = chat.standings(limit=limit, cursor=cursor)
            seen += names(page)
            if (cursor := page.next) is None:
                break
            for number, better in improvements[step] if step < len(improvements) else []:
                row = members[number % len(members)]
                row.value = sign * better + (row.value if row.value is not None else 0)
                chat.score(row.name, row.value, at=60 + step)
                moved.add(row.name)
        assert cursor is None
        assert len(seen) == len({*seen})
        still = {row.name for row in members if not row.hidden} - moved
        assert still <= {*seen}
        assert not {*seen} & {row.name for row in members if row.hidden}


def test_a_viewer_from_outside_the_group_has_no_standing_in_it(chat):
    chat.add("alice", 1)
    assert chat.standings(viewer=person("stranger")).me is None


# The same order everywhere


def names_on(browser: Browser, address: str) -> list[str]:
    """Read the players' names down both pages of a ranking."""
    seen, query = [], ""
    for _page in range(2):
        html = browser.get(address + query, headers={"Accept-Language": "en"}).content.decode()
        main = html.partition("</h1>")[2].partition('class="card rows mine')[0]
        seen += re.findall(r"<bdi>(player\d\d)", main)
        more = re.search(r'<a rel="next" href="(\?[^"]+)"', main)
        query = more[1].replace("&amp;", "&") if more else ""
    assert not query
    return seen


def test_api_member_page_and_operator_page_show_the_same_order(olga):
    chat = Chat(found(label="Everyone"), Board.objects.active_days())
    for number in range(60):
        value = None if number % 7 == 0 else number % 5
        chat.add(f"player{number:02}", value, at=number % 3, joined=number % 4)
    go(chat, "player01", hide)
    go(chat, "player02", leave)
    expected = flat(walk(chat, "player10", 7))
    assert len(expected) == 58
    link = Link(chat.people["player10"].pk, chat.group.pk, ACTIVE_DAYS).sign()
    assert names_on(Browser(), reverse("member-page", args=[link])) == expected
    assert names_on(olga, reverse("group-page", args=[chat.group.pk])) == expected


def test_the_page_around_me_shows_my_neighbours_and_goes_on_after_them():
    chat = Chat(found(label="Everyone"), Board.objects.active_days())
    for number in range(90):
        chat.add(f"player{number:02}", None if number > 85 else 100 - number)
    go(chat, "player01", hide)
    order = flat(walk(chat, "player10", 50))

    def page(name: str, query: str) -> str:
        link = Link(chat.people[name].pk, chat.group.pk, ACTIVE_DAYS).sign()
        answer = Browser().get(reverse("member-page", args=[link]) + query)
        assert answer.status_code == 200
        return answer.content.decode()

    def shown(html: str) -> list[str]:
        main = html.partition("</h1>")[2].partition('class="card rows mine')[0]
        return re.findall(r"<bdi>(player\d\d)", main)

    for name in ("player00", "player10", "player60", "player80", "player88"):
        place = order.index(name)
        html = page(name, "?around")
        assert shown(html) == order[max(0, place - 25) : place + 26], name
        assert html.count(' id="me"') == 1
        assert 'class="podium' not in html
        if more := re.search(r'<a rel="next" href="(\?[^"]+)"', html):
            assert "around" not in more[1]
            following = shown(page(name, more[1].replace("&amp;", "&")))
            assert following[0] == order[place + 26]
    assert re.search(r'<a class="name" href="\?[^"]*around=[^"]*#me"', page("player60", ""))
    assert '<a class="name" href="#me"' in page("player10", "")
    assert '<a class="name"' not in page("player00", "")  # on the podium
    hidden = page("player01", "?around")
    assert shown(hidden) == order[:50]
    assert 'class="podium' in hidden and '<a class="name"' not in hidden


# One moment


READS = {
    "a page": lambda group, board, now, me: ranking.standings(group, board, now, viewer=me),
    "a past week": lambda group, board, now, me: ranking.standings(group, board, now, "2026-W46"),
    "all time": lambda group, board, now, me: ranking.standings(group, board, now, "all"),
    "around me": lambda group, board, now, me: ranking.around(group, board, now, me),
    "the whole": lambda group, board, now, me: ranking.whole(group, board, now),
    "winners": lambda group, board, now, me: ranking.winners(group, board, now, "2026-W46", 3),
    "for operators": lambda group, board, now, me: ranking.roster(group, board, now),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("scope", ["app", "group"])
def test_an_answer_is_read_in_one_statement(
    read: Any, scope: str, django_assert_num_queries: Any, db: None
) -> None:
    """Two statements would see two moments: a newcomer of the second without the score."""
    board = Board.objects.create(
        app_id=APP_ID, key="x", title_zh="x", title_en="x", scope=scope, policy="best"
    )
    user = WeChatUser.objects.create(app_id=APP_ID, openid="o-reader")
    group = Group.objects.create(app_id=APP_ID, open_gid="a group of one reader")
    now = clock.now()
    Membership.objects.create(group=group, user=user, joined_at=now, verified_at=now)
    with django_assert_num_queries(1):
        read(group, board, now, user)


def test_a_preview_of_samples_shows_differences_and_a_tie(db: None) -> None:
    """Of a group of hundreds too: not ten first places."""
    group = Group.objects.create(app_id=APP_ID, open_gid="a group of two hundred")
    now = clock.now()
    for number in range(200):
        user = WeChatUser.objects.create(app_id=APP_ID, openid=f"o-sampled-{number}")
        Membership.objects.create(group=group, user=user, joined_at=now, verified_at=now)
    for order in Board.Order.values:
        for style, ranks in {
            "competition": [1, 2, 2, 4, 5, 6, 7, 8, 9, 10],
            "dense": [1, 2, 2, 3, 4, 5, 6, 7, 8, 9],
            "ordinal": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        }.items():
            board = Board(app_id=APP_ID, key="new", order=order, rank_style=style)
            shown = ranking.preview(group, board, now, sampled=True).entries
            assert [each.rank for each in shown] == ranks
