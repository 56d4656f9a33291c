"""One settings file, driven by the environment or `.env`; docs/settings.md explains each name.

What is wrong in production is found by `manage.py check` (groupsite/checks.py and each app's own),
which the web server runs as well before it serves anything.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

django_stubs_ext.monkeypatch()  # lets Django's generic classes be written with their types

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(BASE_DIR / ".env")

MYSQL = "core.mysql"  # Django's backend, which tries a lost connection again
CLOUD_WAYS = ("", "envelope", "cloudid")
CLOUD_DATABASE = "groupsite"  # where only an address and an account are given

DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql", "mysql")


def app_secrets(text: str) -> dict[str, dict[str, str]]:
    """Read `appid:secret,…` as `{appid: {"SECRET": secret}}`; error reports hide SECRET."""
    pairs = [pair.strip().partition(":") for pair in text.split(",") if pair.strip()]
    if not all(app_id and secret for app_id, _colon, secret in pairs):
        raise ImproperlyConfigured("WECHAT_APPS must read appid:secret,appid:secret")
    return {app_id: {"SECRET": secret} for app_id, _colon, secret in pairs}


def push_channels(text: str) -> dict[str, dict[str, str]]:
    """Read `appid:token:encodingaeskey,…` as `{appid: {"TOKEN", "AES_KEY"}}`, both hidden too.

    Without its third part an entry takes the plain mode only.
    """
    channels = {}
    for entry in filter(str.strip, text.split(",")):
        app_id, _colon, rest = entry.strip().partition(":")
        token, _colon, aes_key = rest.partition(":")
        if not (app_id and token):
            raise ImproperlyConfigured("WECHAT_PUSH must read appid:token:encodingaeskey,…")
        channels[app_id] = {"TOKEN": token, "AES_KEY": aes_key}
    return channels


def origin(url: str) -> list[str]:
    """Return the origin of an absolute URL, for a Content-Security-Policy; none of a path."""
    parts = urlsplit(url)
    return [f"{parts.scheme}://{parts.netloc}"] if parts.netloc else []


def object_storage(
    bucket: str, endpoint_url: str, region: str, access_key: str, secret_key: str
) -> dict[str, Any]:
    """Configure a bucket of Amazon S3, or of a compatible store (COS, OSS, MinIO), for STORAGES.

    Objects are readable or not as the bucket's policy says, and may be cached for a day. A store
    that does not answer is given up after two attempts of 3 s for connecting and each read.
    """
    from botocore.config import Config

    options = {
        "bucket_name": bucket,
        "endpoint_url": endpoint_url or None,
        "region_name": region or None,
        "access_key": access_key,
        "secret_key": secret_key,
        "location": "",
        "default_acl": None,
        "querystring_auth": False,
        "file_overwrite": True,
        "object_parameters": {"CacheControl": "public, max-age=86400"},
        "client_config": Config(
            signature_version="s3v4",
            connect_timeout=3,
            read_timeout=3,
            retries={"total_max_attempts": 2},
            # Amazon's newer checksums are not known to every store that speaks the protocol.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    }
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}


def redis_options() -> dict[str, Any]:
    """Return how long the cache and the throttles wait for Redis: half a second, once."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": Retry(NoBackoff(), 0)}


def database(url: str, name: str = "DATABASE_URL") -> dict[str, Any]:
    """Read DATABASE_URL as Django needs it. No error quotes it: it has a password."""
    try:
        found = env.db_url_config(url) if url.partition(":")[0] in DATABASE_SCHEMES else {}
        several = hosts_in(url)
    except ValueError:
        found = {}
    if not found:
        raise ImproperlyConfigured(
            f"{name} cannot be read. 无法识别 {name}。\n"
            "Write 请写成 sqlite:///db.sqlite3, postgres://user:password@host:5432/name "
            "or 或 mysql://user:password@host:3306/name\n"
            "Of PostgreSQL there may be several hosts PostgreSQL 可写多个主机："
            "postgres://user:password@host1:5432,host2:5432/name"
        )
    is_mysql = found["ENGINE"].endswith(".mysql")
    return dict(found) | several | ({"ENGINE": MYSQL} if is_mysql else {})


