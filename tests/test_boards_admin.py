"""Boards, and keys for teams' own back ends, in the console."""

import csv
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import WeChatUser
from audit.models import AuditEvent
from groups.models import MAX_SCORE, Board, Group, Score, ServerKey
from tests.cast import API, FAMILY, Person, everything_stored
from tests.settings import APP_ID

ADD = "/admin/groups/board/add/"
STEPS = {
    "app_id": APP_ID,
    "key": "steps",
    "title_zh": "步数",
    "title_en": "Steps",
    "unit_zh": "步",
    "unit_en": "",
    "order": "desc",
    "policy": "best",
    "scope": "app",
    "rank_style": "dense",
    "decimals": "0",
    "windows": ["all", "week"],
    "default_window": "week",
    "writer": "client",
    "min_value": "0",
    "max_value": "",
}


def change(board: Board) -> str:
    return f"/admin/groups/board/{board.pk}/change/"


def errors_of(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 200, answer
    return dict(answer.context["adminform"].form.errors)


def test_phones_can_use_a_new_board_at_once(olga: Browser, alice: Person) -> None:
    assert olga.get(ADD).status_code == 200
    assert olga.post(ADD, STEPS).status_code == 302
    board = Board.objects.get(key="steps")
    assert (board.windows, board.rank_style, board.min_value) == ("week,all", "dense", 0)
    assert board.default_for is None
    assert alice.submit(5).status_code == 200
    assert alice.submit(-1).status_code == 400


BAD = {
    "a key with a space": ({"key": "a b"}, "key"),
    "a mini-program that is not here": ({"app_id": "wxunknown"}, "app_id"),
    "no window": ({"windows": []}, "windows"),
    "a default window that is not counted": ({"default_window": "day"}, "default_window"),
    "bounds the wrong way round": ({"min_value": "5", "max_value": "4"}, "max_value"),
    "a bound that JavaScript cannot hold": ({"max_value": str(MAX_SCORE + 1)}, "max_value"),
    "seven decimals": ({"decimals": "7"}, "decimals"),
    "an end before its beginning": (
        {"active_from": "2026-11-26T00:00", "active_to": "2026-11-25T00:00"},
        "active_to",
    ),
    "a beginning before all time": ({"active_from": "0001-01-01T00:00"}, "active_from"),
}


@pytest.mark.parametrize(("what", "name"), BAD.values(), ids=BAD)
def test_a_board_with_contradicting_fields_is_refused_at_its_field(
    olga: Browser, what: dict[str, Any], name: str
) -> None:
    answer = olga.post(ADD, {**STEPS, **what})
    assert list(errors_of(answer)) == [name]
    assert not Board.objects.filter(key="steps").exists()


def test_the_list_shows_which_board_is_the_default(olga: Browser) -> None:
    def defaults() -> dict[str, str]:
        page = olga.get("/admin/groups/board/").content.decode()
        pattern = r'field-key">([\w-]+)<.*?field-is_default">([^<]*)<'
        return dict(re.findall(pattern, page, re.DOTALL))

    olga.post(ADD, STEPS)
    assert defaults() == {"steps": "-", "active-days": "没有其他默认榜单时"}
    olga.post(change(Board.objects.get(key="steps")), {**STEPS, "is_default": "on"})
    assert defaults()["steps"] == "✓"


def test_read_only_fields_are_in_the_readers_language(
    olga: Browser, alice: Person, group: Group
) -> None:
    page = olga.get(change(Board.objects.active_days())).content.decode()
    assert "日、周、月、总榜" in page and "day,week" not in page
    score = Score.objects.get(user=alice.user, period="all")
    for path in ("score/", f"score/{score.pk}/change/"):
        page = olga.get(f"/admin/groups/{path}").content.decode()
        assert "总榜" in page and ">all<" not in page
    page = olga.get(f"/admin/accounts/wechatuser/{alice.user.pk}/change/").content.decode()
    assert "总榜" in page and "· all<" not in page


def test_a_groups_page_has_a_tab_for_each_board_and_shows_the_unit(
    olga: Browser, group: Group
) -> None:
    olga.post(ADD, STEPS)
    for key in ("b", "a"):
        olga.post(ADD, {**STEPS, "key": key})
    page = olga.get(f"/groups/{group.pk}/").content.decode()
    keys = list(dict.fromkeys(re.findall(r'href="\?board=([\w-]+)', page)))
    assert keys == ["active-days", "steps", "b", "a"] and "<small>天</small>" in page


def test_there_is_one_default_board(olga: Browser, alice: Person, group: Group) -> None:
    def shown() -> str:
        return str(alice.get(f"groups/{FAMILY}/ranking").json()["board"]["key"])

    assert shown() == "active-days"
    for key in ("steps", "points"):
        olga.post(ADD, {**STEPS, "key": key, "is_default": "on"})
        assert shown() == key
    assert Board.objects.filter(default_for=APP_ID).count() == 1
    taken = AuditEvent.objects.get(action="change", target="board")
    assert taken.target_id == Board.objects.get(key="steps").pk
    points = Board.objects.get(key="points")
    assert (
        "checked"
        in re.search(  # type: ignore[union-attr]
            r"<input[^>]*is_default[^>]*>", olga.get(change(points)).content.decode()
        )[0]
    )
    assert olga.post(change(points), {**STEPS, "key": "points"}).status_code == 302
    assert shown() == "active-days"


def test_fields_that_give_scores_their_meaning_are_fixed_once_there_are_scores(
    olga: Browser, alice: Person, make_board: Any
) -> None:
    board = make_board()
    changed = {**STEPS, "policy": "sum", "order": "asc", "scope": "group"}
    assert olga.post(change(board), changed).status_code == 302
    board.refresh_from_db()
    assert (board.policy, board.order, board.scope) == ("sum", "asc", "group")
    olga.post(change(board), STEPS)
    alice.submit(5)
    olga.post(change(board), {**changed, "title_zh": "每日步数", "rank_style": "ordinal"})
    board.refresh_from_db()
    assert (board.policy, board.order, board.scope) == ("best", "desc", "app")
    assert (board.rank_style, board.title_zh) == ("dense", "每日步数")
    board.policy = "sum"
    assert board.settled_changes() == ["policy"]


def test_a_board_is_deleted_only_while_it_has_no_scores(
    olga: Browser, alice: Person, make_board: Any
) -> None:
    board = make_board()
    path = f"/admin/groups/board/{board.pk}/delete/"
    alice.submit(5)
    assert olga.post(path, {"post": "yes", "reason": "不用了"}).status_code == 403
    Score.objects.all().delete()
    assert olga.post(path, {"post": "yes", "reason": "不用了"}).status_code == 302
    assert not Board.objects.filter(pk=board.pk).exists()


def test_the_board_of_every_mini_program_is_read_only(olga: Browser) -> None:
    board = Board.objects.active_days()
    assert olga.get(change(board)).status_code == 200
    assert olga.post(change(board), {**STEPS, "key": "active-days"}).status_code == 403
    path = f"/admin/groups/board/{board.pk}/delete/"
    assert olga.post(path, {"post": "yes", "reason": "不用了"}).status_code == 403


# Keys

ADD_KEY = "/admin/groups/serverkey/add/"


def make_key(olga: Browser) -> tuple[str, Any]:
    answer = olga.post(ADD_KEY, {"app_id": APP_ID, "name": "结算服务"})
    assert answer.status_code == 200
    [text] = re.findall(r'id="key-text"[^>]*>([\w-]{43})<', answer.content.decode())
    return text, answer


def works(text: str) -> bool:
    headers = {"Authorization": f"Key {text}"}
    answer = Browser().get(API + "server/users/oX/groups", headers=headers)
    assert answer.status_code in {401, 404}
    return answer.status_code == 404


def test_a_key_is_shown_once_and_never_again(olga: Browser, log_output: Any) -> None:
    text, answer = make_key(olga)
    assert works(text)
    assert "no-store" in answer["Cache-Control"]
    key = ServerKey.objects.get()
    for path in ("", f"{key.pk}/change/", f"{key.pk}/history/"):
        page = olga.get(f"/admin/groups/serverkey/{path}").content.decode()
        assert text not in page and key.digest not in page
    assert text not in str(everything_stored()) + log_output.getvalue() + str(olga.cookies)


def test_a_rotated_key_is_shown_once_and_replaces_the_old_one(olga: Browser) -> None:
    old, _answer = make_key(olga)
    key = ServerKey.objects.get()
    rotate = {"action": "rotate", "_selected_action": key.pk}
    answer = olga.post("/admin/groups/serverkey/", rotate)
    [new] = re.findall(r'id="key-text"[^>]*>([\w-]{43})<', answer.content.decode())
    assert new != old and works(new) and not works(old)
    assert AuditEvent.objects.latest("pk").action == "rotate"


def test_a_revoked_key_stops_working_at_once_and_stays_on_the_list(olga: Browser) -> None:
    text, _answer = make_key(olga)
    key = ServerKey.objects.get()
    act = f"/admin/act/revoke/{key.pk}/"
    assert act in olga.get(f"/admin/groups/serverkey/{key.pk}/change/").content.decode()
    for _twice in range(2):
        assert olga.post(act, {"reason": "泄露"}).status_code == 302
        assert not works(text)
    assert [event.reason for event in AuditEvent.objects.filter(action="revoke")] == ["泄露"]
    rotate = {"action": "rotate", "_selected_action": key.pk}
    assert olga.post("/admin/groups/serverkey/", rotate).status_code == 302
    assert not AuditEvent.objects.filter(action="rotate").exists() and not works(text)
    assert "结算服务" in olga.get("/admin/groups/serverkey/").content.decode()
    path = f"/admin/groups/serverkey/{key.pk}/delete/"
    assert olga.post(path, {"post": "yes", "reason": "不用了"}).status_code == 403


def test_a_key_keeps_its_mini_program(olga: Browser) -> None:
    make_key(olga)
    key = ServerKey.objects.get()
    path = f"/admin/groups/serverkey/{key.pk}/change/"
    olga.post(path, {"app_id": "wxother", "name": "另一个名字", "digest": "x"})
    before = key.digest
    key.refresh_from_db()
    assert (key.app_id, key.name, key.digest) == (APP_ID, "另一个名字", before)


@pytest.mark.parametrize("codename", ["view_serverkey", "view_board", "view_score"])
def test_a_viewer_can_neither_create_nor_rotate_keys(db: None, codename: str) -> None:
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename=codename))
    browser = Browser()
    browser.force_login(clerk)
    _text, key = ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    browser.post("/admin/groups/serverkey/", {"action": "rotate", "_selected_action": key.pk})
    assert browser.post(f"/admin/act/revoke/{key.pk}/", {"reason": "x"}).status_code == 403
    assert browser.post(ADD_KEY, {"app_id": APP_ID, "name": "x"}).status_code == 403
    assert browser.post(ADD, STEPS).status_code == 403
    digest = key.digest
    key.refresh_from_db()
    assert (key.digest, key.revoked_at, ServerKey.objects.count()) == (digest, None, 1)


