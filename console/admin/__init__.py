"""What operators find in the admin; each file holds the pages of one subject."""

from . import audit, groups, members, operators, verification

__all__ = ["audit", "groups", "members", "operators", "verification"]
