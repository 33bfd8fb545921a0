"""A source of metrics with a deadline, and what one scrape of all sources yields."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

DEADLINE_SECONDS = 3.0

log = logging.getLogger(__name__)
Collect = Callable[[], Awaitable[Sequence[Metric]]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source gave: its metrics, or none of them and the reason."""

    source: str
    seconds: float
    metrics: Sequence[Metric] = ()
    error: str | None = None


class Source:
    """One collector, run at most once at a time and waited for at most 3 s.

    A run that does not stop when cancelled (a database that neither answers nor hangs up) is not
    waited for; the next scrape finds it still running and starts no second one.
    """

    def __init__(self, name: str, collect: Collect) -> None:
        self._name = name
        self._collect = collect
        self._run: asyncio.Task[Sequence[Metric]] | None = None
        self._error: str | None = None

    async def read(self) -> Reading:
        """Collect now; never raises for a failing source."""
        started = time.monotonic()
        if self._run is None or self._run.done():
            self._run = asyncio.ensure_future(self._collect())
            self._run.add_done_callback(lambda run: run.cancelled() or run.exception())
        run = self._run
        await asyncio.wait({run}, timeout=DEADLINE_SECONDS)
        seconds = time.monotonic() - started
        error = self._error_of(run)
        self._log_change(error)
        if error is not None:
            return Reading(self._name, seconds, error=error)
        return Reading(self._name, seconds, metrics=run.result())

    @staticmethod
    def _error_of(run: asyncio.Task[Sequence[Metric]]) -> str | None:
        if not run.done():
            run.cancel()
            return f"no answer within {DEADLINE_SECONDS:g} s"
        if run.cancelled():
            return "cut off by the deadline of an earlier scrape"
        exception = run.exception()
        return None if exception is None else f"{type(exception).__name__}: {exception}".strip()

    def _log_change(self, error: str | None) -> None:
        if error is not None and error != self._error:
            log.warning("%s: %s", self._name, error)
        elif error is None and self._error is not None:
            log.info("%s: answers again", self._name)
        self._error = error


class Scrape(Collector):
    """All metrics of one scrape, with each collector's success and duration."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = tuple(readings)

    def collect(self) -> Iterator[Metric]:
        success = GaugeMetricFamily(
            "agent_collector_success",
            "1 when the source answered this scrape in time, else 0 (its metrics are absent).",
            labels=["collector"],
        )
        duration = GaugeMetricFamily(
            "agent_collector_duration_seconds",
            "Time this scrape spent on the source.",
            labels=["collector"],
        )
        for reading in self._readings:
            yield from reading.metrics
            success.add_metric([reading.source], float(reading.error is None))
            duration.add_metric([reading.source], reading.seconds)
        yield success
        yield duration


async def scrape(sources: Sequence[Source]) -> bytes:
    """Read all sources at the same time; the exposition in Prometheus' text format."""
    readings = await asyncio.gather(*(source.read() for source in sources))
    registry = CollectorRegistry()
    registry.register(Scrape(readings))
    return generate_latest(registry)
