"""Django's `migrate`, which waits for no lock for long.

A change of a table waits until everyone who uses the table is done, and everyone who comes later
waits behind it. With a limit it gives up instead, and the site goes on.
"""

from typing import Any

from django.core.management import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError, connections

LOCK_TIMEOUT = 5  # seconds

LIMIT = {
    "postgresql": ("SET lock_timeout = '{}s'", "RESET lock_timeout"),
    "mysql": ("SET SESSION lock_wait_timeout = {}", "SET SESSION lock_wait_timeout = DEFAULT"),
}
# PostgreSQL's and MySQL's own words for it.
GIVEN_UP = ("lock timeout", "Lock wait timeout")


GIVING_UP = (
    "A table was in use for more than {} seconds, so its change was given up before it began. "
    "Run migrate again; if that fails too, at a quieter time, or once long transactions have ended."
)


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        limit, reset = LIMIT.get(connection.vendor, ("", ""))
        if limit:
            with connection.cursor() as cursor:
                cursor.execute(limit.format(LOCK_TIMEOUT))
        try:
            super().handle(*args, **options)
        except OperationalError as error:
            if any(words in str(error) for words in GIVEN_UP):
                raise CommandError(GIVING_UP.format(LOCK_TIMEOUT)) from error
            raise
        finally:
            if reset and connection.is_usable():
                with connection.cursor() as cursor:
                    cursor.execute(reset)
