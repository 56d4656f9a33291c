"""The servers of the benchmarks, the site as production serves it among them, each in processes of
its own, and what those cost."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from . import APP_ID

ROOT = Path(__file__).resolve().parent.parent
THREADS = 16  # of a worker, as docs/deploy.md says
TICKS = os.sysconf("SC_CLK_TCK")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def find_pgbench() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    return shutil.which("pgbench") or (str(found[-1]) if found else None)


@contextmanager
def services(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the URLs of PostgreSQL and Redis: those given, or of servers that end with the run."""
    given = os.environ.get("DATABASE_URL", "")
    if given.startswith("postgres"):
        yield given, os.environ.get("REDIS_URL", "")
        return
    command = ROOT / "scripts" / "services"
    folder.parent.chmod(0o755)  # PostgreSQL runs as a user of its own
    try:
        printed = subprocess.run(
            [command, "start", folder], check=True, capture_output=True, text=True
        ).stdout
        found = dict(re.findall("(.+)_URL=(.+)", printed))
        yield found["POSTGRESQL"], found["REDIS"]
    finally:
        subprocess.run([command, "stop", folder], check=False)


def set_environment(database: str, folder: Path) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DEBUG": "False",
        "SECRET_KEY": "benchmarks-only-benchmarks-only-benchmarks-only-0123456789",
        "FIELD_KEYS": urlsafe_b64encode(b"benchmarks-only-benchmarks-only!").decode(),
        "ALLOWED_HOSTS": "127.0.0.1,testserver",
        "DATABASE_URL": database,
        "DATABASE_REPLICA_URL": "",
        "REDIS_URL": "",
        "WECHAT_APPS": f"{APP_ID}:secret",
        "WECHAT_API_URL": "http://127.0.0.1:9",
        "ALLOW_SANDBOX": "True",
        "CONTENT_SAFETY": "False",
        "THROTTLES": "off",
        "LOG_LEVEL": "ERROR",
        "OPERATOR_TOTP": "False",
        "MEDIA_ROOT": str(folder / "media"),
    }


@dataclass(frozen=True)
class ServerProcess:
    """A server that answers on a port of this machine, and what it cost until it did."""

    port: int
    pid: int
    cold_start: float  # CPU seconds

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; what it prints goes to the file `log`."""
    with log.open("w") as file:
        # In a session of its own, Ctrl-C reaches us alone, and we end it.
        running = subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield running
    finally:
        running.terminate()
        running.wait(60)  # Gunicorn itself waits for 30


@contextmanager
def gunicorn(folder: Path, workers: int, threads: int) -> Iterator[ServerProcess]:
    """Serve the site with the server that production uses."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(workers), "--threads", str(threads)]
    command.append("groupsite.wsgi:application")
    with answering(command, port, folder / "server.log") as server:
        yield server


@contextmanager
def node(folder: Path) -> Iterator[ServerProcess]:
    """Serve peer.mjs, the same calls in bare Node."""
    port = free_port()
    command = ["node", str(Path(__file__).with_name("peer.mjs")), str(port)]
    with answering(command, port, folder / "peer.log") as server:
        yield server


@contextmanager
def answering(command: Sequence[str], port: int, log: Path) -> Iterator[ServerProcess]:
    """Run a server on a port, and yield it once it answers."""
    with process(command, log) as running:
        while not answers(f"http://127.0.0.1:{port}/livez"):
            give_up_if_ended(running, log)
        yield ServerProcess(port, running.pid, cpu_seconds(running.pid))


@contextmanager
def sandbox_process(folder: Path) -> Iterator[str]:
    """Serve a sandbox for the apps in WECHAT_APPS; yield its address, which WECHAT_API_URL has."""
    log = folder / "sandbox.log"
    with process([sys.executable, "manage.py", "sandbox", "--port", "0"], log) as running:
        while not (found := re.search(r"WECHAT_API_URL=(\S+)", log.read_text())):
            give_up_if_ended(running, log)
        os.environ["WECHAT_API_URL"] = found[1]
        yield found[1]


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def give_up_if_ended(running: subprocess.Popen[bytes], log: Path) -> None:
    """Wait a moment. Raises RuntimeError, with what it said, for a process that has ended."""
    time.sleep(0.1)
    if running.poll() is not None:
        raise RuntimeError(log.read_text())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# What processes cost


def family(pid: int) -> dict[int, list[str]]:
    """Return the lines of /proc/…/stat of a process and all its descendants."""
    lines: dict[int, list[str]] = {}
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            lines[int(folder.name)] = line
            children.setdefault(int(line[1]), []).append(int(folder.name))
    found, waiting = {}, [pid]
    while waiting:
        each = waiting.pop()
        if each in lines:
            found[each] = lines[each]
            waiting += children.get(each, [])
    return found


def cpu_seconds(pid: int) -> float:
    """Return what a process and its descendants have cost, those that have ended too."""
    # utime, stime, cutime, cstime: fields 14 to 17 of proc(5).
    return sum(int(n) for line in family(pid).values() for n in line[11:15]) / TICKS


def pss_megabytes(pid: int) -> float:
    """Return the memory of the largest process of a family, its part of what is shared."""
    found = []
    for each in family(pid):
        text = Path(f"/proc/{each}/smaps_rollup").read_text()
        found.append(int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0]) / 1024)
    return max(found)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
