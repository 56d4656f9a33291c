"""Databases, Redis and sites of our own, in processes that a trial may kill, on ports of their own.

Databases are as durable as they can be: what one has acknowledged is on its disk. Everything that
was started ends with the block that started it, by its own pid.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from .inside import environment_of

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60  # seconds that anything may take


class MissingProgram(Exception):
    """A program that is not installed; with CI=true that is a failure."""


def find_program(name: str, folders: str = "") -> str:
    """Return a program's path, of the newest of `folders` or in PATH. Raises MissingProgram."""
    if folders and (found := sorted(Path("/").glob(f"{folders}/{name}"))):
        return str(found[-1])
    if path := shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin"):
        return path
    raise MissingProgram(f"{name} is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(happens: Callable[[], Any], what: str, patience: float = PATIENCE) -> float:
    """Wait, and return how long it took. Raises TimeoutError."""
    begun = time.monotonic()
    while not happens():
        if time.monotonic() - begun > patience:
            raise TimeoutError(f"{what} within {patience} s")
        time.sleep(0.02)
    return time.monotonic() - begun


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def kill_all(*pids: int) -> None:
    """Kill processes and all that they started, at one moment as far as that is possible."""
    # Stopped first, so that none of them notices the end of another.
    send_to_all(signal.SIGSTOP, *pids)
    send_to_all(signal.SIGKILL, *pids)


def send_to_all(sign: signal.Signals, *pids: int) -> None:
    """Send a signal to processes and all that they started."""
    for one in [*pids, *descendants(*pids)]:
        with suppress(ProcessLookupError):
            os.kill(one, sign)


def descendants(*pids: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    todo = list(pids)
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


class Service:
    """A program that serves on a port: it is started, killed and started again."""

    name = user = url = ""
    durable = True

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        if self.is_root and self.user:
            shutil.chown(self.folder, self.user, self.user)
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def is_root(self) -> bool:
        return os.geteuid() == 0

    def as_its_user(self) -> dict[str, Any]:
        """Return arguments of Popen: databases refuse to run as root."""
        found: dict[str, Any] = {"env": os.environ | {"TMPDIR": str(self.folder)}}
        if self.is_root and self.user:
            found |= {"user": self.user, "group": self.user, "extra_groups": []}
        return found

    def prepare(self) -> None:
        return

    def command(self) -> list[str]:
        raise NotImplementedError

    def run(self, *command: str) -> None:
        """Run a program to its end. Raises RuntimeError with what it said."""
        done = subprocess.run(  # noqa: S603
            command, cwd=self.folder, capture_output=True, check=False, **self.as_its_user()
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {(done.stdout + done.stderr).decode()[-2000:]}")

    def start(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            self.process = self.spawn()
            while self.process.poll() is None and not self.is_ready():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self.name} does not start: {self.log()}")
                time.sleep(0.02)
            if self.process.poll() is None:
                return
            # What is left of the one that was killed may still hold the folder.
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not start: {self.log()}")
            time.sleep(0.2)

    def spawn(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                self.command(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.as_its_user(),
            )

    @property
    def home(self) -> Path:
        """The folder in which the program runs."""
        return self.folder

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def is_ready(self) -> bool:
        return listens(self.port)

    def kill(self) -> None:
        if self.process is not None:
            kill_all(self.process.pid)
            self.process.wait()
            self.process = None


class SQLite:
    """A file: there is no server to kill."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'site.sqlite3'}"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *error: object) -> None:
        return


class PostgreSQL(Service):
    name, user = "PostgreSQL", "postgres"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"postgres://groupsite@127.0.0.1:{self.port}/postgres"

    def program(self, name: str) -> str:
        return find_program(name, "usr/lib/postgresql/*/bin")

    def prepare(self) -> None:
        data = str(self.folder / "data")
        options = ("-A", "trust", "-U", "groupsite", "-E", "UTF8", "--locale", "C.UTF-8")
        self.run(self.program("initdb"), "-D", data, *options)

    def command(self) -> list[str]:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on" if self.durable else "off",
            "wal_writer_delay": "200ms" if self.durable else "10s",
            "restart_after_crash": "off",
            "shared_buffers": "32MB",
        }
        found = [self.program("postgres"), "-D", str(self.folder / "data")]
        for name, value in options.items():
            found += ["-c", f"{name}={value}"]
        return found

    def is_ready(self) -> bool:
        import psycopg

        with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=3):
            return True
        return False


class PostgreSQLStandby(PostgreSQL):
    """A replica of another PostgreSQL, which replays each commit `delay` seconds after it."""

    def __init__(self, folder: Path, primary: PostgreSQL, delay: int = 0) -> None:
        super().__init__(folder)
        self.primary, self.delay = primary, delay

    def prepare(self) -> None:
        data, there = str(self.folder / "data"), ("-h", "127.0.0.1", "-p", str(self.primary.port))
        options = ("-U", "groupsite", "-X", "stream", "-c", "fast", "--write-recovery-conf")
        self.run(self.program("pg_basebackup"), "-D", data, *there, *options)

    def command(self) -> list[str]:
        return [*super().command(), "-c", f"recovery_min_apply_delay={self.delay}s"]


class MariaDB(Service):
    name, user = "MariaDB", "mysql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"mysql://root@127.0.0.1:{self.port}/groupsite"

    def prepare(self) -> None:
        self.run(
            find_program("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            *(["--user=mysql"] if self.is_root else []),
        )

    def command(self) -> list[str]:
        return [
            find_program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={self.folder / 'socket'}",
            f"--innodb-flush-log-at-trx-commit={1 if self.durable else 0}",
            "--innodb-doublewrite=1",
            "--innodb-buffer-pool-size=64M",
        ]

    def is_ready(self) -> bool:
        import pymysql

        address = {"host": "127.0.0.1", "port": self.port, "user": "root"}
        with (
            suppress(pymysql.OperationalError),
            pymysql.connect(**address, connect_timeout=3) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("CREATE DATABASE IF NOT EXISTS groupsite CHARACTER SET utf8mb4")
            return True
        return False


class Redis(Service):
    name = "Redis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        return [find_program("redis-server"), *options, "--dir", str(self.folder)]

    def freeze(self) -> None:
        """Stop it as it stands: it takes connections and answers nothing."""
        if self.process:
            os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        if self.process:
            os.kill(self.process.pid, signal.SIGCONT)


Database = SQLite | PostgreSQL | MariaDB
DATABASES: tuple[type[Database], ...] = (SQLite, PostgreSQL, MariaDB)


class KillableSite:
    """Server processes of one site; each has its port, and keeps it when it is started again.

    `code` is the folder of the code that serves, where it is not this one.
    """

    code = ROOT

    def __init__(self, folder: Path, database_url: str, servers: int, **environment: str) -> None:
        self.folder = folder
        self.environment = os.environ | environment_of(folder, database_url, "http://127.0.0.1:9")
        self.environment |= environment
        self.ports = [free_port() for _ in range(servers)]
        self.pids: dict[int, int] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.python("-m", "django", "migrate", "--verbosity", "0")
        self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def begin(self, **environment: str) -> None:
        """Start all servers, with more settings."""
        with (self.folder / "servers.log").open("a") as log:
            self.stem = subprocess.Popen(
                [sys.executable, "-m", "prove.serve"],
                cwd=self.code,
                env=self.environment | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        if self.said() != "ready":
            raise RuntimeError(f"the site does not start: {self.log()}")
        for port in self.ports:
            self.start(port)

    def end(self) -> None:
        kill_all(self.stem.pid)
        self.stem.wait()
        for stream in (self.stem.stdin, self.stem.stdout):
            if stream is not None:
                stream.close()

    def said(self) -> str:
        if self.stem.stdout is None:
            raise RuntimeError("the servers have no output")
        return self.stem.stdout.readline().strip()

    def start(self, port: int) -> None:
        if self.stem.stdin is None:
            raise RuntimeError("the servers have no input")
        self.stem.stdin.write(f"start {port}\n")
        self.stem.stdin.flush()
        self.pids[port] = int(self.said())
        wait_for(lambda: listens(port), "a server starts")

    def kill(self, port: int) -> None:
        os.kill(self.pids[port], signal.SIGKILL)
        wait_for(lambda: not listens(port), "a server that was killed is gone")

    def log(self) -> str:
        return (self.folder / "servers.log").read_text(errors="replace")

    def python(self, *arguments: str) -> str:
        """Run Python with the site's settings; return what it printed."""
        done = subprocess.run(  # noqa: S603
            [sys.executable, *arguments],
            cwd=self.code,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE * 5,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return done.stdout


class Visitor:
    """A client with a connection that it opens again when it breaks."""

    def __init__(self, port: int, token: str = "", timeout: float = PATIENCE) -> None:
        self.line = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.line.close()

    def ask(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """Return status and JSON. Raises OSError or HTTPException where no answer came."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = self.headers | ({"Content-Type": content_type} if sent is not None else {})
        try:
            self.line.request(method, path, sent, headers)
            answer = self.line.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.line.close()
            raise
        is_json = content and answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(content) if is_json else None


@contextmanager
def scratch() -> Iterator[tuple[Path, ExitStack]]:
    """Yield a folder that databases may enter, and a stack; both are emptied at the end."""
    with TemporaryDirectory(prefix="groupsite-prove-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with ExitStack() as stack:
            yield folder, stack
