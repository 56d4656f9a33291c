"""What operators do to members, memberships, scores and groups, and what the audit records."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from accounts.models import WeChatUser
from audit.models import AuditEvent
from console.actions import ACTIONS, DECISIONS
from groups.models import Board, Group, Membership, Score, ServerKey
from tests.cast import DOUBTFUL, FAMILY, ROLES, Person, browser_of, refused
from tests.query_counts import count_queries
from tests.settings import APP_ID

RANKING = f"groups/{FAMILY}/ranking"


def do(operator: Browser, key: str, row: Any, reason: str = "举报属实", **values: str) -> Any:
    """Confirm an action on a row; return the answer."""
    return operator.post(reverse("console-act", args=[key, row.pk]), {"reason": reason, **values})


def row_for(key: str) -> Any:
    """Return a row of an action's model; of operators one of their own, who is signed in."""
    model: Any = ACTIONS[key].model
    if model is not User:
        return model.objects.first()
    otto = User.objects.create_user("otto", is_staff=True)
    Browser().force_login(otto)
    return otto


def names(person: Person) -> list[str]:
    return [e["member"]["nickname"] for e in person.get(RANKING).json()["entries"]]


def membership_of(person: Person) -> Membership:
    return Membership.objects.get(user=person.user, group__open_gid=FAMILY)


def last_event() -> AuditEvent:
    return AuditEvent.objects.latest("pk")


