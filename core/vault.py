"""Secrets at rest. The keys are FIELD_KEYS: the first encrypts, all of them decrypt.

Fernet (AES-128-CBC with HMAC-SHA256, https://github.com/fernet/spec) from `cryptography`.
"""

import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from .alarms import alarm

CLOSED = alarm(
    "field_keys",
    _("A stored secret does not open with any key of FIELD_KEYS."),
    _("Put the key that it was encrypted with back at the end of FIELD_KEYS, and restart."),
)


class InvalidFieldKey(ValueError):
    """One of FIELD_KEYS is not urlsafe base64 of 32 bytes."""


def vault() -> MultiFernet:
    """Return the cipher over FIELD_KEYS.

    Raises InvalidFieldKey with the position of a key, never its text.
    """
    fernets = []
    for position, key in enumerate(settings.FIELD_KEYS, start=1):
        try:
            fernets.append(Fernet(key))
        except ValueError:
            raise InvalidFieldKey(
                f"Key {position} of FIELD_KEYS is not urlsafe base64 of 32 bytes."
            ) from None
    return MultiFernet(fernets)


def encrypt(secret: str) -> str:
    """Return `secret` encrypted, for a text column."""
    return vault().encrypt(secret.encode()).decode()


def decrypt(stored: str) -> str | None:
    """Return the secret in a column; None if it is empty or no key of FIELD_KEYS opens it."""
    if not stored:
        return None
    try:
        return vault().decrypt(stored.encode()).decode()
    except InvalidToken:
        CLOSED.ring()
        return None


def digest_of(text: str) -> str:
    """Return the SHA-256 of a random text, in hex: enough to recognise it, not to use it."""
    return hashlib.sha256(text.encode()).hexdigest()
