"""What Prometheus reads at /metrics. Each package declares what it counts where the thing happens;
docs/monitoring.md explains every name.

Without METRICS_TOKEN nothing is counted, and prometheus_client is not imported. Where several
processes serve, `gunicorn.conf.py` names a folder in which each writes its numbers; who is asked
adds them up. No label may hold what a client or a member chose: there would be no end of them.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from threading import Lock
from time import perf_counter
from typing import Any, ClassVar

from django.conf import settings

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of the environment, read by prometheus_client

# Seconds; our slowest answers end with a timeout of three or five.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metric:
    """Something that is counted, under a name and with labels. Thread-safe."""

    declared: ClassVar[dict[str, "Metric"]] = {}
    _lock: ClassVar[Lock] = Lock()

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._children: dict[tuple[str, ...], Any] = {}
        self.declared[name] = self

    @cached_property
    def family(self) -> Any:
        """Return what prometheus_client has of it."""
        with self._lock:
            if "family" not in self.__dict__:  # made by another thread meanwhile
                self.__dict__["family"] = self.make()
        return self.__dict__["family"]

    def make(self) -> Any:
        raise NotImplementedError

    def child(self, labels: tuple[str, ...]) -> Any:
        """Return what counts under these labels; prometheus_client's own way there takes longer."""
        found = self._children.get(labels)
        if found is None:
            found = self.family.labels(*labels) if labels else self.family
            self._children[labels] = found
        return found

    def tell(self, verb: str, value: float, labels: tuple[str, ...]) -> None:
        """Count, unless METRICS_TOKEN is empty. No request fails because the folder is gone."""
        if settings.METRICS_TOKEN:
            with suppress(OSError):
                getattr(self.child(labels), verb)(value)


class Counter(Metric):
    """A number that only rises; its name ends with `_total`."""

    def make(self) -> Any:
        from prometheus_client import Counter

        return Counter(self.name, self.text, self.labels, registry=_registry())

    def count(self, *labels: str) -> None:
        self.tell("inc", 1, labels)


class Histogram(Metric):
    """How often something happened, and how many seconds it took."""

    def make(self) -> Any:
        from prometheus_client import Histogram

        return Histogram(self.name, self.text, self.labels, registry=_registry(), buckets=BUCKETS)

    def observe(self, seconds: float, *labels: str) -> None:
        self.tell("observe", seconds, labels)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Observe how long it takes within."""
        start = perf_counter()
        try:
            yield
        finally:
            self.observe(perf_counter() - start)


class Gauge(Metric):
    """A number of now. Those of several processes are added, as long as these live."""

    def make(self) -> Any:
        from prometheus_client import Gauge

        registry = _registry()
        return Gauge(
            self.name, self.text, self.labels, registry=registry, multiprocess_mode="livesum"
        )

    def add(self, amount: float, *labels: str) -> None:
        self.tell("inc", amount, labels)

    def set(self, value: float, *labels: str) -> None:
        self.tell("set", value, labels)

    @contextmanager
    def one_more(self, *labels: str) -> Iterator[None]:
        """Count one more within."""
        self.add(1, *labels)
        try:
            yield
        finally:
            self.add(-1, *labels)


class Reading(Metric):
    """A number that is read when Prometheus asks, whichever process is asked."""

    def make(self) -> Any:
        from prometheus_client.metrics_core import GaugeMetricFamily

        return GaugeMetricFamily(self.name, self.text, labels=self.labels)


Read = tuple[Reading, tuple[str, ...], float]

_made: list[Any] = []


def _registry() -> Any:
    """Return the registry of this process: its numbers only, and none of Python's own."""
    from prometheus_client import CollectorRegistry, disable_created_metrics

    if not _made:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        _made.append(CollectorRegistry())
    return _made[0]


def begin() -> None:
    """Have everything at hand that requests will count, for a process that answers them."""
    if settings.METRICS_TOKEN:
        for metric in Metric.declared.values():
            _ = metric.family


def exposition(read: Callable[[], Iterable[Read]]) -> tuple[bytes, str]:
    """Return everything in Prometheus' text format, with its content type.

    `read` yields the values of readings; what it does not yield is left out.
    """
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    if os.environ.get(FOLDER):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(_registry())
    registry.register(_Readings(read))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Readings:
    """A collector, as prometheus_client wants it."""

    def __init__(self, read: Callable[[], Iterable[Read]]) -> None:
        self._read = read

    def describe(self) -> list[Any]:
        """Return nothing: by default registering would read everything."""
        return []

    def collect(self) -> Iterable[Any]:
        families: dict[str, Any] = {}
        for reading, labels, value in self._read():
            if reading.name not in families:
                families[reading.name] = reading.make()
            families[reading.name].add_metric(labels, value)
        return families.values()
