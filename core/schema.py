"""What the code says of its calls for the OpenAPI schema, kept until someone asks for that.

drf-spectacular with all it imports takes 10 MB, which a process needs only for the schema.
"""

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

Described = TypeVar("Described")

_kept: list[tuple[Any, dict[str, Any]]] = []
_telling = Lock()


def extend_schema(**facts: Any) -> Callable[[Described], Described]:
    """Describe a method or a view: a decorator, for what drf-spectacular's of this name takes."""

    def keep(described: Described) -> Described:
        _kept.append((described, facts))
        return described

    return keep


def tell_spectacular() -> None:
    """Hand all that was kept to drf-spectacular, before it makes a schema."""
    from drf_spectacular import utils

    with _telling:
        while _kept:
            described, facts = _kept.pop()
            utils.extend_schema(**facts)(described)
