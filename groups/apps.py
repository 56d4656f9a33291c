from typing import Any

from django.apps import AppConfig
from django.apps import apps as current_apps
from django.apps.registry import Apps
from django.db.models.signals import post_migrate
from django.utils.translation import pgettext_lazy


def ensure_active_days(
    sender: AppConfig, using: str, apps: Apps = current_apps, **kwargs: Any
) -> None:
    """Create the board that needs no game and that every mini-program has."""
    from .models import ACTIVE_DAYS, EVERY_APP, Board

    try:
        # As the database has it now: an earlier migration, or none, may be what was asked for.
        boards = apps.get_model("groups", "Board")._default_manager
    except LookupError:
        return
    boards.using(using).get_or_create(
        app_id=EVERY_APP,
        key=ACTIVE_DAYS,
        defaults={
            "title_zh": "活跃天数",
            "title_en": "Active days",
            "unit_zh": "天",
            "unit_en": "days",
            "policy": Board.Policy.SUM,
        },
    )


class GroupsConfig(AppConfig):
    name = "groups"
    verbose_name = pgettext_lazy("WeChat", "Groups")

    def ready(self) -> None:
        from accounts.models import ON_CHANGE
        from accounts.privacy import BEFORE_ERASURE, LASTING_COUNTS
        from accounts.withdrawals import on_withdrawal

        from . import causes  # noqa: F401
        from .services import (
            FOUNDINGS,
            drop_aliases,
            lasting_foundings,
            leave_all,
            show_change,
            show_erasure,
        )

        ON_CHANGE.append(show_change)
        BEFORE_ERASURE.append(show_erasure)
        LASTING_COUNTS[FOUNDINGS] = lasting_foundings
        on_withdrawal("nickname", drop_aliases)
        on_withdrawal("groups", leave_all)
        post_migrate.connect(ensure_active_days, sender=self)
