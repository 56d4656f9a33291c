"""Boards, and keys for teams' own back ends, in the console."""

import csv
import re
from typing import Any

import pytest
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import WeChatUser
from audit.models import AuditEvent
from core.vault import decrypt
from groups.models import MAX_SCORE, Board, Group, Score, ServerKey, VerificationFile
from tests.cast import API, FAMILY, Person, browser_of, everything_stored, later
from tests.query_counts import count_queries
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
            r'<input[^>]*name="is_default"[^>]*>', olga.get(change(points)).content.decode()
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


def make_key(olga: Browser, name: str = "结算服务") -> tuple[str, Any]:
    """Make a key; return its text and the page that shows it."""
    answer = olga.post(ADD_KEY, {"app_id": APP_ID, "name": name})
    assert answer.status_code == 302, errors_of(answer)
    page = olga.get(answer["Location"])
    return text_in(page), page


def text_in(page: Any) -> str:
    [text] = re.findall(r'id="shown-once"[^>]*>([^<]*)<', page.content.decode())
    assert re.fullmatch(r"gsk_[\w-]{43}", text)
    return str(text)


def key_page(key: ServerKey, more: str = "change/") -> str:
    return f"/admin/groups/serverkey/{key.pk}/{more}"


def rotate(browser: Browser, key: ServerKey, **sent: Any) -> Any:
    made = key.created_at.isoformat()
    return browser.post(key_page(key, "rotate/"), {"made": made, "reason": "泄露", **sent})


def works(text: str) -> bool:
    headers = {"Authorization": f"Key {text}"}
    answer = Browser().get(API + "server/users/oX/groups", headers=headers)
    assert answer.status_code in {401, 404}
    return answer.status_code == 404


def test_a_key_is_shown_once_and_never_again(olga: Browser, log_output: Any) -> None:
    answer = olga.post(ADD_KEY, {"app_id": APP_ID, "name": "结算服务"})
    waiting = str(everything_stored())
    page = olga.get(answer["Location"])
    text = text_in(page)
    assert works(text) and "no-store" in page["Cache-Control"]
    key = ServerKey.objects.get()
    assert text not in waiting, "the session has it sealed, until the page is opened"
    for path in (key_page(key), "/admin/groups/serverkey/", key_page(key, "rotate/")):
        page = olga.get(path).content.decode()
        assert text not in page and key.digest not in page and "shown-once" not in page
        assert text[:8] in page, "its first characters tell it from others"
    assert text not in str(everything_stored()) + log_output.getvalue() + str(olga.cookies)
    assert "shown_once" not in olga.session


def test_a_session_does_not_tell_a_key_even_to_who_reads_it(olga: Browser, settings: Any) -> None:
    olga.post(ADD_KEY, {"app_id": APP_ID, "name": "结算服务"})
    *_row, sealed = olga.session["shown_once"]
    assert ServerKey.objects.valid(decrypt(sealed) or "") and "gsk_" not in str(
        olga.session.items()
    )
    settings.FIELD_KEYS = ["bmV3LWtleS1uZXcta2V5LW5ldy1rZXktMDAwMDAwMDA="]
    page = olga.get(key_page(ServerKey.objects.get()))
    assert page.status_code == 200 and "shown-once" not in page.content.decode()


def test_a_key_that_no_one_looked_at_for_ten_minutes_is_not_shown(olga: Browser) -> None:
    olga.post(ADD_KEY, {"app_id": APP_ID, "name": "结算服务"})
    with later(minutes=11):
        assert "shown-once" not in olga.get(key_page(ServerKey.objects.get())).content.decode()
    assert "shown_once" not in olga.session


def test_only_the_new_keys_own_page_shows_its_text(olga: Browser) -> None:
    old, _page = make_key(olga, "old")
    first = ServerKey.objects.get()
    answer = olga.post(ADD_KEY, {"app_id": APP_ID, "name": "new"})
    assert "shown-once" not in olga.get(key_page(first)).content.decode()
    assert olga.head(answer["Location"]).status_code == 200
    assert text_in(olga.get(answer["Location"])) != old


