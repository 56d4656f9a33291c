"""The site in processes of its own, on a database of its own: for what a test client cannot show.

SQLite in a file by default; where DATABASE_URL names PostgreSQL or MariaDB, a scratch database
there, dropped afterwards.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.settings import APP_ID, DATABASE_URL
from wechat.sandbox import Phone, Sandbox

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = f"groupsite_tests_{os.getpid()}"
PATIENCE = 60  # seconds that anything may take

SERVER = """
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from groupsite.wsgi import application

ThreadedWSGIServer.request_queue_size = 64
server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
server.set_app(application)
print("port", server.server_port, flush=True)
server.serve_forever()
"""

QUESTION = """
import json
from datetime import timedelta
import django
django.setup()
from django.db.models import Count
from django.utils import timezone
from accounts.models import *
from groups.models import *
print(json.dumps({}))
"""


@contextmanager
def scratch_database(directory: Path) -> Iterator[str]:
    """Make an empty database; yield its URL."""
    url = urlsplit(DATABASE_URL)
    if url.scheme == "sqlite":
        yield f"sqlite:///{directory / 'site.sqlite3'}"
        return
    create, drop, execute = {
        "postgres": (f"CREATE DATABASE {SCRATCH}", "DROP DATABASE {} WITH (FORCE)", on_postgres),
        "mysql": (f"CREATE DATABASE {SCRATCH} CHARACTER SET utf8mb4", "DROP DATABASE {}", on_mysql),
    }[url.scheme]
    execute(create)
    try:
        yield url._replace(path=f"/{SCRATCH}").geturl()
    finally:
        execute(drop.format(SCRATCH))


def on_postgres(statement: str) -> None:
    import psycopg

    with psycopg.connect(DATABASE_URL, autocommit=True) as connection:
        connection.execute(statement)


def on_mysql(statement: str) -> None:
    import pymysql

    url = urlsplit(DATABASE_URL)
    address = {"host": url.hostname, "port": url.port or 3306, "user": url.username}
    with (
        pymysql.connect(**address, password=url.password or "") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@contextmanager
def serving(environment: dict[str, str], log: Path, server: str = SERVER) -> Iterator[str]:
    """Run a server in a process of its own; yield its URL."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", server],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with process:
        try:
            said = next((line for line in process.stdout if line.startswith("port ")), None)
            assert said, log.read_text()
            yield f"http://127.0.0.1:{said.split()[1]}/api/v1/"
        finally:
            process.kill()


@dataclass
class Site:
    """Servers with one database, and the WeChat that they talk to."""

    environment: dict[str, str]
    urls: list[str]
    logs: list[Path]
    sandbox: Sandbox

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, expression: str) -> Any:
        """Evaluate an expression in the site's own Django."""
        return json.loads(self.run("-c", QUESTION.replace("{}", expression)))

    def said(self) -> str:
        return "".join(log.read_text() for log in self.logs)

    def log_in(self, name: str) -> "Caller":
        phone = Phone(self.sandbox.url, name, APP_ID)
        status, answer = Caller(self, phone).post("login", {"code": phone.login()})
        assert status == 200, answer
        return Caller(self, phone, answer["token"])


@dataclass
class Caller:
    """A person whose calls go to the servers in turn."""

    site: Site
    phone: Phone
    token: str = ""

    def post(self, path: str, body: Any, server: int = 0) -> tuple[int, Any]:
        return self.call("POST", path, server, json=body)

    def get(self, path: str, server: int = 0) -> tuple[int, Any]:
        return self.call("GET", path, server)

    def call(self, method: str, path: str, server: int, **sent: Any) -> tuple[int, Any]:
        url = self.site.urls[server % len(self.site.urls)] + path
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        with requests.Session() as http:
            http.trust_env = False
            answer = http.request(method, url, headers=headers, timeout=PATIENCE, **sent)
        return answer.status_code, answer.json() if answer.content else None

    def envelope(self, chat: str) -> dict[str, str]:
        return self.phone.share_info(self.phone.open_card(chat)["shareTicket"])


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Start all calls at the same moment; return their results in order."""
    gate = Barrier(len(calls))

    def start(call: Callable[[], Any]) -> Any:
        gate.wait(PATIENCE)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(start, calls, timeout=PATIENCE))


def wait_for(happens: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_program(name: str) -> str:
    """Return the path of a program; without it the test fails in CI, elsewhere it is skipped."""
    if path := shutil.which(name):
        return path
    missing = f"{name} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
