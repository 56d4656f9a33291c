"""What is kept of a group's standings for two seconds: whose changes show at once, whose do not."""

from collections.abc import Iterator
from datetime import timedelta
from threading import Barrier, Thread
from time import sleep
from typing import Any

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework import serializers

from accounts.models import Token, WeChatUser
from core.database import fetch_prepared
from groups import ranking, standings, visits
from groups.links import Link
from groups.models import Board, Group, Membership, Score
from groups.periods import Period, Window
from groups.serializers import MemberOutput, RankingOutput, StandingOutput
from groups.standings import Recent
from tests.chats import NOW, Chat, call, found, make_board, person
from tests.settings import APP_ID, OTHER_APP_ID

pytestmark = pytest.mark.django_db

LATER = timedelta(seconds=1.9)


@pytest.fixture(autouse=True)
def frozen(time_machine: Any) -> Any:
    time_machine.move_to(NOW, tick=False)
    return time_machine


@pytest.fixture
def chat() -> Chat:
    chat = Chat(found(), make_board())
    for place, name in enumerate(("alice", "bob", "carol")):
        chat.add(name, 10 * (place + 1), before=5)
    return chat


def ask(chat: Chat, name: str, language: str = "en", path: str = "ranking", **headers: str) -> Any:
    """Call the API as this member, without forgetting what is kept."""
    token, _row = Token.objects.issue(chat.people[name], timezone.now())
    headers |= {"Authorization": f"Bearer {token}", "Accept-Language": language}
    where = f"/api/v1/groups/{chat.group.open_gid}/{path}?board={chat.board.key}"
    return Browser().get(where, headers=headers)


def scores(answer: Any) -> dict[str, int]:
    return {each["member"]["nickname"]: each["score"] for each in answer.json()["entries"]}


def is_read(statements: CaptureQueriesContext) -> bool:
    """Tell whether the standings were read from the database."""
    return any("joined_at" in each["sql"] for each in statements.captured_queries)


# Whose changes show when


def test_a_second_reader_needs_no_standings_from_the_database(chat: Chat) -> None:
    with CaptureQueriesContext(connection) as first:
        ask(chat, "alice")
    with CaptureQueriesContext(connection) as second:
        answer = ask(chat, "bob")
    assert (is_read(first), is_read(second)) == (True, False)
    assert [each["isMe"] for each in answer.json()["entries"]] == [False, True, False]
    assert answer.json()["me"]["member"]["nickname"] == "bob"


def test_my_own_score_shows_at_once_and_that_of_others_within_two_seconds(
    chat: Chat, frozen: Any
) -> None:
    ask(chat, "alice")
    chat.score("bob", 99, at=1)
    assert scores(ask(chat, "alice"))["bob"] == 20
    assert scores(ask(chat, "bob"))["bob"] == 99
    assert scores(ask(chat, "alice"))["bob"] == 99  # what bob's call has read is the newer
    chat.score("bob", 100, at=2)
    frozen.move_to(NOW + LATER)
    assert scores(ask(chat, "alice"))["bob"] == 99
    frozen.move_to(NOW + timedelta(seconds=2))
    assert scores(ask(chat, "alice"))["bob"] == 100


def test_a_score_that_came_back_to_its_value_has_another_time(chat: Chat) -> None:
    before = ask(chat, "bob").json()["me"]
    chat.score("bob", 7, at=1)
    chat.score("bob", before["score"], at=2)
    after = ask(chat, "bob").json()["me"]
    assert after["score"] == before["score"]
    assert after["achievedAt"] > before["achievedAt"]


def test_a_first_score_and_a_removed_one_show_to_their_owner_at_once(chat: Chat) -> None:
    chat.add("dave")
    assert ask(chat, "dave").json()["me"]["score"] is None
    chat.score("dave", 3)
    assert ask(chat, "dave").json()["me"]["score"] == 3
    Score.objects.filter(user=chat.people["dave"]).delete()
    assert ask(chat, "dave").json()["me"]["score"] is None