def hosts_in(url: str) -> dict[str, str]:
    """Read the hosts of a URL that has several, as libpq takes them; nothing where it has one.

    Raises ValueError, also for drivers that take one host. django-environ's own reading drops the
    port of a host without one, and keeps the brackets of IPv6.
    """
    scheme, _colon, rest = url.partition("://")
    given = rest.partition("/")[0].rpartition("@")[2]
    if scheme == "sqlite" or "," not in given:
        return {}
    places = [urlsplit(f"//{each}") for each in given.split(",")]
    if scheme == "mysql" or not all(place.hostname for place in places):
        raise ValueError
    hosts = ",".join(str(place.hostname) for place in places)
    return {"HOST": hosts, "PORT": ",".join(str(place.port or 5432) for place in places)}


def cloud_database(address: str, username: str, password: str) -> dict[str, Any]:
    """Configure WeChat Cloud Run's MySQL: the container gets host:port and an account."""
    host, _colon, port = address.partition(":")
    if not (host and username and (port or "3306").isdecimal()):
        raise ImproperlyConfigured(
            "MYSQL_ADDRESS must read host:port, with MYSQL_USERNAME and MYSQL_PASSWORD. "
            "MYSQL_ADDRESS 应为 host:port，并设置 MYSQL_USERNAME、MYSQL_PASSWORD。"
        )
    account = {"NAME": CLOUD_DATABASE, "USER": username, "PASSWORD": password}
    return {"ENGINE": MYSQL, "HOST": host, "PORT": int(port or 3306), **account}


