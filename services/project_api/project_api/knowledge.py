"""The knowledge base: passages in YAML files, kept equal to the points in Qdrant.

files/knowledge/README.md of the toolkit describes the files.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from qdrant_client import AsyncQdrantClient
from qdrant_client.http.exceptions import ApiException
from qdrant_client.http.models import (
    ExtendedPointId,
    FieldCondition,
    Filter,
    MatchValue,
    PointIdsList,
    PointStruct,
)

from project_api.embedding import Embedder
from project_api.problems import Unavailable

NAMESPACE = uuid.UUID("6f2d2f0e-9d1c-5c55-8d0a-3f1f6f5b7a10")
BATCH = 16
PAGE = 256

logger = logging.getLogger(__name__)

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class KnowledgeError(ValueError):
    """A knowledge file that cannot be used, and why."""


class Passage(BaseModel):
    """One passage of a knowledge file; `course` is empty when it holds for every course."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text
    text: Text
    course: str = ""

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything the passage says."""
        content = json.dumps([self.title, self.text, self.course], ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    passages: list[Passage] = Field(min_length=1)


@dataclass(frozen=True)
class Source:
    """A knowledge file: its name, its collection and its passages in order."""

    name: str
    collection: str
    passages: Sequence[Passage]

    def point_id(self, index: int) -> str:
        """The id of passage `index`, the same in every run."""
        return str(uuid.uuid5(NAMESPACE, f"{self.collection}/{self.name}/{index}"))


@dataclass(frozen=True)
class Changes:
    """What a synchronisation did, in passages."""

    written: int
    unchanged: int
    deleted: int


def load(directory: Path, collections: Sequence[str]) -> list[Source]:
    """The `<collection>.yaml` files of `directory`; raises KnowledgeError naming file and place."""
    if not directory.is_dir():
        raise KnowledgeError(f"KNOWLEDGE_DIR {directory} is not a folder")
    return [_load(path, collections) for path in sorted(directory.glob("*.yaml"))]


def _load(path: Path, collections: Sequence[str]) -> Source:
    if path.stem not in collections:
        raise KnowledgeError(f"{path.name} names no collection; known: {', '.join(collections)}")
    try:
        content = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise KnowledgeError(f"{path.name} is not YAML in UTF-8: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise KnowledgeError(f"{path.name}: {place}: {first['msg']}") from error
    return Source(path.name, path.stem, content.passages)


async def synchronise(
    client: AsyncQdrantClient, embedder: Embedder, sources: Sequence[Source]
) -> None:
    """Make the points of each source equal to its passages; raises Unavailable."""
    for source in sources:
        try:
            changes = await synchronise_source(client, embedder, source)
        except ApiException as error:
            raise Unavailable("qdrant", f"writing {source.collection}: {error}") from error
        fields = {"source": source.name, "collection": source.collection, **vars(changes)}
        logger.info("knowledge synchronised", extra={"fields": fields})


async def synchronise_source(
    client: AsyncQdrantClient, embedder: Embedder, source: Source
) -> Changes:
    """Make the points of `source` equal to its passages.

    A passage whose content and embedder are those of its point is neither embedded nor written; a
    point without a passage is deleted; points of other sources are not touched.
    """
    present = await _present(client, source)
    wanted = {
        source.point_id(index): (passage.content_hash, embedder.name)
        for index, passage in enumerate(source.passages)
    }
    stale = [
        (identity, passage)
        for identity, passage in zip(wanted, source.passages, strict=True)
        if present.get(identity) != wanted[identity]
    ]
    for start in range(0, len(stale), BATCH):
        batch = stale[start : start + BATCH]
        texts = [f"{passage.title}\n{passage.text}" for _, passage in batch]
        vectors = await embedder.embed_passages(texts)
        points = [
            PointStruct(id=identity, vector=vector, payload=_payload(source, passage, embedder))
            for (identity, passage), vector in zip(batch, vectors, strict=True)
        ]
        await client.upsert(source.collection, points)
    gone: list[ExtendedPointId] = [identity for identity in present if identity not in wanted]
    if gone:
        await client.delete(source.collection, PointIdsList(points=gone))
    return Changes(len(stale), len(wanted) - len(stale), len(gone))


def _payload(source: Source, passage: Passage, embedder: Embedder) -> dict[str, Any]:
    return {
        "title": passage.title,
        "text": passage.text,
        "source": source.name,
        "course": passage.course,
        "content_hash": passage.content_hash,
        "embedder": embedder.name,
    }


async def _present(client: AsyncQdrantClient, source: Source) -> dict[str, tuple[Any, Any]]:
    of_source = Filter(must=[FieldCondition(key="source", match=MatchValue(value=source.name))])
    present: dict[str, tuple[Any, Any]] = {}
    offset = None
    while True:
        points, offset = await client.scroll(
            source.collection,
            scroll_filter=of_source,
            limit=PAGE,
            offset=offset,
            with_payload=["content_hash", "embedder"],
        )
        for point in points:
            payload = point.payload or {}
            present[str(point.id)] = (payload.get("content_hash"), payload.get("embedder"))
        if offset is None:
            return present