def test_a_risen_version_shows_everything_at_once(chat: Chat) -> None:
    ask(chat, "alice")
    Membership.objects.filter(user=chat.people["bob"]).update(hidden=True)
    assert "bob" in scores(ask(chat, "alice"))
    Group.objects.update(version=1)
    assert "bob" not in scores(ask(chat, "alice"))


def test_what_was_read_before_a_newer_version_is_not_taken_for_it() -> None:
    recent: Recent[str] = Recent(len)
    get = {"now": NOW, "fits": lambda made: True}
    assert recent.get("key", 3, make=lambda: "third", **get) == "third"
    assert recent.get("key", 2, make=lambda: "second", **get) == "third"
    assert recent.get("key", 4, make=lambda: "fourth", **get) == "fourth"


def test_a_clock_that_was_set_back_keeps_nothing_longer(chat: Chat, frozen: Any) -> None:
    frozen.move_to(NOW + timedelta(hours=1))
    ask(chat, "alice")
    chat.score("bob", 99, at=1)
    frozen.move_to(NOW)
    assert scores(ask(chat, "alice"))["bob"] == 99


def test_an_edited_board_shows_at_once(chat: Chat) -> None:
    assert ask(chat, "alice").json()["entries"][0]["scoreText"] == "30"
    Board.objects.filter(pk=chat.board.pk).update(decimals=1, title_en="Renamed", unit_en="km")
    answer = ask(chat, "alice").json()
    assert (answer["entries"][0]["scoreText"], answer["board"]["title"]) == ("3.0", "Renamed")
    assert (answer["board"]["decimals"], answer["board"]["unit"]) == (1, "km")


def test_two_boards_of_one_kind_are_kept_apart(chat: Chat) -> None:
    chat.add("dave")  # who has a score on neither
    first, second = chat.board, make_board("other")
    assert len(scores(ask(chat, "dave"))) == 4
    chat.board = second
    assert set(scores(ask(chat, "dave")).values()) == {None}
    chat.board = first
    assert set(scores(ask(chat, "dave")).values()) == {30, 20, 10, None}


def test_a_draft_is_shown_to_its_owner_alone(chat: Chat) -> None:
    WeChatUser.objects.filter(openid="bob").update(nickname_draft="Bobby")
    Membership.objects.filter(user=chat.people["carol"]).update(alias="C", alias_draft="Cleo")
    assert set(scores(ask(chat, "alice"))) == {"alice", "bob", "C"}
    assert set(scores(ask(chat, "bob"))) == {"alice", "Bobby", "C"}
    assert set(scores(ask(chat, "carol"))) == {"alice", "bob", "Cleo"}
    assert set(scores(ask(chat, "alice"))) == {"alice", "bob", "C"}


def test_each_language_has_its_own_words(chat: Chat) -> None:
    WeChatUser.objects.filter(openid="bob").update(nickname="")
    assert "WeChat user" in scores(ask(chat, "alice"))
    assert "微信用户" in scores(ask(chat, "alice", "zh-hans"))


def test_a_team_s_server_and_operators_see_what_there_is(chat: Chat) -> None:
    ask(chat, "alice")
    chat.score("bob", 99, at=1)
    shown = ranking.standings(chat.group, chat.board, timezone.now()).entries
    assert [each.score for each in shown] == [99, 30, 10]


# Bounds


def test_what_is_too_old_or_too_much_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    recent: Recent[str] = Recent(len)
    monkeypatch.setattr(standings, "MOST_KEPT", 6)

    def keep(key: int, seconds: float, size: int = 2) -> None:
        now = NOW + timedelta(seconds=seconds)
        recent.get(key, 0, now, lambda made: True, lambda: "x" * size)

    for key in range(5):
        keep(key, 0)
    assert list(recent._kept) == [2, 3, 4]
    keep(5, 1, size=100)  # too large with any other
    assert list(recent._kept) == [5]
    keep(6, 1)
    assert list(recent._kept) == [6]
    keep(7, 3)
    assert list(recent._kept) == [7]
    assert not recent._makers


