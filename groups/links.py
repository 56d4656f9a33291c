"""Signed links to a group's web page: they carry who asked, and open for LINK_MAX_AGE seconds."""

from dataclasses import dataclass
from typing import Self

from django.conf import settings
from django.core import signing

SALT = "groups.link"


@dataclass(frozen=True)
class Link:
    """Whose view of which group a link opens, on which board (by key)."""

    user_id: int
    group_id: int
    board: str

    def sign(self) -> str:
        return signing.dumps([self.user_id, self.group_id, self.board], salt=SALT)

    @classmethod
    def open(cls, text: str) -> Self:
        """Raises signing.SignatureExpired, and signing.BadSignature for anything altered."""
        return cls(*signing.loads(text, salt=SALT, max_age=settings.LINK_MAX_AGE))
