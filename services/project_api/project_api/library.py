"""The passages in Qdrant: search, and the check that collections fit the embedder."""

import asyncio
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from itertools import chain
from typing import Any

from qdrant_client import AsyncQdrantClient
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse
from qdrant_client.http.models import ScoredPoint, VectorParams

from project_api.embedding import Vector
from project_api.problems import Unavailable
from project_api.settings import Settings

TIMEOUT = 5


@dataclass(frozen=True)
class Passage:
    """A passage found for a question; `score` is the cosine similarity."""

    collection: str
    id: str
    title: str
    text: str
    source: str
    score: float

    def reference(self, number: int) -> dict[str, Any]:
        """What is stored and shown of it: everything but the text, and its number in the prompt."""
        fields = asdict(self)
        del fields["text"]
        return {"n": number, **fields}


def make_client(settings: Settings) -> AsyncQdrantClient:
    """A REST client for the site's Qdrant."""
    key = settings.qdrant_api_key
    with warnings.catch_warnings():
        # The key travels on the containers' own network, without TLS.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return AsyncQdrantClient(
            url=settings.qdrant_url,
            api_key=key.get_secret_value() if key else None,
            timeout=TIMEOUT,
            check_compatibility=False,
            trust_env=False,
        )


class Library:
    """The collections of one Qdrant.

    `limit` passages at most come from each collection, none with a score below `threshold`;
    `dimension` is the embedder's.
    """

    def __init__(
        self,
        client: AsyncQdrantClient,
        collections: Sequence[str],
        dimension: int,
        limit: int,
        threshold: float,
    ) -> None:
        self._client = client
        self._collections = collections
        self._dimension = dimension
        self._limit = limit
        self._threshold = threshold

    async def search(self, vector: Vector) -> list[Passage]:
        """The passages nearest to `vector` in all collections, best first; raises Unavailable."""
        found = await asyncio.gather(*(self._search(name, vector) for name in self._collections))
        return sorted(chain(*found), key=lambda passage: passage.score, reverse=True)

    async def check(self) -> None:
        """Raises Unavailable, naming every collection that is missing or has another dimension."""
        checks = (self._fault(name) for name in self._collections)
        faults = [fault for fault in await asyncio.gather(*checks) if fault]
        if faults:
            raise Unavailable("qdrant", "; ".join(faults))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _search(self, collection: str, vector: Vector) -> list[Passage]:
        try:
            answer = await self._client.query_points(
                collection,
                query=vector,
                limit=self._limit,
                score_threshold=self._threshold,
                with_payload=True,
            )
        except ApiException as error:
            raise Unavailable("qdrant", f"searching {collection}: {error}") from error
        return [_passage(collection, point) for point in answer.points]

    async def _fault(self, collection: str) -> str | None:
        try:
            info = await self._client.get_collection(collection)
        except ApiException as error:
            if isinstance(error, UnexpectedResponse) and error.status_code == HTTPStatus.NOT_FOUND:
                return f"collection {collection} is missing"
            raise Unavailable("qdrant", str(error)) from error
        vectors = info.config.params.vectors
        if not isinstance(vectors, VectorParams):
            return f"collection {collection} has named vectors, one unnamed vector is needed"
        if vectors.size != self._dimension:
            return (
                f"collection {collection} has dimension {vectors.size}, "
                f"the embedder makes {self._dimension}"
            )
        return None


def _passage(collection: str, point: ScoredPoint) -> Passage:
    payload = point.payload or {}
    return Passage(
        collection=collection,
        id=str(point.id),
        title=str(payload.get("title", "")),
        text=str(payload.get("text", "")),
        source=str(payload.get("source", "")),
        score=round(point.score, 4),
    )
