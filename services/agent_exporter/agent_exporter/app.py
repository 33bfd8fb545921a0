"""The HTTP server: /metrics and /health."""

from collections.abc import AsyncIterator, Sequence

import aiohttp
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from agent_exporter import exchanges, gpu, qdrant, saiga
from agent_exporter.settings import Settings
from agent_exporter.source import DEADLINE_SECONDS, Source, scrape

SOURCES: web.AppKey[Sequence[Source]] = web.AppKey("sources")
routes = web.RouteTableDef()


def create_app(settings: Settings) -> web.Application:
    """The application; the sources need not be there when it starts."""
    app = web.Application()

    async def sources(app: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            app[SOURCES] = (
                Source("postgres", lambda: exchanges.collect(settings)),
                Source("saiga", lambda: saiga.collect(http, str(settings.saiga_metrics_url))),
                Source(
                    "qdrant",
                    lambda: qdrant.collect(
                        http, str(settings.qdrant_url), settings.qdrant_api_key_file
                    ),
                ),
                Source("dcgm", lambda: gpu.collect(http, str(settings.dcgm_metrics_url))),
            )
            yield

    app.cleanup_ctx.append(sources)
    app.add_routes(routes)
    return app


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=await scrape(request.app[SOURCES]), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
    )


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Health of this process alone: a failing source is a metric, not a reason to restart."""
    return web.json_response({"status": "ok"})
