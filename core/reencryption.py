"""Encrypts stored secrets again with the first of FIELD_KEYS, while the site serves.

Every `EncryptedField` of every model, in pieces: a piece is read and encrypted outside of any
transaction, and written in a short one. A row that was written meanwhile is not overwritten, but
read again. Which values are done is seen at the values, so a run that was killed is run again.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.apps import apps
from django.apps.registry import Apps
from django.db import OperationalError, models, transaction

from .fields import EncryptedField
from .vault import ciphers, encrypt, opened_by

logger = logging.getLogger(__name__)

PIECE = 200  # rows, so that a log-in waits for some milliseconds at most
WAITS = (0.1, 0.3, 1, 3)  # seconds, before a piece is written again
NO_KEY = 0

Model = type[models.Model]
Row = tuple[Any, ...]  # the primary key, then the stored values
Change = tuple[Row, dict[str, str]]


def encrypted_fields(registry: Apps = apps) -> dict[Model, list[EncryptedField]]:
    """Return the columns of secrets of all models that have any."""
    found = {
        model: [field for field in model._meta.local_fields if isinstance(field, EncryptedField)]
        for model in registry.get_models(include_auto_created=True)
    }
    return {model: fields for model, fields in found.items() if fields}


def lost_keys_of_the_site() -> list[EncryptedField]:
    """Return the columns that must open, and do not. Raises InvalidFieldKey and django.db.Error."""
    keys = ciphers()
    found = (field for fields in encrypted_fields().values() for field in fields)
    return [
        field
        for field in found
        if field.must_open and any(not opened_by(text, keys)[0] for text in _texts(field))
    ]


def _texts(field: EncryptedField) -> Iterable[str]:
    rows = field.model._base_manager.exclude(**{field.name: ""})
    return rows.values_list(field.name, flat=True)


class SecretColumn:
    """What was found in a column: how many values each key opens, by its place from 1 on, and how
    many none does (NO_KEY); and how many were then encrypted again, or cleared.
    """

    def __init__(self, field: EncryptedField) -> None:
        self.field = field
        self.by_key: Counter[int] = Counter()
        self.renewed = self.cleared = 0

    def __str__(self) -> str:
        return f"{self.field.model._meta.db_table}.{self.field.column}"


class Reencryption:
    """A walk through the secrets of one model; a `dry` one only counts.

    With `clear` it empties the values that no key opens.
    """

    def __init__(
        self,
        model: Model,
        fields: Sequence[EncryptedField],
        *,
        dry: bool = False,
        clear: bool = False,
    ) -> None:
        self.columns = [SecretColumn(field) for field in fields]
        self.names = [field.name for field in fields]
        self.rows = model._base_manager.exclude(**dict.fromkeys(self.names, ""))
        self.dry, self.clear = dry, clear
        self.keys = ciphers()

    def run(self, report: Callable[[int, int], None]) -> list[SecretColumn]:
        """Go through all rows; report how many are done, of how many."""
        total, done = self.rows.count(), 0
        for piece in self._pieces():
            for row in piece:
                self._count(row)
            while piece and not self.dry:
                piece = self._renew(piece)
            done = min(done + PIECE, total)
            report(done, total)
        return self.columns

    def sample(self, size: int) -> list[SecretColumn]:
        """Look at the latest rows alone, so many of them."""
        for row in self.rows.order_by("-pk").values_list("pk", *self.names)[:size]:
            self._count(row)
        return self.columns

    def _pieces(self) -> Iterator[list[Row]]:
        rows = self.rows.order_by("pk").values_list("pk", *self.names)
        piece = list(rows[:PIECE])
        while piece:
            yield piece
            piece = list(rows.filter(pk__gt=piece[-1][0])[:PIECE])

    def _count(self, row: Row) -> None:
        for column, text in zip(self.columns, row[1:], strict=True):
            if text:
                column.by_key[opened_by(text, self.keys)[0]] += 1

    def _renew(self, piece: Sequence[Row]) -> list[Row]:
        """Write what is to be written of these rows; return those that others wrote meanwhile, as
        they are now.
        """
        changes = [(row, new) for row in piece if (new := self._new_values(row))]
        missed = self._write(changes) if changes else []
        if not missed:
            return []
        return list(self.rows.filter(pk__in=missed).values_list("pk", *self.names))

    def _new_values(self, row: Row) -> dict[str, str]:
        new = {}
        for name, text in zip(self.names, row[1:], strict=True):
            place, secret = opened_by(text, self.keys) if text else (1, "")
            if place > 1:
                new[name] = encrypt(secret)
            elif place == NO_KEY and self.clear:
                new[name] = ""
        return new

    def _write(self, changes: Sequence[Change]) -> list[Any]:
        """Write in one transaction; again, where another writer was in the way: a deadlock, or
        SQLite's one writer.
        """
        for wait in WAITS:
            try:
                return self._write_once(changes)
            except OperationalError:
                logger.warning("A piece is written again.", exc_info=True)
                time.sleep(wait)
        return self._write_once(changes)

    def _write_once(self, changes: Sequence[Change]) -> list[Any]:
        """Write each row if it is as it was read; return the keys of the others."""
        missed: list[Any] = []
        written: list[tuple[str, str]] = []
        with transaction.atomic():
            for (pk, *texts), new in changes:
                was = dict(zip(self.names, texts, strict=True))
                if self.rows.filter(pk=pk, **was).update(**new):
                    written += list(new.items())
                else:
                    missed.append(pk)
        by_name = dict(zip(self.names, self.columns, strict=True))
        for name, text in written:
            by_name[name].renewed += bool(text)
            by_name[name].cleared += not text
        return missed
