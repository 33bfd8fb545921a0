"""Qdrant's REST API in front of qdrant-client's local mode."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel
from qdrant_client import AsyncQdrantClient
from qdrant_client.http import models


class FakeQdrant:
    """The calls that the service makes; `store` is the database behind them."""

    def __init__(self) -> None:
        self.store = AsyncQdrantClient(":memory:")
        self.writes = 0
        self.application = web.Application()
        collection = "/collections/{name}"
        self.application.add_routes(
            [
                web.get(collection, self._info),
                web.put(f"{collection}/points", self._upsert),
                web.post(f"{collection}/points/query", self._query),
                web.post(f"{collection}/points/scroll", self._scroll),
                web.post(f"{collection}/points/delete", self._delete),
            ]
        )

    async def create(self, name: str, dimension: int = 384) -> None:
        """Create a collection as the deploy does."""
        vectors = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
        await self.store.create_collection(name, vectors)

    async def _info(self, request: web.Request) -> web.Response:
        name = await self._name(request)
        return _answer(await self.store.get_collection(name))

    async def _query(self, request: web.Request) -> web.Response:
        name = await self._name(request)
        body = models.QueryRequest.model_validate(await request.json())
        assert isinstance(body.query, models.NearestQuery)
        return _answer(
            await self.store.query_points(
                name,
                body.query.nearest,
                limit=body.limit or 10,
                score_threshold=body.score_threshold,
            )
        )

    async def _scroll(self, request: web.Request) -> web.Response:
        name = await self._name(request)
        body = models.ScrollRequest.model_validate(await request.json())
        records, offset = await self.store.scroll(
            name, body.filter, limit=body.limit or 10, offset=body.offset
        )
        points = [record.model_dump(mode="json") for record in records]
        return _answer({"points": points, "next_page_offset": offset})

    async def _upsert(self, request: web.Request) -> web.Response:
        name = await self._name(request)
        body = models.PointsList.model_validate(await request.json())
        self.writes += 1
        return _answer(await self.store.upsert(name, body.points))

    async def _delete(self, request: web.Request) -> web.Response:
        name = await self._name(request)
        body = models.PointIdsList.model_validate(await request.json())
        self.writes += 1
        return _answer(await self.store.delete(name, body))

    async def _name(self, request: web.Request) -> str:
        name = request.match_info["name"]
        if not await self.store.collection_exists(name):
            raise web.HTTPNotFound(text=f"Not found: Collection `{name}` doesn't exist!")
        return name


def _answer(result: BaseModel | dict[str, Any]) -> web.Response:
    content = result.model_dump(mode="json") if isinstance(result, BaseModel) else result
    return web.json_response({"result": content, "status": "ok", "time": 0.0})
