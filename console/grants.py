"""What operators may do, in the reader's language: roles and permissions by names people know.

The database keeps "viewer" and "auth.change_user", and the audit repeats them.
"""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from .audit_targets import model_name
from .roles import ROLES, SUPERUSER, asked_for

VERBS = {"view": _("view"), "add": _("add"), "change": _("change"), "delete": _("delete")}
RIGHT_NAMES = {
    "is_superuser": SUPERUSER.name,
    "is_staff": _("opens the console"),
    "is_active": _("may sign in"),
}


def listed(names: Iterable[Any]) -> str:
    return pgettext("between names", ", ").join(map(str, names))


def role_name(name: str) -> str:
    """Return what the console calls the role that the database calls `name`."""
    return str(ROLES[name].name) if name in ROLES else name


def role_allows(role: Role) -> str:
    """Return what a role allows: a sentence, or the permissions of one that was made here."""
    if role.name in ROLES:
        return str(ROLES[role.name].allows)
    return listed(map(permission_name, role.permissions.all())) or gettext("Nothing yet.")


def permission_name(permission: Permission) -> str:
    """Return a permission by the name of its model in the console.

    Django keeps its name in the language of the day on which it was made.
    """
    model: Any = permission.content_type.model_class()
    own = dict(model._meta.permissions)
    verb = own.get(permission.codename) or VERBS[permission.codename.partition("_")[0]]
    return f"{model_name(model)} · {verb}"


def grant_names(grants: Iterable[str]) -> list[str]:
    """Return the names of what the audit says was given or taken: roles, rights, permissions."""
    grants = list(grants)
    permissions = {}
    if any("." in each for each in grants):
        for each in asked_for():
            label = f"{each.content_type.app_label}.{each.codename}"
            permissions[label] = permission_name(each)
    return [str(RIGHT_NAMES.get(x) or permissions.get(x) or role_name(x)) for x in grants]
