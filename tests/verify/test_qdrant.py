"""The collections and their dimension."""

from collections.abc import Callable
from pathlib import Path

import requests

from stack.site import Site

ROOT = Path(__file__).resolve().parents[2]


def test_collections(published: Callable[..., str], site: Site) -> None:
    url = published("qdrant")
    answer = requests.get(f"{url}/collections", timeout=10).json()
    names = {collection["name"] for collection in answer["result"]["collections"]}
    assert names >= set(site.qdrant.collections)
    for name in site.qdrant.collections:
        result = requests.get(f"{url}/collections/{name}", timeout=10).json()["result"]
        vectors = result["config"]["params"]["vectors"]
        assert (vectors["size"], vectors["distance"]) == (site.embedder.dimension, "Cosine")
        if (ROOT / site.knowledge / f"{name}.yaml").is_file():
            assert result["points_count"] > 0
