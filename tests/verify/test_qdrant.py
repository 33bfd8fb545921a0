"""The collections, their dimension and indexes, and that nobody reads them without a key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from testinfra.host import Host

from stack.qdrant import INDEXES
from stack.secrets import QDRANT_API_KEY, QDRANT_READ_ONLY_KEY, Secret
from stack.site import Site

ROOT = Path(__file__).resolve().parents[2]


def _ask(host: Host, url: str, secret: Secret) -> Any:
    key = host.check_output("cat %s", secret.path)
    answer = requests.get(url, headers={"api-key": key}, timeout=10)
    answer.raise_for_status()
    return answer.json()["result"]


def test_collections(published: Callable[..., str], host: Host, site: Site) -> None:
    url = published("qdrant")
    listed = _ask(host, f"{url}/collections", QDRANT_API_KEY)["collections"]
    names = {collection["name"] for collection in listed}
    assert names >= set(site.qdrant.collections)
    for name in site.qdrant.collections:
        result = _ask(host, f"{url}/collections/{name}", QDRANT_READ_ONLY_KEY)
        params = result["config"]["params"]
        vectors = params["vectors"]
        assert (vectors["size"], vectors["distance"]) == (site.embedder.dimension, "Cosine")
        assert bool(vectors.get("on_disk")) == site.qdrant.vectors_on_disk
        assert params["on_disk_payload"] == site.qdrant.payload_on_disk
        indexes = {field: index["data_type"] for field, index in result["payload_schema"].items()}
        assert indexes.items() >= dict.fromkeys(INDEXES, "keyword").items()
        if (ROOT / site.knowledge / f"{name}.yaml").is_file():
            assert result["points_count"] > 0


def test_snapshots_go_to_their_volume(host: Host, site: Site) -> None:
    """Qdrant's account may write where its snapshots go."""
    name = site.services.qdrant.container
    volume = site.volumes.qdrant_snapshots_new
    source = '{{range .Mounts}}{{if eq .Destination "/qdrant/snapshots"}}{{.Name}}{{end}}{{end}}'
    assert host.check_output("docker inspect --format %s %s", source, name) == volume
    assert host.run("docker exec %s test -w /qdrant/snapshots", name).rc == 0


def test_nobody_reads_without_a_key(published: Callable[..., str]) -> None:
    for path in ("/collections", "/metrics"):
        assert requests.get(published("qdrant") + path, timeout=10).status_code == 401


def test_the_read_only_key_does_not_write(
    published: Callable[..., str], host: Host, site: Site
) -> None:
    key = host.check_output("cat %s", QDRANT_READ_ONLY_KEY.path)
    url = f"{published('qdrant')}/collections/{site.qdrant.collections[0]}/points/payload"
    # It names no point: with a key that may write it would be refused too, but as a wrong request.
    answer = requests.post(url, json={"payload": {}}, headers={"api-key": key}, timeout=10)
    assert answer.status_code == 403
