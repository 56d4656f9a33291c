"""The request at hand, and who it is by as far as it has been told; log lines carry both."""

from contextvars import ContextVar
from typing import NamedTuple


class Caller(NamedTuple):
    """Our user's id and their mini-program; both stay None for what nobody has logged in to."""

    user_id: int | None = None
    app_id: str | None = None


NOBODY = Caller()

caller: ContextVar[Caller] = ContextVar("caller", default=NOBODY)

request_id: ContextVar[str] = ContextVar("request_id", default="-")
