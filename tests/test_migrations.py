"""Migrations run while older code still serves: they only add, with defaults in the database."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from django.apps import apps as current
from django.core.management import CommandError, call_command
from django.db import (
    IntegrityError,
    NotSupportedError,
    OperationalError,
    connection,
    connections,
    models,
    transaction,
)
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import (
    AddConstraint,
    AddField,
    AddIndex,
    AlterField,
    AlterModelOptions,
    AlterUniqueTogether,
    CreateModel,
)
from django.db.migrations.state import ProjectState
from django.db.models import NOT_PROVIDED

from core import migrations as beside
from core.management.commands import migrate
from tests.query_counts import make_members
from tests.servers import wait_for

OURS = ("accounts", "audit", "console", "groups")
# Options: in Python only.
ADDING = (AddField, AddIndex, AlterModelOptions, CreateModel, beside.AddUnique)
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


# Indexes of tables that are in use


def locks_writes(operation: Any, new: set[str]) -> bool:
    """Return whether an operation builds an index while no one can write, or checks all rows.

    `new` are the models that the same migration creates, whose tables no one uses yet.
    """
    if getattr(operation, "model_name", getattr(operation, "name", "")).lower() in new:
        return False
    match operation:
        case beside.AddIndex() | beside.AddUnique():
            return False
        case AddIndex() | AddConstraint() | AlterUniqueTogether():
            return True
        case AddField() | AlterField():
            field: Any = operation.field
            is_related = field.remote_field is not None and field.db_constraint
            return bool(field.unique or field.db_index or is_related)
    return False


def created_in(node: Any) -> set[str]:
    return {each.name.lower() for each in node.operations if isinstance(each, CreateModel)}


@pytest.mark.parametrize("key", LATER, ids=".".join)
def test_no_migration_locks_writes_while_it_builds_an_index(key: tuple[str, str]) -> None:
    """Use those of core/migrations.py; CONTRIBUTING.md says how."""
    node = LATER[key]
    for operation in node.operations:
        assert not locks_writes(operation, created_in(node)), operation.describe()
        if isinstance(operation, beside.AddIndex | beside.AddUnique):
            assert not node.atomic, "write `atomic = False` into the migration"


INDEX = models.Index(fields=["status"], name="scratch_index")
UNIQUE = models.UniqueConstraint(fields=["avatar_seed"], name="scratch_unique")
TEXT: dict[str, Any] = {"max_length": 9, "default": ""}
LOCKING = {
    "an index": AddIndex("wechatuser", INDEX),
    "a unique constraint": AddConstraint("wechatuser", UNIQUE),
    "a check": AddConstraint("wechatuser", models.CheckConstraint(condition=models.Q(), name="c")),
    "columns unique together": AlterUniqueTogether("wechatuser", {("app_id", "status")}),
    "an indexed column": AddField("wechatuser", "x", models.CharField(db_index=True, **TEXT)),
    "a unique column": AddField("wechatuser", "x", models.CharField(unique=True, **TEXT)),
    "a foreign key": AddField("wechatuser", "x", models.ForeignKey("groups.Group", models.CASCADE)),
    "one to one": AddField("wechatuser", "x", models.OneToOneField("groups.Group", models.CASCADE)),
    "an index by a changed column": AlterField(
        "wechatuser", "x", models.CharField(db_index=True, **TEXT)
    ),
    "a unique changed column": AlterField("wechatuser", "x", models.CharField(unique=True, **TEXT)),
}


@pytest.mark.parametrize("operation", LOCKING.values(), ids=LOCKING)
def test_the_guard_sees_what_locks_writes(operation: Any) -> None:
    assert locks_writes(operation, set())
    assert not locks_writes(operation, {"wechatuser"}), "no one uses a table that is made just now"


def test_the_guard_lets_pass_what_does_not() -> None:
    for operation in (
        beside.AddIndex("wechatuser", INDEX),
        beside.AddUnique("wechatuser", UNIQUE),
        AddField("wechatuser", "x", models.CharField(**TEXT)),
        AddField(
            "wechatuser",
            "x",
            models.ForeignKey("groups.Group", models.CASCADE, db_index=False, db_constraint=False),
        ),
        AlterModelOptions("wechatuser", {}),
    ):
        assert not locks_writes(operation, set())


OPERATIONS: dict[str, Any] = {
    "index": beside.AddIndex("wechatuser", INDEX),
    "unique": beside.AddUnique("wechatuser", UNIQUE),
}


def apply(operation: Any, backwards: bool = False, atomic: bool = False) -> None:
    """Run an operation on today's tables, or undo it."""
    before = ProjectState.from_apps(current)
    after = before.clone()
    operation.state_forwards("accounts", after)
    with connection.schema_editor(atomic=atomic) as editor:
        if backwards:
            operation.database_backwards("accounts", editor, after, before)
        else:
            operation.database_forwards("accounts", editor, before, after)


