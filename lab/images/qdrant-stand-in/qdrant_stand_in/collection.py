"""One collection: one shard of Qdrant's engine in a directory with its configuration."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from . import API_VERSION, configuration, conversion
from .conversion import Json, engine_call
from .errors import bad_json, not_found
from .locks import SharedLock

T = TypeVar("T")


class Collection:
    """Operations on the points of one collection; safe to call from several threads.

    An update has reached the engine's write-ahead log when its method returns.
    """

    def __init__(self, name: str, directory: Path) -> None:
        """Open the collection stored in `directory`. Raises ApiError when the engine cannot."""
        self.name = name
        self.directory = directory
        self.lock = SharedLock()
        self._changed = threading.Event()
        self._optimizing = False
        self._closed = False
        self._open()

    @classmethod
    def create(cls, name: str, directory: Path, config: Json) -> Collection:
        """A new empty collection; an interrupted creation leaves no `config.json` behind."""
        engine = configuration.engine_config(config)
        shard = directory / "shard"
        shard.mkdir(parents=True)
        engine_call(lambda: edge.EdgeShard.create(str(shard), engine)).close()
        _write_json(directory / "config.json", config)
        return cls(name, directory)

    def _open(self) -> None:
        self.config: Json = json.loads((self.directory / "config.json").read_text("utf-8"))
        engine = configuration.engine_config(self.config)
        shard = str(self.directory / "shard")
        self._shard = engine_call(lambda: edge.EdgeShard.load(shard, engine))
        (self.directory / "version.info").write_text(API_VERSION, encoding="ascii")

    def close(self) -> None:
        """Flush and close; requests that come later are told that the collection is gone."""
        with self.lock.exclusive():
            self._closed = True
            self._shard.flush()
            self._shard.close()

    def _use(self, call: Callable[[edge.EdgeShard], T]) -> T:
        with self.lock.shared():
            if self._closed:
                raise not_found(f"Collection `{self.name}` doesn't exist!")
            return engine_call(lambda: call(self._shard))

    def _update(self, operation: Callable[[], edge.UpdateOperation]) -> None:
        self._use(lambda shard: shard.update(operation()))
        self._changed.set()

    def reconfigure(self, body: Mapping[str, Any]) -> None:
        """Apply an UpdateCollection body; the shard is reopened with the new settings."""
        config = configuration.patched(self.config, body)
        configuration.engine_config(config)

        def rewrite() -> None:
            _write_json(self.directory / "config.json", config)

        self.replace(rewrite)

    def replace(self, change: Callable[[], None]) -> None:
        """Close the shard, let `change` alter the directory, open what is there then."""
        with self.lock.exclusive():
            if self._closed:
                raise not_found(f"Collection `{self.name}` doesn't exist!")
            self._shard.flush()
            self._shard.close()
            try:
                change()
            finally:
                self._open()

    def frozen(self, copy: Callable[[], T]) -> T:
        """Run `copy` while the directory is flushed and nobody changes it."""
        with self.lock.exclusive():
            if self._closed:
                raise not_found(f"Collection `{self.name}` doesn't exist!")
            self._shard.flush()
            return copy()

    def maintain(self) -> None:
        """Flush and run the engine's optimizers when something changed since the last time."""
        if not self._changed.is_set():
            return
        self._changed.clear()
        self._optimizing = True
        try:
            self._use(lambda shard: shard.flush())
            self._use(lambda shard: shard.optimize())
        finally:
            self._optimizing = False

    @property
    def running_optimizations(self) -> int:
        return int(self._optimizing)

    def info(self) -> Json:
        """CollectionInfo of the REST API."""
        info = self._use(lambda shard: shard.info())
        return {
            "status": "yellow" if self._optimizing else "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": info.indexed_vectors_count,
            "points_count": info.points_count,
            "segments_count": info.segments_count,
            "config": self.config,
            "payload_schema": {
                field: conversion.payload_index_json(index)
                for field, index in info.payload_schema.items()
            },
        }

    def vector_counts(self) -> dict[str, int]:
        """The number of points that have each vector; the unnamed vector's name is empty."""
        vectors = self.config["params"]["vectors"]
        names = [] if "size" in vectors else list(vectors)
        names += self.config["params"].get("sparse_vectors", {})
        counts = {name: self._count_with_vector(name) for name in names}
        if "size" in vectors:
            counts[""] = self.points_count()
        return counts

    def _count_with_vector(self, name: str) -> int:
        request = edge.CountRequest(filter=edge.Filter(must=[edge.HasVectorCondition(name)]))
        return self._use(lambda shard: shard.count(request))

    def points_count(self) -> int:
        return self._use(lambda shard: shard.info().points_count)

    def upsert(self, body: Json) -> None:
        points = conversion.engine_call(lambda: conversion.points(body))
        self._update(lambda: edge.UpdateOperation.upsert_points(points))

    def delete_points(self, body: Json) -> None:
        self._update_selected(
            body, edge.UpdateOperation.delete_points, edge.UpdateOperation.delete_points_by_filter
        )

    def set_payload(self, body: Json) -> None:
        payload, key = conversion.member(body, "payload", dict), body.get("key")
        self._update_selected(
            body,
            lambda ids: edge.UpdateOperation.set_payload(ids, payload, key),
            lambda where: edge.UpdateOperation.set_payload_by_filter(where, payload, key),
        )

    def overwrite_payload(self, body: Json) -> None:
        payload, key = conversion.member(body, "payload", dict), body.get("key")
        self._update_selected(
            body,
            lambda ids: edge.UpdateOperation.overwrite_payload(ids, payload, key),
            lambda where: edge.UpdateOperation.overwrite_payload_by_filter(where, payload, key),
        )

    def delete_payload(self, body: Json) -> None:
        keys = conversion.member(body, "keys", list)
        self._update_selected(
            body,
            lambda ids: edge.UpdateOperation.delete_payload(ids, keys),
            lambda where: edge.UpdateOperation.delete_payload_by_filter(where, keys),
        )

    def clear_payload(self, body: Json) -> None:
        self._update_selected(
            body, edge.UpdateOperation.clear_payload, edge.UpdateOperation.clear_payload_by_filter
        )

    def _update_selected(
        self,
        body: Json,
        by_ids: Callable[[list[edge.PointId]], edge.UpdateOperation],
        by_filter: Callable[[edge.Filter], edge.UpdateOperation],
    ) -> None:
        if body.get("points") is not None:
            ids = conversion.point_ids(body, "points")
            self._update(lambda: by_ids(ids))
            return
        where = engine_call(lambda: conversion.conditions_filter(body.get("filter")))
        if where is None:
            raise bad_json("data did not match any variant of untagged enum PointsSelector")
        self._update(lambda: by_filter(where))

    def create_index(self, body: Json) -> None:
        field = conversion.member(body, "field_name", str)
        schema = engine_call(lambda: conversion.field_schema(body.get("field_schema")))
        self._update(lambda: edge.UpdateOperation.create_field_index(field, schema))

    def delete_index(self, field: str) -> None:
        self._update(lambda: edge.UpdateOperation.delete_field_index(field))

    def retrieve(self, body: Json) -> list[Json]:
        ids = conversion.point_ids(body, "ids")
        payload = conversion.with_payload(body.get("with_payload"), default=True)
        vector = conversion.with_vector(body.get("with_vector"))
        records = self._use(lambda shard: shard.retrieve(ids, payload, vector))
        return [conversion.record_json(record) for record in records]

    def scroll(self, body: Json) -> Json:
        order = body.get("order_by")
        request = engine_call(
            lambda: edge.ScrollRequest(
                offset=None if body.get("offset") is None else conversion.point_id(body["offset"]),
                limit=conversion.whole(body, "limit", 10, minimum=1),
                filter=conversion.conditions_filter(body.get("filter")),
                with_payload=conversion.with_payload(body.get("with_payload"), default=True),
                with_vector=conversion.with_vector(body.get("with_vector")),
                order_by=None if order is None else conversion.order_by(order),
            )
        )
        records, offset = self._use(lambda shard: shard.scroll(request))
        return {
            "points": [conversion.record_json(record) for record in records],
            "next_page_offset": None if offset is None else conversion.json_id(offset),
        }

    def count(self, body: Json) -> Json:
        request = engine_call(
            lambda: edge.CountRequest(
                exact=body.get("exact") is not False,
                filter=conversion.conditions_filter(body.get("filter")),
            )
        )
        return {"count": self._use(lambda shard: shard.count(request))}

    def search(self, body: Json) -> list[Json]:
        """The search API of older clients, answered by the query API."""
        vector = body.get("vector")
        using = None
        if isinstance(vector, dict) and "name" in vector:
            using, vector = vector["name"], vector.get("vector")
        if vector is None:
            raise bad_json("missing field `vector`")
        conversion.member(body, "limit", int)
        return self.query(body | {"query": vector, "using": using})

    def query(self, body: Json) -> list[Json]:
        """Scored points of a QueryRequest, best first."""
        scoring, where = self._scoring(body)
        request = engine_call(
            lambda: edge.QueryRequest(
                limit=conversion.whole(body, "limit", 10, minimum=1) or 10,
                offset=conversion.whole(body, "offset", 0),
                query=scoring,
                prefetches=self._prefetches(body),
                with_vector=conversion.with_vector(body.get("with_vector")),
                with_payload=conversion.with_payload(body.get("with_payload"), default=False),
                filter=where,
                score_threshold=conversion.number(body, "score_threshold"),
                params=conversion.search_params(body.get("params")),
            )
        )
        points = self._use(lambda shard: shard.query(request))
        return [conversion.scored_json(point) for point in points]

    def _prefetches(self, body: Json) -> list[edge.Prefetch]:
        given = body.get("prefetch") or []
        prefetches = []
        for item in given if isinstance(given, list) else [given]:
            if not isinstance(item, dict):
                raise bad_json(f"prefetch: {item!r} is not an object")
            scoring, where = self._scoring(item)
            prefetches.append(
                edge.Prefetch(
                    limit=conversion.whole(item, "limit", 10, minimum=1) or 10,
                    query=scoring,
                    prefetches=self._prefetches(item),
                    params=conversion.search_params(item.get("params")),
                    filter=where,
                    score_threshold=conversion.number(item, "score_threshold"),
                )
            )
        return prefetches

    def _scoring(self, body: Json) -> tuple[edge.ScoringQueryType | None, edge.Filter | None]:
        """Query and filter; a point id becomes its vector, and the point is left out."""
        query, using = body.get("query"), body.get("using")
        if isinstance(query, dict) and isinstance(query.get("nearest"), int | str):
            query = query["nearest"]
        where = engine_call(lambda: conversion.conditions_filter(body.get("filter")))
        if isinstance(query, int | str):
            identifier = conversion.point_id(query)
            query = self._vector_of(identifier, using)
            other = edge.Filter(must_not=[edge.HasIdCondition({identifier})])
            where = other if where is None else edge.Filter(must=[where, other])
        return engine_call(lambda: conversion.query(query, using)), where

    def _vector_of(self, identifier: edge.PointId, using: str | None) -> Any:
        records = self._use(lambda shard: shard.retrieve([identifier], False, True))
        vector = conversion.vector_json(records[0].vector) if records else None
        if using and isinstance(vector, dict):
            vector = vector.get(using)
        if vector is None:
            raise not_found(f"No point with id {identifier} found")
        return vector


def _write_json(path: Path, value: Json) -> None:
    """Replace `path` so that a reader or a crash sees the old content or the new one."""
    temporary = path.with_suffix(".tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