def test_a_hidden_member_is_gone_at_once_and_shown_again_after_the_undo(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    assert names(bob) == ["小明", "李雷"]
    answer = do(olga, "hide", membership_of(alice), next=f"/groups/{group.pk}/")
    assert (answer.status_code, answer["Location"]) == (302, f"/groups/{group.pk}/")
    assert names(bob) == ["李雷"]
    assert do(olga, "show", membership_of(alice)).status_code == 302
    assert names(bob) == ["小明", "李雷"]


def test_a_member_hidden_by_an_operator_cannot_show_themselves(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    do(olga, "hide", membership_of(alice))
    shown = alice.put(f"groups/{FAMILY}/membership", {"hidden": False}).json()
    assert shown["hidden"] is True
    assert alice.get(RANKING).json()["absent"] == "hidden"
    assert names(bob) == ["李雷"]
    memberships = alice.get("me/data").json()["memberships"]
    assert [row["withheld"] for row in memberships] == [True]


def test_a_member_shown_by_an_operator_stays_hidden_by_their_own_wish(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    alice.put(f"groups/{FAMILY}/membership", {"hidden": True})
    do(olga, "hide", membership_of(alice))
    do(olga, "show", membership_of(alice))
    assert names(bob) == ["李雷"]


def test_the_audit_says_who_did_what_and_why_without_a_members_name(
    alice: Person, group: Group, olga: Browser
) -> None:
    answer = do(olga, "block", alice.user, reason="刷屏")
    event = AuditEvent.objects.get()
    assert (event.operator_name, event.action, event.reason) == ("olga", "block", "刷屏")
    assert (event.target, event.target_id) == ("wechatuser", alice.user.pk)
    assert event.request_id == answer["X-Request-ID"]
    stored = str(AuditEvent.objects.values())
    assert "小明" not in stored and alice.openid not in stored


def test_an_unblocked_member_reads_again(alice: Person, group: Group, olga: Browser) -> None:
    do(olga, "block", alice.user)
    refused(alice.get("me"), 403, "user_blocked")
    do(olga, "unblock", alice.user)
    assert alice.get(RANKING).status_code == 200


def test_a_reset_deletes_the_nickname_and_the_one_that_awaits_review(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    assert alice.put("me", {"nickname": DOUBTFUL}).status_code == 200
    do(olga, "reset_nickname", alice.user)
    me = alice.get("me").json()
    assert (me["nickname"], me["nicknameState"]) == ("", "refused")
    assert "小明" not in bob.get(RANKING).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_reset_deletes_the_files_of_the_avatar(
    alice: Person, olga: Browser, settings: Any
) -> None:
    settings.CONTENT_SAFETY = False
    alice.upload()
    key = alice.user.avatar
    assert default_storage.exists(f"avatars/{key}-96.webp")
    do(olga, "reset_avatar", alice.user)
    assert alice.user.avatar == ""
    assert not default_storage.exists(f"avatars/{key}-96.webp")


def test_a_hidden_group_is_not_found_by_its_members_and_cannot_be_entered(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    do(olga, "hide_group", group)
    for path in ("", "/ranking", "/ranking/around"):
        refused(alice.get(f"groups/{FAMILY}{path}"), 404, "not_found")
    assert alice.get("groups").json()["groups"] == []
    refused(alice.post("groups/bind", alice.envelope("family")), 404, "not_found")
    do(olga, "show_group", group)
    assert names(alice) == ["小明", "李雷"]


def test_the_removal_of_a_score_leaves_the_others(
    alice: Person, group: Group, olga: Browser
) -> None:
    score = Score.objects.get(user=alice.user, period="all")
    before = Score.objects.count()
    do(olga, "remove_score", score)
    assert Score.objects.count() == before - 1
    assert last_event().details == {"board": "active-days", "period": "all"}


def test_an_erasure_by_an_operator_leaves_only_a_number(
    alice: Person, group: Group, olga: Browser
) -> None:
    user = alice.user
    assert do(olga, "erase", user).status_code == 302
    assert not WeChatUser.objects.filter(pk=user.pk).exists()
    refused(alice.get("me"), 401, "invalid_token")
    assert (last_event().action, last_event().member_id) == ("erase", user.pk)
    assert olga.get(reverse("console-act", args=["erase", user.pk])).status_code == 404


def test_an_action_confirmed_twice_is_done_and_recorded_once(
    alice: Person, group: Group, olga: Browser
) -> None:
    for _ in range(2):
        do(olga, "hide", membership_of(alice))
        do(olga, "hide_group", group)
        do(olga, "block", alice.user)
        do(olga, "reset_nickname", alice.user)
    assert AuditEvent.objects.count() == 4


def test_an_action_without_a_reason_is_not_done(alice: Person, olga: Browser) -> None:
    answer = do(olga, "block", alice.user, reason=" ")
    assert answer.status_code == 200
    assert not alice.user.is_blocked
    assert AuditEvent.objects.count() == 0


@pytest.fixture
def backend(db: None) -> ServerKey:
    return ServerKey.objects.issue(APP_ID, "backend", timezone.now())[1]


@pytest.mark.no_service
@pytest.mark.parametrize("key", ACTIONS)
def test_the_confirmation_page_changes_nothing(
    alice: Person, group: Group, backend: ServerKey, olga: Browser, key: str
) -> None:
    row = row_for(key)
    page = olga.get(reverse("console-act", args=[key, row.pk]))
    assert str(escape(ACTIONS[key].consequence)) in page.content.decode()
    assert AuditEvent.objects.count() == 0


def page_of(key: str, row: Any) -> str:
    return reverse("console-act", args=[key, row.pk])


def this_week(person: Person) -> Score:
    return Score.objects.get(user=person.user, period__contains="-W")


def test_the_page_of_an_action_names_member_board_period_value_and_group(
    alice: Person, group: Group, olga: Browser
) -> None:
    Group.objects.update(label="周末羽毛球")
    page = olga.get(page_of("remove_score", this_week(alice)))
    assert str(page.context["subject"]) == "小明 · 活跃天数 · 本周 · 1 天 · 周末羽毛球"
    page = olga.get(page_of("hide", membership_of(alice)))
    assert str(page.context["subject"]) == "小明 · 周末羽毛球"
    assert "<bdi>小明</bdi> · <bdi>周末羽毛球</bdi>" in page.content.decode()


def test_the_page_shows_which_scores_stay(alice: Person, group: Group, olga: Browser) -> None:
    score = this_week(alice)
    Score.objects.filter(user=alice.user, period="all").update(value=9)
    Score.objects.create(
        board=score.board, period="2020-W01", user=alice.user, value=7, achieved_at=timezone.now()
    )
    effect = olga.get(page_of("remove_score", score)).context["effect"]
    assert [each.title for each in effect.scores] == ["今日", "本月", "总榜"]
    assert [each.value for each in effect.scores] == ["1 天", "1 天", "9 天"]


def test_a_past_score_stands_beside_the_periods_that_hold_its_days(
    alice: Person, group: Group
) -> None:
    score = this_week(alice)

    def make(period: str) -> Score:
        values = {"board": score.board, "user": alice.user, "scope": group.pk, "value": 1}
        return Score.objects.create(period=period, achieved_at=timezone.now(), **values)

    past = make("2021-W13")  # from 29 March to 4 April
    for period in ("2021-03", "2021-04", "2021-03-29", "2021-04-04", "2021-W14", "2021-05"):
        make(period)
    beside = [each.period for each in Score.objects.beside(past, timezone.now())]
    held = {"2021-03", "2021-04", "2021-03-29", "2021-04-04"}
    assert held == {period for period in beside if period.startswith("2021")}


def test_the_page_says_in_how_many_groups_and_what_an_erasure_takes(
    alice: Person, group: Group, olga: Browser
) -> None:
    alice.enter("elsewhere")
    assert "2 个群里的名次" in olga.get(page_of("block", alice.user)).content.decode()
    assert "其他 1 个群里的名次" in olga.get(page_of("hide", membership_of(alice))).content.decode()
    page = olga.get(page_of("erase", alice.user)).content.decode()
    assert f"{alice.user.scores.count()} 个得分" in page and "只有成员编号" in page
    assert "2 名成员的排行" in olga.get(page_of("hide_group", group)).content.decode()


def test_the_reason_has_the_focus_and_a_harsh_button_is_not_a_calm_one(
    alice: Person, group: Group, olga: Browser
) -> None:
    for key, row in {
        "block": alice.user,
        "hide": membership_of(alice),
        "erase": alice.user,
    }.items():
        page = olga.get(page_of(key, row)).content.decode()
        assert re.search(r'<input[^>]*name="reason"[^>]*autofocus', page), key
        assert 'class="button calm"' not in page and 'class="button default"' not in page, key
        tone = ACTIONS[key].tone.value
        assert f'class="button {tone}">{ACTIONS[key].label}</button>' in page
    WeChatUser.objects.update(status="blocked")
    assert 'class="button calm"' in olga.get(page_of("unblock", alice.user)).content.decode()


@pytest.mark.no_service
@pytest.mark.parametrize("key", ACTIONS)
def test_every_action_has_reasons_of_one_click(
    alice: Person, group: Group, backend: ServerKey, olga: Browser, key: str
) -> None:
    row = row_for(key)
    page = olga.get(page_of(key, row)).content.decode()
    assert ACTIONS[key].presets
    at_once = ACTIONS[key].undo is not None
    for preset in ACTIONS[key].presets:
        kind = 'button type="submit" class="button"' if at_once else 'input type="radio"'
        assert f'<{kind} name="preset" value="{escape(preset)}"' in page


def test_a_chosen_reason_is_kept_alone_or_with_words(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    do(olga, "block", alice.user, reason="", preset="广告")
    assert last_event().reason == "广告"
    do(olga, "block", bob.user, reason="第二次了", preset="广\0告")
    assert last_event().reason == "广告 · 第二次了"
    answer = do(olga, "unblock", bob.user, reason="长" * 199, preset="广告")
    assert answer.status_code == 200 and "请写短一些" in answer.content.decode()
    assert bob.user.is_blocked


def flash_of(answer: Any, operator: Browser) -> str:
    """Return the message of the page that an answer leads to."""
    [message] = operator.get(answer["Location"]).context["messages"]
    return str(message)


def test_the_message_names_the_member_and_undoes_with_one_click(
    alice: Person, bob: Person, group: Group
) -> None:
    Group.objects.update(label="周末羽毛球")
    olga = Browser(enforce_csrf_checks=True)
    olga.force_login(User.objects.create_superuser("olga"))
    back = f"/groups/{group.pk}/"
    token = str(olga.get(page_of("hide", membership_of(alice))).context["csrf_token"])
    answer = do(olga, "hide", membership_of(alice), next=back, csrfmiddlewaretoken=token)
    said = flash_of(answer, olga)
    assert said.startswith("已隐藏 <bdi>小明</bdi> · <bdi>周末羽毛球</bdi>")
    assert names(bob) == ["李雷"]
    [address] = re.findall(r'action="([^"]+)"', said)
    sent = dict(re.findall(r'name="(\w+)" value="([^"]*)"', said))
    answer = olga.post(address, sent)
    assert (answer.status_code, answer["Location"]) == (302, back)
    assert names(bob) == ["小明", "李雷"]
    assert (last_event().action, last_event().reason) == ("show", "当即撤销")
    assert "已恢复显示" in flash_of(answer, olga)
    olga.post(address, sent)
    assert AuditEvent.objects.count() == 2, "undone once"


def test_a_name_in_a_message_is_escaped(alice: Person, group: Group, olga: Browser) -> None:
    WeChatUser.objects.filter(pk=alice.user.pk).update(nickname="<script>alert(1)</script>")
    said = flash_of(do(olga, "block", alice.user, next="/groups/"), olga)
    assert "<script>" not in said and "&lt;script&gt;" in said


def test_a_double_click_deletes_once_and_shows_no_error(
    alice: Person, group: Group, olga: Browser
) -> None:
    score, user = this_week(alice), alice.user
    for row, key in ((score, "remove_score"), (user, "erase")):
        flash_of(do(olga, key, row), olga)
        second = do(olga, key, row)
        assert second.status_code == 302
        assert "已经是这样了" in flash_of(second, olga)
    assert AuditEvent.objects.count() == 2


@pytest.mark.parametrize("address", ["hide/1/", "erase/1/", f"block/{'9' * 30}/", "bless/1/"])
def test_an_action_on_nothing_or_without_a_name_is_not_found(olga: Browser, address: str) -> None:
    assert olga.get(f"/admin/act/{address}").status_code == 404
    assert olga.post(f"/admin/act/{address}", {"reason": "x"}).status_code == 404


@pytest.mark.parametrize("key", ACTIONS)
def test_the_page_of_an_action_takes_at_most_eight_queries(
    alice: Person, group: Group, backend: ServerKey, key: str
) -> None:
    browser = browser_of("superuser" if MAY[key] == "superuser" else "manager")
    assert count_queries(browser, page_of(key, row_for(key))) <= 8


# Corrections


def test_a_score_is_corrected_from_its_row(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    Group.objects.update(label="周末羽毛球")
    score = this_week(alice)
    url = f"/admin/groups/score/{score.pk}/change/"
    here = f"/groups/{group.pk}/"
    assert f'href="{url}?next={quote(here)}"' in olga.get(here).content.decode()
    page = olga.get(url, {"next": here})
    assert str(page.context["row_subject"]) == "小明 · 活跃天数 · 本周 · 1 天 · 周末羽毛球"
    assert [each.title for each in page.context["beside"]] == ["今日", "本月", "总榜"]
    answer = olga.post(f"{url}?next={here}", {"value": "3", "reason": "算错了"})
    assert answer["Location"] == here
    said = flash_of(answer, olga)
    assert said.startswith("已更正（原为 1 天）： <bdi>小明</bdi> · <bdi>活跃天数</bdi>")
    assert "<bdi>3 天</bdi>" in said and said.endswith("今日、本月、总榜未改动。")
    values = dict(Score.objects.filter(user=alice.user).values_list("period", "value"))
    assert values.pop(score.period) == 3 and set(values.values()) == {1}
    answer = olga.post(f"{url}?next={here}", {"value": "3", "reason": "再来一次"})
    assert "已经是这样了" in flash_of(answer, olga)
    assert AuditEvent.objects.filter(action="change_score").count() == 1


def test_a_score_with_decimals_is_written_as_it_is_shown(alice: Person, olga: Browser) -> None:
    board = Board.objects.create(
        app_id=APP_ID, key="run", title_zh="跑步", title_en="Run", decimals=2, max_value=5000
    )
    score = Score.objects.create(
        board=board, period="all", user=alice.user, value=1250, achieved_at=timezone.now()
    )
    url = f"/admin/groups/score/{score.pk}/change/"
    assert 'value="12.50"' in olga.get(url).content.decode()
    for wrong in ("50.01", "1.234", "x", "-91000000000000000", "1e30", ""):
        answer = olga.post(url, {"value": wrong, "reason": "x"})
        assert answer.status_code == 200, wrong
        score.refresh_from_db()
        assert score.value == 1250
    page = olga.post(url, {"value": "50.01", "reason": "x"}).content.decode()
    assert "“跑步”的得分最高为 50.00。" in page
    assert olga.post(url, {"value": "13.05", "reason": "x"}).status_code == 302
    score.refresh_from_db()
    assert score.value == 1305


def test_only_those_who_may_correct_scores_are_offered_it(alice: Person, group: Group) -> None:
    for role, offered in {"moderator": False, "manager": True}.items():
        page = browser_of(role).get(f"/groups/{group.pk}/").content.decode()
        assert ("/admin/groups/score/" in page) == offered


@pytest.mark.parametrize("key", DECISIONS)
def test_nothing_that_awaits_review_can_be_decided_by_an_action(
    alice: Person, group: Group, olga: Browser, key: str
) -> None:
    alice.put("me", {"nickname": DOUBTFUL})
    row = DECISIONS[key].model.objects.first()  # type: ignore[attr-defined]
    assert do(olga, key, row).status_code == 404
    page = olga.get(f"/admin/accounts/wechatuser/{alice.user.pk}/change/").content.decode()
    assert key not in page
    assert AuditEvent.objects.count() == 0


def test_an_erasure_from_the_members_own_page_leads_to_the_list(
    alice: Person, bob: Person, olga: Browser
) -> None:
    pages = [f"/admin/accounts/wechatuser/{person.user.pk}/change/" for person in (alice, bob)]
    answer = do(olga, "erase", alice.user, next=pages[0])
    assert answer["Location"] == "/admin/accounts/wechatuser/"
    assert do(olga, "block", bob.user, next=pages[1])["Location"] == pages[1]


def test_the_page_after_an_action_is_never_on_another_site(alice: Person, olga: Browser) -> None:
    answer = do(olga, "block", alice.user, next="https://evil.example/")
    assert answer["Location"] == "/admin/accounts/wechatuser/"


MAY: dict[str, str] = {
    **dict.fromkeys(ACTIONS, "moderator"),
    "erase": "manager",
    "revoke": "manager",
    "end_sessions": "superuser",
}


@pytest.mark.no_service
@pytest.mark.parametrize("role", ROLES[:4])
@pytest.mark.parametrize("key", ACTIONS)
def test_each_action_is_allowed_for_its_roles_only(
    alice: Person, group: Group, backend: ServerKey, key: str, role: str
) -> None:
    row = row_for(key)
    allowed = ROLES.index(role) >= ROLES.index(MAY[key])
    assert do(browser_of(role), key, row).status_code == (302 if allowed else 403)
    if not allowed:
        assert AuditEvent.objects.count() == 0


def test_each_migrate_restores_the_roles(db: None) -> None:
    Role.objects.get(name="viewer").permissions.clear()
    call_command("migrate", verbosity=0)
    assert Role.objects.get(name="viewer").permissions.filter(codename="view_group").exists()
