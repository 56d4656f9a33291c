"""How Gunicorn serves the site. `gunicorn groupsite.wsgi:application` reads this file by itself;
what its command line says goes before.

A process runs Python on one core at a time. Where the kernel lets its threads wander between two,
the interpreter's memory wanders with them: a ranking of 50 then costs 1.4 times the CPU
(docs/benchmarks.md). So each worker keeps to a core of its own.
"""

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 16  # so that those who wait for WeChat delay no one
preload_app = True  # the workers share what was loaded before they began
control_socket_disable = True  # nothing of ours uses that door, and all masters of a user share it

# Where the workers write what they count, for /metrics (core/metrics.py): empty at each start, also
# at that of a second master beside the first (USR2), but kept where the same one reads this again.
# In memory where there is such a place: on a full disk a worker that writes there would be killed.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
NUMBERS, OWN = "groupsite-metrics-", f"-{os.getpid()}"
if not os.environ.get("PROMETHEUS_MULTIPROC_DIR", "").endswith(OWN):
    for left in Path(MEMORY).glob(f"{NUMBERS}*") if MEMORY else ():
        if not Path("/proc", left.name.rpartition("-")[2]).exists():  # by one that was killed
            shutil.rmtree(left, ignore_errors=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(OWN, NUMBERS, MEMORY)

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


def child_exit(server: Any, worker: Any) -> None:
    """Leave a worker that has ended out of what is of now. What it counted stays in the sums."""
    if "prometheus_client" in sys.modules:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Delete what was counted."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
