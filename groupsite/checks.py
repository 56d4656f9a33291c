"""Settings of the whole site that must not go live, each with what to do about it."""

import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from limits.errors import ConfigurationError

from core.limits import limits_in, redis_storage

from .reports import problem_with

WEAK_PREFIX = "django-insecure-"
MIN_LENGTH = 50
MIN_UNIQUE = 5

# `.example.com` is one site's domains; `.com`, `.com.cn` and `*` are anyone's.
ANYONES_HOSTS = re.compile(r"\*|\.((com|net|org|gov|edu|ac|co)\.)?[^.]*", re.IGNORECASE)

# Settings that count something, and the least they can be.
LEAST = {
    "NUM_PROXIES": 0,
    "WATERMARK_MAX_AGE": 1,
    "MEMBERSHIP_PROOF_DAYS": 1,
    "LINK_MAX_AGE": 1,
}


@register
def production_settings(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check, with DEBUG off, for strong keys of one's own, hosts by name, and HTTPS."""
    if settings.DEBUG:
        return []
    return [
        *_secret_key(settings.SECRET_KEY),
        *_hosts(settings.ALLOWED_HOSTS),
        *_field_keys(settings.FIELD_KEYS),
        *_origins(settings.CSRF_TRUSTED_ORIGINS),
    ]


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
    if hosts and not any(ANYONES_HOSTS.fullmatch(host) for host in hosts):
        return []
    hint = "Name your domains 请写明域名: ALLOWED_HOSTS=api.example.com"
    return [Error("ALLOWED_HOSTS is empty or allows any host.", hint, id="groupsite.E002")]


def _field_keys(keys: Sequence[str]) -> list[CheckMessage]:
    if settings.DEVELOPMENT_FIELD_KEY not in keys:
        return []
    hint = (
        "It is in the source for all to read; make your own 它是公开的，请生成自己的密钥: "
        "python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"
    )
    return [Error("FIELD_KEYS holds the key for development.", hint, id="groupsite.E003")]


def _origins(origins: Sequence[str]) -> list[CheckMessage]:
    if not any(origin.lower().startswith("http:") for origin in origins):
        return []
    hint = "Write https 请使用 https: CSRF_TRUSTED_ORIGINS=https://api.example.com"
    return [Error("CSRF_TRUSTED_ORIGINS trusts plain HTTP.", hint, id="groupsite.E004")]


@register
def numbers(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that numbers of proxies, seconds or days are large enough to be of use."""
    return [
        Error(
            f"{name} is too small.",
            f"Set it to {least} or more, or leave it out 请设为不小于 {least} 的整数，或不设置。",
            id="groupsite.E005",
        )
        for name, least in LEAST.items()
        if getattr(settings, name) < least
    ]


@register
def throttles(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that THROTTLES can be read, and lets through what clients rely on."""
    try:
        limits_in(settings.THROTTLES)
    except ValueError as error:
        hint = "For example 例如 THROTTLES=login=300/minute,user=600/minute (docs/settings.md)"
        return [Error(str(error), hint, id="groupsite.E006")]
    return []


@register
def redis(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that REDIS_URL can be read, and redis is installed; Redis itself may be away."""
    try:
        if settings.REDIS_URL:
            redis_storage(settings.REDIS_URL)
    except (ImportError, ConfigurationError):
        hint = "pip install --require-hashes -r requirements/redis.txt 请安装 redis 依赖。"
        return [Error("REDIS_URL is set, but not the package redis.", hint, id="groupsite.E007")]
    except ValueError:
        hint = "Write 请写成 REDIS_URL=redis://:password@host:6379/0"
        return [Error("REDIS_URL cannot be read.", hint, id="groupsite.E008")]
    return []


@register
def sentry(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that SENTRY_DSN, if it is set, works."""
    problem = settings.SENTRY_DSN and problem_with(settings.SENTRY_DSN)
    if not problem:
        return []
    hint = (
        "Copy the DSN from the project's settings 请从 Sentry 项目设置复制 DSN, and 并 "
        "pip install --require-hashes -r requirements/sentry.txt"
    )
    return [Error(problem, hint, id="groupsite.E009")]


@register(Tags.security, deploy=True)
def second_factor(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that in production a password alone does not open the console."""
    if settings.OPERATOR_TOTP or settings.DEBUG:
        return []
    hint = "Leave OPERATOR_TOTP out, or set it to True 请删除 OPERATOR_TOTP 或设为 True。"
    return [Warning("Operators need no second factor.", hint, id="groupsite.W001")]