def test_a_form_sent_twice_makes_one_key(olga: Browser) -> None:
    make_key(olga)
    again = olga.post(ADD_KEY, {"app_id": APP_ID, "name": "结算服务"})
    assert list(errors_of(again)) == ["name"]
    key = ServerKey.objects.get()
    olga.post(f"/admin/act/revoke/{key.pk}/", {"reason": "泄露"})
    make_key(olga)
    assert ServerKey.objects.count() == 2


def test_a_rotated_key_is_shown_once_and_replaces_the_old_one(olga: Browser) -> None:
    old, page = make_key(olga)
    key = ServerKey.objects.get()
    assert key_page(key, "rotate/") in page.content.decode()
    asked = olga.get(key_page(key, "rotate/")).content.decode()
    assert f'value="{key.created_at.isoformat()}"' in asked and old[:8] in asked
    new = text_in(olga.get(rotate(olga, key)["Location"]))
    assert new != old and works(new) and not works(old)
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.target_id, event.reason) == ("rotate", key.pk, "泄露")
    assert new not in str(everything_stored())


def test_a_key_is_not_rotated_without_a_reason_or_twice_by_one_form(olga: Browser) -> None:
    text, _page = make_key(olga)
    key = ServerKey.objects.get()
    assert rotate(olga, key, reason="").status_code == 200 and works(text)
    new = text_in(olga.get(rotate(olga, key)["Location"]))
    page = olga.get(rotate(olga, key)["Location"]).content.decode()
    assert works(new) and "shown-once" not in page and "期间" in page
    assert AuditEvent.objects.filter(action="rotate").count() == 1


def test_a_revoked_key_stops_working_at_once_and_stays_on_the_list(olga: Browser) -> None:
    text, _answer = make_key(olga)
    key = ServerKey.objects.get()
    act = f"/admin/act/revoke/{key.pk}/"
    assert act in olga.get(key_page(key)).content.decode()
    for _twice in range(2):
        assert olga.post(act, {"reason": "泄露"}).status_code == 302
        assert not works(text)
    assert [event.reason for event in AuditEvent.objects.filter(action="revoke")] == ["泄露"]
    assert rotate(olga, key).status_code == 302
    assert not AuditEvent.objects.filter(action="rotate").exists() and not works(text)
    assert key_page(key, "rotate/") not in olga.get(key_page(key)).content.decode()
    page = olga.get("/admin/groups/serverkey/").content.decode()
    assert "结算服务" in page and "已吊销" in page
    path = key_page(key, "delete/")
    assert olga.post(path, {"post": "yes", "reason": "不用了"}).status_code == 403


def test_the_list_of_keys_says_how_each_is_used(olga: Browser) -> None:
    text, _page = make_key(olga)
    assert "尚未使用" in olga.get("/admin/groups/serverkey/").content.decode()
    works(text)
    page = olga.get("/admin/groups/serverkey/").content.decode()
    assert "尚未使用" not in page and f"<code>{text[:8]}…</code>" in page and "有效" in page
    assert f"{timezone.localtime():%m-%d}" in page


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
    assert browser.get(key_page(key, "rotate/")).status_code == 403
    assert rotate(browser, key).status_code == 403
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


def test_a_preview_stands_beside_the_form_and_keeps_what_was_typed(
    olga: Browser, crowd: list[Person]
) -> None:
    typed = {"key": "laps", "title_zh": "圈数", "unit_zh": "圈", "order": "asc", "min_value": "7"}
    answer = preview(olga, **typed, windows=["all"], default_window="all")
    page = answer.content.decode()
    assert 'id="preview"' in page and "成员1号" in page
    form = answer.context["adminform"].form
    assert {name: form[name].value() for name in typed} == typed
    assert form["windows"].value() == ["all"] and "_save" in page
    assert not answer.context["errors"]
    for name in ("key", "title_zh"):
        assert f'value="{typed[name]}"' in page


