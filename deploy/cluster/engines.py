"""The programs of the cluster, each in a process whose pid stands in a file: another command can
kill it and start it again."""

import csv
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from string import Template
from typing import Any

from prove.servers import (
    ROOT,
    MissingProgram,
    Redis,
    Service,
    find_program,
    kill_all,
    listens,
    send_to_all,
    wait_for,
)

HERE = Path(__file__).parent
PYTHON = "/usr/bin/python3"  # another user cannot read a Python in someone's home
PACKAGES = {
    "postgres": "postgresql",
    "etcd": "etcd-server",
    "haproxy": "haproxy",
    "redis-server": "redis-server",
    "python3": "python3",
}
POSTGRESQL = "usr/lib/postgresql/*/bin"


def check_programs() -> None:
    """Raises MissingProgram with the Debian packages that are to be installed."""
    missing = []
    for name, package in PACKAGES.items():
        try:
            find_program(name, POSTGRESQL if name == "postgres" else "")
        except MissingProgram:
            missing.append(package)
    if missing:
        raise MissingProgram(f"Install first 请先安装: apt-get install {' '.join(missing)}")


def install_patroni(folder: Path) -> None:
    """Install Patroni for the Python of the system, in a folder that `postgres` can read."""
    if (folder / "patroni" / "__main__.py").exists():
        return
    pip = [sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet"]
    pip += ["--target", str(folder), "--require-hashes", "-r", str(HERE / "requirements.txt")]
    done = subprocess.run(
        pip,
        env=os.environ | {"PIP_CONSTRAINT": str(HERE / "build.txt")},  # what builds some of them
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MissingProgram(f"Patroni cannot be installed: {done.stderr[-1000:]}")


def ask(port: int, method: str, path: str, body: Any = None, timeout: float = 1) -> tuple[int, Any]:
    """Return status and JSON of a service on this machine, or 0 where it gives no answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as line:
        try:
            line.request(method, path, None if body is None else json.dumps(body))
            answer = line.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return 0, None
    try:
        return answer.status, json.loads(content)
    except ValueError:
        return answer.status, content.decode(errors="replace")


class RecordedService(Service):
    """A service that more than one command may end and start."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> subprocess.Popen[bytes]:
        process = super().spawn()
        (self.folder / "pid").write_text(f"{process.pid} {born(process.pid)}")
        return process

    @property
    def pids(self) -> list[int]:
        """Those of its processes that are not started by another of them, if they run."""
        with suppress(OSError, ValueError):
            pid, moment = (self.folder / "pid").read_text().split()
            if born(int(pid)) == moment:
                return [int(pid)]
        return []

    def send(self, sign: signal.Signals) -> None:
        send_to_all(sign, *self.pids)

    def kill(self) -> None:
        pids = self.pids
        kill_all(*pids)
        self.wait_until_gone(pids)

    def terminate(self) -> None:
        """Ask it to end what it does and then itself."""
        pids = self.pids
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        self.wait_until_gone(pids)

    def wait_until_gone(self, pids: list[int]) -> None:
        wait_for(lambda: not any(born(pid) for pid in pids), f"{self.name} ends")
        if self.process is not None:
            self.process.wait()
            self.process = None


def born(pid: int) -> str:
    """Return when a process began, so that no other is taken for it; nothing if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


class EtcdServer(RecordedService):
    name = "etcd"

    def __init__(self, folder: Path, port: int, peer_port: int) -> None:
        super().__init__(folder, port)
        self.peer_port = peer_port

    def command(self) -> list[str]:
        clients, peers = (f"http://127.0.0.1:{port}" for port in (self.port, self.peer_port))
        options = {
            "name": "etcd",
            "data-dir": str(self.folder / "data"),
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"etcd={peers}",
            "logger": "zap",
        }
        return [find_program("etcd"), *(f"--{name}={value}" for name, value in options.items())]


class SharedRedis(RecordedService, Redis):
    """Redis as the nodes share it: with the throttles' counts and what is cached."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self.url = f"redis://127.0.0.1:{port}/0"


class PatroniMember(RecordedService):
    """A PostgreSQL and the Patroni beside it: what is one machine elsewhere."""

    user = "postgres"

    def __init__(self, folder: Path, port: int, rest_port: int, packages: Path) -> None:
        super().__init__(folder, port)
        self.name, self.rest_port, self.packages = folder.name, rest_port, packages

    def configure(self, **values: Any) -> None:
        programs = str(Path(find_program("postgres", POSTGRESQL)).parent)
        values |= {"name": self.name, "port": self.port, "rest_port": self.rest_port}
        values |= {"folder": self.folder, "programs": programs}
        text = Template((HERE / "patroni.yml").read_text()).substitute(values)
        (self.folder / "patroni.yml").write_text(text)

    def as_its_user(self) -> dict[str, Any]:
        found = super().as_its_user()
        found["env"] = found["env"] | {"PYTHONPATH": str(self.packages), "HOME": str(self.folder)}
        return found

    def command(self) -> list[str]:
        return [PYTHON, "-m", "patroni", str(self.folder / "patroni.yml")]

    def is_ready(self) -> bool:
        return listens(self.rest_port)

    @property
    def postmaster(self) -> int:
        """The pid of PostgreSQL, which Patroni starts as no child of its own; 0 if it is not up."""
        with suppress(OSError, ValueError, IndexError):
            data = self.folder / "data"
            pid = int((data / "postmaster.pid").read_text().split()[0])
            if born(pid) and Path(f"/proc/{pid}/cwd").resolve() == data.resolve():
                return pid
        return 0

    @property
    def pids(self) -> list[int]:
        return [*super().pids, *filter(None, [self.postmaster])]

    def stop_senders(self) -> None:
        """Stop what sends to its standbys: from now on they get nothing of it."""
        for pid in (
            Path(f"/proc/{self.postmaster}/task/{self.postmaster}/children").read_text().split()
        ):
            if b"walsender" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGSTOP)


class SiteNode(RecordedService):
    """A server of the site, as production has it; `code` is the folder of its code."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self.name = folder.name
        self.environment: dict[str, str] = {}

    @property
    def code(self) -> Path:
        kept = self.folder / "code"
        return Path(kept.read_text()) if kept.exists() else ROOT

    @code.setter
    def code(self, folder: Path) -> None:
        (self.folder / "code").write_text(str(folder))

    @property
    def home(self) -> Path:
        return self.code

    def as_its_user(self) -> dict[str, Any]:
        return {"env": os.environ | self.environment}

    def command(self) -> list[str]:
        bind = ["--bind", f"127.0.0.1:{self.port}"]
        return [sys.executable, "-m", "gunicorn", *bind, "groupsite.wsgi:application"]

    def is_ready(self) -> bool:
        return ask(self.port, "GET", "/readyz", timeout=5)[0] == 200


class SandboxServer(RecordedService):
    """The fake WeChat that the nodes ask."""

    name = "sandbox"

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self.environment: dict[str, str] = {}

    @property
    def home(self) -> Path:
        return ROOT

    def as_its_user(self) -> dict[str, Any]:
        return {"env": os.environ | self.environment}

    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "sandbox", "--port", str(self.port)]


class HAProxy(RecordedService):
    """What clients and nodes reach, while one leads after the other."""

    name = "HAProxy"

    def configure(self, members: list[PatroniMember], nodes: list[SiteNode], **ports: int) -> None:
        leading, reader = members[:-1], members[-1]
        text = Template((HERE / "haproxy.cfg").read_text()).substitute(
            ports,
            folder=self.folder,
            site_port=self.port,
            ready_servers=lines(server(node) for node in nodes),
            alive_servers=lines(server(node) for node in nodes),
            primary_servers=lines(server(each, each.rest_port) for each in leading),
            reads_servers=lines(
                [
                    server(reader, reader.rest_port),
                    *(f"{server(each, each.rest_port)} backup" for each in leading),
                ]
            ),
        )
        (self.folder / "haproxy.cfg").write_text(text)
        unavailable = (HERE / "unavailable.http").read_text()
        (self.folder / "unavailable.http").write_text(unavailable)

    def command(self) -> list[str]:
        return [find_program("haproxy"), "-db", "-f", str(self.folder / "haproxy.cfg")]

    def say(self, command: str) -> str:
        """Give a command to HAProxy that runs; return its answer."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            line.connect(str(self.folder / "admin.sock"))
            line.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: line.recv(65536), b"")).decode()

    def numbers(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return what HAProxy counts, by backend and server; nothing where it does not run."""
        try:
            text = self.say("show stat")
        except OSError:
            return {}
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return {(row["pxname"], row["svname"]): row for row in rows}

    def is_up(self, node: SiteNode) -> bool:
        return self.numbers().get(("ready", node.name), {}).get("status") == "UP"

    def leave_out(self, node: SiteNode) -> None:
        """Give a node no more requests, and wait until it has answered those it has."""
        for backend in ("ready", "alive"):
            self.say(f"set server {backend}/{node.name} state maint")
        wait_for(
            lambda: all(
                numbers["scur"] == "0"
                for (_backend, name), numbers in self.numbers().items()
                if name == node.name
            ),
            f"{node.name} has answered all it was asked",
        )

    def take_in(self, node: SiteNode) -> None:
        for backend in ("ready", "alive"):
            self.say(f"set server {backend}/{node.name} state ready")
        wait_for(lambda: self.is_up(node), f"{node.name} is asked again")


def server(service: PatroniMember | SiteNode, check_port: int = 0) -> str:
    checked = f" check port {check_port}" if check_port else ""
    return f"    server {service.name} 127.0.0.1:{service.port}{checked}"


def lines(found: Iterator[str] | list[str]) -> str:
    return "\n".join(found)
