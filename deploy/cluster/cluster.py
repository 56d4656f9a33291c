"""The cluster as a whole: how it is started, what it looks like, how it ends."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from prove import APP_ID, APP_SECRET
from prove.inside import environment_of
from prove.servers import ROOT, KillableSite, Visitor, kill_all, listens, wait_for

from .engines import (
    EtcdServer,
    HAProxy,
    PatroniMember,
    RecordedService,
    SandboxServer,
    SharedRedis,
    SiteNode,
    ask,
    check_programs,
    install_patroni,
)

HOME = ROOT / "var" / "cluster"
STATE, PACKAGES = "cluster.json", "patroni"
LONGEST_FOLDER = 70  # a socket has 108 characters, of which HAProxy needs some
FIRST_PORT, BLOCK = 20000, 20  # below those that the system gives to clients
NODES = ("node1", "node2")
MEMBERS = ("pg1", "pg2", "pg3", "reader")  # the last never leads
# Limits that no trial reaches, but which are counted, in Redis.
THROTTLES = ",".join(
    f"{scope}=600000/minute" for scope in ("address", "login", "user", "token", "call", "costly")
)


class NoCluster(Exception):
    """There is no cluster where one is needed, or one where none may be."""


@dataclass
class Layout:
    """What a cluster is started with; a file keeps it for the other commands."""

    first_port: int
    lag: int = 0  # seconds by which the replica for reads is to be late
    is_direct: bool = False  # the nodes know all PostgreSQLs, and use no proxy
    workers: int = 2
    watcher: dict[str, str] = field(default_factory=dict)  # a member who writes, to see if it works


class Cluster:
    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self.layout = folder, layout
        port = layout.first_port
        self.site_port, self.primary_port, self.reads_port, self.statistics_port = range(
            port, port + 4
        )
        self.etcd = EtcdServer(folder / "etcd", port + 4, port + 5)
        self.redis = SharedRedis(folder / "redis", port + 6)
        self.sandbox = SandboxServer(folder / "sandbox", port + 7)
        self.nodes = [
            SiteNode(folder / name, port + 8 + number) for number, name in enumerate(NODES)
        ]
        self.members = [
            PatroniMember(folder / name, port + 10 + number, port + 14 + number, folder / PACKAGES)
            for number, name in enumerate(MEMBERS)
        ]
        self.proxy = HAProxy(folder / "haproxy", self.site_port)

    @property
    def services(self) -> list[RecordedService]:
        """All of them; those that use others come first."""
        return [
            self.proxy,
            *self.nodes,
            self.sandbox,
            *reversed(self.members),
            self.redis,
            self.etcd,
        ]

    # Addresses

    @property
    def site_url(self) -> str:
        return f"http://127.0.0.1:{self.site_port}"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox.port}"

    def database_url(self, role: str = "groupsite") -> str:
        if not self.layout.is_direct:
            return f"postgres://{role}@127.0.0.1:{self.primary_port}/groupsite"
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.members[:-1])
        return f"postgres://{role}@{hosts}/groupsite?target_session_attrs=read-write"

    @property
    def urls(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database_url(),
            "DATABASE_REPLICA_URL": f"postgres://groupsite@127.0.0.1:{self.reads_port}/groupsite",
            "REDIS_URL": self.redis.url,
        }

    def environment(self) -> dict[str, str]:
        """Return the settings of the site, as those of both nodes."""
        return {
            **environment_of(self.folder / "site", self.urls["DATABASE_URL"], self.sandbox_url),
            **self.urls,
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "NUM_PROXIES": "1",
            "THROTTLES": THROTTLES,
            "WECHAT_APPS": f"{APP_ID}:{APP_SECRET}",
            "WECHAT_PUSH": "",
            "LOG_LEVEL": "WARNING",
            "WEB_CONCURRENCY": str(self.layout.workers),
        }

    def python(self, *arguments: str) -> str:
        """Run Python with the site's settings; return what it printed."""
        site = KillableSite(self.folder / "site", self.urls["DATABASE_URL"], 0)
        site.environment |= self.environment()
        return site.python(*arguments)

    def people(self, count: int) -> list[dict[str, Any]]:
        """Make as many members; return the number and token of each."""
        return list(json.loads(self.python("-m", "prove.people", str(count))))

    # Start and end

    @classmethod
    def new(cls, folder: Path, **options: Any) -> Self:
        """Prepare a folder for a cluster. Raises MissingProgram, NoCluster."""
        check_programs()
        folder = folder.resolve()
        if len(str(folder)) > LONGEST_FOLDER:
            raise NoCluster(f"{folder} is too long for HAProxy's socket 路径过长")
        if (folder / STATE).exists() and cls.left(folder).is_running:
            raise NoCluster(f"One runs in {folder} already 集群已在运行")
        if folder.exists():
            empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        install_patroni(folder / PACKAGES)
        made = cls(folder, Layout(free_ports(), **options))
        made.keep()
        return made

    @classmethod
    def existing(cls, folder: Path) -> Self:
        """Return the cluster that runs in a folder. Raises NoCluster."""
        found = cls.left(folder)
        if not found.is_running:
            raise NoCluster(f"None runs in {folder} 集群未运行")
        return found

    @classmethod
    def left(cls, folder: Path) -> Self:
        """Return the cluster that was started in a folder. Raises NoCluster."""
        try:
            state = json.loads((folder / STATE).read_text())
        except OSError:
            raise NoCluster(f"There is no cluster in {folder} 没有集群") from None
        found = cls(folder.resolve(), Layout(**state))
        found.equip()
        return found

    @property
    def is_running(self) -> bool:
        """Whether anything of it runs."""
        return any(each.pids for each in self.services)

    def keep(self) -> None:
        (self.folder / STATE).write_text(json.dumps(asdict(self.layout)))

    def equip(self) -> None:
        """Give the processes of the site their settings."""
        for node in self.nodes:
            node.environment = self.environment()
        self.sandbox.environment = self.environment()

    def start(self) -> None:
        """Start everything, and return once it is whole."""
        self.equip()
        self.prepare()
        first, *others = self.members
        with ThreadPoolExecutor(len(self.members) + len(self.nodes)) as pool:
            starting = (self.etcd, self.redis, self.sandbox, self.proxy)
            list(pool.map(lambda each: each.start(), starting))
            first.start()
            wait_for(lambda: self.leader_name() == first.name, "a first PostgreSQL leads")
            followers = [pool.submit(each.start) for each in others]
            self.make_database()
            self.python("-m", "django", "migrate", "--verbosity", "0")
            [self.layout.watcher] = self.people(1)
            self.keep()
            list(pool.map(lambda each: each.start(), self.nodes))
            for each in followers:
                each.result()
        self.wait_until_whole()

    def prepare(self) -> None:
        """Write the files of configuration."""
        for each in self.services:
            each.folder.mkdir(exist_ok=True)
            if each.is_root and each.user:
                shutil.chown(each.folder, each.user, each.user)
        for member in self.members:
            is_reader = member is self.members[-1]
            member.configure(
                etcd_port=self.etcd.port,
                is_reader=str(is_reader).lower(),
                lag=self.layout.lag if is_reader else 0,
            )
        self.proxy.configure(
            self.members,
            self.nodes,
            primary_port=self.primary_port,
            reads_port=self.reads_port,
            statistics_port=self.statistics_port,
        )

    def make_database(self) -> None:
        import psycopg

        wait_for(self.answers_as_primary, "the proxy has found who leads")
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute("CREATE ROLE groupsite LOGIN CREATEDB")
            connection.execute("CREATE DATABASE groupsite OWNER groupsite")

    @property
    def admin_url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.primary_port}/postgres"

    def answers_as_primary(self) -> bool:
        import psycopg

        with (
            suppress(psycopg.Error),
            psycopg.connect(self.admin_url, connect_timeout=3) as connection,
        ):
            row = connection.execute("SELECT NOT pg_is_in_recovery()").fetchone()
            return bool(row and row[0])
        return False

    def stop(self) -> None:
        """End all processes, at one moment: nothing here is to be kept."""
        kill_all(*(pid for each in self.services for pid in each.pids))
        for each in self.services:
            each.kill()

    # What it looks like

    def seen_by_patroni(self) -> list[dict[str, Any]]:
        """Return the PostgreSQLs as the first Patroni that answers sees them."""
        for member in self.members:
            status, said = ask(member.rest_port, "GET", "/cluster")
            if status == 200:
                return list(said["members"])
        return []

    def leader_name(self) -> str:
        roles = {row["role"]: row for row in self.seen_by_patroni()}
        row = roles.get("leader", {})
        return str(row.get("name", "")) if row.get("state") == "running" else ""

    def leader(self) -> PatroniMember:
        """Return the PostgreSQL that leads. Raises NoCluster where none does."""
        name = self.leader_name()
        for member in self.members:
            if member.name == name:
                return member
        raise NoCluster("No PostgreSQL leads 没有主库")

    def what_is_missing(self) -> str:
        """Return in words what keeps the cluster from being whole; nothing where it is."""
        rows = {row["name"]: row for row in self.seen_by_patroni()}
        leading = [row for row in rows.values() if row["role"] == "leader"]
        if len(leading) != 1 or leading[0]["state"] != "running":
            return "no PostgreSQL leads"
        timeline = leading[0]["timeline"]
        for member in self.members:
            row = rows.get(member.name, {"state": "unknown"})
            if row["state"] not in {"running", "streaming"} or row.get("timeline") != timeline:
                return f"{member.name} is {row['state']}, timeline {row.get('timeline')}"
            if row["role"] != "leader" and row["state"] != "streaming":
                return f"{member.name} does not follow yet"
        if not self.is_asynchronous() and "sync_standby" not in {r["role"] for r in rows.values()}:
            return "there is no synchronous standby"
        for node in self.nodes:
            if not self.proxy.is_up(node):
                return f"{node.name} is not ready"
        return "" if listens(self.redis.port) else "Redis is away"

    def is_asynchronous(self) -> bool:
        for member in self.members:
            status, said = ask(member.rest_port, "GET", "/config")
            if status == 200:
                return not said.get("synchronous_mode")
        return False

    def wait_until_whole(self, patience: float = 90) -> float:
        try:
            return wait_for(lambda: not self.what_is_missing(), "the cluster is whole", patience)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {self.what_is_missing()}") from None

    def writes(self) -> float:
        """Let a member write through the site; return the seconds it took, or a negative status."""
        begun = time.monotonic()
        with Visitor(self.site_port, self.layout.watcher["token"], timeout=5) as visitor:
            try:
                status, _answer = visitor.ask("PUT", "/api/v1/me", {"nickname": str(begun)})
            except OSError:
                status = 0
        return time.monotonic() - begun if status == 200 else float(-status or -1)


def empty(folder: Path) -> None:
    """Delete what an earlier cluster has left, but for the packages. Raises NoCluster."""
    left = [each for each in folder.iterdir() if each.name != PACKAGES]
    if left and not (folder / STATE).exists():
        raise NoCluster(f"{folder} is not empty, and not of a cluster 文件夹非空，且不属于集群")
    for each in left:
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != STATE and each.suffix != ".md":
            each.unlink()


def free_ports() -> int:
    """Return the first of a block of ports that no one listens on.

    The system would give any other port to clients as well: one could have the port of a server
    that is to be started again.
    """
    for first in range(FIRST_PORT, FIRST_PORT + 100 * BLOCK, BLOCK):
        if all(is_free(port) for port in range(first, first + BLOCK)):
            return first
    raise NoCluster("There are no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do, so that a port counts as free again as soon as its server has ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Start a cluster, and end it whatever happens."""
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
