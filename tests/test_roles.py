"""Which page of the console opens for which role: every route of the admin."""

from typing import Any

import pytest
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser

from audit.models import AuditEvent
from console.admin.operators import PermissionModelAdmin
from console.roles import asked_for
from groups.models import Group
from tests.cast import ROLES, browser_of, everything_stored
from tests.query_counts import count_queries
from tests.site_map import ADMIN_ROUTES, PAGES_BY_ROLE, admin_path

pytestmark = pytest.mark.no_service


def lowest(route: str, browsers: dict[str, Browser]) -> str:
    """Return the lowest role that a route opens for; it opens for all higher ones too."""
    found = []
    for role in ROLES:
        answer = browsers[role].get(admin_path(route))
        found.append(answer.status_code in {200, 204})
        if answer.streaming:
            b"".join(answer)  # or its place among the downloads is not given back
    assert found == sorted(found), (route, found)
    return ROLES[found.index(True)] if any(found) else "no one"


LOWEST = {route: role for role, routes in PAGES_BY_ROLE.items() for route in routes}
MOST_QUERIES = 8


def opens_for(role: str, least: str) -> bool:
    return ROLES.index(role) >= ROLES.index(least)


def test_every_page_of_the_console_opens_for_its_roles_only(one_of_everything: None) -> None:
    browsers = {role: browser_of(role) for role in ROLES}
    routes = [
        route for route in ADMIN_ROUTES if not route.startswith(("admin/login", "admin/logout"))
    ]
    found: dict[str, set[str]] = {}
    for route in routes:
        found.setdefault(lowest(route, browsers), set()).add(route)
    found.pop("no one")
    assert found == {role: set(pages) for role, pages in PAGES_BY_ROLE.items()}


@pytest.mark.parametrize("role", ROLES[1:])
def test_no_page_of_the_console_takes_more_than_eight_queries(
    one_of_everything: None, role: str
) -> None:
    browser, group = browser_of(role), Group.objects.get()
    pages = [admin_path(route) for route, least in LOWEST.items() if opens_for(role, least)]
    pages += ["/groups/", "/groups/?sort=members&q=Alice", f"/groups/{group.pk}/"]
    pages += ["/groups/?labelled=0&hidden=0", "/admin/accounts/wechatuser/?q=Alice"]
    taken = {page: count_queries(browser, page) for page in pages}
    assert {page: number for page, number in taken.items() if number > MOST_QUERIES} == {}


POSTS = {
    "admin/openid/<int:pk>/": "manager",
    "admin/check/watch/": "moderator",
    "admin/check/credentials/": "manager",
    "admin/act/<slug:key>/<int:pk>/": "moderator",
    "admin/review/": "moderator",
    "admin/groups/serverkey/<path:object_id>/rotate/": "manager",
    "admin/auth/user/<id>/link/": "superuser",
}


@pytest.mark.parametrize("route", POSTS)
@pytest.mark.parametrize("role", ROLES)
def test_each_post_is_allowed_for_its_roles_only(
    one_of_everything: None, role: str, route: str
) -> None:
    allowed = opens_for(role, POSTS[route])
    assert (browser_of(role).post(admin_path(route)).status_code != 403) == allowed


# Who may change operators and roles, and no more


def permission(name: str) -> Permission:
    app, codename = name.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


@pytest.fixture
def una(db: None) -> User:
    """Create Una, who manages operators and roles, and may see groups."""
    una = User.objects.create_user("una", is_staff=True, password=SECRET)
    names = ["auth.change_user", "auth.change_group", "auth.delete_user", "auth.delete_group"]
    una.user_permissions.set(map(permission, [*names, "groups.view_group"]))
    return una


SECRET = "a password only una knows"
NEW = {"password1": "correct horse battery", "password2": "correct horse battery"}
NEW |= {"usable_password": "true", "set-password": "1"}


def browser_for(operator: User) -> Browser:
    browser = Browser()
    browser.force_login(operator)
    return browser


