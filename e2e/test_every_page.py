"""Open every page of the console on small phones, phones, desktops and wide screens, light in
Chinese and dark in English: each must fit, be accessible, and cause no problems.

`EVERY_LOOK=1` opens each in all four looks, and takes the photographs of them.
"""

import os
import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from audit.models import AuditEvent
from groups.models import Group, ServerKey, VerificationFile
from tests.settings import APP_ID
from tests.site_map import PAGES_BY_ROLE, admin_path

from .accessibility import fits

WIDTHS = (1920, 1280, 390, 360)
LOOKS = [("light", "zh-CN"), ("dark", "en-US")]
EVERY_LOOK = bool(os.environ.get("EVERY_LOOK"))
if EVERY_LOOK:
    LOOKS += [("dark", "zh-CN"), ("light", "en-US")]
NO_PAGES = (
    "admin/jsi18n/",
    "admin/check/live/",
    "admin/export/<slug:what>.<slug:form>",
    "admin/export/ranking/<int:pk>.<slug:form>",
)


@pytest.fixture
def rows(family) -> None:
    """Create a row for every kind of page, with names of every kind."""
    ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    user = family.members[0]
    AuditEvent.objects.create(action="block", target="wechatuser", target_id=user.pk)
    VerificationFile.objects.create(name="abc.txt", content="abc")
    failure = {
        "where": "requirePrivacyAuthorize",
        "code": "wx_fail",
        "errMsg": f"requirePrivacyAuthorize:fail {'unbroken' * 10}",
        "errno": 112,
        "scene": 1044,
        "SDKVersion": "3.12.0",
        "platform": "windows",
    }
    answer = Client().post("/api/v1/diagnostics", failure, content_type="application/json")
    assert answer.status_code == 204


def paths(role: str) -> dict[str, str]:
    """Return the pages that a role adds, by name; a viewer's include those below /groups/."""
    found = {route: admin_path(route) for route in PAGES_BY_ROLE[role] if route not in NO_PAGES}
    if role == "viewer":
        pk = Group.objects.get().pk
        found |= {"groups/": "/groups/", "groups/<pk>/": f"/groups/{pk}/?unlisted=1"}
    if role == "moderator":
        found |= {"groups/labels/": f"/groups/labels/?group={Group.objects.get().pk}"}
    return {
        re.sub(r"\W+", "-", re.sub(r"<\w+:\w+>", "", name)).strip("-"): path
        for name, path in found.items()
    }


@pytest.mark.parametrize(("scheme", "language"), LOOKS)
@pytest.mark.parametrize("role", PAGES_BY_ROLE)
def test_every_page_fits_and_is_accessible(
    visit, rows, olga: User, role: str, scheme: str, language: str
) -> None:
    visitor = visit(WIDTHS[0], scheme, operator=olga, language=language)
    for name, path in paths(role).items():
        page = visitor.open(path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900 if width > 800 else 740})
            if EVERY_LOOK:
                visitor.photograph(f"every-{name}-{width}-{scheme}-{language[:2]}", whole=True)
            assert fits(page), (path, width)
        visitor.assert_accessible()
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
