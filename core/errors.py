"""The base of coded exceptions; groupsite/errors.py says what each code means.

An exception may have a `cause`, one of audit/causes.py, and `facts`: both are for operators, and
no answer contains them.
"""

from typing import Any

from rest_framework.exceptions import APIException


class RetryLater(APIException):
    """A refusal that passes: `wait` is the number of seconds after which to try again."""

    def __init__(self, wait: float, detail: Any = None, code: str | None = None) -> None:
        super().__init__(detail, code)
        self.wait = wait
