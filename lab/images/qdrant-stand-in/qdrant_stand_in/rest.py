"""The REST API: routes, keys, envelopes and errors (openapi.json of qdrant 1.19.0)."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from aiohttp import BodyPartReader, web

from . import API_VERSION, COMMIT, TITLE
from .auth import PUBLIC_PATHS, Access, Keys, Unauthorized
from .collection import Collection
from .conversion import Json
from .errors import ApiError, bad_json, not_found
from .metrics import Responses, render
from .storage import Storage

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MEBIBYTE = 1024 * 1024
NAME = "collection_name"
COLLECTION = "/collections/{collection_name}"
POINTS = f"{COLLECTION}/points"
SNAPSHOTS = f"{COLLECTION}/snapshots"


@dataclass(frozen=True)
class Route:
    """One endpoint and the access that it needs."""

    method: str
    path: str
    handler: Handler
    access: Access


class Api:
    """The application over one storage."""

    def __init__(self, storage: Storage, keys: Keys, max_request_size_mb: int) -> None:
        self._storage = storage
        self._keys = keys
        self._responses = Responses()
        # The engine works outside the event loop; it releases the interpreter lock.
        self._engine = ThreadPoolExecutor(max_workers=16, thread_name_prefix="engine")
        self._max_body = max_request_size_mb * MEBIBYTE
        self._access: dict[tuple[str, str], Access] = {}

    def application(self) -> web.Application:
        app = web.Application(
            middlewares=[self._measure, self._authorize, self._envelope_errors],
            client_max_size=self._max_body,
        )
        for route in self._routes():
            self._access[route.method, route.path] = route.access
            app.router.add_route(route.method, route.path, route.handler)
        return app

    def _routes(self) -> list[Route]:
        read, write = Access.READ, Access.WRITE
        return [
            Route("GET", "/", self._version, Access.NONE),
            Route("GET", "/healthz", self._healthy, Access.NONE),
            Route("GET", "/livez", self._healthy, Access.NONE),
            Route("GET", "/readyz", self._ready, Access.NONE),
            Route("GET", "/metrics", self._metrics, read),
            Route("GET", "/collections", self._list, read),
            Route("GET", COLLECTION, self._read(lambda item, _: item.info(), body=False), read),
            Route("GET", f"{COLLECTION}/exists", self._exists, read),
            Route("PUT", COLLECTION, self._create, write),
            Route("PATCH", COLLECTION, self._patch, write),
            Route("DELETE", COLLECTION, self._delete, write),
            Route("PUT", f"{COLLECTION}/index", self._update(Collection.create_index), write),
            Route("DELETE", f"{COLLECTION}/index/{{field_name}}", self._delete_index, write),
            Route("PUT", POINTS, self._update(Collection.upsert), write),
            Route("POST", POINTS, self._read(Collection.retrieve), read),
            Route("GET", f"{POINTS}/{{id}}", self._point, read),
            Route("POST", f"{POINTS}/scroll", self._read(Collection.scroll), read),
            Route("POST", f"{POINTS}/count", self._read(Collection.count), read),
            Route("POST", f"{POINTS}/search", self._read(Collection.search), read),
            Route(
                "POST",
                f"{POINTS}/query",
                self._read(lambda item, body: {"points": item.query(body)}),
                read,
            ),
            Route("POST", f"{POINTS}/delete", self._update(Collection.delete_points), write),
            Route("POST", f"{POINTS}/payload", self._update(Collection.set_payload), write),
            Route("PUT", f"{POINTS}/payload", self._update(Collection.overwrite_payload), write),
            Route(
                "POST", f"{POINTS}/payload/delete", self._update(Collection.delete_payload), write
            ),
            Route("POST", f"{POINTS}/payload/clear", self._update(Collection.clear_payload), write),
            Route("GET", SNAPSHOTS, self._list_snapshots, read),
            Route("POST", SNAPSHOTS, self._create_snapshot, write),
            Route("POST", f"{SNAPSHOTS}/upload", self._upload_snapshot, write),
            Route("PUT", f"{SNAPSHOTS}/recover", self._recover_snapshot, write),
            Route("GET", f"{SNAPSHOTS}/{{snapshot_name}}", self._download_snapshot, read),
            Route("DELETE", f"{SNAPSHOTS}/{{snapshot_name}}", self._delete_snapshot, write),
        ]

    @web.middleware
    async def _measure(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        response = await handler(request)
        self._responses.observe(
            request.method, _endpoint(request), response.status, time.perf_counter() - started
        )
        return response

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        endpoint = _endpoint(request)
        if endpoint in PUBLIC_PATHS:
            return await handler(request)
        try:
            granted = self._keys.access(request.headers)
        except Unauthorized as error:
            return web.Response(status=401, text=str(error))
        needed = self._access.get((request.method, endpoint), Access.READ)
        if needed is Access.WRITE and granted is Access.READ:
            name = request.match_info.get(NAME, "")
            return _error(403, f"Forbidden: Write access to collection {name} is required", 0.0)
        return await handler(request)

    @web.middleware
    async def _envelope_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        try:
            return await handler(request)
        except ApiError as error:
            return _error(error.status, str(error), time.perf_counter() - started)
        except web.HTTPException as error:
            return web.Response(status=error.status, text="" if error.status == 404 else error.text)
        except Exception as error:
            request.app.logger.exception("unexpected error")
            return _error(500, f"Service internal error: {error!r}", time.perf_counter() - started)

    async def _work(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._engine, call)

    async def _answer(self, call: Callable[[], Any]) -> web.Response:
        started = time.perf_counter()
        result = await self._work(call)
        return _json({"result": result, "status": "ok", "time": time.perf_counter() - started})

    def _read(self, operation: Callable[[Collection, Json], Any], body: bool = True) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            given = await _body(request) if body else {}
            name = request.match_info[NAME]
            return await self._answer(lambda: operation(self._storage.collection(name), given))

        return handle

    def _update(self, operation: Callable[[Collection, Json], None]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            given = await _body(request)
            return await self._updated(request, lambda item: operation(item, given))

        return handle

    async def _updated(
        self, request: web.Request, operation: Callable[[Collection], None]
    ) -> web.Response:
        status = "completed" if request.query.get("wait") == "true" else "acknowledged"
        name = request.match_info[NAME]

        def update() -> Json:
            operation(self._storage.collection(name))
            return {"operation_id": None, "status": status}

        return await self._answer(update)

    async def _version(self, _request: web.Request) -> web.Response:
        return _json({"title": TITLE, "version": API_VERSION, "commit": COMMIT})

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="healthz check passed")

    async def _ready(self, _request: web.Request) -> web.Response:
        return web.Response(text="all shards are ready")

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(text=await self._work(lambda: render(self._storage, self._responses)))

    async def _list(self, _request: web.Request) -> web.Response:
        return await self._answer(
            lambda: {"collections": [{"name": item.name} for item in self._storage.collections()]}
        )

    async def _exists(self, request: web.Request) -> web.Response:
        name = request.match_info[NAME]
        return await self._answer(lambda: {"exists": self._storage.exists(name)})

    async def _create(self, request: web.Request) -> web.Response:
        body = await _body(request)

        def create() -> bool:
            self._storage.create(request.match_info[NAME], body)
            return True

        return await self._answer(create)

    async def _patch(self, request: web.Request) -> web.Response:
        body = await _body(request)

        def patch() -> bool:
            self._storage.collection(request.match_info[NAME]).reconfigure(body)
            return True

        return await self._answer(patch)

    async def _delete(self, request: web.Request) -> web.Response:
        return await self._answer(lambda: self._storage.delete(request.match_info[NAME]))

    async def _delete_index(self, request: web.Request) -> web.Response:
        field = request.match_info["field_name"]
        return await self._updated(request, lambda item: item.delete_index(field))

    async def _point(self, request: web.Request) -> web.Response:
        given = request.match_info["id"]
        identifier = int(given) if given.isdecimal() else given

        def point() -> Json:
            collection = self._storage.collection(request.match_info[NAME])
            found = collection.retrieve({"ids": [identifier], "with_vector": True})
            if not found:
                raise not_found(f"Point with id {given} does not exists!")
            return found[0]

        return await self._answer(point)

    async def _list_snapshots(self, request: web.Request) -> web.Response:
        return await self._answer(lambda: self._storage.snapshots(request.match_info[NAME]))

    async def _create_snapshot(self, request: web.Request) -> web.Response:
        return await self._answer(lambda: self._storage.create_snapshot(request.match_info[NAME]))

    async def _download_snapshot(self, request: web.Request) -> web.FileResponse:
        path = await self._work(
            lambda: self._storage.snapshot_path(
                request.match_info[NAME], request.match_info["snapshot_name"]
            )
        )
        return web.FileResponse(
            path,
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Disposition": f'attachment; filename="{path.name}"',
            },
        )

    async def _delete_snapshot(self, request: web.Request) -> web.Response:
        def delete() -> bool:
            self._storage.delete_snapshot(
                request.match_info[NAME], request.match_info["snapshot_name"]
            )
            return True

        return await self._answer(delete)

    async def _recover_snapshot(self, request: web.Request) -> web.Response:
        body = await _body(request)

        def recover() -> bool:
            self._storage.recover(request.match_info[NAME], body)
            return True

        return await self._answer(recover)

    async def _upload_snapshot(self, request: web.Request) -> web.Response:
        name = request.match_info[NAME]
        if not request.content_type.startswith("multipart/"):
            raise bad_json("a snapshot is uploaded as multipart/form-data, field `snapshot`")
        part = await (await request.multipart()).next()
        if not isinstance(part, BodyPartReader) or part.name != "snapshot":
            raise bad_json("the first part of the upload is not the field `snapshot`")
        path = self._storage.upload_path(name, part.filename or f"{uuid4().hex}.snapshot")
        partial = path.with_name(f".{uuid4().hex}")
        try:
            with partial.open("wb") as target:
                while chunk := await part.read_chunk(MEBIBYTE):
                    target.write(chunk)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)

        def recover() -> bool:
            self._storage.recover_file(name, path, request.query.get("checksum"))
            return True

        return await self._answer(recover)


def _endpoint(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _json(value: Any, status: int = 200) -> web.Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, content_type="application/json", status=status)


def _error(status: int, message: str, seconds: float) -> web.Response:
    return _json({"result": None, "status": {"error": message}, "time": seconds}, status=status)


async def _body(request: web.Request) -> Json:
    try:
        body = await request.json()
    except ValueError as error:
        raise bad_json(str(error)) from error
    if not isinstance(body, dict):
        raise bad_json(f"an object is needed, not {type(body).__name__}")
    return body
