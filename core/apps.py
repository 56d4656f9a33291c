from django.apps import AppConfig
from django.db.backends.signals import connection_created


class CoreConfig(AppConfig):
    name = "core"

    def ready(self) -> None:
        from . import checks, examinations  # noqa: F401
        from .database import bound_waits, keep_sqlite_open

        connection_created.connect(keep_sqlite_open)
        connection_created.connect(bound_waits)
