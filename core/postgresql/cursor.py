"""A cursor for the statements that many requests make."""

from typing import Any, Self

import psycopg


class PreparedCursor(psycopg.Cursor[tuple[Any, ...]]):
    """psycopg's, which has its statements prepared by the server and their rows sent in binary.

    Nothing is prepared on a connection without a `prepare_threshold`: see DATABASE_PREPARE.
    """

    def execute(self, query: Any, params: Any = None, **kwargs: Any) -> Self:
        return super().execute(query, params, **{"prepare": True, "binary": True, **kwargs})
