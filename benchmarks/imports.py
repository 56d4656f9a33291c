"""`python -m benchmarks.imports`: how fast a team's server brings its people and their scores in.

Environment: PEOPLE (20,000), CLIENTS at once (2), THROTTLES (the defaults), and DATABASE_URL, or
else a PostgreSQL of its own. It prints rows a minute, and how long 100,000 people and scores take.
"""

import http.client
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import APP_ID
from .serving import THREADS, gunicorn, say, services, set_environment

PEOPLE, CLIENTS = int(os.environ.get("PEOPLE", "20000")), int(os.environ.get("CLIENTS", "2"))
ROWS = 500  # of a batch
GOAL, GOAL_MINUTES = 100_000, 20


class Server:
    """A team's server, with a key and one connection a thread."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self.headers = {"Authorization": f"Key {key}", "Content-Type": "application/json"}

    def post(self, path: str, body: Any) -> None:
        """Post a batch, again after a wait where it is throttled."""
        sent = json.dumps(body).encode()
        while True:
            connection = http.client.HTTPConnection(self.address, timeout=120)
            connection.request("POST", f"/api/v1/server/{path}", sent, self.headers)
            answer = connection.getresponse()
            reply = json.loads(answer.read())
            connection.close()
            if answer.status != 429:
                break
            time.sleep(reply["retryAfter"])
        assert answer.status == 200, reply
        assert not any("code" in result for result in reply.get("results", ())), reply

    def send(self, what: str, path: str, rows: list[dict[str, Any]]) -> float:
        """Post rows in batches, several at once; return the seconds that it took."""
        parts = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
        done, began = count(1), time.monotonic()

        def post(part: list[dict[str, Any]]) -> None:
            self.post(path, {path: part})
            number = next(done)
            if number % 10 == 0 or number == len(parts):
                say(f"  {what}: {min(number * ROWS, len(rows)):,}/{len(rows):,}")

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(post, parts))
        return time.monotonic() - began


def batches() -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield what is sent: a name, the call, its rows."""
    openids = [f"o{number:027}" for number in range(PEOPLE)]
    yield (
        "people 创建成员",
        "users",
        [
            {"openid": each, "unionid": f"u{each}", "nickname": f"成员{each[-6:]}"}
            for each in openids
        ],
    )
    for turn, what in enumerate(("first scores 首次得分", "further scores 再次得分")):
        yield (
            what,
            "scores",
            [
                {
                    "openid": each,
                    "board": "points",
                    "value": turn + number % 1000,
                    "idempotencyKey": f"{turn}/{each}",
                }
                for number, each in enumerate(openids)
            ],
        )


def main() -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        throttles = os.environ.get("THROTTLES", "")
        set_environment(stack.enter_context(services(folder / "services"))[0], folder)
        os.environ["THROTTLES"] = throttles
        import django

        django.setup()
        from django.core.management import call_command
        from django.utils import timezone

        from groups.models import Board, ServerKey

        call_command("migrate", verbosity=0)
        Board.objects.create(app_id=APP_ID, key="points", policy="sum", scope="app")
        key, _row = ServerKey.objects.issue(APP_ID, "benchmark", timezone.now())
        server = Server(f"127.0.0.1:{stack.enter_context(gunicorn(folder, 1, THREADS)).port}", key)
        rates = {}
        for what, path, rows in batches():
            rates[what] = 60 * len(rows) / server.send(what, path, rows)
        for what, rate in rates.items():
            say(f"{what:24} {rate:>10,.0f} a minute")
        minutes = sum(GOAL / rate for rate in list(rates.values())[:2])
        say(
            f"{GOAL:,} people and their scores: {minutes:.1f} minutes "
            f"(goal: {GOAL_MINUTES}), {CLIENTS} at once, THROTTLES={throttles or 'the defaults'}"
        )
    return 0 if minutes <= GOAL_MINUTES else 1


if __name__ == "__main__":
    sys.exit(main())