def change(browser: Browser, operator: User, **values: Any) -> Any:
    sent = {"username": operator.username, "is_active": "on", "is_staff": "on", **values}
    return browser.post(f"/admin/auth/user/{operator.pk}/change/", sent)


def names(permissions: Any) -> set[str]:
    return {f"{each.content_type.app_label}.{each.codename}" for each in permissions.all()}


def test_operators_cannot_make_themselves_superusers(una: User) -> None:
    assert change(browser_for(una), una, is_superuser="on").status_code == 302
    una.refresh_from_db()
    assert not una.is_superuser
    page = browser_for(una).get(f"/admin/auth/user/{una.pk}/change/").content.decode()
    assert 'name="is_superuser"' not in page


DELETE = {"post": "yes", "reason": "离职"}


def test_only_superusers_change_a_superuser(una: User) -> None:
    boss = User.objects.create_superuser("boss", password="only the boss knows")
    User.objects.create_superuser("second")
    browser, address = browser_for(una), f"/admin/auth/user/{boss.pk}"
    assert change(browser, boss, username="una2").status_code == 403
    assert browser.get(f"{address}/password/").status_code == 403
    assert browser.post(f"{address}/password/", NEW).status_code == 403
    assert browser.post(f"{address}/delete/", DELETE).status_code == 403
    boss.refresh_from_db()
    assert boss.username == "boss" and boss.check_password("only the boss knows")


def test_operators_cannot_set_the_password_of_operators_with_more_permissions(una: User) -> None:
    manager = User.objects.create_user("manager", is_staff=True, is_active=False)
    manager.groups.add(Role.objects.get(name="manager"))
    viewer = User.objects.create_user("groups only", is_staff=True)
    viewer.user_permissions.add(permission("groups.view_group"))
    browser = browser_for(una)
    assert browser.post(f"/admin/auth/user/{manager.pk}/password/", NEW).status_code == 403
    assert browser.post(f"/admin/auth/user/{viewer.pk}/password/", NEW).status_code == 302
    assert browser.post(f"/admin/auth/user/{una.pk}/password/", NEW).status_code == 302


def test_operators_cannot_give_permissions_that_they_do_not_have(una: User) -> None:
    browser, manager = browser_for(una), Role.objects.get(name="manager")
    looks = Role.objects.create(name="looks at groups")
    looks.permissions.add(permission("groups.view_group"))
    erase, see = permission("accounts.delete_wechatuser"), permission("groups.view_group")
    for sent in ({"groups": [manager.pk]}, {"user_permissions": [erase.pk]}):
        assert change(browser, una, **sent).status_code == 200, "an error in the form"
    role = {"name": "looks at groups", "permissions": [erase.pk]}
    assert browser.post(f"/admin/auth/group/{looks.pk}/change/", role).status_code == 200
    assert names(looks.permissions) == {"groups.view_group"}
    otto = User.objects.create_user("otto", is_staff=True)
    sent = {"groups": [looks.pk], "user_permissions": [see.pk]}
    assert change(browser, otto, **sent).status_code == 302
    assert list(otto.groups.all()) == [looks] and names(otto.user_permissions) == names(
        looks.permissions
    )


def test_permissions_that_the_console_does_not_offer_stay_unchanged(olga: Browser) -> None:
    otto = User.objects.create_user("otto", is_staff=True)
    otto.user_permissions.set(map(permission, ["sessions.view_session", "groups.view_group"]))
    assert change(olga, otto, first_name="Otto").status_code == 302
    assert names(otto.user_permissions) == {"sessions.view_session"}
    event = AuditEvent.objects.get(action="change")
    assert event.details["taken"] == ["groups.view_group"] and "given" not in event.details
    assert not [name for name in event.details["changed"] if name in {"Groups", "Roles", "角色"}]


