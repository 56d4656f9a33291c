"""Operators and their roles: Django's own, audited, and under names of ours."""

from copy import copy
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .base import Audited

admin.site.unregister([User, Role])


def renamed(opts: Any, one: Any, many: Any) -> Any:
    """A model's options under other names; Django's call staff and members' groups alike."""
    opts = copy(opts)
    opts.verbose_name, opts.verbose_name_plural = one, many
    return opts


@admin.register(User)
class OperatorAdmin(Audited, UserAdmin[User]):
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
class RoleAdmin(Audited, GroupAdmin):
    filter_horizontal = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("role"), _("roles"))
