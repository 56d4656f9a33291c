"""Every page of the console there is a route for, on a small phone, a phone and a desk, in light
and in dark: nothing sticks out, everybody can read it, and it keeps quiet."""

import re

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from audit.models import AuditEvent
from groups.models import Group, ServerKey, VerificationFile
from tests.settings import APP_ID
from tests.site_map import admin_path
from tests.test_roles import PAGES

from .test_admin import family, looks_right  # noqa: F401
from .test_pages import both_schemes, fits

WIDTHS = (1280, 390, 360)
NO_PAGES = (
    "admin/jsi18n/",
    "admin/check/live/",
    "admin/export/<slug:what>.<slug:form>",
    "admin/export/progress/<slug:job>/",
    "admin/export/ranking/<int:pk>.<slug:form>",
)


@pytest.fixture
def lived(family) -> None:  # noqa: F811
    """A row of everything that has a page, under names of every kind."""
    ServerKey.objects.issue(APP_ID, "backend", timezone.now())
    user = family.members[0]
    AuditEvent.objects.create(action="block", target="wechatuser", target_id=user.pk)
    VerificationFile.objects.create(name="abc.txt", content="abc")


def paths(least: str) -> dict[str, str]:
    """By name, the pages that open from that role on; those below /groups/ with the viewer's."""
    found = {route: admin_path(route) for route in PAGES[least] if route not in NO_PAGES}
    if least == "viewer":
        found |= {"groups/": "/groups/", "groups/<pk>/": f"/groups/{Group.objects.get().pk}/"}
    return {
        re.sub(r"\W+", "-", re.sub(r"<\w+:\w+>", "", name)).strip("-"): path
        for name, path in found.items()
    }


@both_schemes
@pytest.mark.parametrize("least", PAGES)
def test_every_page_fits_and_is_readable(visit, lived, olga: User, least: str, scheme: str) -> None:
    visitor = visit(WIDTHS[0], scheme, operator=olga)
    for name, path in paths(least).items():
        page = visitor.open(path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900 if width > 800 else 740})
            visitor.photograph(f"every-{name}-{width}-{scheme}", whole=True)
            assert fits(page), (path, width)
        looks_right(visitor)
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
