"""Prometheus metrics of the server itself."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


class Metrics:
    """The server's registry and the instruments in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.sessions = Counter("webbot2_sessions", "Sign-ins accepted.", registry=self.registry)
        self.messages = Counter(
            "webbot2_messages",
            "Messages by how they ended: completed, abandoned (the browser went away), "
            "refused (the Project API answered with an error), failed (no answer or cut off).",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("completed", "abandoned", "refused", "failed"):
            self.messages.labels(outcome)
        self.streams = Gauge(
            "webbot2_streams_in_progress",
            "Messages being answered now.",
            registry=self.registry,
        )
        self.first_byte = Histogram(
            "webbot2_first_byte_seconds",
            "Time from a message to the first byte of its answer.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
            registry=self.registry,
        )
