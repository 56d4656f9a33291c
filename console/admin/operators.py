"""Operators and their roles: Django's own, audited, and under names of ours."""

from copy import copy
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User
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
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("operator"), _("operators"))


@admin.register(Role)
class RoleAdmin(Audited, GroupAdmin):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.opts = renamed(self.opts, _("role"), _("roles"))
