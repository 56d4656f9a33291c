from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class OpaqueIdField(models.CharField[str, str]):
    """An identifier compared byte by byte on every database.

    WeChat's ids differ by case alone, and MySQL's and MariaDB's default collation does not see
    that. The collation goes in here, not as `db_collation`, because its name would break the
    migrations of the other databases.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 64)
        super().__init__(*args, **kwargs)

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters
