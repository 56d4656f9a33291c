"""The console's lists and pages: what they show, how they are found, to whom, and at what cost."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import WeChatUser
from audit.models import AuditEvent
from console import paging
from console.paging import Count
from groups.models import Absence, Board, Group, Membership, Score
from tests.conftest import Person
from tests.settings import APP_ID, OTHER_APP_ID
from tests.test_bind import FAMILY
from tests.test_queries import FEW, MANY, fill, gather, people, undone

GROUPS, MEMBERS = "/admin/groups/group/", "/admin/accounts/wechatuser/"
LIMIT = 8


def page_of(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def rows_of(answer: Any) -> list[Any]:
    assert answer.status_code == 200, answer
    return list(answer.context["cl"].result_list)


def with_role(role: str) -> Browser:
    operator = User.objects.create_user(f"a-{role}", is_staff=True)
    operator.groups.add(Role.objects.get(name=role))
    browser = Browser()
    browser.force_login(operator)
    return browser


def membership_of(person: Person) -> Membership:
    return Membership.objects.get(user=person.user, group__open_gid=FAMILY)


# Lists


def test_a_group_is_called_after_its_members_until_it_has_a_label(
    group: Group, olga: Browser
) -> None:
    [row] = rows_of(olga.get(GROUPS))
    assert (row.title, row.member_count) == ("小明、李雷", 2)
    assert "小明、李雷" in olga.get(GROUPS).content.decode()


def test_a_group_is_found_once_however_many_of_its_members_are_called_so(
    group: Group, bob: Person, olga: Browser
) -> None:
    bob.rename("小明二号")
    membership = membership_of(bob)
    membership.alias = "三班小明"
    membership.save()
    for words in ("小明", "三班"):
        assert rows_of(olga.get(GROUPS, {"q": words})) == [group], words
    assert rows_of(olga.get(GROUPS, {"q": "韩梅梅"})) == []


def test_groups_are_labelled_in_bulk_and_each_change_is_audited(
    group: Group, charlie: Person, olga: Browser
) -> None:
    charlie.enter("elsewhere")
    other = Group.objects.exclude(pk=group.pk).get()
    chosen = {"action": "label_groups", "_selected_action": [group.pk, other.pk]}
    asked = olga.post(GROUPS, chosen)
    assert asked.status_code == 200 and "小明、李雷" in asked.content.decode()
    assert AuditEvent.objects.count() == 0
    told = {f"label-{group.pk}": "全家福", f"label-{other.pk}": ""}
    assert olga.post(GROUPS, {**chosen, **told, "apply": "1"}).status_code == 302
    assert list(Group.objects.order_by("pk").values_list("label", flat=True)) == ["全家福", ""]
    assert [event.target_id for event in AuditEvent.objects.filter(action="label")] == [group.pk]
    olga.post(GROUPS, {**chosen, **told, "all": "活动群", "apply": "1"})
    assert set(Group.objects.values_list("label", flat=True)) == {"活动群"}
    assert "全家福" not in str(AuditEvent.objects.values())


def test_a_viewer_labels_nothing(group: Group) -> None:
    viewer = with_role("viewer")
    told = {"all": "x", f"label-{group.pk}": "x", "apply": "1"}
    viewer.post(GROUPS, {"action": "label_groups", "_selected_action": group.pk, **told})
    viewer.post(page_of(group), {"label": "x"})
    assert Group.objects.get().label == ""


def test_openids_are_masked_until_they_are_asked_for_and_that_is_audited(
    alice: Person, group: Group, olga: Browser
) -> None:
    for path in (MEMBERS, page_of(alice.user), page_of(group), page_of(membership_of(alice))):
        assert alice.openid not in olga.get(path).content.decode(), path
    shown = olga.post(reverse("console-openid", args=[alice.user.pk]))
    assert alice.openid in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    event = AuditEvent.objects.get()
    assert (event.action, event.member_id) == ("see_openid", alice.user.pk)
    assert alice.openid not in str(AuditEvent.objects.values())


def test_only_who_may_sees_an_openid(alice: Person) -> None:
    path = reverse("console-openid", args=[alice.user.pk])
    assert with_role("moderator").post(path).status_code == 403
    answer = with_role("manager").get(path)  # as after signing in anew
    assert answer["Location"] == f"/admin/accounts/wechatuser/{alice.user.pk}/change/"
    assert AuditEvent.objects.count() == 0


def test_lists_keep_to_the_chosen_mini_program(group: Group, olga: Browser, settings: Any) -> None:
    Group.objects.create(app_id=OTHER_APP_ID, open_gid="tG-other")
    assert 'name="mini_program"' not in olga.get(GROUPS).content.decode()
    settings.WECHAT_APPS = {APP_ID: {"SECRET": "x"}, OTHER_APP_ID: {"SECRET": "y"}}
    assert len(rows_of(olga.get(GROUPS))) == 2
    switch = reverse("console-mini-program")
    answer = olga.post(switch, {"mini_program": OTHER_APP_ID, "next": GROUPS})
    assert answer["Location"] == GROUPS
    assert [row.open_gid for row in rows_of(olga.get(GROUPS))] == ["tG-other"]
    for model in ("accounts/wechatuser", "groups/membership", "groups/score"):
        assert rows_of(olga.get(f"/admin/{model}/")) == [], model
    assert [row.key for row in rows_of(olga.get("/admin/groups/board/"))] == ["active-days"]
    olga.post(switch, {"mini_program": "wxnobody"})
    assert len(rows_of(olga.get(GROUPS))) == 1
    olga.post(switch, {"mini_program": ""})
    assert len(rows_of(olga.get(GROUPS))) == 2


def test_a_walk_through_a_list_shows_each_row_once(olga: Browser) -> None:
    people(120)
    seen, address = [], "?"
    while address:
        answer = olga.get(MEMBERS + address)
        seen += [row.pk for row in rows_of(answer)]
        address = answer.context["cl"].next_page
    assert seen == sorted(set(seen), reverse=True) and len(seen) == 120


def test_a_list_of_a_large_table_cannot_be_sorted_otherwise(olga: Browser) -> None:
    people(3)
    found = [row.pk for row in rows_of(olga.get(MEMBERS, {"o": "2"}))]
    assert found == sorted(found, reverse=True)
    assert rows_of(olga.get(MEMBERS, {"p": "9" * 30}))[0].pk == found[0]


def test_counts_are_exact_while_small_and_capped_in_a_search(
    olga: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(30)
    monkeypatch.setattr(paging, "COUNTED_UP_TO", 10)
    assert olga.get(MEMBERS).context["cl"].count == Count(30)
    assert olga.get(MEMBERS, {"q": "Person"}).context["cl"].count == Count(10, at_least=True)
    assert olga.get(MEMBERS, {"q": "nobody"}).context["cl"].count == Count(0)


@pytest.mark.django_db(transaction=True)  # MariaDB commits before it analyses
def test_a_large_tables_count_is_the_databases_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    people(30)
    analyse = {"postgresql": "ANALYZE", "mysql": "ANALYZE TABLE accounts_wechatuser"}
    if statement := analyse.get(connection.vendor):
        with connection.cursor() as cursor:
            cursor.execute(statement)
            cursor.fetchall() if connection.vendor == "mysql" else None
    monkeypatch.setattr(paging, "EXACT_UP_TO", 1)
    found = paging.count_table(WeChatUser)
    assert found.about == (connection.vendor in analyse)
    assert found.number == 30 if not found.about else 1 < found.number < 100


# A group's page


def test_a_groups_page_ranks_as_everywhere_and_offers_what_can_be_done(
    alice: Person, bob: Person, group: Group, olga: Browser
) -> None:
    page = olga.get(page_of(group))
    rows = page.context["rows"]
    assert [row.name for row in rows] == ["小明", "李雷"]
    assert [row.standing.rank for row in rows] == [1, 1]
    text = page.content.decode()
    for key, pk in {"hide": membership_of(alice).pk, "block": alice.user.pk}.items():
        assert reverse("console-act", args=[key, pk]) in text
    score = Score.objects.get(user=alice.user, period=page.context["ranking"].period.key)
    assert reverse("console-act", args=["remove_score", score.pk]) in text


def test_a_groups_page_picks_board_and_period_and_knows_no_others(
    alice: Person, group: Group, olga: Browser
) -> None:
    Board.objects.create(app_id=APP_ID, key="steps", title_zh="步数", title_en="Steps")
    page = olga.get(page_of(group), {"board": "steps", "period": "month"})
    assert page.context["ranking"].board.key == "steps"
    assert page.context["ranking"].period.window == "month"
    assert [row.standing.rank for row in page.context["rows"]] == [None, None]
    for query in ({"board": "x"}, {"period": "x"}, {"cursor": "x"}):
        assert olga.get(page_of(group), query).status_code == 404


def test_a_large_group_is_paged_and_each_member_shown_once(olga: Browser) -> None:
    group = gather(people(120))
    seen, address = [], "?"
    while address:
        page = olga.get(page_of(group) + address)
        seen += [row.membership.user_id for row in page.context["rows"]]
        address = page.context["more"]
    assert len(seen) == len(set(seen)) == 120


REASONS = {
    Absence.HIDDEN: {"hidden": True},
    Absence.WITHHELD: {"withheld": True},
    Absence.LEFT: {"left_at": timezone.now()},
    Absence.LAPSED: {"verified_at": timezone.now() - timedelta(days=31)},
}


@pytest.mark.parametrize("reason", REASONS)
def test_who_is_not_listed_stands_below_with_the_reason(
    alice: Person, group: Group, olga: Browser, reason: Absence
) -> None:
    Membership.objects.filter(user=alice.user).update(**REASONS[reason])
    page = olga.get(page_of(group), {"unlisted": "1"})
    assert [row.name for row in page.context["rows"]] == ["李雷"]
    [row] = page.context["unlisted"]
    assert (row.name, row.absences) == ("小明", [reason])
    assert str(reason.label) in page.content.decode()
    assert str(reason.label) in olga.get(page_of(alice.user)).content.decode()


def test_a_blocked_member_is_not_listed_and_can_be_unblocked_there(
    alice: Person, group: Group, olga: Browser
) -> None:
    WeChatUser.objects.filter(pk=alice.user.pk).update(status="blocked")
    page = olga.get(page_of(group), {"unlisted": "1"})
    assert page.context["unlisted"][0].absences == [Absence.BLOCKED]
    assert reverse("console-act", args=["unblock", alice.user.pk]) in page.content.decode()


def test_a_hidden_group_is_a_reason_for_each_of_its_members(alice: Person, group: Group) -> None:
    membership = membership_of(alice)
    assert membership.absences(timezone.now()) == []
    membership.group.hidden = True
    assert membership.absences(timezone.now()) == [Absence.GROUP_HIDDEN]


def test_a_viewer_sees_the_pages_and_no_action(alice: Person, group: Group) -> None:
    viewer = with_role("viewer")
    for row in (group, alice.user, membership_of(alice)):
        page = viewer.get(page_of(row))
        assert page.status_code == 200
        assert "/admin/act/" not in page.content.decode()


def test_a_moderator_is_offered_what_a_moderator_may(alice: Person, group: Group) -> None:
    text = with_role("moderator").get(page_of(alice.user)).content.decode()
    assert reverse("console-act", args=["block", alice.user.pk]) in text
    assert reverse("console-act", args=["erase", alice.user.pk]) not in text


# A member's page


def test_a_members_page_tells_groups_scores_and_their_source(
    alice: Person, group: Group, olga: Browser
) -> None:
    page = olga.get(page_of(alice.user))
    [(membership, _state, _buttons)] = page.context["places"]
    assert membership.group.title == "小明、李雷"
    assert {score.source for score, _group, _value in page.context["scores"]} == {"entry"}
    assert reverse("console-act", args=["erase", alice.user.pk]) in page.content.decode()


# Cost


def spent(browser: Browser, address: str) -> int:
    assert browser.get(address).status_code == 200, address
    with CaptureQueriesContext(connection) as captured:
        browser.get(address)
    return len(captured)


LISTS = ["groups/group", "accounts/wechatuser", "groups/membership", "groups/score", "groups/board"]


@pytest.mark.parametrize("path", [*LISTS, "audit/auditevent"])
def test_each_list_takes_at_most_eight_queries(olga: Browser, path: str) -> None:
    fill(MANY)
    for query in ("", "?q=Person"):
        assert spent(olga, f"/admin/{path}/{query}") <= LIMIT


@pytest.mark.parametrize("query", ["", "?unlisted=1"])
def test_a_groups_page_takes_the_same_few_queries_however_many_members(
    olga: Browser, query: str
) -> None:
    found = []
    for size in (FEW, MANY):
        with undone():
            found.append(spent(olga, page_of(gather(people(size))) + query))
    assert found[0] == found[1] <= LIMIT


def test_a_members_page_takes_the_same_few_queries_however_many_groups(olga: Browser) -> None:
    found = []
    for size in (FEW, MANY):
        with undone():
            [me] = people(1)
            for _ in range(size):
                gather([me, *people(1)])
            found.append(spent(olga, page_of(me)))
    assert found[0] == found[1] <= LIMIT


# The audit


def recorded(**values: Any) -> AuditEvent:
    return AuditEvent.objects.create(operator_name="otto", **values)


def test_the_audit_says_what_each_thing_was_done_to_and_leads_there(
    group: Group, alice: Person, olga: Browser
) -> None:
    role = Role.objects.get(name="viewer")
    told = {
        recorded(action="block", target="wechatuser", target_id=alice.user.pk): "成员",
        recorded(action="label", target="group", target_id=group.pk, app_id=APP_ID): "群",
        recorded(action="change", target="group", target_id=role.pk): "角色",
    }
    gone = recorded(action="erase", target="wechatuser", target_id=1)
    page = olga.get("/admin/audit/auditevent/").content.decode()
    addresses = [page_of(row) for row in (alice.user, group, role)]
    for (event, name), address in zip(told.items(), addresses, strict=True):
        link = f'<a href="{address}">{name} #{event.target_id}</a>'
        assert link in page and link in olga.get(page_of(event)).content.decode()
    assert ">成员 #1<" in page and ">成员 #1</a>" not in page
    assert "小明" not in page + olga.get(page_of(gone)).content.decode()
    assert "成员 #1" in olga.get("/admin/").content.decode()


def test_the_audit_leads_to_nothing_its_reader_may_not_see(group: Group) -> None:
    operator = User.objects.create_user("vera", is_staff=True)
    recorded(action="change", target="user", target_id=operator.pk)
    recorded(action="label", target="group", target_id=group.pk, app_id=APP_ID)
    page = with_role("viewer").get("/admin/audit/auditevent/").content.decode()
    assert f"管理员 #{operator.pk}" in page and page_of(operator) not in page
    assert page_of(group) in page


def test_a_row_of_the_audit_speaks_the_readers_language(olga: Browser) -> None:
    operator = User.objects.get(username="olga")
    event = recorded(
        action="sign_in", target="user", target_id=operator.pk, details={"way": "link"}
    )
    page = olga.get(page_of(event)).content.decode()
    assert "<h1>登录</h1>" in page and "方式: 一次性链接" in page
    assert "sign_in" not in page and page.count("<label>管理员") == 1
    event = recorded(action="export", target="wechatuser", details={"rows": 3, "openids": False})
    assert "行数: 3<br>含 openid: 否" in olga.get(page_of(event)).content.decode()


def test_whoever_is_refused_a_page_finds_back_and_out(db: None) -> None:
    answer = with_role("viewer").get("/admin/auth/user/")
    page = answer.content.decode()
    assert answer.status_code == 403 and 'href="/admin/"' in page
    assert 'action="/admin/logout/"' in page and "csrfmiddlewaretoken" in page


def test_whom_an_action_is_about_is_told_by_number_as_well(alice: Person, olga: Browser) -> None:
    WeChatUser.objects.update(nickname="")
    page = olga.get(f"/admin/act/erase/{alice.user.pk}/").content.decode()
    assert f"<bdi>微信用户</bdi> #{alice.user.pk}" in page
