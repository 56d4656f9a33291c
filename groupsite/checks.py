"""Settings of the whole site that must not go live, each with what to do about it."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

WEAK_PREFIX = "django-insecure-"
MIN_LENGTH = 50
MIN_UNIQUE = 5


@register
def production_settings(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """With DEBUG off: a strong SECRET_KEY, and hosts by name."""
    if settings.DEBUG:
        return []
    return [*_secret_key(settings.SECRET_KEY), *_hosts(settings.ALLOWED_HOSTS)]


def _secret_key(key: str) -> list[CheckMessage]:
    strong = len(key) >= MIN_LENGTH and len(set(key)) >= MIN_UNIQUE
    if strong and not key.startswith(WEAK_PREFIX):
        return []
    hint = (
        "Make one and keep it secret 生成一个并妥善保管: "
        "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
    )
    return [Error("SECRET_KEY is too weak to sign with.", hint, id="groupsite.E001")]


def _hosts(hosts: Sequence[str]) -> list[CheckMessage]:
    if hosts and "*" not in hosts:
        return []
    hint = "Name your domains 请写明域名: ALLOWED_HOSTS=api.example.com"
    return [Error("ALLOWED_HOSTS is empty or allows any host.", hint, id="groupsite.E002")]
