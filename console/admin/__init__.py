"""The admin's pages; each file holds those of one subject."""

from . import (
    audit,
    boards,
    groups,
    members,
    operators,
    scores,
    server_keys,
    verification_files,
)

__all__ = [
    "audit",
    "boards",
    "groups",
    "members",
    "operators",
    "scores",
    "server_keys",
    "verification_files",
]
