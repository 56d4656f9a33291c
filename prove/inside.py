"""The site within this process, on an SQLite database in its memory: for millions of questions."""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from . import APP_ID, APP_SECRET, PLAIN_APP_ID, PUSH_KEY, PUSH_TOKEN


def environment_of(folder: Path, database_url: str, wechat_url: str) -> dict[str, str]:
    """Return the settings of a site as it would serve: DEBUG is off, nothing else is loosened but
    the throttles, which would only keep trials from asking."""
    return {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DEBUG": "False",
        "SECRET_KEY": "prove-only-prove-only-prove-only-prove-only-prove-only-0123456789",
        "FIELD_KEYS": urlsafe_b64encode(b"prove-only-prove-only-prove-only").decode(),
        "ALLOWED_HOSTS": "127.0.0.1,testserver",
        "CSRF_TRUSTED_ORIGINS": "",
        "NUM_PROXIES": "0",
        "DATABASE_URL": database_url,
        "DATABASE_REPLICA_URL": "",
        "REDIS_URL": "",
        "MEDIA_ROOT": str(folder / "media"),
        "MEDIA_URL": "/media/",
        "S3_BUCKET": "",
        "WECHAT_APPS": f"{APP_ID}:{APP_SECRET},{PLAIN_APP_ID}:{APP_SECRET}",
        "WECHAT_PUSH": f"{APP_ID}:{PUSH_TOKEN}:{PUSH_KEY},{PLAIN_APP_ID}:{PUSH_TOKEN}",
        "WECHAT_API_URL": wechat_url,
        "WECHAT_PROXY": "",
        "ALLOW_SANDBOX": "True",
        "CONTENT_SAFETY": "False",
        "OPERATOR_TOTP": "False",
        "THROTTLES": "off",
        "SENTRY_DSN": "",
        "LOG_LEVEL": "CRITICAL",
    }


def set_up(folder: Path) -> None:
    """Make this process the site, once; its pictures go to `folder`."""
    os.environ |= environment_of(folder, "sqlite:///:memory:", "http://127.0.0.1:9")
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


class InnerSite:
    """The WSGI application, asked without a socket, with every middleware."""

    def __init__(self) -> None:
        from django.core.wsgi import get_wsgi_application

        self.application = get_wsgi_application()

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        query: str = "",
        token: str = "",
        content_type: str = "application/json",
    ) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers and the body of the answer."""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": content_type,
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "SCRIPT_NAME": "",
            "HTTP_HOST": "testserver",
            "HTTP_ACCEPT_LANGUAGE": "en",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": BytesIO(),
            "wsgi.url_scheme": "http",
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.version": (1, 0),
        }
        if token:
            environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            started[:] = [int(status[:3]), dict(headers)]

        with keeping_connections():
            answer = self.application(environ, start_response)
            try:
                content = b"".join(answer)
            finally:
                answer.close()
        return started[0], started[1], content

    def post(self, path: str, body: Mapping[str, Any], token: str) -> tuple[int, Any, bytes]:
        return self.ask("POST", f"/api/v1/{path}", json.dumps(body).encode(), token=token)


class Sender:
    """A member with a session_key and a token, made without WeChat."""

    def __init__(self, name: str, key: str) -> None:
        from django.utils import timezone

        from accounts.models import Token, WeChatUser
        from core.vault import encrypt

        now = timezone.now()
        self.key = key
        self.user = WeChatUser.objects.meet(APP_ID, name)
        self.user.session_key, self.user.session_key_at = encrypt(key), now
        self.user.save()
        self.token, _row = Token.objects.issue(self.user, now)


@contextmanager
def keeping_connections() -> Iterator[None]:
    """Keep the connection within a transaction of the caller's, as Django's test client does."""
    from django.core.signals import request_finished, request_started
    from django.db import close_old_connections

    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


@contextmanager
def counting_statements() -> Iterator[list[str]]:
    """Yield a list to which every statement goes that is sent to the database."""
    from django.db import connection

    seen: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield seen
