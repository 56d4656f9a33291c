"""How a database that is away looks to the code."""

from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, UpdateError
from django.db import InterfaceError, OperationalError


def database_is_away(error: BaseException | None) -> bool:
    """Return whether the database could not be reached, was lost, locked or too busy."""
    return isinstance(error, OperationalError | InterfaceError)


class SessionStore(db.SessionStore):
    """Django's, with two differences: a database that is away is not taken for a deleted session,
    and a key that Django cannot have made is no key (PostgreSQL fails at a NUL in it)."""

    def _validate_session_key(self, key: str | None) -> bool:
        is_key: bool = super()._validate_session_key(key)  # type: ignore[misc]
        return is_key and set(key or "") <= set(VALID_KEY_CHARS)

    def save(self, must_create: bool = False) -> Any:
        try:
            super().save(must_create)
        except UpdateError as error:
            cause = error.__context__
            if cause is not None and database_is_away(cause):
                raise cause from None
            raise
