"""Routes of the server: the page, its session, its messages, health and metrics."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import aiohttp
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from pydantic import BaseModel, ValidationError

from webbot2.metrics import Metrics
from webbot2.models import Message, Visitor
from webbot2.problems import problem
from webbot2.project_api import CONNECT_SECONDS, SILENCE_SECONDS, ProjectApi
from webbot2.sessions import Sessions
from webbot2.settings import Settings

STATIC = Path(__file__).parent / "static"
MAX_BODY_BYTES = 64 * 1024
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

METRICS = web.AppKey("metrics", Metrics)
SESSIONS = web.AppKey("sessions", Sessions)
PROJECT_API = web.AppKey("project_api", ProjectApi)

Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
routes = web.RouteTableDef()


def create_app(settings: Settings) -> web.Application:
    """The application; raises ValueError when the session key cannot be used."""
    app = web.Application(middlewares=[problems_for_api], client_max_size=MAX_BODY_BYTES)
    app[METRICS] = Metrics()
    app[SESSIONS] = Sessions(settings.session_key())

    async def project_api(app: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        )
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            app[PROJECT_API] = ProjectApi(str(settings.project_api_url), http, app[METRICS])
            yield

    app.cleanup_ctx.append(project_api)
    app.on_response_prepare.append(add_security_headers)
    app.add_routes(routes)
    app.router.add_static("/static", STATIC)
    return app


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)
    response.headers.setdefault(
        "Cache-Control", "no-store" if request.path.startswith("/api/") else "no-cache"
    )


@web.middleware
async def problems_for_api(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if not request.path.startswith("/api/"):
            raise
        return problem(error.status, "invalid_request", error.reason, error.text or error.reason)


async def read_body(request: web.Request, model: type[Body]) -> Body:
    """The request's JSON as `model`; raises 415 or 422 with a sentence for each wrong field.

    Insisting on application/json also keeps foreign sites from posting with a plain form.
    """
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(
            text=f"Content-Type is {request.content_type}, application/json is expected."
        )
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        faults = (
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise web.HTTPUnprocessableEntity(text="; ".join(faults)) from error


@routes.get("/")
async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / "index.html")


@routes.get("/api/session")
async def read_session(request: web.Request) -> web.Response:
    visitor = request.app[SESSIONS].visitor(request)
    return web.json_response(visitor.model_dump()) if visitor else web.Response(status=204)


@routes.post("/api/session")
async def start_session(request: web.Request) -> web.Response:
    visitor = await read_body(request, Visitor)
    response = web.json_response(visitor.model_dump())
    request.app[SESSIONS].start(request, response, visitor)
    request.app[METRICS].sessions.inc()
    return response


@routes.delete("/api/session")
async def end_session(request: web.Request) -> web.Response:
    response = web.Response(status=204)
    request.app[SESSIONS].end(response)
    return response


@routes.post("/api/message")
async def message(request: web.Request) -> web.StreamResponse:
    visitor = request.app[SESSIONS].visitor(request)
    if visitor is None:
        return problem(401, "session_required", "Not signed in", "Send POST /api/session first.")
    body = await read_body(request, Message)
    return await request.app[PROJECT_API].answer(request, body.model_dump() | visitor.model_dump())


@routes.get("/livez")
async def livez(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    if await request.app[PROJECT_API].alive():
        return web.json_response({"status": "ok"})
    return problem(
        503, "project_api_unreachable", "Not ready", "The Project API does not answer /livez."
    )


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=generate_latest(request.app[METRICS].registry),
        headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4},
    )
