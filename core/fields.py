"""Columns whose comparison must be the same on every database.

The collations are added here and not as `db_collation`, because the name of a MySQL collation
would break the migrations of the other databases.
"""

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class CollatedCharField(models.CharField[str, str]):
    """A text with a collation of its own on MySQL and MariaDB."""

    mysql_collation: str

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = self.mysql_collation
        return parameters


class OpaqueIdField(CollatedCharField):
    """An identifier compared byte by byte: WeChat's ids differ by case alone."""

    mysql_collation = "utf8mb4_bin"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 64)
        super().__init__(*args, **kwargs)


class PersonalTextField(CollatedCharField):
    """A text that people write, searched without regard to case.

    The default collation of MySQL and MariaDB takes all emoji for the same letter.
    """

    mysql_collation = "utf8mb4_unicode_520_ci"
