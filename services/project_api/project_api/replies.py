"""An answer on its way to the client: plain text or Server-Sent Events."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from project_api.assistant import Assistant, Question, Summary
from project_api.log import request_id
from project_api.problems import Problem


class _Body:
    """The body of a response that is sent in pieces."""

    def __init__(self, send: Send, media_type: str) -> None:
        self._send = send
        self._media_type = media_type
        self.started = False

    async def begin(self) -> None:
        self.started = True
        headers = {
            "Content-Type": f"{self._media_type}; charset=utf-8",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        }
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": raw})

    async def write(self, text: str) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class TextReply:
    """The answer's text and nothing else.

    Plain text cannot say that an answer broke off: the body is left without its end, which clients
    report as an incomplete read.
    """

    def __init__(self, send: Send) -> None:
        self.body = _Body(send, "text/plain")

    async def start(self, sources: Sequence[dict[str, Any]]) -> None:
        """Send the headers; plain text has no place for sources."""
        await self.body.begin()

    async def delta(self, text: str) -> None:
        """Send a piece of the answer."""
        await self.body.write(text)

    async def finish(self, summary: Summary) -> None:
        """End the body."""
        await self.body.end()

    async def fail(self, problem: Problem) -> None:
        """Leave the body without its end."""


class EventReply:
    """Events: meta, sources, delta (any number), then done or error."""

    def __init__(self, send: Send, model: str) -> None:
        self.body = _Body(send, "text/event-stream")
        self._model = model

    async def start(self, sources: Sequence[dict[str, Any]]) -> None:
        """Send the headers and the events `meta` and `sources`."""
        await self.body.begin()
        await self._event("meta", {"request_id": request_id.get(), "model": self._model})
        await self._event("sources", sources)

    async def delta(self, text: str) -> None:
        """Send a piece of the answer as {"text": ...}."""
        await self._event("delta", {"text": text})

    async def finish(self, summary: Summary) -> None:
        """Send `done` with the summary, and end the body."""
        await self._event("done", asdict(summary))
        await self.body.end()

    async def fail(self, problem: Problem) -> None:
        """Send `error` with the problem document, and end the body."""
        await self._event("error", problem.content())
        await self.body.end()

    async def _event(self, name: str, data: Any) -> None:
        await self.body.write(f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n")


class AnswerResponse(Response):
    """Answers a question as it is sent, and stops answering when the client goes away.

    A problem before the first piece is a response of its own, with its own status.
    """

    def __init__(
        self, assistant: Assistant, question: Question, model: str, as_events: bool
    ) -> None:
        super().__init__()
        self._assistant = assistant
        self._question = question
        self._model = model
        self._as_events = as_events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering = asyncio.create_task(self._answer(scope, receive, send))
        leaving = asyncio.create_task(_client_left(receive))
        both = {answering, leaving}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
        if not answering.cancelled():
            answering.result()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = EventReply(send, self._model) if self._as_events else TextReply(send)
        try:
            await self._assistant.answer(self._question, reply)
        except Problem as problem:
            if reply.body.started:
                await reply.fail(problem)
            else:
                await problem.response()(scope, receive, send)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
