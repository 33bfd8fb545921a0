"""Saiga through vLLM's OpenAI API."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from project_api.problems import Problem, Unavailable
from project_api.prompt import Message
from project_api.settings import Settings

CHECK_TIMEOUT = 3


@dataclass(frozen=True)
class Delta:
    """The next piece of an answer, never empty."""

    text: str


@dataclass(frozen=True)
class Finish:
    """The end of an answer: why it ended, and its tokens as vLLM counted them."""

    reason: str
    prompt_tokens: int
    completion_tokens: int


async def read_events(lines: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """The data of each Server-Sent Event in `lines`; other fields and comments are skipped.

    An event that the stream's end cuts off is dropped, as the HTML standard, 9.2.6, has it.
    """
    data: list[str] = []
    async for line in lines:
        text = line.decode().rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text[5:].removeprefix(" "))
        elif not text and data:
            yield "\n".join(data)
            data.clear()


class Saiga:
    """One model behind one vLLM server."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.saiga_url
        self._model = settings.saiga_model
        self._first_token_timeout = settings.saiga_first_token_timeout
        self._idle_timeout = settings.saiga_idle_timeout
        self._sampling = {
            "temperature": settings.saiga_temperature,
            "top_p": settings.saiga_top_p,
            "presence_penalty": settings.saiga_presence_penalty,
            "frequency_penalty": settings.saiga_frequency_penalty,
            "max_tokens": settings.saiga_max_tokens,
        }
        key = settings.saiga_api_key
        self._session = aiohttp.ClientSession(
            # A kept connection may be closed by vLLM just as a question is sent on it.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.saiga_connect_timeout),
            headers={"Authorization": f"Bearer {key.get_secret_value()}"} if key else None,
        )

    async def stream(self, messages: Sequence[Message]) -> AsyncGenerator[Delta | Finish, None]:
        """The answer as it is produced: deltas, then one Finish.

        Closing the generator closes the connection, and vLLM stops generating. Raises Unavailable
        when Saiga cannot be reached, keeps silent too long or breaks off, and Problem when it
        refuses the request.
        """
        now = asyncio.get_running_loop().time
        first_token_deadline = now() + self._first_token_timeout
        silence = f"gave no token within {self._first_token_timeout:g} s"
        answering = False
        reason = "unknown"
        usage: dict[str, Any] = {}
        try:
            async with self._ask(messages, first_token_deadline) as events:
                while True:
                    deadline = now() + self._idle_timeout if answering else first_token_deadline
                    async with asyncio.timeout_at(deadline):
                        data = await anext(events, None)
                    if data is None:
                        raise Unavailable("saiga", "closed the connection before the answer's end")
                    if data == "[DONE]":
                        break
                    chunk = json.loads(data)
                    if chunk.get("error"):
                        raise Unavailable("saiga", f"broke off: {json.dumps(chunk['error'])}")
                    usage = chunk.get("usage") or usage
                    for choice in chunk["choices"]:
                        reason = choice.get("finish_reason") or reason
                        if text := choice["delta"].get("content"):
                            answering = True
                            silence = f"fell silent for {self._idle_timeout:g} s"
                            yield Delta(text)
        except aiohttp.ClientError as error:
            detail = f"{self._url}: {error or type(error).__name__}"
            raise Unavailable("saiga", detail) from error
        except TimeoutError:
            raise Unavailable("saiga", silence) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unavailable("saiga", f"sent what is not a chat chunk: {error!r}") from error
        yield Finish(reason, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))

    async def check(self) -> None:
        """Raises Unavailable unless the server answers and serves the model."""
        url = f"{self._url}/models"
        try:
            async with asyncio.timeout(CHECK_TIMEOUT), self._session.get(url) as response:
                if response.status != HTTPStatus.OK:
                    raise Unavailable("saiga", f"{url} answered {response.status}")
                served = [str(model["id"]) for model in (await response.json())["data"]]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("saiga", f"{url}: {error or type(error).__name__}") from error
        if self._model not in served:
            raise Unavailable("saiga", f"{url} serves {', '.join(served)}, not {self._model}")

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    @asynccontextmanager
    async def _ask(
        self, messages: Sequence[Message], deadline: float
    ) -> AsyncGenerator[AsyncGenerator[str, None], None]:
        body = {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._sampling,
        }
        async with asyncio.timeout_at(deadline):
            response = await self._session.post(f"{self._url}/chat/completions", json=body)
            if response.status != HTTPStatus.OK:
                raise _refusal(response.status, await response.text())
        try:
            async with aclosing(read_events(response.content)) as events:
                yield events
        finally:
            response.close()


def _refusal(status: int, text: str) -> Problem:
    detail = f"answered {status}: {text[:500]}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable("saiga", detail)
    return Problem(HTTPStatus.BAD_GATEWAY, "saiga_refused", f"saiga: {' '.join(detail.split())}")