def test_one_thread_makes_and_the_others_wait_for_it() -> None:
    recent: Recent[str] = Recent(len)
    made, got, start = [], [], Barrier(8)

    def make() -> str:
        made.append(1)
        sleep(0.2)
        return "table"

    def read() -> None:
        start.wait()
        got.append(recent.get("key", 0, NOW, lambda table: True, make))

    threads = [Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), got) == (1, ["table"] * 8)


def test_who_waits_hears_of_a_failure_as_soon_as_it_happens() -> None:
    recent: Recent[str] = Recent(len)
    failed, start = [], Barrier(8)

    def make() -> str:
        failed.append("made")
        sleep(0.5)
        raise ConnectionError

    def read() -> None:
        start.wait()
        try:
            recent.get("key", 0, NOW, lambda table: True, make)
        except ConnectionError:
            failed.append("heard")

    threads = [Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed.count("made"), failed.count("heard")) == (1, 8)


def test_a_failure_is_kept_for_no_one() -> None:
    recent: Recent[str] = Recent(len)

    def fail() -> str:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        recent.get("key", 0, NOW, lambda table: True, fail)
    assert recent.get("key", 0, NOW, lambda table: True, lambda: "made") == "made"
    assert not recent._makers


# The same answer, however it is read and written


def people_of_all_kinds(chat: Chat) -> Iterator[tuple[str, WeChatUser]]:
    """Make members who are and are not in the group, in all ways."""
    long_ago = NOW - timedelta(days=40)
    yield "here", chat.add("here", 4, before=9)
    yield "scoreless", chat.add("scoreless")
    yield "hidden", chat.add("hidden", 4, hidden=True)
    yield "withheld", chat.add("withheld", 4, withheld=True)
    yield "left", chat.add("left", 4, left_at=NOW)
    yield "lapsed", chat.add("lapsed", 4, verified_at=long_ago)
    blocked = chat.add("blocked", 4)
    WeChatUser.objects.filter(pk=blocked.pk).update(status=WeChatUser.Status.BLOCKED)
    yield "blocked", blocked
    yield "stranger", person("stranger")
    yield "of another app", person("here", OTHER_APP_ID)


def test_the_statement_of_the_standings_is_that_of_the_models(chat: Chat) -> None:
    list(people_of_all_kinds(chat))
    period = Period.current(Window.WEEK, NOW)
    for before in (period.previous, None):
        members = Membership.objects.current(NOW).filter(group=chat.group)
        rows = standings.with_scores(members, chat.group, chat.board, period, before)
        expected = rows.values_list(*standings.COLUMNS, *standings.SCORE_COLUMNS)
        read = standings.read_rows(chat.group, chat.board, period, before, NOW)
        assert len(expected) == 7
        assert sorted(read, key=lambda row: row[4]) == sorted(expected, key=lambda row: row[4])


def test_who_asks_and_may_they_is_as_the_models_say(chat: Chat) -> None:
    for kind, user in people_of_all_kinds(chat):
        visible = Group.objects.visible_to(user, NOW).filter(pk=chat.group.pk).exists()
        assert visible == (kind in {"here", "scoreless", "hidden", "withheld"})
        status = {True: 200, False: 403 if kind == "blocked" else 404}[visible]
        asked = call(user, f"groups/{chat.group.open_gid}/ranking", board="points")
        assert asked.status_code == status, kind
        link = Link(user.pk, chat.group.pk, "points").sign()
        assert Browser().get(f"/g/{link}/").status_code == (200 if visible else 404), kind
    Group.objects.update(hidden=True)
    asked = call(chat.people["here"], f"groups/{chat.group.open_gid}/ranking", board="points")
    assert asked.status_code == 404