def prepare_database(found: dict[str, Any], *, is_replica: bool = False) -> None:
    """Add how a connection begins and how long it is kept; a replica's cannot write."""
    found |= {"CONN_HEALTH_CHECKS": True, "CONN_MAX_AGE": 60}
    options = found.setdefault("OPTIONS", {})
    engine = found["ENGINE"].rpartition(".")[2]
    if engine == "sqlite3":
        found["ENGINE"] = "core.sqlite"
        # WAL and IMMEDIATE together are what ends "database is locked"; either alone does not.
        # synchronous=FULL: an acknowledged write survives the machine, not only the process.
        options |= {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
        if is_replica:
            options["init_command"] += " PRAGMA query_only=ON;"
    elif engine == "postgresql":
        # Compiling a statement takes longer than any of ours that is to be answered in time.
        jit = f"-c jit=off {options.get('options', '')}".strip()
        if is_replica:
            jit += " -c default_transaction_read_only=on"
        options["options"] = jit
        options.setdefault("connect_timeout", 3)
        if "," in found["HOST"]:  # not the first that answers
            wanted = "prefer-standby" if is_replica else "read-write"
            options.setdefault("target_session_attrs", wanted)
        if DATABASE_PREPARE:  # those that ask for it, and no others however often they are made
            options |= {"prepare_threshold": sys.maxsize}
    elif engine == "mysql":
        import pymysql

        # Pure Python, so it installs anywhere; Django asks for mysqlclient's name and version.
        pymysql.version_info = (2, 2, 1, "final", 0)
        pymysql.install_as_MySQLdb()
        options |= {"charset": "utf8mb4", "sql_mode": "STRICT_TRANS_TABLES"}
        options |= {"connect_timeout": 3}
        if is_replica:
            # Each of MariaDB and MySQL passes over the other's comment.
            reads = "/*M!100101 tx_read_only=1 */ /*!80000 transaction_read_only=1 */"
            options["init_command"] = f"SET SESSION {reads}"
        found["TEST"] = {"CHARSET": "utf8mb4"}


def whole_number(name: str, default: int) -> int:
    try:
        return int(env.int(name, default=default))
    except ValueError:
        raise ImproperlyConfigured(
            f"{name} is not a whole number. {name} 必须是整数，例如 {name}={default}"
        ) from None


# Secrets and hosts

DEBUG = env.bool("DEBUG", default=False)
DEVELOPMENT_FIELD_KEY = "b25seS1mb3ItZGV2ZWxvcG1lbnQtbmV2ZXItbGl2ZSE="
SECRET_KEY = env.str("SECRET_KEY", default="django-insecure-development-only" if DEBUG else "")
SECRET_KEY_FALLBACKS = [key.strip() for key in env.list("SECRET_KEY_FALLBACKS", default=[])]
FIELD_KEYS = env.list("FIELD_KEYS", default=[DEVELOPMENT_FIELD_KEY] if DEBUG else [])
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. 没有设置 SECRET_KEY。\n"
        "Put one into .env, or set DEBUG=True to develop 请写入 .env（本地开发可设 DEBUG=True）：\n"
        "  python -c 'import secrets; print(secrets.token_urlsafe(50))'"
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
NUM_PROXIES = whole_number("NUM_PROXIES", 0)
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/")

# WeChat

WECHAT_APPS = app_secrets(env.str("WECHAT_APPS", default=""))
WECHAT_CLOUD = env.str("WECHAT_CLOUD", default="")
if WECHAT_CLOUD not in CLOUD_WAYS:
    raise ImproperlyConfigured(
        "WECHAT_CLOUD is neither envelope nor cloudid. WECHAT_CLOUD 只能是 envelope 或 cloudid。\n"
        "Leave it out anywhere but behind WeChat Cloud Run's gateway, with public access off. "
        "只有关闭公网访问的微信云托管服务才设置它（docs/cloud-run.md）。"
    )
# 开放接口服务 takes plain HTTP within the container, and adds the credentials to it.
WECHAT_API_URL = env.str(
    "WECHAT_API_URL",
    default=f"{'http' if WECHAT_CLOUD == 'cloudid' else 'https'}://api.weixin.qq.com",
)
ALLOW_SANDBOX = env.bool("ALLOW_SANDBOX", default=False)
WECHAT_MAX_IN_FLIGHT = whole_number("WECHAT_MAX_IN_FLIGHT", 8)
WECHAT_PROXY = env.str("WECHAT_PROXY", default="")
WECHAT_PUSH = push_channels(env.str("WECHAT_PUSH", default=""))
CONTENT_SAFETY = env.bool("CONTENT_SAFETY", default=True)
WATERMARK_MAX_AGE = whole_number("WATERMARK_MAX_AGE", 300)
WATERMARK_REQUIRED = env.bool("WATERMARK_REQUIRED", default=False)
MEMBERSHIP_PROOF_DAYS = whole_number("MEMBERSHIP_PROOF_DAYS", 30)
LINK_MAX_AGE = whole_number("LINK_MAX_AGE", 3600)

# Application

INSTALLED_APPS = [
    "groupsite",
    "console",
    "groups",
    "accounts",
    "audit",
    "wechat",
    "core",
    "console.apps.ConsoleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

MIDDLEWARE = [
    # What every answer gets, from wherever it comes …
    "groupsite.middleware.RequestLogMiddleware",
    "groupsite.middleware.SecurityHeadersMiddleware",
    "groupsite.middleware.PolicyMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "groupsite.middleware.PrivateCacheMiddleware",
    "groupsite.middleware.ErrorsMiddleware",
    "groupsite.middleware.GatewayMiddleware",
    # … and those who give them.
    "groupsite.throttles.AddressThrottleMiddleware",
    "groupsite.middleware.ChunkedBodyMiddleware",
    "groupsite.middleware.SecondTryMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "groupsite.middleware.StaticGZipMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "groupsite.pages.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "groupsite.middleware.HostMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "groupsite.pages.AuthenticationMiddleware",
    "groupsite.pages.MessageMiddleware",
    "groupsite.pages.OTPMiddleware",
    "console.guesses.GuessLimitMiddleware",
    "console.replica.OwnChangesMiddleware",
]

ROOT_URLCONF = "groupsite.urls"
WSGI_APPLICATION = "groupsite.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Data

_url, _address = env.str("DATABASE_URL", default=""), env.str("MYSQL_ADDRESS", default="")
DATABASES: dict[str, dict[str, Any]] = {
    "default": (
        cloud_database(
            _address,
            env.str("MYSQL_USERNAME", default=""),
            env.str("MYSQL_PASSWORD", default=""),
        )
        if _address and not _url
        else database(_url or f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
    )
}
# For processes that answer requests: core.database.bound_requests puts them into DATABASES.
DATABASE_POOL = whole_number("DATABASE_POOL", 4)
DATABASE_TIMEOUT = whole_number("DATABASE_TIMEOUT", 3)
DATABASE_PREPARE = env.bool("DATABASE_PREPARE", default=True)
prepare_database(DATABASES["default"])
DATABASE_ROUTERS: list[str] = []
if _replica := env.str("DATABASE_REPLICA_URL", default=""):
    DATABASES["replica"] = database(_replica, "DATABASE_REPLICA_URL")
    prepare_database(DATABASES["replica"], is_replica=True)
    DATABASE_ROUTERS = ["core.routing.ReplicaRouter"]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.str("REDIS_URL", default="")
REDIS_OPTIONS: dict[str, Any] = redis_options() if REDIS_URL and find_spec("redis") else {}
CACHES: dict[str, dict[str, Any]] = {
    "default": (
        {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "OPTIONS": REDIS_OPTIONS,
        }
        if REDIS_URL
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    )
}

# Language and time: periods are the calendar of Asia/Shanghai wherever the server stands

LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", _("Simplified Chinese")), ("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True

# Files

STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=None)
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True

MEDIA_ROOT = env.str("MEDIA_ROOT", default=str(BASE_DIR / "media"))
MEDIA_URL = env.str("MEDIA_URL", default="/media/").rstrip("/") + "/"
S3_BUCKET = env.str("S3_BUCKET", default="")
S3_ENDPOINT_URL = env.str("S3_ENDPOINT_URL", default="")
S3_REGION = env.str("S3_REGION", default="")
S3_ACCESS_KEY = env.str("S3_ACCESS_KEY", default="")
S3_SECRET_KEY = env.str("S3_SECRET_KEY", default="")

STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if S3_BUCKET and find_spec("boto3"):
    STORAGES["default"] = object_storage(
        S3_BUCKET, S3_ENDPOINT_URL, S3_REGION, S3_ACCESS_KEY, S3_SECRET_KEY
    )

# Security

SECURE_SSL_REDIRECT = NUM_PROXIES > 0
SECURE_REDIRECT_EXEMPT = [r"^api/", r"^livez$", r"^readyz$", r"^metrics$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NUM_PROXIES else None
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = not DEBUG
# A browser keeps such a cookie only if HTTPS sets it, for this host alone and all of its paths.
COOKIE_PREFIX = "" if DEBUG else "__Host-"
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
LANGUAGE_COOKIE_NAME = f"{COOKIE_PREFIX}django_language"
CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
MESSAGE_STORAGE = "groupsite.pages.MessageStorage"
SESSION_ENGINE = "console.sessions"
SESSION_COOKIE_AGE = 12 * 3600  # from the sign-in on, however much a session is used
SESSION_IDLE_AGE = 3600  # seconds without use
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "object-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", *origin(MEDIA_URL)],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

AUTHENTICATION_BACKENDS = ["console.roles.OperatorBackend"]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "/groups/"
OPERATOR_TOTP = env.bool("OPERATOR_TOTP", default=not DEBUG)
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        # A password that is all there is has to be longer than one beside a code.
        "OPTIONS": {"min_length": 8 if OPERATOR_TOTP else 15},
    },
    # Its list has the most frequent passwords of known breaches.
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_RESET_TIMEOUT = 10 * 60  # of links that sign an operator in
SIGN_IN_COMMAND = env.str("SIGN_IN_COMMAND", default="python manage.py sign_in_link <username>")

DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024

# The API

THROTTLES = env.str("THROTTLES", default="")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.IsMember"],
    "DEFAULT_PARSER_CLASSES": ["groupsite.api.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["core.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "groupsite.schema.ApiSchema",
    "DEFAULT_THROTTLE_CLASSES": ["groupsite.throttles.CallerThrottle"],
    "EXCEPTION_HANDLER": "groupsite.api.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "groupsite",
    "DESCRIPTION": _(
        "Groups in WeChat mini-programs: log in, bind, rank.\n\n"
        "JSON in UTF-8. Times are those of Asia/Shanghai with milliseconds. Log in with the code "
        "of `wx.login`, then send `Authorization: Bearer <token>`. Every error is "
        "`{code, detail, requestId}`: branch on `code`, show `detail`. On `session_stale` log in, "
        "fetch the encrypted data **again**, and retry once; on 401 log in; where `retryAfter` "
        "is given, wait that many seconds.\n\n"
        "The examples are those of `make demo`, where each works as it stands: run **Log in**, "
        "put the `token` of its answer into **Authorize**, and go on from the top."
    ),
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "DEFAULT_GENERATOR_CLASS": "groupsite.schema.ApiGenerator",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_AUTHENTICATION": [],
    "ENUM_NAME_OVERRIDES": {
        "ReviewState": "accounts.review.State",
        "Purpose": "accounts.models.Consent.Purpose",
        "Source": "groups.models.ScoreSource",
        "Window": "groups.periods.Window",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "groupsite.reference.describe",
    ],
    "SWAGGER_UI_DIST": "SIDECAR",
}

# Logs

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"crashes": {"()": "groupsite.logs.CrashFilter"}},
    "formatters": {"json": {"()": "groupsite.logs.JsonFormatter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.request": {"filters": ["crashes"]},
        "psycopg.pool": {"level": "WARNING"},  # it has several lines for each request
        # The development server's own line about each request: ours says it without the path.
        "django.server": {"handlers": [], "level": "ERROR", "propagate": True},
    },
}

DEFAULT_EXCEPTION_REPORTER_FILTER = "groupsite.logs.ReportFilter"

SENTRY_DSN = env.str("SENTRY_DSN", default="")

METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
