"""What leaves for Sentry, by its own SDK over a real socket: no secret and no person, wherever one
may stand in an error, in its log lines or in the request."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.servers import ROOT, wait_for
from tests.tracker import tracking

pytestmark = pytest.mark.no_service

CANARY = "Canary-0123456789"
NAMES = (
    "access_token",
    "appsecret",
    "cloudID",
    "cloud_id",
    "code",
    "echostr",
    "encryptedData",
    "encrypted_data",
    "iv",
    "js_code",
    "msg_signature",
    "nickName",
    "nickname",
    "openid",
    "phoneNumber",
    "rawData",
    "secret",
    "sessionKey",
    "session_key",
    "signature",
    "ticket",
    "token",
    "unionid",
)

FAILING = """
import json, logging, sys
import django
django.setup()
from io import BytesIO
import sentry_sdk
from groupsite.wsgi import application

canary, names = json.loads(sys.argv[1])
logger = logging.getLogger("groupsite.anything")
logging.disable(logging.NOTSET)

def report(text, cause=None):
    try:
        raise RuntimeError(text) from cause
    except RuntimeError:
        sentry_sdk.capture_exception()

for name in names:
    quoted = json.dumps({name: canary, "kept": "kept"})
    logger.info("before: %s=%s", name, canary)
    logger.error("failed: %s=%s", name, canary)
    logger.error("failed: %s", quoted, extra={name: canary, "body": {"inner": [{name: canary}]}})
    sentry_sdk.add_breadcrumb(message=f"{name}={canary}", data={name: canary})
    report(f"url: /sns/jscode2session?appid=wx1&{name}={canary}&grant_type=x")
    report(f"{name}: {canary}", ValueError(json.dumps(quoted)))
    report(repr({name: canary}))
    sentry_sdk.flush(20)  # its queue takes a hundred

# Whole requests that crash.
import accounts.views, accounts.api, groups.server_api
from groups.authentication import KeyAuthentication

def crash(*args, **kwargs):
    raise RuntimeError("a crash")

accounts.views.channel_for = accounts.api.log_in = crash
KeyAuthentication.authenticate = crash

def ask(method, path, body, kind, **more):
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "SERVER_NAME": "testserver",
        "SERVER_PORT": "80", "REMOTE_ADDR": "192.0.2.1",
        "HTTP_COOKIE": f"__Host-sessionid={canary}",
        "HTTP_AUTHORIZATION": f"Bearer {canary}", "HTTP_X_WX_OPENID": canary,
        "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body)),
        "QUERY_STRING": "&".join(f"{name}={canary}" for name in [*names, "nonce", "a"]),
        "wsgi.input": BytesIO(body), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http",
    }
    statuses = []
    for _part in application(environ, lambda status, headers: statuses.append(status[:3])):
        pass
    print("status", *statuses)

ask("POST", "/wechat/push/wxtest0000000000001/", canary.encode(), "text/xml")
ask("POST", "/api/v1/login", json.dumps({"code": canary}).encode(), "application/json")
ask("GET", f"/api/v1/server/users/{canary}/groups", b"", "")
sentry_sdk.flush(20)
"""


def test_no_secret_and_no_person_leaves_wherever_it_stands() -> None:
    with tracking() as tracker:
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "SENTRY_DSN": tracker.dsn,
            "DATABASE_URL": "sqlite:///:memory:",
            "LOG_LEVEL": "INFO",
        }
        told = json.dumps([CANARY, NAMES])
        done = subprocess.run(
            [sys.executable, "-c", FAILING, told],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("status 500") == 3
        wait_for(lambda: len(tracker.bodies) >= 5 * len(NAMES) + 3)
    said = "\n".join(tracker.bodies)
    leaks = [line for line in said.splitlines() if CANARY in line]
    assert not leaks, _where(leaks[0])
    assert CANARY not in done.stderr, "nor to the log"
    requests = [event["request"] for event in tracker.events if event["request"]["method"]]
    assert [each["url"] for each in requests] == [
        "/wechat/push/{appid}/",
        "/api/v1/login",
        "/api/v1/server/users/{openid}/groups",
    ]
    assert "kept" in said and "a crash" in said, "the rest of it is told"


def _where(line: str) -> list[str]:
    """Return the paths in an event at which the canary stands."""
    found = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                walk(inner, f"{path}[{number}]")
        elif CANARY in str(value):
            found.append(f"{path}: {value}")

    walk(json.loads(line), "")
    return found
