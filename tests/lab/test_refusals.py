"""What a run does not begin, and what it says instead."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Lab
from tests.lab.deploys import audit, variant

QDRANT = "http://172.22.0.7:6333/collections"
MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "values": (
        {
            "gpu": "amd",
            "services": {
                "grafana": {"image": "grafana/grafana:latest", "memmory": "1g"},
                "webbot2": {"memory": "lots"},
            },
        },
        [
            "gpu: should be 'nvidia' or 'none', not 'amd'",
            "services.webbot2.memory: 'lots' is not a size;"
            " write a number with k, m or g, such as 512m",
            "services.grafana.image: 'grafana/grafana:latest' has no pinned tag;"
            " write name:version or name@sha256:...",
            "services.grafana.memmory: unknown key; did you mean memory?",
        ],
    ),
    "addresses and ports": (
        {
            "services": {
                "saiga": {"addresses": {"mlopsnew": "172.31.0.9"}},
                "grafana": {"addresses": {"mlopsnew": "172.22.0.4"}},
                "webbot2": {"ports": {"http": {"published": 8000}}},
            }
        },
        [
            "services.saiga.addresses.mlopsnew: 172.31.0.9 is outside mlopsnew (172.22.0.0/16)",
            "services.grafana.addresses.mlopsnew: 172.22.0.4 is taken by"
            " services.node_exporter.addresses.mlopsnew",
            "services.webbot2.ports.http.published: 8000 is taken by"
            " services.project_api.ports.http.published",
        ],
    ),
}


@pytest.fixture
def untouched(lab: Lab) -> Iterator[None]:
    """Nothing happens on the host during the test."""
    logged, lives = audit(lab), lab.lives()
    yield
    assert (audit(lab), lab.lives()) == (logged, lives)


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_site_data(lab: Lab, untouched: None, tmp_path: Path, name: str) -> None:
    data, sentences = MISTAKES[name]
    run = lab.pyinfra("-y", inventory=variant(tmp_path, data))
    assert run.status != 0
    assert "Traceback" not in run.text
    assert [line for line in run.text.splitlines() if line in sentences] == sentences, run.text


def test_a_stranger_in_a_network_that_has_to_be_made_again(
    lab: Lab, untouched: None, tmp_path: Path
) -> None:
    image = lab.desired.container("grafana_new").image
    run_stranger = "docker run --detach --name=stranger --network=agent_default --entrypoint=sleep"
    lab.run(f"{run_stranger} {image} infinity")
    try:
        data = {"networks": {"agent_default": {"dynamic_range": "172.20.64.0/18"}}}
        for option in ("--dry", "-y"):
            run = lab.pyinfra(option, inventory=variant(tmp_path, data))
            assert run.status != 0
            sentence = (
                "network agent_default has to be recreated, but container stranger, which is not"
                " ours, is attached to it; disconnect stranger first"
            )
            assert sentence in run.text
        assert lab.run("docker inspect --format '{{.State.Running}}' stranger") == "true"
    finally:
        lab.run("docker rm --force stranger")


def test_a_collection_of_another_dimension(lab: Lab, untouched: None, tmp_path: Path) -> None:
    body = '{"vectors": {"size": 8, "distance": "Cosine"}}'
    lab.qdrant("PUT", f"{QDRANT}/BD_other", body)
    try:
        collections = [*lab.target.stack.site.qdrant.collections, "BD_other"]
        data = {"qdrant": {"collections": collections}}
        run = lab.pyinfra("-y", inventory=variant(tmp_path, data))
        assert run.status != 0
        sentence = (
            "collection BD_other holds vectors of 8 dimensions, compared by Cosine, but the"
            " embedder makes 384, compared by Cosine; keep the embedder or name a new collection in"
            " qdrant.collections"
        )
        assert sentence in run.text
        assert '"size":8' in lab.qdrant("GET", f"{QDRANT}/BD_other").replace(" ", "")
    finally:
        lab.qdrant("DELETE", f"{QDRANT}/BD_other")


def test_an_upgrade_over_several_minor_versions(lab: Lab, untouched: None, tmp_path: Path) -> None:
    image = "saiga-lab/qdrant-stand-in:v1.22.0"
    lab.run(f"docker tag {lab.desired.container('qdrant_new').image} {image}")
    try:
        data = {"services": {"qdrant": {"image": image}}}
        run = lab.pyinfra("-y", inventory=variant(tmp_path, data))
        assert run.status != 0
        sentence = (
            "container qdrant_new: nothing was changed: volume qdrant_storage_new holds data of"
            " Qdrant 1.19.0, but services.qdrant.image is 1.22.0, and Qdrant is upgraded one minor"
            " version at a time: deploy the newest patch of 1.20, 1.21 first, one after the other"
        )
        assert sentence in run.text
    finally:
        lab.run(f"docker image rm {image}")
