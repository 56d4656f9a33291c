"""Secrets at rest. The keys are FIELD_KEYS: the first encrypts, all of them decrypt.

Fernet (AES-128-CBC with HMAC-SHA256, https://github.com/fernet/spec) from `cryptography`.
"""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac


class InvalidFieldKey(ValueError):
    """One of FIELD_KEYS is not urlsafe base64 of 32 bytes."""


def vault() -> MultiFernet:
    """The cipher over FIELD_KEYS. Raises InvalidFieldKey with a key's place, never its text."""
    fernets = []
    for place, key in enumerate(settings.FIELD_KEYS, start=1):
        try:
            fernets.append(Fernet(key))
        except ValueError:
            raise InvalidFieldKey(
                f"Key {place} of FIELD_KEYS is not urlsafe base64 of 32 bytes."
            ) from None
    return MultiFernet(fernets)


def lock_away(secret: str) -> str:
    """`secret`, encrypted for a text column."""
    return vault().encrypt(secret.encode()).decode()


def take_out(sealed: str) -> str | None:
    """The secret in a column; None where it is empty or no key of FIELD_KEYS opens it."""
    if not sealed:
        return None
    try:
        return vault().decrypt(sealed.encode()).decode()
    except InvalidToken:
        return None


def keyed_digests(app_id: str, openid: str) -> list[str]:
    """HMAC-SHA256 of a person under each key of FIELD_KEYS, the first of them first: it knows the
    person again, and tells whoever reads the database alone nothing."""
    return [
        salted_hmac(
            "accounts.person", f"{app_id}:{openid}", secret=key, algorithm="sha256"
        ).hexdigest()
        for key in settings.FIELD_KEYS
    ]
