"""What a site says about Qdrant reaches collections that are there already."""

import json
from pathlib import Path

from tests.lab.conftest import Lab
from tests.lab.deploys import variant

COLLECTION = "http://172.22.0.7:6333/collections/BD_curs_data"


def on_disk(lab: Lab) -> tuple[bool, bool]:
    """Whether the vectors and the payload of a collection lie on disk."""
    params = json.loads(lab.qdrant("GET", COLLECTION))["result"]["config"]["params"]
    return bool(params["vectors"].get("on_disk")), params["on_disk_payload"]


def test_storage_by_site(lab: Lab, tmp_path: Path) -> None:
    lab.deploy()
    lives, before = lab.lives(), on_disk(lab)
    assert before == (False, True)
    other = {"qdrant": {"vectors_on_disk": True, "payload_on_disk": False}}
    inventory = variant(tmp_path, other)
    assert lab.deploy(inventory=inventory).changed() == ["Qdrant | Collections"]
    assert on_disk(lab) == (True, False)
    assert lab.deploy(inventory=inventory).changed() == []
    assert lab.deploy().changed() == ["Qdrant | Collections"]
    assert on_disk(lab) == before
    assert lab.lives() == lives
