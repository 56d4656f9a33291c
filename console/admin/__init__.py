"""What operators find in the admin; each file holds the pages of one subject."""

from . import audit, boards, groups, keys, members, operators, verification

__all__ = ["audit", "boards", "groups", "keys", "members", "operators", "verification"]
