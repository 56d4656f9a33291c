"""The admin: what operators can change, and what they cannot."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.utils.translation import override

from accounts.models import WeChatUser
from console.roles import asked_for
from groups.models import Board, Group, Membership, Score
from tests.cast import Person


def change(olga: Browser, row: Any, **values: Any) -> Any:
    """Send the row's change form with these values."""
    address = f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"
    return olga.post(address, values)


def test_no_form_changes_a_person_or_a_membership(
    alice: Person, group: Group, olga: Browser
) -> None:
    mine = Membership.objects.get(group=group, user=alice.user)
    before = [list(WeChatUser.objects.values()), list(Membership.objects.values())]
    values = {"nickname": "小红", "status": "blocked", "hidden": "on", "alias": "别名"}
    for row in (alice.user, mine):
        assert change(olga, row, **values).status_code == 403
    assert [list(WeChatUser.objects.values()), list(Membership.objects.values())] == before


@pytest.mark.parametrize("model", ["accounts/wechatuser", "groups/group", "groups/membership"])
def test_rows_that_come_from_wechat_cannot_be_added_by_hand(olga: Browser, model: str) -> None:
    assert olga.get(f"/admin/{model}/add/").status_code == 403
    assert f"/admin/{model}/add/" not in olga.get("/admin/").content.decode()


def test_groups_are_found_by_label_open_gid_and_a_members_nickname(
    group: Group, alice: Person, charlie: Person, olga: Browser
) -> None:
    charlie.enter("elsewhere")
    group.label = "相亲相爱一家人"
    group.save()
    for words in ("相亲相爱", group.open_gid, "小明"):
        found = olga.get("/groups/", {"q": words}).context["page"]
        assert [row.pk for row in found] == [group.pk], words


def test_members_are_found_by_nickname_and_openid_and_shown_with_a_face(
    alice: Person, bob: Person, olga: Browser
) -> None:
    for words in ("小明", alice.openid):
        answer = olga.get("/admin/accounts/wechatuser/", {"q": words})
        assert [row.pk for row in answer.context["cl"].result_list] == [alice.user.pk], words
        assert alice.user.avatar_path in answer.content.decode()


def test_a_label_is_the_groups_title_from_the_next_read(
    group: Group, alice: Person, olga: Browser
) -> None:
    assert olga.post(f"/groups/{group.pk}/", {"label": "家"}).status_code == 302
    assert alice.get(f"groups/{group.open_gid}").json()["title"] == "家"


def test_members_and_groups_cannot_be_deleted(group: Group, alice: Person, olga: Browser) -> None:
    mine = Membership.objects.get(group=group, user=alice.user)
    for row in (group, mine, alice.user, alice.user.scores.first()):
        address = f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/delete/"
        assert olga.post(address, {"post": "yes"}).status_code == 403, address
        assert type(row).objects.filter(pk=row.pk).exists()


def test_a_search_for_ids_is_case_sensitive(group: Group, olga: Browser) -> None:
    answer = olga.get("/groups/", {"q": group.open_gid.swapcase()})
    assert list(answer.context["page"]) == []


def test_every_field_an_operator_sees_has_a_name_in_chinese() -> None:
    own = {"key", "id"}
    with override("zh-hans"):
        english = [
            f"{model.__name__}.{field.name}"
            for model in (WeChatUser, Group, Membership, Board, Score)
            for field in model._meta.fields
            if field.editable and field.name not in own
            if field.verbose_name == field.name.replace("_", " ") and "id" not in field.name
        ]
    assert english == []


def test_the_operators_list_shows_each_group_on_one_page_only(olga: Browser) -> None:
    Group.objects.bulk_create(
        Group(app_id="wx", open_gid=f"tG-{number}", label=str(number)) for number in range(120)
    )
    pages = [olga.get("/groups/", {"page": number}).context["page"] for number in (1, 2, 3)]
    shown = [group.pk for page in pages for group in page]
    assert len(shown) == len(set(shown)) == 120


def test_groups_without_recent_entries_come_last(group: Group, olga: Browser) -> None:
    Group.objects.create(app_id=group.app_id, open_gid="tG-silent")
    first, last = olga.get("/groups/").context["page"]
    assert (first.open_gid, last.open_gid) == (group.open_gid, "tG-silent")


def test_a_new_operator_signs_in_with_their_role(olga: Browser) -> None:
    secret = "correct horse battery"
    sent = {"username": "vera", "password1": secret, "password2": secret}
    assert (
        olga.post("/admin/auth/user/add/", {**sent, "usable_password": "true"}).status_code == 302
    )
    vera, role = User.objects.get(username="vera"), Role.objects.get(name="viewer")
    sent = {"username": "vera", "is_active": "on", "is_staff": "on", "groups": [role.pk]}
    assert olga.post(f"/admin/auth/user/{vera.pk}/change/", sent).status_code == 302
    browser = Browser()
    assert browser.login(username="vera", password=secret)
    assert browser.get("/groups/").status_code == 200
    assert "viewer" in olga.get("/admin/auth/user/").content.decode()


def test_a_role_lists_its_permissions_in_the_readers_language(olga: Browser) -> None:
    role = Role.objects.get(name="viewer")
    address = f"/admin/auth/group/{role.pk}/change/"
    page = olga.get(address).content.decode()
    offered = re.findall(r'name="permissions" value="(\d+)"', page)
    assert len(offered) == len(set(offered)) == asked_for().count()
    assert "成员 · 可以查看并导出 openid" in page and "Can " not in page
    english = olga.get(address, headers={"Accept-Language": "en"}).content.decode()
    assert "Can see openids" in english
    held = set(role.permissions.values_list("pk", flat=True))
    olga.post(address, {"name": "viewer", "permissions": sorted(held)})
    assert set(role.permissions.values_list("pk", flat=True)) == held
