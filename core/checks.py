"""Settings of this package that `manage.py check` refuses, each with what to do about it."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from .vault import InvalidFieldKey, vault


@register
def field_keys(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that FIELD_KEYS has at least one key, each urlsafe base64 of 32 bytes."""
    hint = (
        "Make a key and put it into FIELD_KEYS 生成一个密钥并写入 FIELD_KEYS: "
        "python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
    )
    if not settings.FIELD_KEYS:
        return [Error("FIELD_KEYS is empty, so secrets cannot be kept.", hint, id="core.E001")]
    try:
        vault()
    except InvalidFieldKey as error:
        return [Error(str(error), hint, id="core.E002")]
    return []
