"""Operators and their roles: Django's own, audited."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group as Role
from django.contrib.auth.models import User

from .base import Audited

admin.site.unregister([User, Role])


@admin.register(User)
class OperatorAdmin(Audited, UserAdmin[User]):
    pass


@admin.register(Role)
class RoleAdmin(Audited, GroupAdmin):
    pass
