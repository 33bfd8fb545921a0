"""What the service tells Prometheus, and the middleware that counts requests."""

import time
import uuid

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from project_api import log

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """The service's metrics in a registry of their own. Durations are seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "project_api_requests_total",
            "Requests by route and HTTP status",
            ["route", "code"],
            registry=self.registry,
        )
        self.request_duration = Histogram(
            "project_api_request_duration_seconds",
            "From the request to the last byte of its response",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.stage_duration = Histogram(
            "project_api_stage_duration_seconds",
            "Stages of an exchange: embed, search, first_token (after asking Saiga), total",
            ["stage"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "project_api_llm_tokens_total",
            "Tokens that Saiga read (prompt) and wrote (completion)",
            ["kind"],
            registry=self.registry,
        )
        self.exchanges = Counter(
            "project_api_exchanges_total",
            "Exchanges by outcome: completed, interrupted, error",
            ["outcome"],
            registry=self.registry,
        )
        self.errors = Counter(
            "project_api_errors_total",
            "Exchanges that failed or could not be stored, by the problem's code",
            ["code"],
            registry=self.registry,
        )


class RequestMiddleware:
    """Names every request (X-Request-ID), counts it and times it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = uuid.uuid4().hex
        log.request_id.set(identity)
        code = "none"
        started = time.perf_counter()

        async def name_response(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self.app(scope, receive, name_response)
        finally:
            # Paths that no route knows must not become label values.
            route = getattr(scope.get("route"), "path", "unmatched")
            self.metrics.requests.labels(route, code).inc()
            self.metrics.request_duration.labels(route).observe(time.perf_counter() - started)
