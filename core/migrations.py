"""Operations for migrations of tables that are in use; CONTRIBUTING.md says when to use them.

An index that is built in a migration of Django's locks all writes for as long as it builds. On
PostgreSQL these build it beside the writes, which needs a migration with `atomic = False`; on other
databases they do what Django's do. A migration that ended in the middle can be run again.
"""

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError, connection, models
from django.db.migrations import operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.schema import BaseDatabaseSchemaEditor as Editor
    from django.db.migrations.state import ProjectState


def missing_migrations() -> list[str]:
    """Return the migrations of the code that the database lacks, in one query.

    Raises an error of the database that does not answer, or has no tables at all.
    """
    applied = MigrationRecorder(connection).migration_qs.values_list("app", "name")
    return sorted(".".join(name) for name in _migrations() - set(applied))


@cache
def _migrations() -> set[tuple[str, str]]:
    """Return the migrations of the code, as app and name."""
    return set(MigrationLoader(None).disk_migrations)


class AddIndex(operations.AddIndex):
    """Add an index while others write."""

    def database_forwards(
        self, app_label: str, editor: "Editor", before: "ProjectState", after: "ProjectState"
    ) -> None:
        model = after.apps.get_model(app_label, self.model_name)
        if not self._is_concurrent(editor, model):
            super().database_forwards(app_label, editor, before, after)
        elif not is_built(editor, self.index.name):
            with patient(editor):
                drop_broken(editor, self.index.name)
                editor.add_index(model, self.index, concurrently=True)  # type: ignore[call-arg]

    def database_backwards(
        self, app_label: str, editor: "Editor", before: "ProjectState", after: "ProjectState"
    ) -> None:
        model = before.apps.get_model(app_label, self.model_name)
        if not self._is_concurrent(editor, model):
            super().database_backwards(app_label, editor, before, after)
        else:
            with patient(editor):
                editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(editor, self.index)}")

    def _is_concurrent(self, editor: "Editor", model: type[models.Model]) -> bool:
        allowed = self.allow_migrate_model(editor.connection.alias, model)
        return is_postgresql(editor) and allowed


class AddUnique(operations.AddConstraint):
    """Add a unique constraint over columns; the index that it needs is built while others write."""

    def database_forwards(
        self, app_label: str, editor: "Editor", before: "ProjectState", after: "ProjectState"
    ) -> None:
        model = after.apps.get_model(app_label, self.model_name)
        allowed = self.allow_migrate_model(editor.connection.alias, model)
        if not is_postgresql(editor) or not allowed:
            super().database_forwards(app_label, editor, before, after)
            return
        constraint: Any = self.constraint
        columns = [model._meta.get_field(name).column for name in constraint.fields]
        table, name = editor.quote_name(model._meta.db_table), quoted(editor, constraint)
        if not is_built(editor, constraint.name):
            with patient(editor):
                drop_broken(editor, constraint.name)
                listed = ", ".join(map(editor.quote_name, columns))
                editor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({listed})")
        elif is_constraint(editor, constraint.name):
            return
        editor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}")


def is_postgresql(editor: "Editor") -> bool:
    """Return whether to build beside the writes. Raises NotSupportedError in a transaction."""
    if editor.connection.vendor != "postgresql":
        return False
    if editor.connection.in_atomic_block:
        raise NotSupportedError("Write `atomic = False` into the migration that adds this index.")
    return True


def quoted(editor: "Editor", what: Any) -> str:
    return str(editor.quote_name(what.name))


def is_built(editor: "Editor", name: str) -> bool:
    """Return whether an index is there and complete: from a run that failed after it."""
    question = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    found = _asked(editor, question, editor.quote_name(name))
    return found == [(True,)]


def is_constraint(editor: "Editor", name: str) -> bool:
    return bool(_asked(editor, "SELECT 1 FROM pg_constraint WHERE conname = %s", name))


def drop_broken(editor: "Editor", name: str) -> None:
    """Drop what an interrupted build left: an index that PostgreSQL keeps up and never uses."""
    editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {editor.quote_name(name)}")


@contextmanager
def patient(editor: "Editor") -> "Iterator[None]":
    """Wait for others without end: a build beside the writes makes no one else wait."""
    [(before,)] = _asked(editor, "SHOW lock_timeout")
    editor.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        editor.execute("SELECT set_config('lock_timeout', %s, false)", [before])


def _asked(editor: "Editor", question: str, *values: Any) -> list[tuple[Any, ...]]:
    with editor.connection.cursor() as cursor:
        cursor.execute(question, values or None)
        return list(cursor.fetchall())
