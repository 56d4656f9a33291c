"""Which page of the console opens for which role: every route of the admin, generated."""

import pytest
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import AuditEvent, ServerKey
from groups.models import Group, VerificationFile

from .conftest import Person
from .settings import APP_ID
from .test_queries import queries
from .test_security import ADMIN, admin_path

ROLES = ("any", "viewer", "moderator", "manager", "superuser")


@pytest.fixture
def lived(alice: Person, group: Group) -> None:
    """A row of everything that has a page."""
    ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    AuditEvent.objects.create(action="block", target="wechatuser")
    VerificationFile.objects.create(name="abc.txt", content="abc")


def browser_of(role: str) -> Browser:
    operator = User.objects.create_user(role, is_staff=True, is_superuser=role == "superuser")
    if role in ROLES[1:4]:
        operator.groups.add(Role.objects.get(name=role))
    browser = Browser()
    browser.force_login(operator)
    return browser


def lowest(route: str, browsers: dict[str, Browser]) -> str:
    """The lowest role that the route opens for; whatever opens for a role opens for all above."""
    found = [browsers[role].get(admin_path(route)).status_code in {200, 204} for role in ROLES]
    assert found == sorted(found), (route, found)
    return ROLES[found.index(True)] if any(found) else "nobody"


# The lowest role that a GET of each route shows something to; "nobody" where it redirects to a page
# with a rule of its own, takes POST only, or is closed.
PAGES: dict[str, tuple[str, ...]] = {
    "any": (
        "admin/",
        "admin/export/progress/<slug:job>/",
        "admin/jsi18n/",
        "admin/password_change/",
        "admin/password_change/done/",
    ),
    "viewer": (
        "admin/accounts/auditevent/",
        "admin/accounts/auditevent/<path:object_id>/change/",
        "admin/accounts/auditevent/<path:object_id>/history/",
        "admin/accounts/wechatuser/",
        "admin/accounts/wechatuser/<path:object_id>/change/",
        "admin/export/<slug:what>.<slug:form>",
        "admin/export/<slug:what>/",
        "admin/export/ranking/<int:pk>.<slug:form>",
        "admin/groups/board/",
        "admin/groups/board/<path:object_id>/change/",
        "admin/groups/group/",
        "admin/groups/group/<path:object_id>/change/",
        "admin/groups/membership/",
        "admin/groups/membership/<path:object_id>/change/",
        "admin/groups/score/",
        "admin/groups/score/<path:object_id>/change/",
    ),
    "moderator": (
        "admin/act/<slug:key>/<int:pk>/",
        "admin/check/",
        "admin/check/live/",
        "admin/review/",
    ),
    "manager": (
        "admin/accounts/serverkey/",
        "admin/accounts/serverkey/<path:object_id>/change/",
        "admin/accounts/serverkey/add/",
        "admin/check/credentials/",
        "admin/groups/board/add/",
        "admin/groups/verificationfile/",
        "admin/groups/verificationfile/<path:object_id>/change/",
        "admin/groups/verificationfile/<path:object_id>/delete/",
        "admin/groups/verificationfile/add/",
    ),
    "superuser": (
        "admin/auth/group/",
        "admin/auth/group/<path:object_id>/change/",
        "admin/auth/group/<path:object_id>/delete/",
        "admin/auth/group/add/",
        "admin/auth/user/",
        "admin/auth/user/<id>/password/",
        "admin/auth/user/<path:object_id>/change/",
        "admin/auth/user/<path:object_id>/delete/",
        "admin/auth/user/add/",
    ),
}


LOWEST = {route: role for role, routes in PAGES.items() for route in routes}
MOST_QUERIES = 8


def opens_for(role: str, least: str) -> bool:
    return ROLES.index(role) >= ROLES.index(least)


def test_every_page_of_the_console_opens_for_its_roles_only(lived: None) -> None:
    browsers = {role: browser_of(role) for role in ROLES}
    routes = [route for route in ADMIN if not route.startswith(("admin/login", "admin/logout"))]
    found: dict[str, set[str]] = {}
    for route in routes:
        found.setdefault(lowest(route, browsers), set()).add(route)
    found.pop("nobody")
    assert found == {role: set(pages) for role, pages in PAGES.items()}


@pytest.mark.parametrize("role", ROLES[1:])
def test_no_page_of_the_console_takes_more_than_eight_queries(lived: None, role: str) -> None:
    browser, group = browser_of(role), Group.objects.get()
    pages = [admin_path(route) for route, least in LOWEST.items() if opens_for(role, least)]
    pages += ["/groups/", "/groups/?sort=members&q=Alice", f"/groups/{group.pk}/"]
    pages += ["/admin/groups/group/?q=Alice", "/admin/accounts/wechatuser/?q=Alice"]
    taken = {page: queries(browser, page) for page in pages}
    assert {page: number for page, number in taken.items() if number > MOST_QUERIES} == {}


POSTS = {
    "admin/openid/<int:pk>/": "manager",
    "admin/check/watch/": "moderator",
    "admin/check/credentials/": "manager",
    "admin/act/<slug:key>/<int:pk>/": "moderator",
    "admin/review/": "moderator",
}


@pytest.mark.parametrize("route", POSTS)
@pytest.mark.parametrize("role", ROLES)
def test_what_is_posted_is_for_its_roles_only(lived: None, role: str, route: str) -> None:
    allowed = opens_for(role, POSTS[route])
    assert (browser_of(role).post(admin_path(route)).status_code != 403) == allowed


MODULES = ("accounts", "groups", "auth")


def test_no_page_leads_to_a_module_of_ours_which_has_none(lived: None) -> None:
    """Django's index of an app would contradict the sidebar, which goes by subject."""
    browser = browser_of("superuser")
    for module in MODULES:
        assert browser.get(f"/admin/{module}/")["Location"] == "/admin/"
    for path in [admin_path(route) for route in LOWEST if "export" not in route]:
        page = browser.get(path).content.decode()
        assert not [name for name in MODULES if f'href="/admin/{name}/"' in page], path
