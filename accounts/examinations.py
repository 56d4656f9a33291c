"""What `manage.py doctor` examines of this package: the storage of avatars."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urljoin

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from core.doctor import Finding, error, examination, ok, warning
from wechat.transport import FetchError, fetch

from .avatars.storage import LARGE, file_name, random_key

CONTENT = b"manage.py doctor wrote this, and deletes it"


@examination("storage", "accounts.E003")
def examine_storage() -> Iterator[Finding]:
    """Write a small file where avatars are, read it, look at its public address, and delete it."""
    where = settings.S3_BUCKET or settings.MEDIA_ROOT
    if not settings.S3_BUCKET and _is_of_another_user(Path(where)):
        yield warning(
            format_lazy(_("{where} is another user's; root writes nothing there."), where=where),
            _("Run the doctor as the service's user: sudo -u groupsite …"),
        )
        return
    name = file_name(random_key(), LARGE)
    try:
        saw = _("In {where} no file can be written ({kind}).")
        name = default_storage.save(name, ContentFile(CONTENT))
        saw = _("In {where} a file cannot be read ({kind}).")
        with default_storage.open(name) as file:
            if file.read() != CONTENT:
                raise OSError("what was read is not what was written")
        yield from _public(name)
        saw = _("In {where} a file cannot be deleted ({kind}).")
        default_storage.delete(name)
    except Exception as problem:  # each kind of storage has errors of its own
        with suppress(Exception):  # what a full disk left of it
            default_storage.delete(name)
        yield error(
            format_lazy(saw, where=where, kind=_kind(problem)),
            _bucket_fix() if settings.S3_BUCKET else _directory_fix(),
        )
    else:
        yield ok(format_lazy(_("In {where} files can be written, read and deleted."), where=where))


def _kind(problem: Exception) -> str:
    """Return what the system says of a fault, else its name: a text of a store's may be long."""
    return getattr(problem, "strerror", None) or type(problem).__name__


def _is_of_another_user(directory: Path) -> bool:
    """Return whether we are root, and what root makes there the service could not write."""
    return os.geteuid() == 0 and directory.exists() and directory.stat().st_uid != 0


def _directory_fix() -> object:
    return _(
        "Let the service's user write there (chown), make room, or set MEDIA_ROOT or S3_BUCKET."
    )


def _bucket_fix() -> object:
    return _(
        "See S3_BUCKET, S3_ENDPOINT_URL, S3_REGION and the keys: their user has to be allowed to "
        "put, get, list and delete objects."
    )


def _public(name: str) -> Iterator[Finding]:
    """Say whether everyone can read the file at its public address."""
    base = getattr(settings, "PUBLIC_URL", "")
    address = urljoin(f"{base}/" if base else "", f"{settings.MEDIA_URL}{name}")
    if not address.startswith(("http://", "https://")):
        yield ok(_("The pictures' public address is not known here: PUBLIC_URL is not set."))
        return
    fix = _(
        "See MEDIA_URL, and that everyone may read the bucket's objects or the proxy passes "
        "/media/ on: phones and WeChat's content check fetch pictures there."
    )
    try:
        found = fetch(address)
    except FetchError as problem:
        saw = _("No answer came from the pictures' public address {address} ({reason}).")
        yield error(format_lazy(saw, address=settings.MEDIA_URL, reason=problem.reason), fix)
        return
    if (found.status, found.body) == (200, CONTENT):
        yield ok(_("A picture can be read at its public address."))
    else:
        saw = _("A picture's public address below {address} answers {status}, and not the picture.")
        yield error(format_lazy(saw, address=settings.MEDIA_URL, status=found.status), fix)