# Previews


def preview(olga: Browser, path: str = ADD, **changed: Any) -> Any:
    return olga.post(path, {**STEPS, "_preview": "", **changed})


def ranks_in(answer: Any) -> list[int | None]:
    return [standing.rank for standing in answer.context["ranking"].entries]


@pytest.fixture
def crowd(make_person: Any) -> list[Person]:
    people = [make_person(f"member-{number}", f"成员{number}号") for number in range(9)]
    for person in people:
        person.enter("family")
    return people


def test_a_preview_shows_real_members_with_samples_and_saves_nothing(
    olga: Browser, crowd: list[Person]
) -> None:
    before = everything_stored()
    answer = preview(olga)
    page = answer.content.decode()
    assert answer.status_code == 200 and "样例" in page
    assert all(f"成员{number}号" in page for number in range(9))
    assert everything_stored() == before


def test_a_preview_shows_the_rank_style_and_respects_the_bounds(
    olga: Browser, crowd: list[Person]
) -> None:
    found = {style: ranks_in(preview(olga, rank_style=style)) for style in ("dense", "ordinal")}
    assert found["ordinal"] == list(range(1, 10))
    assert len(set(found["dense"])) < 9 and max(found["dense"]) == len(set(found["dense"]))
    narrow = preview(olga, min_value="5", max_value="5").context["ranking"]
    assert {standing.score for standing in narrow.entries} == {5}


