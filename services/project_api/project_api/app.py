"""The web application: routes, and the parts behind them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import cast

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from project_api import knowledge, library, problems
from project_api.assistant import Assistant, Question
from project_api.database import Database
from project_api.embedding import make_embedder
from project_api.health import OK, Health
from project_api.library import Library
from project_api.metrics import Metrics, RequestMiddleware
from project_api.replies import AnswerResponse
from project_api.saiga import Saiga
from project_api.settings import Settings
from project_api.startup import Step


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application. It answers /health from its first moment on."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as closing:
            embedder = make_embedder(settings)
            closing.push_async_callback(embedder.close)
            qdrant = library.make_client(settings)
            shelves = Library(
                qdrant,
                settings.collections,
                embedder.dimension,
                settings.search_limit,
                settings.score_threshold,
            )
            closing.push_async_callback(shelves.close)
            saiga = Saiga(settings)
            closing.push_async_callback(saiga.close)
            database = Database(settings)
            closing.push_async_callback(database.close)
            await database.open()
            assistant = Assistant(
                embedder,
                shelves,
                saiga,
                database,
                metrics,
                settings.saiga_context_length - settings.saiga_max_tokens,
            )
            closing.push_async_callback(assistant.drain)

            async def load_knowledge() -> None:
                if settings.knowledge_dir is not None:
                    sources = knowledge.load(settings.knowledge_dir, settings.collections)
                    await shelves.check()
                    await knowledge.synchronise(qdrant, embedder, sources)

            async def embed() -> None:
                await embedder.embed_query("вопрос")

            steps = [Step("migrations", database.migrate), Step("knowledge", load_knowledge)]
            checks = {
                "postgres": database.check,
                "qdrant": shelves.check,
                "saiga": saiga.check,
                "embedder": embed,
            }
            app.state.assistant = assistant
            app.state.health = Health(checks, steps)
            starting = asyncio.gather(*(step.run() for step in steps))
            closing.callback(starting.cancel)
            yield

    app = FastAPI(title="Project API", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(RequestMiddleware, metrics=metrics)
    problems.install(app)

    @app.post("/process_message", response_class=Response)
    async def process_message(question: Question, request: Request) -> Response:
        assistant = cast(Assistant, request.app.state.assistant)
        as_events = "text/event-stream" in request.headers.get("accept", "")
        return AnswerResponse(assistant, question, settings.saiga_model, as_events)

    @app.get("/health")
    async def health(request: Request) -> Response:
        dependencies = await cast(Health, request.app.state.health).report()
        well = all(state == OK for state in dependencies.values())
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        content = {"status": OK if well else "unavailable", "dependencies": dependencies}
        return JSONResponse(content, status)

    @app.get("/livez")
    async def livez() -> Response:
        return PlainTextResponse(OK)

    @app.get("/metrics")
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app
