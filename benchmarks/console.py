"""What a moderator's pages take, one request each, in the process."""

import time
from collections.abc import Iterator

from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count
from django.test import Client
from django.test.utils import CaptureQueriesContext

from groups.models import Membership

LISTS = ("accounts/wechatuser", "groups/membership", "groups/score", "audit/auditevent")


def pages() -> Iterator[tuple[str, int, float]]:
    """Yield each list of the console, searches and the largest group: path, queries, ms."""
    browser = Client()
    moderator = User.objects.create_user(f"bench-{time.time_ns()}", is_staff=True)
    moderator.groups.add(Role.objects.get(name="moderator"))
    browser.force_login(moderator)
    sized = Membership.objects.values("group").annotate(size=Count("pk")).order_by("-size")
    largest = sized.values_list("group", flat=True)[0]
    paths = ["/admin/", *(f"/admin/{path}/" for path in (*LISTS, "groups/board"))]
    paths += ["/admin/accounts/wechatuser/?q=成员777", "/admin/review/"]
    paths += ["/groups/", "/groups/?sort=members", "/groups/?q=成员777"]
    paths += [f"/groups/{largest}/?unlisted=1"]
    for path in paths:
        browser.get(path, secure=True)
        with CaptureQueriesContext(connection) as queries:
            began = time.perf_counter()
            answer = browser.get(path, secure=True)
            spent = 1000 * (time.perf_counter() - began)
        assert answer.status_code == 200, (path, answer.status_code)
        yield path, len(queries), spent
