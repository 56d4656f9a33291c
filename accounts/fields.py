from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _

from .nicknames import MAX_CODE_POINTS, UnacceptableNickname, clean_nickname

REFUSALS = {
    "blank": _("This name would look empty. Use at least one visible character."),
    "too_long": _("This name is too long. Use at most 32 characters."),
}


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


def acceptable_nickname(text: str) -> str:
    """`text` as it may be shown. Raises Django's ValidationError with a sentence for people."""
    try:
        return clean_nickname(text)
    except UnacceptableNickname as error:
        raise ValidationError(REFUSALS[error.reason], code=error.reason) from None


class NicknameField(models.CharField[str, str]):
    """A name that others see, cleaned by whichever form it comes through; may be empty."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"max_length": MAX_CODE_POINTS, "blank": True, **kwargs})

    def clean(self, value: Any, model_instance: models.Model | None) -> str:
        text: str = super().clean(value, model_instance)
        return acceptable_nickname(text) if text else ""
