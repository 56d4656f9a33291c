"""Where avatars lie and under which address: files with random names in the default storage.

The names are 128 random bits, so an address cannot be guessed and needs no token; WeChat's content
check and a phone's `<image>` read it alike.
"""

import hmac
import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils.crypto import salted_hmac

from ..errors import StorageUnavailable
from .pictures import SIZES

logger = logging.getLogger(__name__)

FOLDER = "avatars"
MAC_LENGTH = 10
SMALL, LARGE = SIZES


def random_key() -> str:
    """128 random bits as 22 characters of `[A-Za-z0-9_-]`."""
    return secrets.token_urlsafe(16)


def file_name(key: str, size: int) -> str:
    """The storage's name of an avatar's square WebP of `size` pixels."""
    return f"{FOLDER}/{key}-{size}.webp"


def store_avatar(files: Mapping[int, bytes]) -> str:
    """Keep the WebP of each size; the new key. Raises StorageUnavailable."""
    key = random_key()
    with _storage():
        for size, content in files.items():
            default_storage.save(file_name(key, size), ContentFile(content))
    return key


def delete_avatar(key: str) -> None:
    """Delete the files of `key`; nothing, where it is empty or they are gone already.

    Raises StorageUnavailable.
    """
    with _storage():
        for size in SIZES if key else ():
            default_storage.delete(file_name(key, size))


@contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each kind of storage has errors of its own
        logger.exception("the storage of avatars failed")
        raise StorageUnavailable(wait=3) from error


def avatar_path(key: str, seed: str, size: int = LARGE) -> str:
    """The address of an avatar, or of the picture drawn from `seed` for who has sent none."""
    if key:
        return f"{settings.MEDIA_URL}{file_name(key, size)}"
    return reverse("default-avatar", args=[seed + _mac(seed)])


def seed_in(signed: str) -> str | None:
    """The seed in a default avatar's address; None unless we made that address, since drawing
    costs some milliseconds and must not be had for any word."""
    seed, mac = signed[:-MAC_LENGTH], signed[-MAC_LENGTH:]
    return seed if hmac.compare_digest(mac.encode(), _mac(seed).encode()) else None


def _mac(seed: str) -> str:
    return salted_hmac("accounts.default-avatar", seed, algorithm="sha256").hexdigest()[:MAC_LENGTH]