def on_another_connection(pool: ThreadPoolExecutor, work: Any) -> Future[Any]:
    def run() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    return pool.submit(run)


def constraints_of(table: str = "accounts_wechatuser") -> dict[str, Any]:
    with connection.cursor() as cursor:
        return dict(connection.introspection.get_constraints(cursor, table))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_index_is_added_and_removed_on_every_database(name: str) -> None:
    operation, made = OPERATIONS[name], f"scratch_{name}"
    apply(operation)
    assert constraints_of()[made]["unique"] == (name == "unique")
    apply(operation, backwards=True)
    assert made not in constraints_of()


postgresql_only = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="PostgreSQL alone builds indexes beside writes"
)


@contextmanager
def a_long_transaction() -> Iterator[None]:
    """Write a row, and commit only in the end."""
    with transaction.atomic():
        make_members(1)
        yield


def write_at_once() -> int:
    """Write a row, within a second."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '1s'")
        return int(make_members(1)[0].pk)


def apply_in_a_hurry(operation: Any) -> None:
    """Run an operation as `migrate` does, with a short limit on waiting for locks."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
    apply(operation)
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("100ms",)


def is_building() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE 'CREATE %INDEX%'"
        )
        return bool(cursor.fetchone()[0])


@postgresql_only
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", OPERATIONS)
def test_others_write_while_an_index_is_built(name: str) -> None:
    operation = OPERATIONS[name]
    with ThreadPoolExecutor(2) as pool:
        with a_long_transaction():
            building = on_another_connection(pool, lambda: apply_in_a_hurry(operation))
            wait_for(lambda: on_another_connection(pool, is_building).result(30))
            assert on_another_connection(pool, write_at_once).result(30)
            time.sleep(0.3)
            assert not building.done()
        building.result(30)
    assert f"scratch_{name}" in constraints_of()
    apply(operation, backwards=True)


@postgresql_only
@pytest.mark.django_db(transaction=True)
def test_an_index_of_djangos_own_keeps_writers_waiting() -> None:
    """Show that the test above sees it."""
    operation = AddIndex("wechatuser", INDEX)
    with ThreadPoolExecutor(2) as pool:
        with a_long_transaction():
            building = on_another_connection(pool, lambda: apply(operation))
            wait_for(lambda: on_another_connection(pool, is_building).result(30))
            with pytest.raises(OperationalError, match="lock timeout"):
                on_another_connection(pool, write_at_once).result(30)
        building.result(30)
    apply(operation, backwards=True)


@postgresql_only
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_index_whose_build_was_interrupted_is_built_again(name: str) -> None:
    operation = OPERATIONS[name]
    twins = make_members(2)
    type(twins[0]).objects.filter(pk__in=[each.pk for each in twins]).update(avatar_seed="twin")
    with connection.cursor() as cursor, pytest.raises(IntegrityError):
        cursor.execute(
            f"CREATE UNIQUE INDEX CONCURRENTLY scratch_{name} ON accounts_wechatuser (avatar_seed)"
        )
    assert f"scratch_{name}" in constraints_of(), "PostgreSQL keeps what is broken"
    twins[0].delete()
    apply(operation)
    apply(operation)  # as if the migration had failed after it
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT indisvalid FROM pg_index WHERE indexrelid = 'scratch_{name}'::regclass"
        )
        assert cursor.fetchone() == (True,)
    apply(operation, backwards=True)


@postgresql_only
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", OPERATIONS)
def test_such_a_migration_must_not_be_atomic(name: str) -> None:
    with pytest.raises(NotSupportedError, match="atomic = False"):
        apply(OPERATIONS[name], atomic=True)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one lock, for everything")
@pytest.mark.django_db(transaction=True)
def test_a_migration_that_gets_no_lock_gives_up_and_can_be_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", 1)
    backwards = lambda: call_command("migrate", "groups", "0002", verbosity=0)  # noqa: E731
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            current.get_model("groups", "Report").objects.count()
            with pytest.raises(CommandError, match="in use for more than 1 seconds"):
                on_another_connection(pool, backwards).result(30)
        on_another_connection(pool, backwards).result(30)
        call_command("migrate", "groups", verbosity=0)
    assert "one_report_per_thing" in constraints_of("groups_report")
