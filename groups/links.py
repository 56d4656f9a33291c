"""Signed links to a group's web page: they carry who asked, and open for LINK_MAX_AGE seconds."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from django.conf import settings

from core.signed import sign, unsign

SALT = "groups.link"


@dataclass(frozen=True)
class Link:
    """A link that opens a group's page as one member sees it, on one board (by key)."""

    user_id: int
    group_id: int
    board: str

    def sign(self) -> str:
        """Return the text that stands in the address."""
        return sign([self.user_id, self.group_id, self.board], SALT, dated=True)

    @classmethod
    def open(cls, text: str) -> Self:
        """Return the link that `sign` wrote. Raises UnreadableSignature."""
        return cls(*unsign(text, SALT, timedelta(seconds=settings.LINK_MAX_AGE)))