def test_a_visit_has_all_boards_as_they_are(chat: Chat) -> None:
    board = Board.objects.create(
        app_id=APP_ID,
        key="all",
        min_value=-(2**53) + 1,
        max_value=2**53 - 1,
        active_from=NOW,
        active_to=NOW + timedelta(seconds=1.5),
        default_for=APP_ID,
    )
    make_board("elsewhere", app_id=OTHER_APP_ID)
    visit = visits.visit_by_link(Link(chat.people["alice"].pk, chat.group.pk, "all"), NOW)
    assert visit is not None
    mine = Board.objects.of_app(APP_ID)
    assert visit.boards == mine
    columns = [field.attname for field in Board._meta.concrete_fields]
    for each, expected in zip(visit.boards, mine, strict=True):
        assert [getattr(each, name) for name in columns] == [
            getattr(expected, name) for name in columns
        ]
    assert board in visit.boards
    for name in (*visits.GROUP, "hidden"):
        assert getattr(visit.group, name) == getattr(chat.group, name)
    assert (visit.user.app_id, visit.user.status, visit.user.nickname) == (
        APP_ID,
        "active",
        "alice",
    )


def test_what_is_written_by_hand_is_what_the_fields_would_write(chat: Chat, rf: Any) -> None:
    chat.add("dave")
    request = rf.get("/")
    context = {"request": request}
    for name in ("alice", "dave"):
        seen = chat.standings(viewer=chat.people[name])
        written = RankingOutput(seen, context=context).data
        answer = ask(chat, name, "zh-CN").json()
        assert list(answer) == list(written)
        assert answer == written
        for standing in seen.entries:
            by_fields = serializers.Serializer.to_representation
            entry = StandingOutput(standing, context=context)
            assert by_fields(entry, standing) == entry.data
            member = MemberOutput(standing.member, context=context)
            assert by_fields(member, standing.member) == member.data


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only there")
def test_the_statements_of_a_ranking_are_prepared(chat: Chat) -> None:
    ask(chat, "alice")
    [[count]] = fetch_prepared("SELECT count(*) FROM pg_prepared_statements", {})
    assert count >= 2


# Conditional reads


@pytest.mark.parametrize("path", ["ranking", "ranking/around"])
def test_the_same_answer_again_is_304_and_empty(chat: Chat, frozen: Any, path: str) -> None:
    first = ask(chat, "alice", path=path)
    tag = first["ETag"]
    assert tag.startswith('W/"')
    assert first["Cache-Control"] == "private, no-cache"
    assert {"Authorization", "Accept-Language"} <= set(first["Vary"].split(", "))
    frozen.move_to(NOW + timedelta(seconds=30))
    for given in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = ask(chat, "alice", path=path, **{"If-None-Match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again["ETag"] == tag
        assert again["Cache-Control"] == "private, no-cache"
    assert ask(chat, "alice", path=path, **{"If-None-Match": '"other"'}).status_code == 200


def test_a_tag_is_of_a_viewer_a_language_and_all_that_is_shown(chat: Chat, frozen: Any) -> None:
    tags = [ask(chat, name, language)["ETag"] for name in chat.people for language in ("en", "zh")]
    chat.score("bob", 21, at=1)
    frozen.move_to(NOW + timedelta(seconds=3))
    tags.append(ask(chat, "alice")["ETag"])
    Board.objects.filter(pk=chat.board.pk).update(unit_en="km")
    tags.append(ask(chat, "alice")["ETag"])
    Group.objects.update(label="Family")
    tags.append(ask(chat, "alice")["ETag"])
    assert len(set(tags)) == len(tags)


def test_a_group_of_more_than_a_page_has_the_same_tag_a_second_later(
    chat: Chat, frozen: Any
) -> None:
    for number in range(60):
        chat.add(f"player{number}", number)
    answer = ask(chat, "alice")
    assert answer.json()["next"]
    frozen.move_to(NOW + timedelta(seconds=5))
    assert ask(chat, "alice", **{"If-None-Match": answer["ETag"]}).status_code == 304


def test_a_tag_opens_nothing_to_those_who_may_not_read(chat: Chat) -> None:
    tag = ask(chat, "bob")["ETag"]
    Membership.objects.filter(user=chat.people["bob"]).update(left_at=NOW)
    assert ask(chat, "bob", **{"If-None-Match": tag}).status_code == 404
    where = f"/api/v1/groups/{chat.group.open_gid}/ranking"
    assert Browser().get(where, headers={"If-None-Match": tag}).status_code == 401
