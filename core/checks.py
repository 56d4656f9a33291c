"""Settings of this package that `manage.py check` refuses, each with what to do about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import Error as DatabaseError
from django.db import connection

from .database import schema_is_behind
from .migrations import missing_migrations
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


@register(deploy=True)
def schema(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that the database has all migrations; one that is away is for `doctor` to notice."""
    try:
        missing = missing_migrations()
    except DatabaseError as error:
        missing = ["all"] if schema_is_behind(error) else []
    if not missing:
        return []
    hint = "Run 请运行 manage.py migrate."
    names = ", ".join(missing)
    return [Warning(f"The database lacks migrations: {names}.", hint, id="core.W001")]


@register(deploy=True)
def sqlite_file(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that an SQLite file is its owner's alone; one made by an earlier version may not be."""
    file = Path(connection.settings_dict["NAME"])
    is_private = connection.vendor != "sqlite" or not file.is_file()
    if is_private or not file.stat().st_mode & 0o077:
        return []
    hint = f"chmod 600 {file}*"
    text = (
        "Other users of this machine may read the SQLite database 本机其他用户可以读取数据库文件。"
    )
    return [Warning(text, hint, id="core.W002")]
