from typing import Any

from django.apps import AppConfig
from django.apps import apps as all_apps
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Members")

    def ready(self) -> None:
        from . import causes, checks, examinations  # noqa: F401

        post_migrate.connect(make_tombstone_key, sender=self)


def make_tombstone_key(sender: Any, apps: Any = all_apps, **kwargs: Any) -> None:
    """Make the tombstones' key with its table, for `check` to know wrong FIELD_KEYS by it."""
    from .models import TombstoneKey

    # After a migration back to before the table there is none.
    has_table = any(model.__name__ == "TombstoneKey" for model in apps.get_models())
    if has_table and not TombstoneKey.objects.exists():
        TombstoneKey.objects.texts()
