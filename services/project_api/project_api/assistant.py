"""The life of an exchange: embed, search, ask Saiga, pass the answer on, store it."""

import asyncio
import logging
import time
from collections.abc import Generator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, StringConstraints

from project_api import prompt
from project_api.database import Database, Exchange, Outcome
from project_api.embedding import Embedder
from project_api.library import Library
from project_api.metrics import Metrics
from project_api.problems import Problem
from project_api.saiga import Finish, Saiga

logger = logging.getLogger(__name__)


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("the NUL character is not allowed")
    return text


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_storable)
]


class Question(BaseModel):
    """What a user asks; the course may be empty. Space around each value is dropped."""

    message: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=4000),
        AfterValidator(_storable),
    ]
    user_name: Annotated[Name, StringConstraints(min_length=1)]
    course: Name


@dataclass(frozen=True)
class Summary:
    """The end of a complete answer; `exchange_id` is null when it could not be stored."""

    exchange_id: int | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    timings: dict[str, float]


class Reply(Protocol):
    """Where an answer goes while it is produced."""

    async def start(self, sources: Sequence[dict[str, Any]]) -> None: ...

    async def delta(self, text: str) -> None: ...

    async def finish(self, summary: Summary) -> None: ...


class Assistant:
    """Answers questions, and stores every exchange whatever becomes of it.

    `prompt_tokens` is the room for the prompt in Saiga's context.
    """

    def __init__(
        self,
        embedder: Embedder,
        library: Library,
        saiga: Saiga,
        database: Database,
        metrics: Metrics,
        prompt_tokens: int,
    ) -> None:
        self._embedder = embedder
        self._library = library
        self._saiga = saiga
        self._database = database
        self._metrics = metrics
        self._prompt_tokens = prompt_tokens
        self._tasks: set[asyncio.Task[Any]] = set()

    async def answer(self, question: Question, reply: Reply) -> None:
        """Answer `question` into `reply`; raises Problem when it cannot be answered to the end.

        Cancelling it stops Saiga; the exchange is stored as interrupted.
        """
        self._track(asyncio.current_task())
        try:
            # Nothing is generated that could not be stored.
            await self._database.check()
            await self._answer(question, reply)
        except Exception as error:
            self._metrics.errors.labels(_code(error)).inc()
            raise

    async def drain(self) -> None:
        """Wait for the answers that end and for the exchanges that are still being stored."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _answer(self, question: Question, reply: Reply) -> None:
        started = time.perf_counter()
        exchange = Exchange(question.user_name, question.course, question.message)
        try:
            finish = await self._generate(question, exchange, reply)
        except asyncio.CancelledError:
            await self._close(exchange, started, "interrupted")
            raise
        except Exception as error:
            exchange.error = str(error) if isinstance(error, Problem) else repr(error)
            await self._close(exchange, started, "error")
            raise
        self._metrics.tokens.labels("prompt").inc(finish.prompt_tokens)
        self._metrics.tokens.labels("completion").inc(finish.completion_tokens)
        identity = await self._close(exchange, started, "completed")
        await reply.finish(
            Summary(
                identity,
                finish.reason,
                finish.prompt_tokens,
                finish.completion_tokens,
                exchange.timings,
            )
        )

    async def _generate(self, question: Question, exchange: Exchange, reply: Reply) -> Finish:
        with self._stage(exchange, "embed"):
            vector = await self._embedder.embed_query(question.message)
        with self._stage(exchange, "search"):
            found = await self._library.search(vector)
        messages, passages = prompt.build(
            question.message, question.course, found, self._prompt_tokens
        )
        exchange.sources = [passage.reference(n) for n, passage in enumerate(passages, 1)]
        async with aclosing(self._saiga.stream(messages)) as pieces:
            with self._stage(exchange, "first_token"):
                piece = await anext(pieces)
            await reply.start(exchange.sources)
            while True:
                if isinstance(piece, Finish):
                    return piece
                exchange.answer += piece.text
                await reply.delta(piece.text)
                piece = await anext(pieces)

    @contextmanager
    def _stage(self, exchange: Exchange, name: str) -> Generator[None, None, None]:
        started = time.perf_counter()
        yield
        self._record(exchange, name, started)

    def _record(self, exchange: Exchange, stage: str, started: float) -> None:
        exchange.timings[stage] = round(time.perf_counter() - started, 6)
        self._metrics.stage_duration.labels(stage).observe(exchange.timings[stage])

    async def _close(self, exchange: Exchange, started: float, outcome: Outcome) -> int | None:
        self._record(exchange, "total", started)
        exchange.outcome = outcome
        self._metrics.exchanges.labels(outcome).inc()
        logger.info(
            "exchange ended",
            extra={
                "fields": {
                    "outcome": outcome,
                    "error": exchange.error,
                    "question_chars": len(exchange.question),
                    "answer_chars": len(exchange.answer),
                    "sources": len(exchange.sources),
                    "timings": exchange.timings,
                }
            },
        )
        saving = asyncio.create_task(self._save(exchange))
        self._track(saving)
        return await asyncio.shield(saving)

    def _track(self, task: asyncio.Task[Any] | None) -> None:
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _save(self, exchange: Exchange) -> int | None:
        try:
            return await self._database.save(exchange)
        except Problem as problem:
            self._metrics.errors.labels(problem.code).inc()
            logger.error("exchange not stored", extra={"fields": {"error": problem.detail}})
            return None


def _code(error: Exception) -> str:
    return error.code if isinstance(error, Problem) else "internal_error"
