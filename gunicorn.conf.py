"""How Gunicorn serves the site. `gunicorn groupsite.wsgi:application` reads this file by itself;
what its command line says goes before.

A process runs Python on one core at a time. Where the kernel lets its threads wander between two,
the interpreter's memory wanders with them: a ranking of 50 then costs 1.4 times the CPU
(docs/benchmarks.md). So each worker keeps to a core of its own.
"""

import os
from contextlib import suppress
from typing import Any

workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 16  # so that those who wait for WeChat delay no one
preload_app = True  # the workers share what was loaded before they began

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pre_fork(server: Any, worker: Any) -> None:
    """Choose the core that fewest of the other workers have."""
    taken = [each.core for each in server.WORKERS.values()]
    worker.core = min(CORES, key=taken.count, default=None)


def post_fork(server: Any, worker: Any) -> None:
    """Keep the worker to its core, unless the machine has more than twice as many as workers.

    Such a machine has others to serve, who would choose as we do; there the kernel knows better.
    """
    if CORES and len(CORES) <= 2 * server.cfg.workers:
        with suppress(OSError):  # where it is forbidden, the worker serves all the same
            os.sched_setaffinity(0, {worker.core})
