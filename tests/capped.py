"""The site as a WSGI application that counts a request's queries, and makes no more of them in a
second than WeChat Cloud Run's database takes. `X-Queries` is how many the request took."""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock, local
from typing import Any

from django.db import OperationalError
from django.db.backends.signals import connection_created

from groupsite.wsgi import application as site

CAP = 1000

_made: deque[float] = deque()
_making = Lock()
_own = local()


def counted(execute: Callable[..., Any], *call: Any) -> Any:
    """Make a query, or refuse it as the database would."""
    with _making:
        now = time.monotonic()
        while _made and _made[0] <= now - 1:
            _made.popleft()
        if len(_made) >= CAP:
            raise OperationalError(f"more than {CAP} queries in a second")
        _made.append(now)
    _own.queries = getattr(_own, "queries", 0) + 1
    return execute(*call)


def count(connection: Any, **kwargs: Any) -> None:
    if counted not in connection.execute_wrappers:
        connection.execute_wrappers.append(counted)


connection_created.connect(count)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    _own.queries = 0

    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        return start_response(status, [*headers, ("X-Queries", str(_own.queries))], *error)

    return site(environ, start)
