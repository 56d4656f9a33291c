"""The admin: what operators can change, and what they cannot."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from django.utils.translation import override

from accounts.models import WeChatUser
from audit.models import AuditEvent
from console.roles import asked_for
from groups.models import Board, Group, Membership, Score
from tests.cast import Person, everything_stored


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
        assert alice.user.small_avatar_path in answer.content.decode()


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
    for asked, number in {"99": 3, "0": 1, "x": 1, "-1": 1, "9" * 30: 1}.items():
        page = olga.get("/groups/", {"page": asked}).context["page"]
        assert (page.number, page.paginator.count) == (number, 120), asked
    assert olga.get("/groups/", {"q": "11"}).context["page"].paginator.count == 11


def test_groups_without_recent_entries_come_last(group: Group, olga: Browser) -> None:
    Group.objects.create(app_id=group.app_id, open_gid="tG-silent")
    first, last = olga.get("/groups/").context["page"]
    assert (first.open_gid, last.open_gid) == (group.open_gid, "tG-silent")


def test_a_role_lists_its_permissions_in_the_readers_language(olga: Browser) -> None:
    role = Role.objects.create(name="客服")
    role.permissions.set(Role.objects.get(name="viewer").permissions.all())
    address = f"/admin/auth/group/{role.pk}/change/"
    page = olga.get(address).content.decode()
    offered = re.findall(r'name="permissions" value="(\d+)"', page)
    assert len(offered) == len(set(offered)) == asked_for().count()
    assert "成员 · 可以查看并导出 openid" in page and "Can " not in page
    english = olga.get(address, headers={"Accept-Language": "en"}).content.decode()
    assert "Can see openids" in english
    held = set(role.permissions.values_list("pk", flat=True))
    olga.post(address, {"name": "客服", "permissions": sorted(held)})
    assert set(role.permissions.values_list("pk", flat=True)) == held


# New operators


def add_operator(olga: Browser, role: str = "viewer", **sent: Any) -> Any:
    """Send the form that adds Vera."""
    found = Role.objects.filter(name=role).first()
    key = found.pk if found else role
    return olga.post("/admin/auth/user/add/", {"username": "vera", "role": key, **sent})


def link_in(page: Any) -> str:
    [link] = re.findall(r'id="shown-once"[^>]*>([^<]*)<', page.content.decode())
    assert link.startswith("http://testserver/sign-in/")
    return urlsplit(link).path


def test_a_new_operator_gets_a_role_and_a_link_in_one_form(olga: Browser, log_output: Any) -> None:
    answer = add_operator(olga, "moderator", first_name="王薇")
    waiting = str(everything_stored()) + str(olga.session.items())
    page = olga.get(answer["Location"])
    path = link_in(page)
    vera = User.objects.get(username="vera")
    assert (vera.is_staff, vera.is_superuser, vera.first_name) == (True, False, "王薇")
    assert [role.name for role in vera.groups.all()] == ["moderator"]
    assert not vera.has_usable_password() and "王薇" in page.content.decode()
    browser = Browser()
    assert browser.post(path).status_code == 302 and browser.get("/groups/").status_code == 200
    assert Browser().post(path).status_code == 410, "it works once"
    token = path.strip("/").rpartition("/")[2]
    assert token not in waiting + str(everything_stored()) + log_output.getvalue()
    added, linked = AuditEvent.objects.filter(target="user", target_id=vera.pk).order_by("pk")[:2]
    assert (added.action, added.details) == ("add", {"given": ["moderator"]})
    assert linked.action == "sign_in_link" and linked.operator_name == "olga"


def test_reloading_makes_no_second_operator_and_no_second_link(olga: Browser) -> None:
    answer = add_operator(olga)
    path = link_in(olga.get(answer["Location"]))
    again = olga.get(answer["Location"]).content.decode()
    assert "shown-once" not in again and "sign-in/" not in again
    assert add_operator(olga).status_code == 200, "the name is taken"
    assert add_operator(olga, username="VERA").status_code == 200, "in any spelling"
    assert User.objects.filter(username__iexact="vera").count() == 1
    assert AuditEvent.objects.filter(action="sign_in_link").count() == 1
    assert Browser().post(path).status_code == 302


def test_a_new_link_is_made_on_the_operators_page(olga: Browser) -> None:
    vera = User.objects.get(pk=int(add_operator(olga)["Location"].split("/")[-3]))
    address = f"/admin/auth/user/{vera.pk}"
    first = link_in(olga.get(f"{address}/change/"))
    assert f'action="{address}/link/"' in olga.get(f"{address}/change/").content.decode()
    assert olga.get(f"{address}/link/").status_code == 405
    second = link_in(olga.get(olga.post(f"{address}/link/")["Location"]))
    assert Browser().post(second).status_code == 302
    assert Browser().post(first).status_code == 410, "using one ends the others"
    User.objects.filter(pk=vera.pk).update(is_active=False)
    assert "shown-once" not in olga.post(f"{address}/link/", follow=True).content.decode()
    assert AuditEvent.objects.filter(action="sign_in_link").count() == 2


def test_a_link_is_shown_to_its_maker_alone_and_not_if_the_operator_rose_meanwhile(
    olga: Browser,
) -> None:
    una = User.objects.create_user("una", is_staff=True)
    names = ["change_user", "add_user", "view_user"]
    una.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser = Browser()
    browser.force_login(una)
    vera = User.objects.create_user("vera", is_staff=True)
    answer = browser.post(f"/admin/auth/user/{vera.pk}/link/")
    assert "shown-once" not in olga.get(answer["Location"]).content.decode()
    vera.groups.add(Role.objects.get(name="manager"))
    assert "shown-once" not in browser.get(answer["Location"]).content.decode()


def test_an_operator_adds_no_one_with_more_than_they_hold(olga: Browser) -> None:
    una = User.objects.create_user("una", is_staff=True)
    una.groups.add(Role.objects.get(name="viewer"))
    names = ["change_user", "add_user"]
    una.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser = Browser()
    browser.force_login(una)
    for role in ("moderator", "manager", "superuser", "", "x"):
        assert list(add_operator(browser, role).context["adminform"].form.errors) == ["role"]
    assert add_operator(browser, "viewer", is_superuser="on", is_staff="").status_code == 302
    vera = User.objects.get(username="vera")
    assert (vera.is_superuser, [role.name for role in vera.groups.all()]) == (False, ["viewer"])


def test_a_superuser_adds_a_superuser(olga: Browser) -> None:
    add_operator(olga, "superuser")
    assert User.objects.get(username="vera").is_superuser
    assert AuditEvent.objects.get(action="add").details == {"given": ["is_superuser"]}


ROLE_WORDS = {
    "zh-hans": ("查看员", "审核员", "主管", "超级管理员", "可导出（不含 openid）"),
    "en": ("Viewer", "Moderator", "Manager", "Superuser", "exports them without openids"),
}


@pytest.mark.parametrize("language", ROLE_WORDS)
def test_each_role_says_in_the_readers_language_what_it_allows(
    olga: Browser, language: str
) -> None:
    add_operator(olga, "manager")
    custom = Role.objects.create(name="客服")
    custom.permissions.add(Permission.objects.get(codename="view_board"))
    manager = Role.objects.get(name="manager")
    viewer, _m, titled, _s, sentence = ROLE_WORDS[language]

    def read(path: str) -> str:
        return olga.get(path, headers={"Accept-Language": language}).content.decode()

    add, roles = read("/admin/auth/user/add/"), read("/admin/auth/group/")
    assert all(word in add for word in ROLE_WORDS[language])
    assert sentence in roles and viewer in roles and "客服" in roles
    for page in (add, roles):
        assert {"zh-hans": "榜单 · 查看", "en": "Board · view"}[language] in page
    operators = read("/admin/auth/user/")
    page = read(f"/admin/auth/group/{manager.pk}/change/")
    event = AuditEvent.objects.get(action="add")
    audit = read(f"/admin/audit/auditevent/{event.pk}/change/")
    for text in (operators, page, audit):
        assert titled in text
    for text in (add, roles, operators, page, audit):
        assert not re.findall(r">\s*(viewer|moderator|manager)\s*<", text)
        assert not re.search(r"(?:given|给予|授予): manager\b", text)
    assert language == "en" or "Can " not in page


def test_roles_are_never_headed_as_groups(olga: Browser) -> None:
    Role.objects.create(name="客服")
    listed = olga.get("/admin/auth/group/").content.decode()
    heads = re.findall(r"<th[^>]*column[^>]*>(.*?)</th>", listed, re.DOTALL)
    assert heads and not [head for head in heads if "群" in head]
    twice = olga.post("/admin/auth/group/add/", {"name": "客服"})
    errors = str(twice.context["adminform"].form.errors)
    assert "已有同名角色" in errors and "群" not in errors
    filters = olga.get("/admin/auth/user/").context["cl"].filter_specs
    assert "角色" in [str(each.title) for each in filters]
    taken = olga.post("/admin/auth/group/add/", {"name": "主管"})
    assert taken.status_code == 200, "two roles would look the same"


def test_no_page_says_how_a_password_is_kept(olga: Browser) -> None:
    vera = User.objects.create_user("vera", password="correct horse battery", is_staff=True)
    address = f"/admin/auth/user/{vera.pk}"
    pages = [olga.get(f"{address}/{page}/").content.decode() for page in ("change", "password")]
    for page in [*pages, olga.get("/admin/auth/user/add/").content.decode()]:
        assert not re.search(
            r"\b(pbkdf2|pbkdf2_sha256|sha256|LDAP|SSO)\b|算法|盐|哈希", page, re.ASCII
        )
    assert "已设置" in pages[0]
    vera.set_unusable_password()
    vera.save()
    assert "未设置" in olga.get(f"{address}/change/").content.decode()
    secret = {"password1": "correct horse 2", "password2": "correct horse 2"}
    assert olga.post(f"{address}/password/", secret).status_code == 302
    assert Browser().login(username="vera", password="correct horse 2")


def test_operators_are_found_by_role(olga: Browser) -> None:
    add_operator(olga, "manager")
    manager = Role.objects.get(name="manager")
    for role, name in ((manager.pk, "vera"), ("superuser", "olga"), ("x", None)):
        page = olga.get("/admin/auth/user/", {"role": role})
        found = [row.username for row in page.context["cl"].result_list]
        assert found == ([name] if name else [])
