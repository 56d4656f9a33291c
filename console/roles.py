"""Three ready roles: Django groups whose permissions are kept as they stand here.

A viewer reads. A moderator keeps groups clean as well. A manager also makes boards and keys, sees
openids and erases. Other roles may be made in the console; these three no one changes there, and
they are put right at each migrate.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.db.models import Case, Model, Q, QuerySet, Value, When
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

READ = {
    "accounts": ("wechatuser",),
    "audit": ("auditevent",),
    "groups": ("group", "membership", "board", "score"),
}

VIEWER = [f"{app}.view_{model}" for app, models in READ.items() for model in models]
MODERATOR = [
    *VIEWER,
    "accounts.change_wechatuser",
    "groups.change_group",
    "groups.change_membership",
    "groups.delete_score",
    "audit.view_attempt",
    "audit.add_watch",
]
MANAGER = [
    *MODERATOR,
    "accounts.delete_wechatuser",
    "accounts.see_openids",
    "audit.test_credentials",
    *(f"groups.{verb}_serverkey" for verb in ("add", "change", "view")),
    *(f"groups.{verb}_board" for verb in ("add", "change", "delete")),
    "groups.change_score",
    *(f"groups.{verb}_verificationfile" for verb in ("add", "change", "delete", "view")),
]
OPERATORS = [
    f"auth.{verb}_{model}"
    for verb in ("add", "change", "delete", "view")
    for model in ("user", "group")
]


@dataclass(frozen=True)
class ReadyRole:
    """A role that every site has; `name` and `allows` are what the console shows of it."""

    permissions: list[str]
    name: str | Promise
    allows: str | Promise


ROLES = {
    "viewer": ReadyRole(
        VIEWER,
        pgettext_lazy("role", "Viewer"),
        _("Sees groups, members, boards, scores and the audit; exports them without openids."),
    ),
    "moderator": ReadyRole(
        MODERATOR,
        pgettext_lazy("role", "Moderator"),
        _(
            "What a viewer may, and: reviews names and avatars, blocks and hides members, hides "
            "groups, removes scores, sees why log-ins and binds fail."
        ),
    ),
    "manager": ReadyRole(
        MANAGER,
        pgettext_lazy("role", "Manager"),
        _(
            "What a moderator may, and: makes boards and server keys, corrects scores, sees and "
            "exports openids, erases members. Not: operators and roles."
        ),
    ),
}
SUPERUSER = ReadyRole([], _("Superuser"), _("May do everything, and makes operators and roles."))


# Without any of these a superuser is no more one who can put things right.
RIGHTS = ("is_superuser", "is_staff", "is_active")


class OperatorBackend(ModelBackend):
    """Django's own, with one query for what an operator holds by themselves and by their roles."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        if not user_obj.is_active or user_obj.is_superuser or obj is not None:
            return super().get_all_permissions(user_obj, obj)
        if not hasattr(user_obj, "_perm_cache"):
            rows = held_by(user_obj).values_list("content_type__app_label", "codename").order_by()
            user_obj._perm_cache = {f"{app}.{codename}" for app, codename in rows}
        return set(user_obj._perm_cache)


def holds(operator: User, permission: str) -> bool:
    """Return whether an operator holds a permission: as in the admin, who may change may view."""
    changing = permission.replace(".view_", ".change_")
    return operator.has_perm(permission) or operator.has_perm(changing)


def may_view(operator: User, model: type[Model]) -> bool:
    """Return whether the console shows this operator rows of `model`."""
    return holds(operator, f"{model._meta.app_label}.view_{model._meta.model_name}")


def held_by(operator: User) -> QuerySet[Permission]:
    """Select what an operator holds, directly and by roles, superuser or not, active or not."""
    return Permission.objects.filter(Q(user=operator) | Q(group__user=operator))


def outranking(operator: User) -> QuerySet[User]:
    """Select who may do something that `operator` may not: no one outranks a superuser."""
    if operator.is_superuser:
        return User.objects.none()
    more = Permission.objects.exclude(pk__in=held_by(operator))
    found = Q(is_superuser=True) | Q(user_permissions__in=more) | Q(groups__permissions__in=more)
    return User.objects.filter(found)


def outranks(other: User, operator: User) -> bool:
    """Return whether `other` may do something that `operator` may not."""
    return other.pk != operator.pk and outranking(operator).filter(pk=other.pk).exists()


def is_beyond(role: Role, operator: User) -> bool:
    """Return whether a role allows more than `operator` may, or is held by who outranks them."""
    if operator.is_superuser:
        return False
    more = role.permissions.exclude(pk__in=held_by(operator)).exists()
    return more or outranking(operator).filter(groups=role).exists()


def grantable(operator: User) -> QuerySet[Permission]:
    """Select what an operator can give to others: only what they hold themselves."""
    return asked_for() if operator.is_superuser else asked_for().filter(pk__in=held_by(operator))


def ordered_roles() -> QuerySet[Role]:
    """Select all roles: the ready ones from the lowest to the highest, then the others by name."""
    places = [When(name=name, then=Value(place)) for place, name in enumerate(ROLES)]
    place = Case(*places, default=Value(len(ROLES)))
    return Role.objects.annotate(place=place).order_by("place", "name")


def grantable_roles(operator: User) -> QuerySet[Role]:
    """Select the roles with nothing beyond what the operator holds."""
    roles = ordered_roles()
    if operator.is_superuser:
        return roles
    return roles.exclude(permissions__in=Permission.objects.exclude(pk__in=held_by(operator)))


def are_the_last_superusers(operators: Iterable[User]) -> bool:
    """Return whether no superuser is left without these."""
    gone = {operator.pk for operator in operators if operator.is_superuser}
    active = User.objects.filter(**dict.fromkeys(RIGHTS, True)).values_list("pk", flat=True)
    return bool(gone) and set() < set(active) <= gone


def asked_for() -> QuerySet[Permission]:
    """Select every permission that opens something in the console."""
    rows = _rows([*MANAGER, *OPERATORS], "default").select_related("content_type")
    return rows.order_by("content_type__app_label", "content_type", "codename")


def ensure(using: str = "default") -> None:
    """Make the roles, or give them exactly the permissions above."""
    for app in READ:  # Django makes them after each app's own turn, which may still be to come
        create_permissions(apps.get_app_config(app), verbosity=0, using=using)
    for name, ready in ROLES.items():
        role, _created = Role.objects.using(using).get_or_create(name=name)
        role.permissions.set(_rows(ready.permissions, using))


def _rows(permissions: Iterable[str], using: str) -> QuerySet[Permission]:
    wanted = Q()
    for permission in permissions:
        app, codename = permission.split(".")
        wanted |= Q(content_type__app_label=app, codename=codename)
    return Permission.objects.using(using).filter(wanted)
