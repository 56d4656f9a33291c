"""/metrics as Prometheus reads it: all numbers of one moment."""

from collections import Counter
from typing import Any

from django.test import Client as Browser
from prometheus_client.parser import text_string_to_metric_families

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
