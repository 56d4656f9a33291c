"""Django's backend for PostgreSQL, with a pool that notices a server that is away."""

import select
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql import base

from core.metrics import Gauge, Histogram

CONNECTIONS = Gauge(
    "groupsite_database_connections",
    "Connections of the pools: used, waited for, and the most there may be",
    "state",
)
WAIT = Histogram("groupsite_database_wait_seconds", "Waits for a connection of the pool")


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, but a refused connection is an error at once also where connections are pooled.

    psycopg's pool connects in a thread of its own, again and again, and a request hears of it when
    its patience is over. While a server is away all threads of a process would wait like that.
    """

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection of the pool. Raises OperationalError where there is none in time."""
        if not self._is_counted:
            return self._find_connection(conn_params)
        CONNECTIONS.set(settings.DATABASE_POOL, "most")
        with CONNECTIONS.one_more("waiting"), WAIT.timed():
            connection = self._find_connection(conn_params)
        CONNECTIONS.add(1, "used")
        return connection

    def _close(self) -> Any:
        if self._is_counted and self.connection is not None:
            CONNECTIONS.add(-1, "used")
        return super()._close()  # type: ignore[misc]  # not in the stubs

    @property
    def _is_counted(self) -> bool:
        """Return whether metrics tell of this pool: the primary's, not a replica's."""
        return self.pool is not None and self.alias == DEFAULT_DB_ALIAS

    def _find_connection(self, conn_params: dict[str, Any]) -> Any:
        pool: Any = self.pool
        if pool and not pool.get_stats()["pool_size"]:  # at the start, and while it is away
            self.Database.connect(**conn_params).close()
        connection = super().get_new_connection(conn_params)
        while pool and _has_ended(connection):
            connection.close()
            pool.putconn(connection)  # which replaces it
            self.Database.connect(**conn_params).close()  # refused at once while it is away
            connection = super().get_new_connection(conn_params)
        return connection


def _has_ended(connection: Any) -> bool:
    """Tell whether the server has closed an idle connection: there is something to read, its end.

    The pool's own check asks the server, which costs each request a round trip.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
