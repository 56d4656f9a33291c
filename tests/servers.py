"""The site in processes of its own, on a database of its own: for what a test client cannot show.

SQLite in a file by default; where DATABASE_URL names PostgreSQL or MariaDB, a scratch database
there, dropped afterwards.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Event, Lock, Thread
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import requests

from core import limits
from tests.settings import APP_ID, DATABASE_URL, REDIS_URL
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

# Runs the pieces of code that it reads, one line of JSON each, and answers what they printed.
SHELL = """
import json
import sys
from contextlib import redirect_stdout
from io import StringIO
import django
django.setup()
from django.db import connections

for line in sys.stdin:
    with redirect_stdout(StringIO()) as said:
        exec(json.loads(line), {})
    connections.close_all()
    print(json.dumps(said.getvalue()), flush=True)
"""

QUESTION = """
import json
from datetime import timedelta
from django.contrib.auth.models import User
from django.db.models import Count
from django.utils import timezone
from accounts.models import *
from accounts.moderation import block
from audit.actors import Actor
from groups.models import *
print(json.dumps({}))
"""


SUPERUSERS = """
from django.contrib.auth.models import User
from django.test import Client

for name in {names}:
    operator, browser = User.objects.create_superuser(name), Client()
    browser.force_login(operator)
    print(operator.pk, browser.cookies["__Host-sessionid"].value)
"""

MAKE_BOARD = (
    "Board.objects.create(app_id={app!r}, key={key!r}, order={order!r}, policy={policy!r},"
    " scope='app', writer='client').pk"
)


def forget_counts() -> None:
    """Forget what throttles counted, in this process and in Redis."""
    limits.limiter_on.cache_clear()
    if (shared := limits.limiter_on(REDIS_URL).shared) is not None:
        for key in shared.client.scan_iter(f"{shared.prefix}*"):
            shared.client.delete(key)


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
    shell: subprocess.Popen[str] | None = None

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

    def execute(self, code: str) -> str:
        """Run code in the site's own Django, always in the same process; return what it prints."""
        if self.shell is None:
            self.shell = subprocess.Popen(
                [sys.executable, "-c", SHELL],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.shell.stdin.write(f"{json.dumps(code)}\n")
        self.shell.stdin.flush()
        said = self.shell.stdout.readline()
        assert said, "the code failed: see what it wrote to stderr"
        return str(json.loads(said))

    def ask(self, expression: str) -> Any:
        """Evaluate an expression in the site's own Django."""
        return json.loads(self.execute(QUESTION.replace("{}", expression)))

    def close(self) -> None:
        """End the process of `execute`."""
        if self.shell:
            self.shell.communicate(timeout=PATIENCE)

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


@contextmanager
def two_servers(directory: Path, **settings: str) -> Iterator[Site]:
    """Run two servers on one new database, for what may last longer than a request should."""
    logs = [directory / "server-0.log", directory / "server-1.log"]
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox({APP_ID: "secret"}))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": stack.enter_context(scratch_database(directory)),
            "DATABASE_TIMEOUT": str(PATIENCE // 2),
            "WECHAT_APPS": f"{APP_ID}:secret",
            "WECHAT_API_URL": sandbox.url,
            **settings,
        }
        site = Site(environment, [], logs, sandbox)
        stack.callback(site.close)
        site.run("manage.py", "migrate", "--verbosity", "0")
        site.urls += [stack.enter_context(serving(environment, log)) for log in logs]
        yield site


def superusers(site: Site, *names: str) -> list[tuple[str, str]]:
    """Make superusers of these names; return the number and the session of each."""
    said = site.execute(SUPERUSERS.replace("{names}", repr(names)))
    return [(pk, session) for pk, session in map(str.split, said.splitlines())]


def send_form(site: Site, session: str, server: int, path: str, **values: str) -> int:
    """Post a form of the console; return the status of the answer."""
    address = site.urls[server % 2].replace("/api/v1/", path)
    token = "x" * 32
    answer = requests.post(
        address,
        {"csrfmiddlewaretoken": token, **values},
        headers={
            "Cookie": f"__Host-sessionid={session}; __Host-csrftoken={token}",
            "Referer": address,
        },
        allow_redirects=False,
        timeout=PATIENCE,
    )
    return answer.status_code


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


class Relay:
    """A port that forwards to the real server until it is cut.

    `lost` connections to come are dropped at once, as after a server's sleep.
    """

    lost = 0

    def __init__(self, url: str, port: int) -> None:
        parts = urlsplit(url)
        self.there = parts.hostname, parts.port or port
        self.flows = Event()
        self.lines: set[socket.socket] = set()
        self.guard = Lock()
        self.listen()
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        self.url = parts._replace(netloc=f"{user}127.0.0.1:{self.port}").geturl()

    port = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self.cut()

    def listen(self) -> None:
        self.door = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self.door.getsockname()[1]
        self.flows.set()
        Thread(target=self.accept, args=[self.door], daemon=True).start()

    def accept(self, door: socket.socket) -> None:
        with suppress(OSError):  # the door has been closed
            while True:
                near, _address = door.accept()
                if self.lost:
                    self.lost -= 1
                    self.drop(near)
                    continue
                far = socket.create_connection(self.there)
                with self.guard:
                    self.lines |= {near, far}
                for pair in ((near, far), (far, near)):
                    Thread(target=self.forward, args=pair, daemon=True).start()

    def forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.flows.wait()
                target.sendall(data)
        self.drop(source, target)

    def drop(self, *lines: socket.socket) -> None:
        """Close lines at once, as when the machine at the other end is gone."""
        for line in lines:
            with suppress(OSError):
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        with self.guard:
            self.lines -= set(lines)

    def cut(self) -> None:
        with suppress(OSError):
            self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()
        self.flows.set()
        self.drop(*self.lines)

    def freeze(self) -> None:
        self.flows.clear()

    def restore(self) -> None:
        if self.door.fileno() == -1:
            self.listen()
        self.flows.set()


def find_program(name: str) -> str:
    """Return the path of a program; without it the test fails in CI, elsewhere it is skipped."""
    if path := shutil.which(name):
        return path
    missing = f"{name} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
