"""Operators and their roles: Django's own, audited, and under names of ours."""

from copy import copy
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import Permission, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from console.roles import asked_for

from .base import Audited

admin.site.unregister([User, Role])


def renamed(opts: Any, one: Any, many: Any) -> Any:
    """A model's options under other names; Django's call staff and members' groups alike."""
    opts = copy(opts)
    opts.verbose_name, opts.verbose_name_plural = one, many
    return opts


VERBS = {"view": _("view"), "add": _("add"), "change": _("change"), "delete": _("delete")}


class PermissionField(forms.ModelMultipleChoiceField[Permission]):
    """What may be done to what, in the reader's language: Django keeps "Can view member"."""

    def label_from_instance(self, obj: Permission) -> str:
        verb = VERBS.get(obj.codename.partition("_")[0]) or gettext(obj.name)
        return f"{_called(obj.content_type)} · {verb}"


def _called(content_type: Any) -> str:
    """As the console's own pages call it."""
    model = content_type.model_class()
    shown = admin.site.is_registered(model)
    opts = admin.site.get_model_admin(model).opts if shown else model._meta
    return capfirst(str(opts.verbose_name))


class Permitting(Audited):
    """Offers the permissions that the console asks for, and calls roles so."""

    def formfield_for_manytomany(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs |= {"label": capfirst(_("roles")), "help_text": ""}
        else:
            kwargs |= {"form_class": PermissionField, "queryset": asked_for(), "help_text": ""}
        return super().formfield_for_manytomany(db_field, request, **kwargs)


@admin.register(User)
class OperatorAdmin(Permitting, UserAdmin[User]):
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

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("operator"), _("operators"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description=_("roles"))
    def roles(self, operator: User) -> str:
        return ", ".join(role.name for role in operator.groups.all()) or "–"

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Whoever is added here is to come in."""
        obj.is_staff = obj.is_staff or not change
        super().save_model(request, obj, form, change)


@admin.register(Role)
class RoleAdmin(Permitting, GroupAdmin):  # type: ignore[misc]
    filter_horizontal = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("role"), _("roles"))
