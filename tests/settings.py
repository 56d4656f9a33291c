"""The project's own settings in an environment of the tests' own."""

import atexit
import os
import shutil
import tempfile

DATABASE_URL = os.environ.get("DATABASE_URL", "sqlite:///:memory:")
REDIS_URL = os.environ.get("REDIS_URL", "")
# For the sites of tests/servers.py: what a test writes in this process is in no replica.
REPLICA_URL = os.environ.get("DATABASE_REPLICA_URL", "")

APP_ID = "wxtest0000000000001"
OTHER_APP_ID = "wxtest0000000000002"

MEDIA = tempfile.mkdtemp(prefix="groupsite-tests-")
atexit.register(shutil.rmtree, MEDIA, ignore_errors=True)

os.environ |= {
    "DEBUG": "False",
    # Of this run alone: what throttles count in Redis is named after it.
    "SECRET_KEY": f"tests-only-tests-only-tests-only-tests-only-0123456789-{os.getpid()}",
    "SECRET_KEY_FALLBACKS": "",
    "FIELD_KEYS": "dGVzdHMtb25seS10ZXN0cy1vbmx5LTAxMjM0NTY3ODk=",
    "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
    "CSRF_TRUSTED_ORIGINS": "",
    "NUM_PROXIES": "0",
    "DATABASE_URL": DATABASE_URL,
    "REDIS_URL": REDIS_URL,
    "WECHAT_APPS": f"{APP_ID}:secret-of-the-test-app",
    "WECHAT_PUSH": f"{APP_ID}:TokenOfTheTestApp:{'KeyOfTheTestApp'.ljust(43, '0')}",
    "CONTENT_SAFETY": "True",
    "WECHAT_API_URL": "http://127.0.0.1:9",
    "ALLOW_SANDBOX": "True",
    "LOG_LEVEL": "INFO",
    "MEDIA_ROOT": MEDIA,
    "MEDIA_URL": "/media/",
    "S3_BUCKET": "",
    "OPERATOR_TOTP": "False",
    "THROTTLES": "",
    "SENTRY_DSN": "",
    "METRICS_TOKEN": "",
}
for _name in (
    "WATERMARK_MAX_AGE",
    "WATERMARK_REQUIRED",
    "MEMBERSHIP_PROOF_DAYS",
    "LINK_MAX_AGE",
    "WECHAT_CLOUD",
    "PUBLIC_URL",
    "MYSQL_ADDRESS",
    "SIGN_IN_COMMAND",
    "DATABASE_REPLICA_URL",
):
    os.environ.pop(_name, None)

from groupsite.settings import *  # noqa: E402, F403

if DATABASE_URL == "sqlite:///:memory:":
    # Said, because pytest-django would number it for each worker otherwise, and so make it a file.
    DATABASES["default"]["TEST"] = {"NAME": ":memory:"}  # noqa: F405
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
MIDDLEWARE = [
    {"whitenoise.middleware.WhiteNoiseMiddleware": "tests.static_files.StaticListMiddleware"}.get(
        name, name
    )
    for name in MIDDLEWARE  # noqa: F405
]
