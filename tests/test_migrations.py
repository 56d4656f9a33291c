"""Migrations run while older code still serves: they only add, with defaults in the database."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from django.db import connection, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import (
    AddField,
    AddIndex,
    AlterModelOptions,
    CreateModel,
)
from django.db.models import NOT_PROVIDED

OURS = ("accounts", "audit", "console", "groups")
ADDING = (AddField, AddIndex, AlterModelOptions, CreateModel)  # options: in Python only
serial = count(1)


def migrations() -> dict[tuple[str, str], Any]:
    """Return the migrations of our apps, by app and name."""
    nodes = MigrationLoader(None).disk_migrations
    return {key: nodes[key] for key in sorted(nodes) if key[0] in OURS}


LATER = {key: node for key, node in migrations().items() if not node.initial}


@pytest.mark.django_db(transaction=True)  # SQLite changes tables in no transaction of others
@pytest.mark.parametrize("key", LATER, ids=".".join)
def test_a_migration_only_adds(key: tuple[str, str]) -> None:
    """Allow what the database does not see too, such as a field's help."""
    state = MigrationLoader(None).project_state(LATER[key].dependencies)
    for operation in LATER[key].operations:
        assert isinstance(operation, ADDING) or not changes_tables(operation, key[0], state)
        operation.state_forwards(key[0], state)


def changes_tables(operation: Any, app: str, before: Any) -> bool:
    after = before.clone()
    operation.state_forwards(app, after)
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        operation.database_forwards(app, editor, before, after)
        return any(not line.startswith("--") for line in editor.collected_sql)


@pytest.mark.parametrize("key", LATER, ids=".".join)
def test_the_database_has_a_default_for_what_older_code_does_not_write(
    key: tuple[str, str],
) -> None:
    for operation in LATER[key].operations:
        if isinstance(operation, AddField):
            field = operation.field
            assert field.null or field.db_default is not NOT_PROVIDED, operation.describe()


def earlier() -> list[tuple[str, str]]:
    """Return all migrations but each app's newest."""
    newest = MigrationLoader(None).graph.leaf_nodes()
    return [node for node in migrations() if node not in newest]


@pytest.mark.django_db
@pytest.mark.parametrize("node", earlier(), ids=".".join)
def test_older_code_reads_and_writes_todays_tables(node: tuple[str, str]) -> None:
    apps = MigrationLoader(connection).project_state(node).apps
    for name in apps.all_models[node[0]]:
        row = made(apps.get_model(node[0], name))
        again = type(row)._default_manager.get(pk=row.pk)
        again.save()
        again.delete()


def made(model: type[models.Model]) -> Any:
    """Create a row with a value in every column that has no default."""
    values = {}
    for field in model._meta.concrete_fields:
        if not field.primary_key and not field.has_default():
            values[field.name] = filled(field)
    return model._default_manager.create(**values)


def filled(field: Any) -> Any:
    match field:
        case models.ForeignKey():
            return None if field.null else made(field.related_model)
        case models.DateTimeField():
            return datetime(2026, 11, 25, tzinfo=UTC)
        case models.BooleanField():
            return False
        case models.IntegerField():
            return next(serial)
    return f"x{next(serial)}"[: field.max_length]
