"""The query strings that the console's lists accept, and their actions on many rows."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser

from accounts.models import WeChatUser
from audit.models import AuditEvent
from groups.models import Board, Group, Membership, Score
from tests.cast import Person, browser_of

BIG = "9" * 30
LISTS = ("accounts/wechatuser", "groups/membership", "groups/score")
GROUPS, LABELS = "/groups/", "/groups/labels/"
AUDIT, MEMBERS, MEMBERSHIPS, SCORES = (
    "/admin/audit/auditevent/",
    *(f"/admin/{name}/" for name in LISTS),
)


@pytest.fixture
def viewer(one_of_everything: None) -> Browser:
    return browser_of("viewer")


def columns(model: Any) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@pytest.mark.parametrize(
    ("path", "model"), {MEMBERS: WeChatUser, MEMBERSHIPS: Membership, SCORES: Score}.items()
)
def test_filters_do_not_reveal_what_a_list_does_not_show(
    viewer: Browser, path: str, model: Any
) -> None:
    relations = ["user__openid", "founded_by__openid", "group__founded_by__openid"]
    for column in {*columns(model), *relations}:
        for lookup in ("startswith", "gte", "lt", "regex", "in", "range", "year"):
            query = f"?{column}__{lookup}=1"
            if f"{column}__{lookup}" == "verified_at__gte":
                continue
            assert viewer.get(path + query).status_code == 400, query
    assert viewer.get("/admin/export/members.csv?openid__startswith=o").status_code == 400
    assert AuditEvent.objects.filter(action="export").count() == 0


HOSTILE = {
    MEMBERS: ("status__exact=%00", "nickname__regex=(", "created_at__year=99999", f"id__in={BIG}"),
    MEMBERSHIPS: (
        f"group__id__exact={BIG}",
        "verified_at__gte=9999-12-31T23:59:59-12:00",
        "verified_at__gte=2026-13-77T00:00",
        "hidden__exact=%00",
    ),
    AUDIT: (f"member_id={BIG}", "target=%00", "action=%00", "details__contains=", "id__regex=("),
    SCORES: (f"board__id__exact={BIG}", "source__exact=%00", "scores=1"),
    LABELS: (f"group={BIG}", "group=%00", "group=x", "&".join(f"group={n}" for n in range(51))),
    "/admin/export/members.xlsx": ("nickname__range=x", f"id__in={BIG}"),
    "/admin/export/scores/": (f"board_id__exact={BIG}",),
}


@pytest.mark.parametrize("path", HOSTILE)
def test_no_query_string_makes_a_list_fail(one_of_everything: None, path: str) -> None:
    browser = browser_of("manager")
    for query in HOSTILE[path]:
        assert browser.get(f"{path}?{query}").status_code == 400, query


@pytest.mark.parametrize("path", [MEMBERS, MEMBERSHIPS, GROUPS, SCORES, AUDIT])
def test_a_very_long_search_is_shortened(viewer: Browser, path: str) -> None:
    for words in ("a " * 2000, "x" * 60_000):
        assert viewer.get(path, {"q": words}).status_code == 200


@pytest.mark.parametrize("path", [MEMBERS, MEMBERSHIPS, SCORES])
def test_what_the_console_links_to_is_found(viewer: Browser, alice: Person, path: str) -> None:
    group, board = Group.objects.get(), Board.objects.active_days()
    queries = {
        MEMBERS: {"status__exact": "active", "nickname_state__exact": "approved"},
        MEMBERSHIPS: {
            "group__id__exact": group.pk,
            "verified_at__gte": "2026-01-01T00:00:00+08:00",
        },
        SCORES: {"board__id__exact": board.pk, "source__exact": "entry"},
    }
    answer = viewer.get(path, queries[path])
    assert answer.status_code == 200 and len(answer.context["cl"].result_list) > 0


def test_nothing_is_changed_from_a_list(one_of_everything: None) -> None:
    root = browser_of("superuser")
    for path in ("/admin/groups/verificationfile/", "/admin/auth/user/", "/admin/auth/group/"):
        page = root.get(path)
        pk = page.context["cl"].result_list[0].pk
        root.post(path, {"action": "delete_selected", "_selected_action": pk, "post": "yes"})
        assert root.get(f"{path}{pk}/change/").status_code == 200
    assert AuditEvent.objects.filter(action="delete").count() == 0
    assert root.get("/admin/autocomplete/?term=%00").status_code == 404


def test_unchanged_labels_do_not_overwrite_those_of_another_operator(
    group: Group, charlie: Person, olga: Browser
) -> None:
    charlie.enter("elsewhere")
    other = Group.objects.exclude(pk=group.pk).get()
    chosen = {"group": [group.pk, other.pk]}
    assert olga.get(LABELS, chosen).status_code == 200
    Group.objects.filter(pk=group.pk).update(label="另一位管理员起的")
    fields = {f"label-{group.pk}": "", f"label-{other.pk}": "新名称"}
    initial = {f"initial-label-{group.pk}": "", f"initial-label-{other.pk}": ""}
    olga.post(LABELS, chosen | fields | initial)
    assert sorted(Group.objects.values_list("label", flat=True)) == ["另一位管理员起的", "新名称"]


@pytest.mark.parametrize(
    ("given", "stored"), [("\u3164", ""), ("a\u202eb", "ab"), (" 读 书\n会 ", "读 书 会")]
)
def test_a_label_is_cleaned(group: Group, olga: Browser, given: str, stored: str) -> None:
    olga.post(LABELS, {"group": group.pk, f"label-{group.pk}": given})
    group.refresh_from_db()
    assert group.label == stored
    olga.post(f"{GROUPS}{group.pk}/", {"label": f"x{given}"})
    group.refresh_from_db()
    assert group.label.replace(" ", "") == f"x{stored}".replace(" ", "")


def staff(*codenames: str) -> Browser:
    operator = User.objects.create_user("otto", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Browser()
    browser.force_login(operator)
    return browser


def test_each_part_of_a_page_needs_its_own_permission(
    alice: Person, group: Group, olga: Browser
) -> None:
    olga.post(f"/admin/act/block/{alice.user.pk}/", {"reason": "the reason"})
    olga.post(f"/admin/act/unblock/{alice.user.pk}/", {"reason": "the reason"})
    Group.objects.update(label="读书会")
    page = f"{MEMBERS}{alice.user.pk}/change/"
    text = staff("view_wechatuser").get(page).content.decode()
    assert "小明" in text and "读书会" not in text and "the reason" not in text
    assert "active-days" not in text and "活跃天数" not in text
    User.objects.all().delete()
    only_groups = staff("view_group")
    for path in (f"/admin/groups/group/{group.pk}/change/", GROUPS, f"{GROUPS}{group.pk}/"):
        assert only_groups.get(path).status_code == 403, path
    assert only_groups.get(f"/admin/export/ranking/{group.pk}.csv").status_code == 403
