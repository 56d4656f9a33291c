"""/metrics as Prometheus reads it, of this process and of a site under Gunicorn."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from django.test import Client as Browser
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import PATIENCE, ROOT, scratch_database, unused_port, wait_for

TOKEN = "canary-of-the-metrics-token"

Key = tuple[str, tuple[tuple[str, str], ...]]


def numbers_in(text: str) -> dict[Key, float]:
    """Return each sample of a text by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(**headers: str) -> Any:
    return Browser().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", **headers})


class Scrape:
    """What has risen since it was made."""

    def __init__(self) -> None:
        self.before = self.now()

    def now(self) -> dict[Key, float]:
        answer = scrape()
        assert answer.status_code == 200, answer.content
        return numbers_in(answer.content.decode())

    def rises(self, name: str, *labels: str) -> Counter[Any]:
        """Return by how much a metric has risen, by the values of these labels."""
        found: Counter[Any] = Counter()
        for key, value in self.now().items():
            if key[0] == name and (risen := value - self.before.get(key, 0)):
                of = tuple(dict(key[1])[label] for label in labels)
                found[of[0] if len(of) == 1 else of] += int(risen)
        return found


def value_of(numbers: dict[Key, float], name: str, **labels: str) -> float:
    """Add the samples that have these labels."""
    wanted = labels.items()
    return sum(value for key, value in numbers.items() if key[0] == name and wanted <= set(key[1]))


@dataclass
class Served:
    """The site as Gunicorn serves it, with two workers and their files of numbers."""

    url: str
    master: int
    folder: Path
    environment: dict[str, str]

    def get(self, path: str, **headers: str) -> requests.Response:
        # A connection each, so that both workers get some.
        return requests.get(self.url + path, headers={"Connection": "close", **headers}, timeout=30)

    def numbers(self) -> dict[Any, float]:
        answer = self.get("/metrics", Authorization=f"Bearer {TOKEN}")
        assert answer.status_code == 200, answer.text
        return numbers_in(answer.text)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.master}/task/{self.master}/children")
        return [int(pid) for pid in children.read_text().split()]


@contextmanager
def gunicorn(tmp_path: Path, **settings: str) -> Iterator[Served]:
    with ExitStack() as stack:
        port = unused_port()
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "groupsite.settings",
            "DATABASE_URL": stack.enter_context(scratch_database(tmp_path)),
            "ALLOWED_HOSTS": "127.0.0.1",
            "METRICS_TOKEN": TOKEN,
            "WEB_CONCURRENCY": "2",
            "PORT": str(port),
            "TMPDIR": str(tmp_path),
            **settings,
        }
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=environment, check=True, timeout=120)
        log = stack.enter_context((tmp_path / "gunicorn.log").open("w"))
        command = [sys.executable, "-m", "gunicorn", "groupsite.wsgi:application"]
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            served = Served(f"http://127.0.0.1:{port}", running.pid, tmp_path, environment)
            wait_for(lambda: is_ready(served) and len(served.workers()) == 2)
            yield served
        finally:
            running.terminate()
            running.wait(PATIENCE)


def is_ready(served: Served) -> bool:
    try:
        return served.get("/readyz").ok
    except requests.ConnectionError:
        return False
