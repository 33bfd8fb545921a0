"""The Project API as WebBot2 uses it."""

import asyncio
import time
from collections.abc import Mapping

import aiohttp
from aiohttp import web

from webbot2.metrics import Metrics
from webbot2.problems import CONTENT_TYPE, problem

CONNECT_SECONDS = 5
SILENCE_SECONDS = 120
LIVEZ_SECONDS = 2
PASSED_HEADERS = ("Retry-After", "X-Request-ID")


class ProjectApi:
    """Forwards messages and passes the answers through as they arrive."""

    def __init__(self, base_url: str, http: aiohttp.ClientSession, metrics: Metrics) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._metrics = metrics

    async def alive(self) -> bool:
        """Whether GET /livez answers 200 within 2 s."""
        timeout = aiohttp.ClientTimeout(total=LIVEZ_SECONDS)
        try:
            async with self._http.get(f"{self._base_url}/livez", timeout=timeout) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def answer(self, request: web.Request, body: Mapping[str, str]) -> web.StreamResponse:
        """POST `body` to /process_message and stream the answer to the browser.

        The upstream request is aborted when the browser goes away (the handler is cancelled).
        Problem documents keep their status and body. Before the first byte an unreachable or
        silent Project API is a 502 or 504; after it the connection is cut, so that the browser
        never takes half an answer for a whole one.
        """
        outcome = "failed"
        with self._metrics.streams.track_inprogress():
            try:
                outcome, response = await self._forward(request, body)
                return response
            except (asyncio.CancelledError, ConnectionResetError):
                outcome = "abandoned"
                raise
            except aiohttp.ServerTimeoutError:
                return problem(
                    504,
                    "project_api_timeout",
                    "The Project API is too slow",
                    f"No answer within {SILENCE_SECONDS} s.",
                )
            except aiohttp.ClientError:
                return problem(
                    502,
                    "project_api_unreachable",
                    "The Project API cannot be reached",
                    "The connection was refused or broke before an answer came.",
                )
            finally:
                self._metrics.messages.labels(outcome).inc()

    async def _forward(
        self, request: web.Request, body: Mapping[str, str]
    ) -> tuple[str, web.StreamResponse]:
        started = time.monotonic()
        events = "text/event-stream" in request.headers.get("Accept", "")
        headers = {
            "Accept": "text/event-stream" if events else "text/plain",
            "Accept-Encoding": "identity",
        }
        if "X-Request-ID" in request.headers:
            headers["X-Request-ID"] = request.headers["X-Request-ID"]
        async with self._http.post(
            f"{self._base_url}/process_message", json=dict(body), headers=headers
        ) as upstream:
            passed = {
                name: upstream.headers[name] for name in PASSED_HEADERS if name in upstream.headers
            }
            if upstream.status != 200:
                return "refused", await self._refusal(upstream, passed)
            response = web.StreamResponse(
                headers=passed
                | {
                    "Content-Type": upstream.headers.get("Content-Type", "text/plain"),
                    "Cache-Control": "no-cache",
                    "X-Accel-Buffering": "no",
                }
            )
            first = await upstream.content.readany()
            self._metrics.first_byte.observe(time.monotonic() - started)
            await response.prepare(request)
            await response.write(first)
            try:
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
            except (aiohttp.ClientPayloadError, aiohttp.ServerTimeoutError):
                if request.transport is not None:
                    request.transport.close()
                return "failed", response
            await response.write_eof()
            return "completed", response

    @staticmethod
    async def _refusal(
        upstream: aiohttp.ClientResponse, headers: Mapping[str, str]
    ) -> web.Response:
        if upstream.content_type != CONTENT_TYPE:
            return problem(
                502,
                "project_api_failed",
                "The Project API failed",
                f"It answered {upstream.status} without a problem document.",
            )
        return web.Response(
            status=upstream.status,
            body=await upstream.read(),
            content_type=CONTENT_TYPE,
            headers=headers,
        )