def test_a_preview_of_a_board_with_scores_shows_them(
    olga: Browser, crowd: list[Person], make_board: Any
) -> None:
    board = make_board()
    crowd[3].submit(42)
    answer = preview(olga, change(board), title_zh="改名")
    [first, *rest] = answer.context["ranking"].entries
    assert (first.member.nickname, first.score) == ("成员3号", 42)
    assert "样例" not in answer.content.decode()
    assert {standing.score for standing in rest} == {None}
    board.refresh_from_db()
    assert board.title_zh == "步数"


def test_a_preview_shows_errors_and_says_if_there_is_no_group(olga: Browser) -> None:
    assert "default_window" in errors_of(preview(olga, default_window="day"))
    assert preview(olga).status_code == 200
    clerk = Browser()
    clerk.force_login(User.objects.create_user("clerk", is_staff=True))
    assert preview(clerk).status_code == 403


# Corrections and seasons


def correct(olga: Browser, score: Score, value: Any) -> Any:
    address = f"/admin/groups/score/{score.pk}/change/"
    return olga.post(address, {"value": value, "reason": "算错了"})


def test_a_corrected_score_counts_in_the_next_read(
    olga: Browser, alice: Person, group: Group, make_board: Any
) -> None:
    make_board()
    alice.submit(5)
    for score in Score.objects.filter(board__key="steps"):
        achieved = score.achieved_at
        assert correct(olga, score, 4).status_code == 302
        score.refresh_from_db()
        assert (score.value, score.source, score.achieved_at) == (4, "operator", achieved)
        assert correct(olga, score, MAX_SCORE + 1).status_code == 200
    assert alice.get(f"groups/{FAMILY}/ranking?board=steps").json()["me"]["score"] == 4
    assert AuditEvent.objects.filter(action="change_score", reason="算错了").count() == 4
    assert "小明" not in str(AuditEvent.objects.values())


