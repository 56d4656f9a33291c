"""What may fail, and how each failure is made and repaired."""

import itertools
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prove.servers import ROOT, kill_all, wait_for

from .cluster import Cluster
from .engines import PatroniMember, SiteNode, ask

Repair = Callable[[], None]
PATIENCE = 60  # seconds in which another has to lead
AWAY = 2.0  # seconds for which Redis and a node are left dead
# What a copy of the code has that is not there here, to see which of them answers.
OLD, NEW = '{"status": "ok"}', '{{"status": "ok", "code": "{number}"}}'
NO_CODE = (".*", "var", "node_modules", "e2e", "examples", "tests", "docs", "__pycache__", "dist")


class CodeNotServed(Exception):
    """A node that answers with other code than it was given."""


@dataclass(frozen=True)
class Failure:
    """What fails: `make` makes it, and returns the function that repairs it."""

    name: str
    words: str
    make: Callable[[Cluster], Repair]


def another_leads(cluster: Cluster, old: PatroniMember) -> None:
    wait_for(
        lambda: cluster.leader_name() not in {"", old.name}, "another PostgreSQL leads", PATIENCE
    )


def kill_postgres(cluster: Cluster) -> Repair:
    old = cluster.leader()
    kill_all(old.postmaster)
    return lambda: another_leads(cluster, old)  # its Patroni starts it again, as a standby


def kill_machine(cluster: Cluster) -> Repair:
    old = cluster.leader()
    old.kill()

    def start_again() -> None:
        another_leads(cluster, old)
        old.start()

    return start_again


def freeze(cluster: Cluster) -> Repair:
    old = cluster.leader()
    old.send(signal.SIGSTOP)

    def thaw() -> None:
        with suppress(TimeoutError):
            another_leads(cluster, old)
        old.send(signal.SIGCONT)

    return thaw


def switch_over(cluster: Cluster) -> Repair:
    old = cluster.leader()
    [new] = [row["name"] for row in cluster.seen_by_patroni() if row["role"] == "sync_standby"]
    body = {"leader": old.name, "candidate": new}
    status, said = ask(old.rest_port, "POST", "/switchover", body, PATIENCE)
    if status != 200:
        raise RuntimeError(f"the switchover was refused: {status} {said}")
    return lambda: another_leads(cluster, old)


_turns = itertools.count()


def kill_node(cluster: Cluster) -> Repair:
    """Kill one of the two nodes: another each time."""
    node = cluster.nodes[next(_turns) % len(cluster.nodes)]
    node.kill()

    def start_again() -> None:
        time.sleep(AWAY)
        node.start()

    return start_again


def kill_redis(cluster: Cluster) -> Repair:
    cluster.redis.kill()

    def start_again() -> None:
        time.sleep(AWAY)
        cluster.redis.start()

    return start_again


def deploy(cluster: Cluster) -> Repair:
    """Give all nodes new code, one after the other, while the others answer."""
    code, number = copy_of_code(cluster)
    for node in cluster.nodes:
        cluster.proxy.leave_out(node)
        node.terminate()
        node.code = code
        node.start()  # which waits for /readyz
        cluster.proxy.take_in(node)

    def look() -> None:
        for node in cluster.nodes:
            check_code(node, number)

    return look


def copy_of_code(cluster: Cluster) -> tuple[Path, str]:
    """Copy the code, with a change; return the folder and what the change says."""
    number = str(1 + len(list(cluster.folder.glob("code-*"))))
    folder = cluster.folder / f"code-{number}"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*NO_CODE))
    views = folder / "groupsite" / "views.py"
    text = views.read_text()
    if text.count(OLD) != 1:
        raise CodeNotServed("groupsite/views.py no longer has what is to be changed")
    views.write_text(text.replace(OLD, NEW.format(number=number)))
    return folder, number


def check_code(node: SiteNode, number: str) -> None:
    """Raises CodeNotServed unless the node answers with the copy of that number."""
    _status, said = ask(node.port, "GET", "/livez", timeout=5)
    if not isinstance(said, dict) or said.get("code") != number:
        raise CodeNotServed(f"{node.name} does not serve the new code: {said}")


FAILURES = {
    each.name: each
    for each in (
        Failure("postgres", "the PostgreSQL that leads is killed", kill_postgres),
        Failure("node", "its machine fails: Patroni and PostgreSQL are killed", kill_machine),
        Failure("freeze", "its machine freezes, and comes back after another leads", freeze),
        Failure("switchover", "another PostgreSQL is made to lead", switch_over),
        Failure("application", "a node of the site is killed", kill_node),
        Failure("redis", "Redis is killed", kill_redis),
        Failure("deploy", "both nodes get new code, one after the other", deploy),
    )
}
