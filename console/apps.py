from contextlib import suppress
from typing import Any

from django.apps import AppConfig
from django.apps import apps as current_apps
from django.apps.registry import Apps
from django.contrib.admin import apps as admin
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


def ensure_roles(sender: AppConfig, using: str, apps: Apps = current_apps, **kwargs: Any) -> None:
    """Give the ready roles exactly their permissions after each migrate."""
    from .roles import ensure

    with suppress(LookupError):  # an earlier state of the database, or none, was asked for
        for app, model in (("auth", "Group"), ("audit", "AuditEvent"), ("groups", "Group")):
            apps.get_model(app, model)
        ensure(using)


class ConsoleConfig(AppConfig):
    default = True
    name = "console"
    verbose_name = _("Console")

    def ready(self) -> None:
        # Of groups: the last of the apps whose permissions the roles hold.
        post_migrate.connect(ensure_roles, sender=current_apps.get_app_config("groups"))


class ConsoleAdminConfig(admin.AdminConfig):
    """Django's admin, with our site in the place of its default one."""

    default = False
    default_site = "console.site.ConsoleSite"
