"""Settings of this app that `manage.py check` refuses, each with what to do about it."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from .avatars.storage import FOLDER


@register
def avatars_can_be_kept(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check for a bucket with a public address and its library, or for a directory."""
    if settings.S3_BUCKET:
        return [*_bucket_has_an_address(settings.MEDIA_URL), *_bucket_has_a_library()]
    return _directory_is_writable(Path(settings.MEDIA_ROOT))


def _bucket_has_an_address(url: str) -> list[CheckMessage]:
    address = urlsplit(url)
    if address.scheme == "https" and address.netloc:
        return []
    hint = (
        "Set the bucket's public address, or that of its CDN 请设置存储桶或 CDN 的公开访问地址: "
        "MEDIA_URL=https://avatars.example.com/"
    )
    message = "S3_BUCKET is set, but MEDIA_URL is no https:// address."
    return [Error(message, hint, id="accounts.E001")]


def _bucket_has_a_library() -> list[CheckMessage]:
    if find_spec("storages") and find_spec("boto3"):
        return []
    hint = "Install it 请安装: pip install --require-hashes -r requirements/s3.txt"
    message = "S3_BUCKET is set, but django-storages or boto3 is not installed."
    return [Error(message, hint, id="accounts.E002")]


def _directory_is_writable(root: Path) -> list[CheckMessage]:
    """Check that it can be written, or created; a developer's is created on the first upload.

    The folder in it may be another's, if someone else once uploaded or restored something.
    """
    folder = root / FOLDER
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    ready = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    if ready or (settings.DEBUG and existing not in {root, folder}):
        return []
    hint = (
        "Let the service's user write there, or set MEDIA_ROOT or S3_BUCKET. "
        "请让服务进程的用户可写该目录，或另设 MEDIA_ROOT、S3_BUCKET。"
    )
    message = "MEDIA_ROOT cannot be written, so avatars cannot be kept."
    return [Error(message, hint, id="accounts.E003")]
