"""Operators and their roles: Django's own, audited, and under names of ours."""

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.access import operator_of
from console.audit_targets import model_name
from console.roles import (
    RIGHTS,
    ROLES,
    are_the_last_superusers,
    grantable,
    grantable_roles,
    outranks,
)

from .base import AuditedModelAdmin

admin.site.unregister([User, Role])


def renamed(opts: Any, one: Any, many: Any) -> Any:
    """Return a model's options under other names; Django has one word for roles and groups."""
    opts = copy(opts)
    opts.verbose_name, opts.verbose_name_plural = one, many
    return opts


VERBS = {"view": _("view"), "add": _("add"), "change": _("change"), "delete": _("delete")}
LAST_SUPERUSER = _("This is the last active superuser. Make another operator a superuser first.")
GRANTS = ("groups", "user_permissions", "permissions")


class GrantField(forms.ModelMultipleChoiceField[Any]):
    """A choice of what the operator may give and take; what else is held is left alone."""

    def withheld(self, held: Any) -> list[Any]:
        """Return what is held and not offered."""
        offered = set(self.queryset or ())
        return [each for each in held or () if each not in offered]

    def has_changed(self, initial: Any, data: Any) -> bool:
        withheld = self.withheld(initial)
        return super().has_changed([x for x in initial or () if x not in withheld], data)


class PermissionField(GrantField):
    """Permissions in the reader's language: Django keeps "Can view member"."""

    def label_from_instance(self, obj: Permission) -> str:
        verb = VERBS.get(obj.codename.partition("_")[0]) or gettext(obj.name)
        return f"{model_name(obj.content_type.model_class())} · {verb}"


def _given(values: Mapping[str, Any]) -> set[str]:
    """Return what a form's values allow, in words for the audit."""
    permissions = [*values.get("user_permissions", ()), *values.get("permissions", ())]
    return (
        {right for right in RIGHTS if values.get(right)}
        | {role.name for role in values.get("groups", ())}
        | {f"{each.content_type.app_label}.{each.codename}" for each in permissions}
    )


class PermissionModelAdmin(AuditedModelAdmin):
    """A form that gives permissions: of those the console asks for, the ones its reader holds.

    Operators who may change operators or roles cannot give themselves more than they hold.
    """

    def is_for_superusers(self, row: Any) -> bool:
        """Return whether only superusers may change or delete this row."""
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, row: Any) -> bool:
        return operator_of(request).is_superuser or not (row and self.is_for_superusers(row))

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        operator = operator_of(request)
        kwargs |= {"form_class": PermissionField, "queryset": grantable(operator), "help_text": ""}
        if db_field.name == "groups":
            roles = {"form_class": GrantField, "queryset": grantable_roles(operator)}
            kwargs |= {"label": capfirst(_("roles")), **roles}
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_related(self, request: Any, form: Any, formsets: Any, change: bool) -> None:
        """Keep what the operator was not offered, and save the rest as chosen."""
        for name in form.cleaned_data.keys() & GRANTS:
            withheld = form.fields[name].withheld(form.initial.get(name))
            form.cleaned_data[name] = [*form.cleaned_data[name], *withheld]
        super().save_related(request, form, formsets, change)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> list[dict[str, Any]]:
        """Say what was given and taken, for the audit."""
        message: list[dict[str, Any]] = super().construct_change_message(
            request, form, formsets, add
        )
        before, after = _given(form.initial), _given(form.cleaned_data)
        grants = {"given": sorted(after - before), "taken": sorted(before - after)}
        return [*message, {"audit": {key: names for key, names in grants.items() if names}}]


class OperatorForm(UserChangeForm[User]):
    def clean(self) -> dict[str, Any]:
        """Keep one superuser who can let the others in."""
        stays = all(self.cleaned_data.get(right, True) for right in RIGHTS)
        if not stays and are_the_last_superusers([self.instance]):
            raise ValidationError(LAST_SUPERUSER)
        return self.cleaned_data


@admin.register(User)
class OperatorAdmin(PermissionModelAdmin, UserAdmin[User]):
    list_display = ("username", "roles", "is_superuser", "is_active", "last_login")
    list_filter = ("groups", "is_superuser", "is_active")
    fieldsets = (
        (None, {"fields": ("username", "password", "first_name", "last_name", "email")}),
        (None, {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        (_("Single permissions"), {"fields": ("user_permissions",), "classes": ("collapse",)}),
        (None, {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()
    form = OperatorForm

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("operator"), _("operators"))

    def is_for_superusers(self, row: User) -> bool:
        return row.is_superuser

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        mine = () if operator_of(request).is_superuser else ("is_superuser",)
        return (*super().get_readonly_fields(request, obj), *mine)

    def get_deleted_objects(self, objs: Iterable[User], request: HttpRequest) -> Any:
        """Protect the last superuser."""
        *found, protected = super().get_deleted_objects(objs, request)  # type: ignore[arg-type]
        last = [LAST_SUPERUSER] if are_the_last_superusers(objs) else []
        return *found, [*protected, *last]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the roles of all operators on the page at once."""
        page: Any = super().get_changelist_instance(request)
        page.result_list = page.result_list.prefetch_related("groups")
        return page

    @admin.display(description=_("roles"))
    def roles(self, operator: User) -> str:
        return ", ".join(role.name for role in operator.groups.all()) or "–"

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Set a password in one transaction with its audit, unless the operator may do more."""
        operator = self.get_object(request, unquote(id))
        if operator and outranks(operator, operator_of(request)):
            raise PermissionDenied
        if request.method != "POST":
            return super().user_change_password(request, id, form_url)
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Let in an operator who is added here."""
        obj.is_staff = obj.is_staff or not change
        super().save_model(request, obj, form, change)


@admin.register(Role)
class RoleAdmin(PermissionModelAdmin, GroupAdmin):  # type: ignore[misc]
    filter_horizontal = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("role"), _("roles"))

    def is_for_superusers(self, row: Role) -> bool:
        """Protect the ready roles: each migrate gives roles of these names their permissions."""
        return row.name in ROLES
