"""The routes of the site, with a path for each; which role the console's pages are open for."""

import re
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db.models import Model
from django.urls import URLResolver, get_resolver

from accounts.models import WeChatUser
from groups.models import Group


def routes(patterns: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every route of the site as it stands in the URL map, with its pattern."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern


def path_of(route: str, **values: Any) -> str:
    """Return the path of a route whose parameters have these values."""
    return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: str(values[found[1]]), route)


ADMIN_ROUTES = sorted(route for route, _pattern in routes() if route.startswith("admin/"))

MODELS: dict[str, type[Model]] = {
    "admin/act/<slug:key>/<int:pk>/": WeChatUser,
    "admin/export/ranking/<int:pk>.<slug:form>": Group,
    "admin/openid/<int:pk>/": WeChatUser,
}


def admin_path(route: str) -> str:
    """Return an admin route's path; where it is about a row, for one that exists."""
    found = re.match(r"admin/(accounts|audit|groups|auth)/(\w+)/<", route)
    model = apps.get_model(*found.groups()) if found else MODELS.get(route)
    row = model.objects.first() if model else None
    pk = str(row.pk if row else 1)
    route = re.sub(r"\^\(\?P<app_label>[^)]+\)/\$", "groups/", route)
    values = {"content_type_id": "1", "object_id": pk, "id": pk, "pk": pk}
    values |= {"key": "block", "what": "members", "form": "csv"}
    return path_of(route.replace(r"(?P<url>.*)$", "nothing"), **values)


# The lowest role that a GET of each route shows something to; for the other routes it is "no one":
# they redirect to a page with a rule of its own, take POST only, or are closed.
PAGES_BY_ROLE: dict[str, tuple[str, ...]] = {
    "any": (
        "admin/",
        "admin/account/",
        "admin/jsi18n/",
        "admin/password_change/",
    ),
    "viewer": (
        "admin/audit/auditevent/",
        "admin/audit/auditevent/<path:object_id>/change/",
        "admin/accounts/wechatuser/",
        "admin/accounts/wechatuser/<path:object_id>/change/",
        "admin/export/",
        "admin/export/<slug:what>.<slug:form>",
        "admin/export/<slug:what>/",
        "admin/export/ranking/<int:pk>.<slug:form>",
        "admin/groups/board/",
        "admin/groups/board/<path:object_id>/change/",
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
        "admin/groups/serverkey/",
        "admin/groups/serverkey/<path:object_id>/change/",
        "admin/groups/serverkey/<path:object_id>/rotate/",
        "admin/groups/serverkey/add/",
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
        "admin/auth/group/add/",
        "admin/auth/user/",
        "admin/auth/user/<id>/password/",
        "admin/auth/user/<path:object_id>/change/",
        "admin/auth/user/<path:object_id>/delete/",
        "admin/auth/user/add/",
    ),
}

LIST_MODELS = (
    "audit/auditevent",
    "accounts/wechatuser",
    *(f"groups/{name}" for name in ("board", "group", "membership", "score", "serverkey")),
)
ROW_PAGES = (
    "add/",
    *(f"<path:object_id>/{page}" for page in ("history/", "delete/", "change/", "")),
)

# Which database the rows of each page of the console come from, where there is a replica.
READ_FROM: dict[str, set[str]] = {
    "replica": {
        "groups/",
        "admin/",
        "admin/export/<slug:what>/",
        "admin/export/<slug:what>.<slug:form>",
        "admin/groups/verificationfile/",
        *(f"admin/{model}/" for model in LIST_MODELS),
    },
    # What decides about a person, what is changed, and who operators are and what they may do.
    "primary": {
        "groups/labels/",
        "groups/<int:pk>/",
        "admin/export/",
        "admin/export/ranking/<int:pk>.<slug:form>",
        "admin/act/<slug:key>/<int:pk>/",
        "admin/openid/<int:pk>/",
        "admin/review/",
        "admin/check/",
        "admin/check/live/",
        "admin/check/watch/",
        "admin/check/credentials/",
        "admin/account/",
        "admin/language/",
        "admin/mini-program/",
        "admin/otp/",
        "admin/login/",
        "admin/logout/",
        "admin/password_change/",
        "admin/password_change/done/",
        "admin/autocomplete/",
        "admin/jsi18n/",
        "admin/r/<path:content_type_id>/<path:object_id>/",
        "admin/auth/user/",
        "admin/auth/user/<id>/link/",
        "admin/auth/user/<id>/password/",
        "admin/auth/group/",
        "admin/groups/serverkey/<path:object_id>/rotate/",
        "admin/^(?P<app_label>audit|groups|accounts|auth)/$",
        "admin/(?P<url>.*)$",
        *(
            f"admin/{model}/{page}"
            for model in (*LIST_MODELS, "groups/verificationfile", "auth/user", "auth/group")
            for page in ROW_PAGES
        ),
    },
}
