"""Settings of this package that `manage.py check` refuses, each with what to do about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import Error as DatabaseError
from django.db import connection, connections

from .database import schema_is_behind, unbound_connection
from .migrations import missing_migrations
from .reencryption import lost_keys_of_the_site
from .replica import has_replica
from .routing import REPLICA
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
        own = (
            "Was this site used before? Then put its own keys back, whole. "
            "若站点已投入使用，请填回原来的完整密钥。 "
        )
        return [Error(str(error), own + hint, id="core.E002")]
    return []


@register
def former_secret_keys(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that SECRET_KEY was changed where it has fallbacks; Django looks at how strong."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    if len(set(keys)) == len(keys):
        return []
    hint = (
        "Put a new key into SECRET_KEY, and the former one once into SECRET_KEY_FALLBACKS: "
        "docs/keys.md. 请在 SECRET_KEY 中填写新密钥，旧密钥只在 SECRET_KEY_FALLBACKS 中出现一次，"
        "见 docs/keys.zh-CN.md。"
    )
    text = "SECRET_KEY_FALLBACKS repeats a key, so that one was not changed."
    return [Warning(text, hint, id="core.W003")]


@register
def field_keys_fit_the_database(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that FIELD_KEYS opens what this database holds, before a site serves with others.

    A database that is away or has no tables yet says nothing about keys.
    """
    if field_keys(app_configs) or _is_missing_file():
        return []
    try:
        with unbound_connection():
            lost = lost_keys_of_the_site()
    except DatabaseError:
        return []
    if not lost:
        return []
    hint = (
        "Put the key with which this database was used back into FIELD_KEYS, at the end of it; if "
        "it is lost, see docs/keys.md. 请把此数据库使用过的密钥放回 FIELD_KEYS 的末尾；"
        "若密钥已丢失，见 docs/keys.zh-CN.md。"
    )
    text = "FIELD_KEYS does not open what this database holds: a key is wrong or missing."
    return [Error(text, hint, id="core.E003")]


def _is_missing_file() -> bool:
    """Return whether the database is an SQLite file that looking at it would create."""
    database: Any = connection
    if database.vendor != "sqlite" or database.is_in_memory_db():
        return False
    return not Path(database.settings_dict["NAME"]).exists()


@register
def replica(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that a replica is of the same kind as the database that it copies."""
    if not has_replica() or connections[REPLICA].vendor == connection.vendor:
        return []
    hint = (
        "DATABASE_REPLICA_URL is for a replica of the same database; leave it out without one. "
        "DATABASE_REPLICA_URL 须指向同一数据库的只读副本；没有副本时请不要设置。"
    )
    text = "DATABASE_REPLICA_URL and DATABASE_URL name different kinds of database."
    return [Error(text, hint, id="core.E004")]


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
