"""`make bench`: the site's calls beside pgbench with the very SQL they run, in one run.

Ratios travel between machines, requests a second do not. Environment: GROUPS (300), ROUNDS (2),
SECONDS a measurement (3), CLIENTS (4), and DATABASE_URL, or else a PostgreSQL of its own.
docs/benchmarks.md says how to read the table.
"""

import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from . import APP_ID, SESSION_KEY

ROOT = Path(__file__).resolve().parent.parent
GROUPS, ROUNDS = int(os.environ.get("GROUPS", "300")), int(os.environ.get("ROUNDS", "2"))
SECONDS, CLIENTS = int(os.environ.get("SECONDS", "3")), int(os.environ.get("CLIENTS", "4"))
SAMPLES = 24  # requests whose SQL pgbench repeats, and which the site is asked again and again
SEED = 2018

SERVER = """
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from groupsite.wsgi import application

ThreadedWSGIServer.request_queue_size = 64
WSGIRequestHandler.log_message = lambda *arguments: None
server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
server.set_app(application)
print("port", server.server_port, flush=True)
server.serve_forever()
"""


@dataclass
class Call:
    """One request, made anew each time: method, path, body, headers."""

    method: str
    path: str
    token: str
    body: Callable[[], dict[str, Any]] | None = None

    def parts(self) -> tuple[str, str, bytes | None, dict[str, str]]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        body = None if self.body is None else json.dumps(self.body()).encode()
        return self.method, self.path, body, headers


@dataclass
class Measured:
    """What is measured: a name, the requests, and what came of it round by round."""

    name: str
    calls: list[Call]
    goal: str
    queries: int = 0
    scripts: list[Path] = field(default_factory=list)
    site: list[float] = field(default_factory=list)
    pgbench: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [site / bench for site, bench in zip(self.site, self.pgbench, strict=True)]


def main() -> int:
    if (pgbench := find_pgbench()) is None:
        say("pgbench is missing. Install it: apt install postgresql. 缺少 pgbench。")
        return 1 if os.environ.get("CI") == "true" else 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        database = stack.enter_context(postgresql(folder / "services"))
        set_environment(database, folder)
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        seed_database()
        paths = measured()
        for path in paths:
            record(path, folder)
        site = stack.enter_context(serving(folder))
        for number in range(ROUNDS):
            for path in paths:
                say(f"  round {number + 1}/{ROUNDS}: {path.name}")
                ask_site(path, site)
                ask_pgbench(path, pgbench, database)
        report(paths)
        report_sizes()
        report_console()
    return 0


