"""Settings of the whole site that must not go live, each with what to do about it."""

import os
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection

from console.exports import MOST_DOWNLOADS
from core.limits import DEFAULTS, SharedCounts, limits_in

from .reports import problem_with

WEAK_PREFIX = "django-insecure-"
MIN_LENGTH = 50
MIN_UNIQUE = 5
LEAST_TOKEN = 20  # characters of METRICS_TOKEN

# `.example.com` is one site's domains; `.com`, `.com.cn` and `*` are anyone's.
ANYONES_HOSTS = re.compile(r"\*|\.((com|net|org|gov|edu|ac|co)\.)?[^.]*", re.IGNORECASE)

WORKERS, THREADS = 2, 16  # as gunicorn.conf.py has them

# Settings that count something, and the least they can be.
LEAST = {
    "WECHAT_MAX_IN_FLIGHT": 1,
    "DATABASE_POOL": 0,
    "DATABASE_TIMEOUT": 0,
    "NUM_PROXIES": 0,
    "WATERMARK_MAX_AGE": 1,
    "MEMBERSHIP_PROOF_DAYS": 1,
    "LINK_MAX_AGE": 1,
}

# The most that makes sense of those that say how old something may be.
MOST = {
    "WATERMARK_MAX_AGE": 24 * 3600,
    "MEMBERSHIP_PROOF_DAYS": 366,
    "LINK_MAX_AGE": 31 * 24 * 3600,
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
    if settings.WECHAT_CLOUD and settings.PUBLIC_URL:  # no name of ours is read there
        return []
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
def public_url(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that PUBLIC_URL, if it is set, is a scheme and a host."""
    try:
        url = urlsplit(settings.PUBLIC_URL)
        rest = url.path or url.query or url.fragment or url.username
        readable = url.scheme in {"http", "https"} and url.hostname and not rest and url.port != 0
    except ValueError:
        readable = False
    if not settings.PUBLIC_URL or readable:
        return []
    hint = "Write 请写成 PUBLIC_URL=https://www.example.com, without a path 不带路径"
    return [Error("PUBLIC_URL cannot be read.", hint, id="groupsite.E011")]


# What a service takes that is open to browsers.
PUBLIC_ONLY = ("CSRF_TRUSTED_ORIGINS", "STATIC_ROOT")


@register
def one_service_each(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that a process which trusts WeChat's gateway is not the public one as well."""
    both = [name for name in PUBLIC_ONLY if settings.WECHAT_CLOUD and getattr(settings, name)]
    if not both:
        return []
    hint = (
        "Run two services of one image: WECHAT_CLOUD on the one without public access, "
        f"{' and '.join(both)} on the other. 请用同一镜像部署两个服务：关闭公网访问的服务设 "
        f"WECHAT_CLOUD，{'、'.join(both)} 只设在另一个服务上（docs/cloud-run.md）。"
    )
    text = f"WECHAT_CLOUD trusts a private gateway, and {' and '.join(both)} is for a public site."
    return [Error(text, hint, id="groupsite.E012")]


@register(deploy=True)
def cloud_run(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that nothing of a service in WeChat Cloud Run is lost or out of reach there."""
    if not settings.WECHAT_CLOUD:
        return []
    problems = []
    if not settings.PUBLIC_URL.startswith("https://"):
        hint = "Set PUBLIC_URL to the public service 请设为公开服务的地址：https://www.example.com"
        text = "Avatars and links are given out under a name that phones cannot reach."
        problems.append(Warning(text, hint, id="groupsite.W010"))
    if connection.vendor == "sqlite":
        hint = "Set MYSQL_ADDRESS or DATABASE_URL 请设置 MYSQL_ADDRESS 或 DATABASE_URL。"
        text = "SQLite is on a disk that the container loses when it sleeps."
        problems.append(Warning(text, hint, id="groupsite.W011"))
    if not settings.S3_BUCKET:
        hint = "Set S3_BUCKET and MEDIA_URL 请设置 S3_BUCKET 与 MEDIA_URL（对象存储）。"
        text = "MEDIA_ROOT is on a disk that the container loses when it sleeps."
        problems.append(Warning(text, hint, id="groupsite.W012"))
    return problems


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


@register(deploy=True)
def ages(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that nothing counts as proven or stays open for years."""
    return [
        Warning(
            f"{name} is {getattr(settings, name)}: too long to protect anyone.",
            f"Set it to {most} or less, or leave it out 请设为不大于 {most}，或不设置。",
            id="groupsite.W003",
        )
        for name, most in MOST.items()
        if getattr(settings, name) > most
    ]


@register(deploy=True)
def throttles_are_on(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that no limit is off. THROTTLES=off never lifts those on guessing passwords."""
    try:
        off = sorted(set(DEFAULTS) - set(limits_in(settings.THROTTLES)))
    except ValueError:
        return []  # which `throttles` says
    if not off:
        return []
    hint = "Leave them out of THROTTLES: off is for benchmarks 只在压测时关闭，请从中删去。"
    return [Warning(f"These limits are off: {', '.join(off)}.", hint, id="groupsite.W004")]


@register
def throttles(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that THROTTLES can be read, and lets through what clients rely on."""
    try:
        limits_in(settings.THROTTLES)
    except ValueError as error:
        hint = "For example 例如 THROTTLES=login=300/minute,user=600/minute (docs/settings.md)"
        return [Error(str(error), hint, id="groupsite.E006")]
    return []


@register(deploy=True)
def encrypted_connections(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that what goes to another machine is encrypted, and that its certificate is checked.

    The names of compose.yml are those of containers beside this one, on a network of their own.
    """
    return [
        Warning(
            f"{name} leads to another machine without TLS, or without checking its certificate.",
            f"Write 请写成 {hint}",
            id="groupsite.W005",
        )
        for name, hint in _plain_connections()
    ]


def _plain_connections() -> Iterator[tuple[str, str]]:
    """Yield each setting that leads elsewhere in plain text, and how it should read."""
    for alias, database in settings.DATABASES.items():
        options, hosts = database.get("OPTIONS", {}), str(database.get("HOST", "")).split(",")
        # PyMySQL takes any certificate with ssl_ca alone.
        verified = options.get("sslmode") in {"verify-ca", "verify-full"} or (
            options.get("ssl_ca")
            and (options.get("ssl_verify_identity") or options.get("ssl_verify_cert"))
        )
        if not verified and not settings.WECHAT_CLOUD and any(map(_is_elsewhere, hosts)):
            name = "DATABASE_URL" if alias == DEFAULT_DB_ALIAS else "DATABASE_REPLICA_URL"
            is_mysql = "mysql" in database["ENGINE"]
            mysql = "ssl_ca=/path/ca.pem&ssl_verify_identity=true"
            yield name, f"{name}=…?{mysql if is_mysql else 'sslmode=verify-full'}"
    for name, scheme in {
        "REDIS_URL": "redis",
        "S3_ENDPOINT_URL": "http",
        "SENTRY_DSN": "http",
    }.items():
        url = urlsplit(getattr(settings, name))
        if url.scheme == scheme and _is_elsewhere(url.hostname or ""):
            yield name, f"{name}={scheme}s://…"


BESIDE = {"", "localhost", "postgres", "redis"}


def _is_elsewhere(host: str) -> bool:
    if host in BESIDE or host.startswith("/"):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:  # a name
        return True


@register
def pool(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that the package for DATABASE_POOL is installed where it is needed."""
    is_pooled = connection.vendor == "postgresql" and settings.DATABASE_POOL > 0
    if not is_pooled or find_spec("psycopg_pool"):
        return []
    hint = (
        "pip install --require-hashes -r requirements/postgresql.txt 请安装 postgresql 依赖，"
        "or 或 DATABASE_POOL=0"
    )
    return [Error("DATABASE_POOL needs the package psycopg_pool.", hint, id="groupsite.E010")]


@register
def redis(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that REDIS_URL can be read, and redis is installed; Redis itself may be away."""
    try:
        if settings.REDIS_URL:
            SharedCounts(settings.REDIS_URL)
    except ImportError:
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


@register
def metrics(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that a METRICS_TOKEN cannot be guessed, and that there is what counts."""
    token = settings.METRICS_TOKEN
    if token and len(token) < LEAST_TOKEN:
        hint = (
            "Make one and keep it secret 生成一个并妥善保管: "
            "python -c 'import secrets; print(secrets.token_urlsafe(30))'"
        )
        return [Error("METRICS_TOKEN is too short.", hint, id="groupsite.E020")]
    if token and not find_spec("prometheus_client"):
        hint = "pip install --require-hashes -r requirements/metrics.txt 请安装 metrics 依赖。"
        text = "METRICS_TOKEN is set, but not the package prometheus-client."
        return [Error(text, hint, id="groupsite.E021")]
    return []


@register(deploy=True)
def database_connections(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that this machine's processes cannot ask for more connections than the database has.

    Other machines are not counted.
    """
    there_are = connections_granted()
    workers, may_be = connections_wanted()
    if there_are is None or may_be <= there_are:
        return []
    hint = (
        f"{workers} processes may open {may_be}. Raise the database's max_connections, run fewer "
        f"workers or threads, or on PostgreSQL set DATABASE_POOL lower. {workers} 个进程最多会打开 "
        f"{may_be} 个连接：请调大数据库的 max_connections，减少进程或线程，或调小 DATABASE_POOL。"
    )
    text = f"The database gives {there_are} connections, fewer than its servers may open."
    return [Warning(text, hint, id="groupsite.W002")]


def processes() -> int:
    """Return how many processes serve: WEB_CONCURRENCY, as gunicorn.conf.py reads it."""
    given = os.environ.get("WEB_CONCURRENCY", "")
    return int(given) if given.isdecimal() else WORKERS


def connections_wanted() -> tuple[int, int]:
    """Return the number of processes, and how many connections they may open together.

    Each has DATABASE_POOL of them on PostgreSQL, else one a thread, and those for downloads.
    """
    pooled = connection.vendor == "postgresql" and settings.DATABASE_POOL
    return processes(), processes() * ((pooled or THREADS) + MOST_DOWNLOADS)


def connections_granted() -> int | None:
    """Return how many connections the database gives to a site, this role and this database.

    None where that is not known.
    """
    statement = {
        # LEAST passes over NULL.
        "postgresql": "SELECT LEAST(current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int,"
        " NULLIF(rolconnlimit, -1), NULLIF(datconnlimit, -1)) FROM pg_roles, pg_database"
        " WHERE rolname = current_user AND datname = current_database()",
        "mysql": "SELECT LEAST(@@max_connections, IF(@@max_user_connections > 0,"
        " @@max_user_connections, @@max_connections))",
    }.get(connection.vendor)
    if statement is None:
        return None
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return int(cursor.fetchone()[0])
    except DatabaseError:
        return None


@register(Tags.security, deploy=True)
def second_factor(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """Check that in production a password alone does not open the console."""
    if settings.OPERATOR_TOTP or settings.DEBUG:
        return []
    hint = "Leave OPERATOR_TOTP out, or set it to True 请删除 OPERATOR_TOTP 或设为 True。"
    return [Warning("Operators need no second factor.", hint, id="groupsite.W001")]
