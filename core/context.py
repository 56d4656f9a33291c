"""The request at hand, and who sent it as far as that is known; log lines carry both."""

from contextvars import ContextVar
from typing import NamedTuple


class Caller(NamedTuple):
    """The id of our user and their mini-program; both are None before a log-in."""

    user_id: int | None = None
    app_id: str | None = None


ANONYMOUS = Caller()

caller: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)

request_id: ContextVar[str] = ContextVar("request_id", default="-")

KEPT_OF_ID = 32  # characters of a request's id that a row keeps, and by which it is found
