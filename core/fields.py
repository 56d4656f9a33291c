"""Columns whose comparison must be the same on every database, and columns of secrets.

The collations are added here and not as `db_collation`, because the name of a MySQL collation
would break the migrations of the other databases.
"""

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.functional import Promise


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


class EncryptedField(models.CharField[str, str]):
    """A secret as `core.vault.encrypt` has written it; "" for none.

    The value is what is stored: only `decrypt` makes the secret of it. `manage.py reencrypt` finds
    every column of this kind. `if_lost` says what it means if no key of FIELD_KEYS opens a value.
    With `must_open` the site does not start with keys that do not open all of the column, so it is
    for small tables (core/checks.py).
    """

    def __init__(
        self, *args: Any, if_lost: str | Promise = "", must_open: bool = False, **kwargs: Any
    ) -> None:
        self.if_lost, self.must_open = if_lost, must_open
        kwargs.setdefault("max_length", 255)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        """Describe the column, for migrations: that of any other text."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs
