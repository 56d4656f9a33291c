"""Django's backend for PostgreSQL, with a pool that notices a server that is away."""

import select
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql import base

from core.metrics import Gauge, Histogram
from core.routing import REPLICA


class PoolMetrics:
    """What is counted of the pools of one database."""

    def __init__(self, database: str) -> None:
        self.connections = Gauge(
            f"groupsite_{database}_connections",
            f"Connections of the pools ({database}): used, waited for, and the most there may be",
            "state",
        )
        self.wait = Histogram(
            f"groupsite_{database}_wait_seconds", f"Waits for a connection of the pool ({database})"
        )


POOLS = {DEFAULT_DB_ALIAS: PoolMetrics("database"), REPLICA: PoolMetrics("replica")}


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, but a refused connection is an error at once also where connections are pooled.

    psycopg's pool connects in a thread of its own, again and again, and a request hears of it when
    its patience is over. While a server is away all threads of a process would wait like that.
    """

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection of the pool. Raises OperationalError where there is none in time."""
        if not self.pool:
            return self._find_connection(conn_params)
        counted = POOLS[self.alias]
        counted.connections.set(settings.DATABASE_POOL, "most")
        with counted.connections.one_more("waiting"), counted.wait.timed():
            connection = self._find_connection(conn_params)
        counted.connections.add(1, "used")
        return connection

    def _close(self) -> Any:
        if self.pool and self.connection is not None:
            POOLS[self.alias].connections.add(-1, "used")
        return super()._close()  # type: ignore[misc]  # not in the stubs

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
