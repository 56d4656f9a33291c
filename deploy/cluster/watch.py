"""One line about the moment: who leads, who follows and how late, what is asked, how it goes."""

import time
from contextlib import suppress
from datetime import datetime
from typing import Any

from prove.plan import say

from .cluster import Cluster
from .engines import ask

EVERY = 1.0  # seconds
LAG = """
SELECT application_name, sync_state, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn),
       COALESCE(EXTRACT(epoch FROM replay_lag), 0)
FROM pg_stat_replication ORDER BY application_name
"""

ANSWERS = tuple(f"hrsp_{kind}" for kind in ("1xx", "2xx", "3xx", "4xx", "5xx"))
ERRORS = ("hrsp_5xx", "econ", "eresp")


class ClusterWatch:
    """Looks at a cluster; requests and errors are those since its last look."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.before: dict[str, tuple[int, int]] = {}
        self.moment = time.monotonic()

    def run(self) -> None:
        """Print a line a second, until Ctrl-C; let go of what another command has ended."""
        while True:
            say(self.line())
            for service in self.cluster.services:
                if service.process is not None:
                    service.process.poll()
            time.sleep(EVERY)

    def line(self) -> str:
        parts = [datetime.now().strftime("%H:%M:%S"), self.leading(), *self.following()]
        return " · ".join([*parts, *self.nodes(), self.writing()])

    def writing(self) -> str:
        took = self.cluster.writes()
        return f"writes {took * 1000:.0f} ms" if took >= 0 else f"❌ writes {-took:.0f}"

    def leading(self) -> str:
        for row in self.cluster.seen_by_patroni():
            if row["role"] == "leader":
                [leader] = [each for each in self.cluster.members if each.name == row["name"]]
                answers = ask(leader.rest_port, "GET", "/primary")[0] == 200
                state = "" if answers else ", which does not answer"
                return f"leads {leader.name}{state}, timeline {row.get('timeline', '?')}"
        return "❌ none leads"

    def following(self) -> list[str]:
        return [
            f"{name} {'sync ' if state in {'sync', 'quorum'} else ''}{size(lag)} {seconds:.1f} s"
            for name, state, lag, seconds in self.lags()
        ]

    def lags(self) -> list[tuple[Any, ...]]:
        """Return name, kind, bytes and seconds of those that follow, as their primary sees it."""
        import psycopg

        with (
            suppress(psycopg.Error),
            psycopg.connect(self.cluster.admin_url, connect_timeout=2) as connection,
        ):
            return connection.execute(LAG).fetchall()
        return []

    def nodes(self) -> list[str]:
        """Return a text about each node: requests a second and errors, as HAProxy counts them."""
        numbers = self.cluster.proxy.numbers()
        took, self.moment = time.monotonic() - self.moment, time.monotonic()
        found = []
        for node in self.cluster.nodes:
            rows = [numbers.get((part, node.name), {}) for part in ("ready", "alive")]
            asked, wrong = (
                sum(int(row.get(name) or 0) for row in rows for name in names)
                for names in (ANSWERS, ERRORS)
            )
            asked_before, wrong_before = self.before.get(node.name, (asked, wrong))
            self.before[node.name] = (asked, wrong)
            state = "" if rows[0].get("status") == "UP" else f" {rows[0].get('status', '?')}"
            rate = max(0, asked - asked_before) / max(took, 0.1)
            found.append(f"{node.name}{state} {rate:.0f}/s {max(0, wrong - wrong_before)} errors")
        return found


def size(count: Any) -> str:
    number = float(count or 0)
    for unit in ("B", "kB", "MB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.0f} GB"