def find_pgbench() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    return shutil.which("pgbench") or (str(found[-1]) if found else None)


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Yield the URL of the database given, or of one of our own that ends with the run."""
    given = os.environ.get("DATABASE_URL", "")
    if given.startswith("postgres"):
        yield given
        return
    services = ROOT / "scripts" / "services"
    folder.parent.chmod(0o755)  # PostgreSQL runs as a user of its own
    try:
        printed = subprocess.run(
            [services, "start", folder], check=True, capture_output=True, text=True
        ).stdout
        yield re.findall("POSTGRESQL_URL=(.+)", printed)[0]
    finally:
        subprocess.run([services, "stop", folder], check=False)


def set_environment(database: str, folder: Path) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "groupsite.settings",
        "DEBUG": "False",
        "SECRET_KEY": "benchmarks-only-benchmarks-only-benchmarks-only-0123456789",
        "FIELD_KEYS": urlsafe_b64encode(b"benchmarks-only-benchmarks-only!").decode(),
        "ALLOWED_HOSTS": "127.0.0.1,testserver",
        "DATABASE_URL": database,
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


def seed_database() -> None:
    from benchmarks.seed import seed
    from groups.models import Group

    if Group.objects.exists():
        say("The database has groups already: they are measured as they are.")
        return
    say(f"Inventing {GROUPS:,} groups, seed {SEED} 生成数据")
    seed(GROUPS, random.Random(SEED), progress)


def progress(what: str, done: int, total: int) -> None:
    say(f"  {what}: {done:,}/{total:,}")


def measured() -> list[Measured]:
    """Return the paths, each with requests by members of many groups."""
    from django.db.models import Count

    from benchmarks.seed import token_of
    from groups.models import Membership
    from wechat.crypto import seal

    sized = Membership.objects.values("group").annotate(size=Count("pk"))
    large = list(sized.order_by("-size").values_list("group", flat=True)[:SAMPLES])
    middle = sized.filter(size__gte=40, size__lte=60).values_list("group", flat=True)[:SAMPLES]

    def calls(groups: Any, make: Callable[[str, int], Call]) -> list[Call]:
        found = []
        for group in groups:
            membership = Membership.objects.filter(group=group).select_related("group").first()
            assert membership is not None
            found.append(make(membership.group.open_gid, membership.user_id))
        return found

    def get(path: str) -> Callable[[str, int], Call]:
        return lambda group, user: Call(
            "GET", f"/api/v1/groups/{group}/{path}?board=points", token_of(user)
        )

    def submit(group: str, user: int) -> Call:
        return Call(
            "POST", "/api/v1/scores", token_of(user), lambda: {"board": "points", "value": 1}
        )

    def bind(group: str, user: int) -> Call:
        def envelope() -> dict[str, Any]:
            mark = {"appid": APP_ID, "timestamp": int(time.time())}
            return dict(seal(SESSION_KEY, {"openGId": group, "watermark": mark}))

        return Call("POST", "/api/v1/groups/bind", token_of(user), envelope)

    return [
        Measured("ranking, the largest groups", calls(large, get("ranking")), "≥ .5"),
        Measured("ranking, groups of 50", calls(middle, get("ranking")), "≥ .35"),
        Measured("around, the largest groups", calls(large, get("ranking/around")), ""),
        Measured("submit", calls(large, submit), ""),
        Measured("bind", calls(large, bind), ""),
    ]


def record(path: Measured, folder: Path) -> None:
    """Make each request once, and keep the SQL that it ran as a pgbench script."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    for number, call in enumerate(path.calls):
        method, address, body, headers = call.parts()
        with CaptureQueriesContext(connection) as queries:
            answer = Client().generic(
                method, address, body or b"", "application/json", headers=headers
            )
        assert answer.status_code in {200, 201}, (address, answer.content)
        statements = [query["sql"] for query in queries.captured_queries]
        path.queries = len(statements)
        name = re.sub(r"\W+", "-", path.name)
        script = folder / f"{name}-{number}.sql"
        script.write_text("".join(f"{statement};\n" for statement in statements))
        path.scripts.append(script)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the site in a process of its own; yield its address."""
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
        ) as server,
    ):
        try:
            assert server.stdout is not None
            said = next((line for line in server.stdout if line.startswith("port ")), None)
            assert said, (folder / "server.log").read_text()
            yield f"127.0.0.1:{said.split()[1]}"
        finally:
            server.kill()


def ask_site(path: Measured, address: str) -> None:
    """Ask over CLIENTS open connections for SECONDS; return requests a second and times."""
    end = time.monotonic() + SECONDS

    def client(number: int) -> list[float]:
        line = http.client.HTTPConnection(address, timeout=60)
        times: list[float] = []
        for call in cycle(path.calls[number:] + path.calls[:number]):
            if (begun := time.monotonic()) >= end:
                line.close()
                return times
            line.request(*call.parts())
            answer = line.getresponse()
            answer.read()
            assert answer.status in {200, 201}, answer.status
            times.append(time.monotonic() - begun)
        return times

    with ThreadPoolExecutor(CLIENTS) as pool:
        times = [one for found in pool.map(client, range(CLIENTS)) for one in found]
    path.site.append(len(times) / SECONDS)
    path.times += times


def ask_pgbench(path: Measured, pgbench: str, database: str) -> None:
    url = urlsplit(database)
    command = [pgbench, "-n", "-M", "simple", "-c", str(CLIENTS), "-j", "1", "-T", str(SECONDS)]
    command += ["-h", url.hostname or "", "-p", str(url.port or 5432), "-U", url.username or ""]
    for script in path.scripts:
        command += ["-f", str(script)]
    run = subprocess.run([*command, url.path[1:]], capture_output=True, text=True, check=False)
    found = re.search(r"tps = ([\d.]+)", run.stdout)
    assert run.returncode == 0 and found, run.stdout + run.stderr
    path.pgbench.append(float(found[1]))


def report(paths: list[Measured]) -> None:
    say(f"\n{os.cpu_count()} cores, Python {sys.version.split()[0]}, {CLIENTS} clients, Django's")
    say("threaded development server; pgbench repeats the recorded SQL. Ratios travel.\n")
    say(f"  {'':<28}{'queries':>8}{'site/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'pgbench/s':>11}  ratio")
    for path in paths:
        ratios, times = path.ratios, sorted(path.times)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        p50, p99 = (1000 * times[int(len(times) * part)] for part in (0.5, 0.99))
        goal = f"   goal {path.goal}" if path.goal else ""
        say(
            f"  {path.name:<28}{path.queries:>8}{statistics.median(path.site):>9.0f}"
            f"{p50:>8.1f}{p99:>8.1f}{statistics.median(path.pgbench):>11.0f}  {spread}{goal}"
        )


def report_sizes() -> None:
    """Print what a ranking costs by the size of its group, as a ratio to the smallest."""
    from django.db.models import Count
    from django.utils import timezone

    from groups import ranking
    from groups.models import Board, Group, Membership

    board = Board.objects.get(key="points")
    sized = Membership.objects.values_list("group").annotate(size=Count("pk")).order_by("size")
    every = list(sized)
    say("\n  top 50 of a group, in the process, without HTTP:")
    first = None
    for group, size in (every[0], every[len(every) // 2], every[-len(every) // 10], every[-1]):
        row = Group.objects.get(pk=group)
        begun = time.perf_counter()
        for _ in range(20):
            ranking.standings(row, board, timezone.now())
        spent = (time.perf_counter() - begun) / 20
        first = first or spent
        say(f"    {size:>4} members: {spent / first:.1f} × the smallest")


def report_console() -> None:
    """Measure a moderator's pages: each list of the console, searches, the largest group."""
    from django.contrib.auth.models import Group as Role
    from django.contrib.auth.models import User
    from django.db import connection
    from django.db.models import Count
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from groups.models import Membership

    browser = Client()
    moderator = User.objects.create_user(f"bench-{time.time_ns()}", is_staff=True)
    moderator.groups.add(Role.objects.get(name="moderator"))
    browser.force_login(moderator)
    memberships = Membership.objects.values("group").annotate(size=Count("pk")).order_by("-size")
    largest = memberships.values_list("group", flat=True)[0]
    lists = ("accounts/wechatuser", "groups/membership", "groups/score")
    paths = ["/admin/"]
    paths += [f"/admin/{path}/" for path in (*lists, "audit/auditevent", "groups/board")]
    paths += ["/admin/accounts/wechatuser/?q=成员777", "/admin/review/"]
    paths += [
        "/groups/",
        "/groups/?sort=members",
        "/groups/?q=成员777",
        f"/groups/{largest}/?unlisted=1",
    ]
    say(f"\n  the console, for a moderator, {Membership.objects.count():,} memberships:")
    for path in paths:
        browser.get(path, secure=True)
        with CaptureQueriesContext(connection) as queries:
            begun = time.perf_counter()
            answer = browser.get(path, secure=True)
            spent = 1000 * (time.perf_counter() - begun)
        assert answer.status_code == 200, (path, answer.status_code)
        say(f"    {path:<36}{len(queries):>3} queries{spent:>8.0f} ms")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
