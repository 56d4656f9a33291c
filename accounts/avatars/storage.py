"""The files of avatars and their addresses: random names in the default storage.

A name has 128 random bits, so that an address cannot be guessed and needs no token: WeChat's
content check and a phone's `<image>` can both read it.
"""

import hmac
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from core.alarms import alarm
from core.database import hand_back_connection

from ..errors import StorageUnavailable
from .pictures import SIZES

FOLDER = "avatars"
MAC_LENGTH = 10
FAILED = alarm(
    "storage",
    _("The storage of avatars failed."),
    _("See whether MEDIA_ROOT or the bucket can be written, and has room: manage.py doctor."),
)
SMALL, LARGE = SIZES


def random_key() -> str:
    """Return 128 random bits as 22 characters of `[A-Za-z0-9_-]`."""
    return secrets.token_urlsafe(16)


def file_name(key: str, size: int) -> str:
    """Return the storage's name of an avatar's square WebP of `size` pixels."""
    return f"{FOLDER}/{key}-{size}.webp"


def store_avatar(files: Mapping[int, bytes]) -> str:
    """Store the WebP of each size, and return the new key. Raises StorageUnavailable."""
    key = random_key()
    with _storage():
        for size, content in files.items():
            default_storage.save(file_name(key, size), ContentFile(content))
    return key


def delete_avatar(key: str) -> None:
    """Delete the files of `key`, if it is not empty and they exist. Raises StorageUnavailable."""
    with _storage():
        for size in SIZES if key else ():
            default_storage.delete(file_name(key, size))


@contextmanager
def _storage() -> Iterator[None]:
    hand_back_connection()
    try:
        yield
    except Exception as error:  # each kind of storage has errors of its own
        FAILED.ring(error=error)
        raise StorageUnavailable(wait=3) from error


def avatar_path(key: str, seed: str, size: int = LARGE) -> str:
    """Return the address of an avatar, or of the picture drawn from `seed` if there is none."""
    if key:
        return f"{settings.MEDIA_URL}{file_name(key, size)}"
    before, after = _around_seed(size)
    return f"{before}{seed}{_mac(seed)}{after}"


@lru_cache(maxsize=len(SIZES))
def _around_seed(size: int) -> tuple[str, str]:
    """Return what stands before and after a signed seed in the address of a drawn picture."""
    name = "small-default-avatar" if size == SMALL else "default-avatar"
    before, after = reverse(name, args=["SEED"]).split("SEED")
    return before, after


def seed_in(signed: str) -> str | None:
    """Return the seed in a default avatar's address; None unless we made that address.

    Drawing costs some milliseconds, so not everyone may ask for any picture.
    """
    seed, mac = signed[:-MAC_LENGTH], signed[-MAC_LENGTH:]
    return seed if hmac.compare_digest(mac.encode(), _mac(seed).encode()) else None


def _mac(seed: str) -> str:
    """Return the beginning of Django's `salted_hmac`, whose key is made anew at each call."""
    return hmac.digest(_mac_key(settings.SECRET_KEY), seed.encode(), "sha256").hex()[:MAC_LENGTH]


@lru_cache(maxsize=1)
def _mac_key(secret: str) -> bytes:
    return sha256(b"accounts.default-avatar" + secret.encode()).digest()
