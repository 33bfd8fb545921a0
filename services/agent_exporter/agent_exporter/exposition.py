"""Reading another program's Prometheus metrics."""

from collections.abc import Iterable, Mapping

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Exposition:
    """The samples of one /metrics page, by sample name."""

    def __init__(self, text: str, url: str) -> None:
        self._url = url
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def samples(self, name: str) -> list[Sample]:
        """The samples of that name, possibly none."""
        return self._samples.get(name, [])

    def required(self, name: str) -> list[Sample]:
        """The samples of that name; raises LookupError when there are none."""
        if name not in self._samples:
            raise LookupError(f"{self._url} has no {name}")
        return self._samples[name]


async def fetch(
    http: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None
) -> Exposition:
    """GET a /metrics page; raises aiohttp.ClientError unless it answers 2xx."""
    async with http.get(url, headers=headers) as response:
        response.raise_for_status()
        return Exposition(await response.text(), url)


def sum_by(samples: Iterable[Sample], *labels: str) -> dict[tuple[str, ...], float]:
    """Sums of the samples' values, keyed by the named labels ("" where one is missing)."""
    sums: dict[tuple[str, ...], float] = {}
    for sample in samples:
        key = tuple(sample.labels.get(label, "") for label in labels)
        sums[key] = sums.get(key, 0.0) + sample.value
    return sums
