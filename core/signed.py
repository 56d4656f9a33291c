"""What SECRET_KEY signs: cursors, tickets and links, which a client carries for us, and digests by
which something is known again.

New ones are always made with SECRET_KEY; those made with one of SECRET_KEY_FALLBACKS stay valid.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.utils.crypto import salted_hmac

PATTERN = "^[A-Za-z0-9_.:-]+$"  # what `sign` writes, for the API's schema


class UnreadableSignature(ValueError):
    """A text that `sign` did not write for this purpose; `expired` if it did, too long ago."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("expired" if expired else "altered")
        self.expired = expired


def sign(values: Sequence[Any], salt: str, *, dated: bool = False) -> str:
    """Return `values`, which JSON can hold, as a text that only `unsign` with `salt` opens.

    The same values give the same text, unless it is dated, for a `max_age`.
    """
    signer = signing.TimestampSigner if dated else signing.Signer
    return signer(salt=salt).sign_object(list(values))


def unsign(text: str, salt: str, max_age: timedelta | None = None) -> list[Any]:
    """Return the values in a text that `sign` wrote with the same salt.

    One with a `max_age` has to be dated. Raises UnreadableSignature if it was altered, or written
    more than `max_age` ago.
    """
    try:
        if max_age is None:
            return list(signing.Signer(salt=salt).unsign_object(text))
        return list(signing.TimestampSigner(salt=salt).unsign_object(text, max_age=max_age))
    except signing.SignatureExpired:
        raise UnreadableSignature(expired=True) from None
    except signing.BadSignature:
        raise UnreadableSignature from None


def digests(text: str, salt: str) -> list[str]:
    """Return the HMAC-SHA256 of a text in hex, under SECRET_KEY and then each of its fallbacks.

    The first is to be kept or shown; any of them that comes back means this text.
    """
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [salted_hmac(salt, text, secret=key, algorithm="sha256").hexdigest() for key in keys]
