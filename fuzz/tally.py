"""What the site answered, counted on its own side of the socket."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.urls import Resolver404, resolve


class Tally:
    """Wraps a WSGI application and counts its statuses by operation."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self.counts: defaultdict[str, Counter[int]] = defaultdict(Counter)

    @property
    def total(self) -> int:
        return sum(count.total() for count in list(self.counts.values()))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        operation = operation_of(environ)  # before anybody below rewrites `environ`

        def counting(status: str, *rest: Any) -> Any:
            self.counts[operation][int(status[:3])] += 1
            return start_response(status, *rest)

        return self.application(environ, counting)


def operation_of(environ: WSGIEnvironment) -> str:
    """Return the request as OpenAPI names it: `GET /api/v1/groups/{openGId}`."""
    path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
    try:
        template = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", resolve(path).route)
    except Resolver404:
        template = ""
    return f"{environ['REQUEST_METHOD']} /{template}"