@pytest.fixture
def martha(db: None) -> User:
    """Create Martha, a manager: she may do more than Una."""
    martha = User.objects.create_user("martha", is_staff=True, password="only martha knows")
    martha.groups.add(Role.objects.get(name="manager"))
    return martha


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "rename": ("change", {"username": "una2", "is_active": "on", "is_staff": "on"}),
    "deactivate": ("change", {"username": "martha", "is_staff": "on"}),
    "lock out": ("change", {"username": "martha", "is_active": "on"}),
    "take a role": ("change", {"username": "martha", "is_active": "on", "is_staff": "on"}),
    "set a password": ("password", NEW),
    "make a link": ("link", {}),
    "delete": ("delete", {"post": "yes", "reason": "离职"}),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("more", ["role", "permission", "superuser", "inactive"])
def test_no_one_changes_an_operator_who_outranks_them(
    una: User, martha: User, what: str, more: str
) -> None:
    """However Martha has her rights, and also while she may not sign in."""
    if more != "role":
        martha.groups.clear()
    if more == "permission":
        martha.user_permissions.add(permission("groups.change_score"))
    elif more != "role":
        User.objects.filter(pk=martha.pk).update(is_superuser=True, is_active=more == "superuser")
    page, sent = CHANGES[what]
    browser, address = browser_for(una), f"/admin/auth/user/{martha.pk}"
    before = everything_stored()
    assert browser.post(f"{address}/{page}/", sent).status_code == 403
    assert everything_stored() == before
    shown = browser.get(f"{address}/change/").content.decode()
    assert 'name="username"' not in shown and "/link/" not in shown and "/password/" not in shown


def test_who_is_outranked_may_be_changed(una: User) -> None:
    otto = User.objects.create_user("otto", is_staff=True)
    otto.user_permissions.add(permission("groups.view_group"))
    browser, address = browser_for(una), f"/admin/auth/user/{otto.pk}"
    assert change(browser, otto, username="otto2").status_code == 302
    assert browser.post(f"{address}/link/").status_code == 302
    assert browser.post(f"{address}/delete/", DELETE).status_code == 302


@pytest.fixture
def looks(db: None) -> Role:
    looks = Role.objects.create(name="looks at groups")
    looks.permissions.add(permission("groups.view_group"))
    return looks


@pytest.mark.parametrize("beyond", ["allows more", "held by a manager", "held by a superuser"])
def test_no_one_changes_a_role_that_is_beyond_them(
    una: User, martha: User, looks: Role, beyond: str
) -> None:
    browser, address = browser_for(una), f"/admin/auth/group/{looks.pk}"
    assert 'name="name"' in browser.get(f"{address}/change/").content.decode()
    if beyond == "allows more":
        looks.permissions.add(permission("groups.change_score"))
    else:
        martha.groups.add(looks)
    if beyond == "held by a superuser":
        martha.groups.set([looks])
        User.objects.filter(pk=martha.pk).update(is_superuser=True)
    before = everything_stored()
    assert browser.post(f"{address}/change/", {"name": "x"}).status_code == 403
    assert browser.post(f"{address}/delete/", DELETE).status_code == 403
    assert everything_stored() == before