def test_a_preview_of_a_stale_form_says_so(olga: Browser, make_board: Any) -> None:
    board = make_board()
    seen = seen_in(olga.get(change(board)))
    Board.objects.update(title_zh="每日步数")
    answer = preview(olga, change(board), seen=seen)
    assert "名称（中文）现为：每日步数" in errors_of(answer)["__all__"][1]


def test_a_board_that_cannot_be_changed_has_a_preview_too(
    olga: Browser, crowd: list[Person], make_board: Any
) -> None:
    path = change(Board.objects.active_days())
    assert 'href="?preview#preview"' in olga.get(path).content.decode()
    page = olga.get(path + "?preview")
    assert 'id="preview"' in page.content.decode() and len(ranks_in(page)) == 9
    viewer = browser_of("viewer").get(change(make_board()) + "?preview")
    assert 'id="preview"' in viewer.content.decode() and len(ranks_in(viewer)) == 9
    assert count_queries(olga, path + "?preview") <= 8


def test_a_board_that_cannot_be_changed_shows_its_fields_in_order_for_people(
    olga: Browser, make_board: Any
) -> None:
    page = olga.get(change(Board.objects.active_days())).content.decode()
    shown = re.findall(r'class="readonly">(.*?)</div>', page, re.DOTALL)
    text = [re.sub(r"<[^>]+>", "", each).strip() for each in shown]
    assert text[:6] == ["所有小程序", "active-days", "活跃天数", "Active days", "天", "days"]
    assert "从高到低" in text and "日、周、月、总榜" in text and "不限" in text
    assert text.index("从高到低") < text.index("日、周、月、总榜") < text.index("不限")
    assert not {"desc", "-", "None", "day,week,month,all"} & set(text)
    board = make_board(decimals=2, max_value=1250, active_from=timezone.now())
    page = browser_of("viewer").get(change(board)).content.decode()
    assert "12.50" in page and f"{timezone.localtime():%m-%d}" in page


def test_the_list_of_boards_is_in_words(olga: Browser, make_board: Any) -> None:
    make_board(order="asc", unit_zh="秒")
    page = olga.get("/admin/groups/board/").content.decode()
    for words in ("从低到高", "从高到低", "秒", "天", "所有小程序", "每人一个得分"):
        assert f">{words}<" in page, words


# Two tabs on one row


def seen_in(page: Any) -> str:
    [seen] = re.findall(r'name="seen" value="([^"]*)"', page.content.decode())
    return str(seen)


def test_the_stale_one_of_two_tabs_is_refused_and_says_what_changed(
    olga: Browser, make_board: Any
) -> None:
    board = make_board()
    mine = seen_in(olga.get(change(board)))
    other = browser_of("manager")
    theirs = {**STEPS, "title_zh": "每日步数", "order": "asc", "windows": ["week", "month"]}
    assert other.post(change(board), {**theirs, "seen": mine}).status_code == 302
    typed = {**STEPS, "title_zh": "我的步数", "title_en": "My steps", "seen": mine}
    answer = olga.post(change(board), typed)
    said = re.sub("<[^>]+>", "", " ".join(errors_of(answer)["__all__"]))
    assert "manager" in said and f"{timezone.localtime():%m-%d}" in said
    for line in ("名称（中文）现为：每日步数", "排序现为：从低到高", "统计周期现为：周、月"):
        assert line in said
    assert "My steps" in answer.content.decode() and "我的步数" in answer.content.decode()
    board.refresh_from_db()
    assert (board.title_zh, board.title_en) == ("每日步数", "Steps")
    assert AuditEvent.objects.filter(action="change").count() == 1
    assert olga.post(change(board), {**typed, "seen": seen_in(answer)}).status_code == 302
    board.refresh_from_db()
    assert (board.title_zh, board.order) == ("我的步数", "desc")
    changed = AuditEvent.objects.latest("pk").details["changed"]
    assert not [name for name in changed if "seen" in name.lower()]