def test_a_correction_respects_the_boards_bounds(
    olga: Browser, alice: Person, group: Group, make_board: Any
) -> None:
    make_board(min_value=2, max_value=9)
    alice.submit(5)
    score = Score.objects.filter(board__key="steps").latest("pk")
    days = Score.objects.filter(board__key="active-days").latest("pk")
    for wrong, value in ((score, 1), (score, 10), (days, -1)):
        assert list(errors_of(correct(olga, wrong, value))) == ["value"]
    assert correct(olga, days, 0).status_code == correct(olga, score, 9).status_code == 302


def test_the_correction_of_a_score_that_is_gone_reports_no_success(
    olga: Browser, alice: Person, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = Score.objects.filter(user=alice.user).latest("pk")
    lock = WeChatUser.objects.lock

    def remove(pk: int) -> Any:
        Score.objects.filter(pk=score.pk).delete()
        return lock(pk)

    monkeypatch.setattr(type(WeChatUser.objects), "lock", lambda _self, pk: remove(pk))
    assert correct(olga, score, 4).status_code == 404
    assert AuditEvent.objects.count() == 0


def test_a_correction_needs_a_reason(olga: Browser, alice: Person, group: Group) -> None:
    score = Score.objects.filter(user=alice.user).latest("pk")
    answer = olga.post(f"/admin/groups/score/{score.pk}/change/", {"value": 9})
    assert list(errors_of(answer)) == ["reason"]
    score.refresh_from_db()
    assert (score.value, AuditEvent.objects.count()) == (1, 0)


def test_an_operator_removes_a_score(
    olga: Browser, alice: Person, group: Group, make_board: Any
) -> None:
    make_board()
    alice.submit(5)
    score = Score.objects.get(board__key="steps", period="all")
    act = f"/admin/act/remove_score/{score.pk}/"
    assert olga.post(act, {"reason": "作弊"}).status_code == 302
    ranking = alice.get(f"groups/{FAMILY}/ranking?board=steps&period=all").json()
    assert ranking["me"]["score"] is None
    assert AuditEvent.objects.get().action == "remove_score"
    assert "小明" not in str(AuditEvent.objects.values())


def season(olga: Browser, group: Group, query: str = "") -> tuple[Any, list[list[str]]]:
    answer = olga.get(f"/admin/export/ranking/{group.pk}.csv{query}")
    assert answer.status_code == 200
    return answer, list(csv.reader(answer.content.decode("utf-8-sig").splitlines()))


def test_a_season_is_exported_completely_and_without_formulas(
    olga: Browser, alice: Person, bob: Person, group: Group, make_board: Any
) -> None:
    make_board(decimals=2)
    alice.rename("=SUM(A1:A9)")
    alice.submit(-1250)
    answer, [head, first, second] = season(olga, group, "?board=steps&period=all")
    assert answer.content.startswith(b"\xef\xbb\xbf")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].endswith(f'"{FAMILY}-steps-all.csv"')
    assert head[0] == "名次" and len(head) == 6
    assert first[:3] == ["1", str(alice.user.pk), "'=SUM(A1:A9)"]
    assert first[3:5] == ["-1250", "-12.50"] and first[5].endswith("+08:00")
    assert second == ["", str(bob.user.pk), "李雷", "", "", ""]


def test_a_season_lists_the_members_of_the_ranking(
    olga: Browser, alice: Person, bob: Person, group: Group
) -> None:
    bob.put(f"groups/{FAMILY}/membership", {"hidden": True})
    _answer, rows = season(olga, group)
    assert [row[2] for row in rows[1:]] == ["小明"]
    for query in ("?board=nothing", "?period=x"):
        assert olga.get(f"/admin/export/ranking/{group.pk}.csv{query}").status_code == 404