def test_who_loses_their_rights_while_their_form_is_under_way_changes_nothing(
    una: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock waits for who takes them; what was read before it counts no more."""
    otto = User.objects.create_user("otto", is_staff=True)
    lock = PermissionModelAdmin.lock
    taken: dict[str, Any] = {"user_permissions": [], "is_active": True}

    def late(self: Any, request: Any, row: Any) -> None:
        request.user.has_perm("auth.change_user")
        mine = User.objects.get(pk=una.pk)
        mine.user_permissions.set(taken["user_permissions"])
        User.objects.filter(pk=una.pk).update(is_active=taken["is_active"])
        lock(self, request, row)

    monkeypatch.setattr(PermissionModelAdmin, "lock", late)
    held = list(una.user_permissions.all())
    assert change(browser_for(una), otto, username="x").status_code == 403
    una.user_permissions.set(held)
    taken.update(user_permissions=held, is_active=False)
    assert change(browser_for(una), otto, username="x").status_code == 403
    assert not User.objects.filter(username="x").exists()


@pytest.mark.parametrize("who", ["una", "olga"])
def test_no_one_changes_the_predefined_roles(una: User, olga: Browser, who: str) -> None:
    """Each migrate would undo it, and give a role that took such a name its permissions."""
    browser = olga if who == "olga" else browser_for(una)
    viewer = Role.objects.get(name="viewer")
    address = f"/admin/auth/group/{viewer.pk}"
    assert browser.post(f"{address}/change/", {"name": "x"}).status_code == 403
    assert browser.post(f"{address}/delete/", DELETE).status_code == 403


def test_the_audit_records_permissions_given_and_taken(olga: Browser) -> None:
    otto = User.objects.create_user("otto", is_staff=True)
    otto.groups.add(Role.objects.get(name="viewer"))
    given = {"groups": [Role.objects.get(name="manager").pk], "is_superuser": "on"}
    given["user_permissions"] = [permission("auth.view_user").pk]
    assert change(olga, otto, **given).status_code == 302
    details = AuditEvent.objects.latest("pk").details
    assert details["given"] == ["auth.view_user", "is_superuser", "manager"]
    assert details["taken"] == ["viewer"]
    sent = {"name": "new", "permissions": [permission("groups.view_group").pk]}
    assert olga.post("/admin/auth/group/add/", sent).status_code == 302
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.details) == ("add", {"given": ["groups.view_group"]})


def test_a_superuser_gives_every_permission_in_few_queries(una: User, olga: Browser) -> None:
    for number in range(3):
        role = Role.objects.create(name=f"role {number}")
        role.permissions.set(asked_for())
    address = f"/admin/auth/user/{una.pk}/change/"
    assert olga.get(address).content.decode().count('name="user_permissions"') == (
        asked_for().count()
    )
    assert count_queries(olga, "/admin/auth/user/add/") <= 8
    for browser in (olga, browser_for(una)):
        pages = (address, f"/admin/auth/user/{una.pk}/password/", "/admin/auth/user/")
        pages += (f"/admin/auth/user/{una.pk}/delete/", "/admin/auth/group/")
        pages += (f"/admin/auth/group/{role.pk}/change/",)
        assert {
            page: count_queries(browser, page) for page in pages if count_queries(browser, page) > 8
        } == {}


@pytest.mark.parametrize("right", ["is_superuser", "is_staff", "is_active"])
def test_the_last_superuser_stays_a_superuser(olga: Browser, right: str) -> None:
    mine = User.objects.get()
    User.objects.create_superuser("gone", is_active=False)
    rights = dict.fromkeys({"is_superuser", "is_staff", "is_active"} - {right}, "on")
    address, sent = f"/admin/auth/user/{mine.pk}/change/", {"username": "olga", **rights}
    answer = olga.post(address, sent)
    assert answer.status_code == 200 and "最后一名有效的超级管理员" in answer.content.decode()
    english = olga.post(address, sent, headers={"Accept-Language": "en"}).content.decode()
    assert "the last active superuser" in english
    User.objects.create_superuser("second")
    assert olga.post(address, sent).status_code == 302


def test_the_last_superuser_is_not_deleted(olga: Browser) -> None:
    mine = User.objects.get()
    User.objects.create_user("other", is_staff=True)
    address = f"/admin/auth/user/{mine.pk}/delete/"
    assert "最后一名有效的超级管理员" in olga.post(address, DELETE).content.decode()
    assert User.objects.count() == 2
    User.objects.create_superuser("second")
    assert olga.post(address, DELETE).status_code == 302
    assert set(User.objects.values_list("username", flat=True)) == {"other", "second"}


MODULES = ("accounts", "groups", "auth")


def test_no_page_links_to_the_index_of_an_app(one_of_everything: None) -> None:
    """Avoid Django's index of an app: it would contradict the sidebar, which goes by subject."""
    browser = browser_of("superuser")
    for module in MODULES:
        assert browser.get(f"/admin/{module}/")["Location"] == "/admin/"
    for path in [admin_path(route) for route in LOWEST if "export" not in route]:
        page = browser.get(path).content.decode()
        assert not [name for name in MODULES if f'href="/admin/{name}/"' in page], path
