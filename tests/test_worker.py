"""What a process that answers requests has in memory, and what a call goes through."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from django.test import Client as Browser

from tests.cast import Person
from tests.servers import PATIENCE, ROOT

WORK = """
import json, sys
from groupsite.wsgi import application
from django.db import connections
from django.utils import timezone
from accounts.models import Token, WeChatUser
from groups.models import Group, Membership
from tests.settings import APP_ID

opened = [each.alias for each in connections.all() if each.connection is not None]
now = timezone.now()
user = WeChatUser.objects.create(app_id=APP_ID, openid="oAlice")
group = Group.objects.create(app_id=APP_ID, open_gid="tG-family-of-alice-and-bob")
Membership.objects.create(group=group, user=user, joined_at=now, verified_at=now)
token, _row = Token.objects.issue(user, now)

def answer(path):
    said = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "testserver",
        "SERVER_PORT": "80", "HTTP_AUTHORIZATION": f"Bearer {token}", "REMOTE_ADDR": "192.0.2.1",
        "wsgi.input": sys.stdin.buffer, "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http",
    }
    for _part in application(environ, lambda status, headers: said.append(status)):
        pass
    return said[0]

statuses = [answer("/api/v1/groups/tG-family-of-alice-and-bob/ranking")]
modules = sorted(sys.modules)
statuses.append(answer("/api/schema/"))
print(json.dumps([opened, statuses, modules, sorted(sys.modules)]))
"""

# For the schema, for tests, for pictures, and for settings that are not made here.
NOT_NEEDED = {
    "PIL",
    "boto3",
    "botocore",
    "django.test",
    "drf_spectacular.openapi",
    "drf_spectacular.plumbing",
    "redis",
    "rest_framework.test",
    "prometheus_client",
    "sentry_sdk",
    "unittest",
    "wechat.sandbox",
}


def test_a_worker_imports_only_what_it_needs_and_inherits_no_connection(tmp_path: Path) -> None:
    """The others would take a quarter more memory in every process; and with `--preload` processes
    would talk over one connection at once."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'worker.sqlite3'}",
        "REDIS_URL": "",
        "LOG_LEVEL": "ERROR",
    }
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=ROOT, env=environment, check=True, timeout=120)
    run = subprocess.run(
        [sys.executable, "-c", WORK],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    opened, statuses, before, after = json.loads(run.stdout.splitlines()[-1])
    assert (opened, statuses) == ([], ["200 OK", "200 OK"])
    assert NOT_NEEDED & set(before) == set()
    assert "drf_spectacular.openapi" in after, "the schema imports what makes it"


def test_calls_and_members_pages_have_no_session_even_for_an_operator(
    alice: Person, olga: Browser
) -> None:
    group = f"groups/{alice.enter('family')}"
    link = alice.post(f"{group}/link", {"board": "active-days"}).json()
    page = olga.get(link["url"] if "url" in link else link["path"])
    call = olga.get("/api/v1/boards", headers={"Authorization": f"Bearer {alice.token}"})
    for answer in (page, call):
        assert answer.status_code == 200
        assert not answer.cookies and "Cookie" not in answer.headers.get("Vary", "")
        assert not hasattr(answer.wsgi_request, "session")
    assert olga.get("/groups/").wsgi_request.session.session_key


def worker_cores(master: int) -> dict[int, str]:
    """Return the cores that each worker of a Gunicorn may use, by the worker's pid."""
    found = {}
    for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split():
        status = Path(f"/proc/{pid}/status").read_text()
        found[int(pid)] = re.findall(r"Cpus_allowed_list:\s+(\S+)", status)[0]
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Serve the site with Gunicorn as `gunicorn.conf.py` says, with a worker for each core."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'served.sqlite3'}",
        "REDIS_URL": "",
        "ALLOWED_HOSTS": "127.0.0.1",
        "WEB_CONCURRENCY": str(len(os.sched_getaffinity(0))),
        "HOME": str(tmp_path),
    }
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=ROOT, env=environment, check=True, timeout=120)
    command = [sys.executable, "-m", "gunicorn", "--bind", address, "groupsite.wsgi:application"]
    log = tmp_path / "gunicorn.log"
    with log.open("w") as said:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
    try:
        until(lambda: is_ready(f"http://{address}"), log)
        yield f"http://{address}", running.pid
    finally:
        running.terminate()
        running.wait(PATIENCE)  # a worker that was just begun may take Gunicorn's 30 s


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def until(holds: Callable[[], bool], log: Path | None = None) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, log.read_text() if log else "not in time"
        time.sleep(0.05)


@pytest.mark.no_service
def test_gunicorn_opens_no_door_beside_the_sites_own(
    served: tuple[str, int], tmp_path: Path
) -> None:
    """Gunicorn's control socket would be in the home of the user, the same for all of theirs."""
    assert list(tmp_path.rglob("*.ctl")) == []


@pytest.mark.no_service
def test_gunicorn_keeps_each_worker_to_a_core_of_its_own(served: tuple[str, int]) -> None:
    url, master = served
    everyone = {str(core) for core in os.sched_getaffinity(0)}
    until(lambda: sorted(worker_cores(master).values()) == sorted(everyone))
    cores = worker_cores(master)
    # Who comes after one that has ended takes the core that is free again.
    ended = min(cores)
    os.kill(ended, signal.SIGKILL)
    until(lambda: ended not in worker_cores(master) and len(worker_cores(master)) == len(cores))
    until(lambda: sorted(worker_cores(master).values()) == sorted(everyone))
    for _turn in range(20):
        assert requests.get(f"{url}/readyz", timeout=5).json()["database"] == "up"


# Two lengths of one body, or one that cannot be read: a proxy and the site could each believe
# another, and take what follows for a request of someone else.
BODY = "0\r\n\r\nGET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SMUGGLED = {
    "a length before chunks": f"Content-Length: {len(BODY)}\r\nTransfer-Encoding: chunked",
    "a length after chunks": "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "two lengths": f"Content-Length: 0\r\nContent-Length: {len(BODY)}",
    "a length with a sign": "Content-Length: +5",
    "an unknown coding": "Transfer-Encoding: xchunked\r\nContent-Length: 5",
    "a blank before the colon": "Transfer-Encoding : chunked\r\nContent-Length: 5",
}


@pytest.mark.no_service
def test_no_request_is_smuggled_in_the_body_of_another(served: tuple[str, int]) -> None:
    address = urlsplit(served[0]).netloc.split(":")
    for name, headers in SMUGGLED.items():
        said = exchange(address, f"POST /api/v1/login HTTP/1.1\r\n{headers}\r\n\r\n{BODY}")
        assert said.startswith(("HTTP/1.1 400", "HTTP/1.1 501")), name
        assert said.count("HTTP/1.1 ") == 1 and '"status"' not in said, name
    broken = f"5;a\n\r\nhello\r\n{BODY}"
    head = "POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = exchange(address, f"{head}{broken}")
    assert said.startswith("HTTP/1.1 400") and said.count("HTTP/1.1 ") == 1
    assert '{"code": "invalid"' in said
    # The way to see that a second request would have been answered.
    whole = "POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
    assert exchange(address, f"{whole}{BODY[5:]}").count("HTTP/1.1 ") == 2


def exchange(address: list[str], text: str) -> str:
    """Send a text, and return all that comes until nothing comes for a second."""
    said = b""
    with socket.create_connection((address[0], int(address[1])), 10) as line:
        line.sendall(text.encode())
        line.settimeout(1)
        with suppress(TimeoutError, ConnectionResetError):
            while part := line.recv(65536):
                said += part
    return said.decode()
