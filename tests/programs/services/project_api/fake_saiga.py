"""vLLM's OpenAI API, following a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web


class Cut:
    """A step of a script: the connection breaks."""


class FakeSaiga:
    """Answers every chat with `script`.

    A step is a piece of the answer (str), a line of the stream as it is (bytes), an event to wait
    for, or a Cut. `status` other than 200 refuses the chat; `served` are the names of the models.
    """

    def __init__(self) -> None:
        self.script: Sequence[str | bytes | asyncio.Event | Cut] = ["Здравствуйте", ", ", "Анна!"]
        self.status = 200
        self.served = ["saiga"]
        self.requests: list[dict[str, Any]] = []
        self.asked = asyncio.Event()
        self.aborted = asyncio.Event()
        self.application = web.Application()
        self.application.add_routes(
            [web.post("/v1/chat/completions", self._chat), web.get("/v1/models", self._models)]
        )

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name} for name in self.served]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.asked.set()
        if self.status != 200:
            return web.json_response({"error": {"message": "scripted"}}, status=self.status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._play(request, response)
        except asyncio.CancelledError:
            self.aborted.set()
            raise
        return response

    async def _play(self, request: web.Request, response: web.StreamResponse) -> None:
        await response.write(_chunk({"role": "assistant", "content": ""}))
        for step in self.script:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, Cut):
                assert request.transport is not None
                request.transport.abort()
                return
            else:
                await response.write(step if isinstance(step, bytes) else _chunk({"content": step}))
        await response.write(_chunk({}, finish_reason="stop"))
        usage = {"prompt_tokens": 40, "completion_tokens": 3}
        await response.write(_event({"choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event({"object": "chat.completion.chunk", "choices": [choice]})


def _event(data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