def test_no_one_is_named_for_a_change_that_the_audit_does_not_know(
    olga: Browser, make_board: Any
) -> None:
    board = make_board()
    with later(minutes=-5):
        browser_of("manager").post(change(board), {**STEPS, "title_zh": "旧名"})
    seen = seen_in(olga.get(change(board)))
    Board.objects.update(title_zh="每日步数")
    said = errors_of(olga.post(change(board), {**STEPS, "seen": seen}))["__all__"]
    assert "此处已被修改" in said[0] and "manager" not in said[0]


def test_a_change_back_or_of_another_row_makes_no_form_stale(
    olga: Browser, make_board: Any
) -> None:
    board, other = make_board(), make_board(key="laps")
    seen = seen_in(olga.get(change(board)))
    Board.objects.filter(pk=other.pk).update(title_zh="x")
    for title in ("x", board.title_zh):
        Board.objects.filter(pk=board.pk).update(title_zh=title)
    assert olga.post(change(board), {**STEPS, "seen": seen}).status_code == 302


def test_a_form_that_changes_what_is_settled_meanwhile_is_refused(
    olga: Browser, alice: Person, make_board: Any
) -> None:
    board = make_board(rank_style="dense", unit_zh="步", min_value=0, windows="week,all")
    seen = seen_in(olga.get(change(board)))
    alice.submit(5)
    answer = olga.post(change(board), {**STEPS, "policy": "sum", "seen": seen})
    [said] = errors_of(answer)["__all__"]
    assert "计分方式" in said and "已有得分" in said
    assert olga.post(change(board), {**STEPS, "seen": seen}).status_code == 302


@pytest.mark.parametrize("garbage", ["x", ":", "title_zh", "title_zh:", "nothing:1 pk:2", "\0:\0"])
def test_no_garbage_in_a_forms_memory_breaks_it(
    olga: Browser, make_board: Any, garbage: str
) -> None:
    answer = olga.post(change(make_board()), {**STEPS, "seen": garbage})
    assert answer.status_code in {200, 302}


ROWS: dict[str, tuple[Any, str, dict[str, Any], str]] = {
    "an operator": (
        lambda: User.objects.create_user("vera", is_staff=True),
        "auth/user",
        {"username": "vera", "is_active": "on", "is_staff": "on", "first_name": "薇"},
        "first_name",
    ),
    "a role": (lambda: Role.objects.create(name="客服"), "auth/group", {"name": "前台"}, "name"),
    "a verification file": (
        lambda: VerificationFile.objects.create(name="a.txt", content="a"),
        "groups/verificationfile",
        {"name": "a.txt", "content": "b"},
        "content",
    ),
    "a key": (
        lambda: ServerKey.objects.issue(APP_ID, "结算", timezone.now())[1],
        "groups/serverkey",
        {"name": "对账"},
        "name",
    ),
}


@pytest.mark.parametrize(("make", "path", "sent", "name"), ROWS.values(), ids=ROWS)
def test_every_form_that_two_may_have_open_knows_when_it_is_stale(
    olga: Browser, make: Any, path: str, sent: dict[str, Any], name: str
) -> None:
    row = make()
    address = f"/admin/{path}/{row.pk}/change/"
    seen = seen_in(olga.get(address))
    type(row).objects.filter(pk=row.pk).update(**{name: "其他"})
    answer = olga.post(address, {**sent, "seen": seen})
    said = errors_of(answer)["__all__"]
    assert "已被修改" in said[0] and "其他" in said[1]
    row.refresh_from_db()
    assert getattr(row, name) == "其他"
    assert olga.post(address, {**sent, "seen": seen_in(answer)}).status_code == 302
    row.refresh_from_db()
    assert getattr(row, name) == sent[name]


def test_a_form_says_which_roles_an_operator_was_given_meanwhile(olga: Browser) -> None:
    vera = User.objects.create_user("vera", is_staff=True)
    address = f"/admin/auth/user/{vera.pk}/change/"
    seen = seen_in(olga.get(address))
    vera.groups.add(Role.objects.get(name="manager"))
    sent = {"username": "vera", "is_active": "on", "is_staff": "on", "seen": seen}
    said = list(errors_of(olga.post(address, sent))["__all__"])
    assert said[1:-1] == ["角色现为：主管"]
    assert vera.groups.count() == 1


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
