"""A site that changes everything: nothing of the defaults is left in what stands on its host."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stack.docker.spec import Desired
from stack.site import Site, load
from stack.topology import desired


def other(defaults: dict[str, Any], knowledge: Path) -> dict[str, Any]:
    """Every name, port, subnet and database setting other than in ``defaults``."""
    services = {
        name: {
            "container": f"course-{name}",
            "ports": {
                port: {
                    "inside": settings["inside"] + 20000,
                    "published": 30000 + 10 * number + index,
                    "bind": "192.0.2.7",
                }
                for index, (port, settings) in enumerate(service["ports"].items())
            },
            "memory": "3g",
            "pids": 77,
            "health_interval": 7,
            "aliases": {network: [f"other-{name}"] for network in service["addresses"]},
        }
        for number, (name, service) in enumerate(defaults["services"].items())
    }
    return {
        "networks": {
            "mlopsnew": {"name": "models", "subnet": "10.81.0.0/24"},
            "agent_default": {"name": "agents", "subnet": "10.82.0.0/24"},
        },
        "services": services,
        "volumes": {name: f"course_{name}" for name in defaults["volumes"]},
        "model_hub": "https://hub.example",
        "saiga": {"served_name": "course-model", "model": "example/model"},
        "postgres": {
            "database": "course_db",
            "settings": {name: "7" for name in defaults["postgres"]["settings"]},
        },
        "qdrant": {"collections": ["course"]},
        "knowledge": str(knowledge),
        "prometheus": {"retention_time": "3d", "retention_size": "2GB", "scrape_interval": 7},
    }


@pytest.fixture
def stands(defaults: dict[str, Any], tmp_path: Path) -> Desired:
    (tmp_path / "course.yaml").write_text("[]")
    return desired(load(defaults, other(defaults, tmp_path)))


def text(stands: Desired) -> str:
    """All that stands on the host, less the dashboards: they name metrics and no container."""
    containers = [
        repr(container.__dict__ | {"files": [f for f in container.files if not f.live]})
        for container in stands.containers
    ]
    return json.dumps([repr(stands.networks), repr(stands.volumes), *containers])


def test_no_name_of_the_defaults_is_left(stands: Desired, site: Site) -> None:
    names = {settings.container for _, settings in site.services.enabled()} - {
        # Also the names of folders, accounts and images of ours.
        *("project_api", "webbot2", "agent_exporter", "embeddings", "dcgm-exporter"),
        "node-exporter",
    }
    names |= {name for _, name in site.volumes} | {site.postgres.database, *site.qdrant.collections}
    names |= {network.name for network in site.networks.values()}
    for name in sorted(names):
        assert not re.search(rf"\b{name}\b", text(stands)), name


def test_no_address_of_the_defaults_is_left(stands: Desired) -> None:
    assert not re.findall(r"172\.2[02]\.", text(stands))


def test_no_port_of_the_defaults_is_left(stands: Desired, site: Site) -> None:
    for _, settings in site.services.enabled():
        for port in settings.ports.values():
            assert not re.search(rf"[:= ]{port.inside}\b", text(stands)), port.inside


def test_containers_speak_to_the_names_of_the_site(stands: Desired) -> None:
    environment = stands.container("course-project_api").environment
    assert environment["SAIGA_URL"] == "http://course-saiga:28010/v1"
    assert environment["QDRANT_URL"] == "http://course-qdrant:26333"
    assert environment["EMBEDDER_URL"] == "http://course-embeddings:20080/v1"
    assert environment["POSTGRES_HOST"] == "course-postgres"
    assert environment["POSTGRES_PORT"] == "25432"
    assert stands.container("course-postgres").environment["PGPORT"] == "25432"


@pytest.mark.parametrize(
    "off",
    [
        ("dcgm_exporter",),
        ("grafana",),
        ("prometheus", "grafana"),
        ("webbot2", "project_api", "agent_exporter", "embeddings"),
        ("node_exporter", "webbot2"),
    ],
    ids=" ".join,
)
def test_a_site_runs_what_it_switches_on(defaults: dict[str, Any], off: tuple[str, ...]) -> None:
    switched = {"services": {name: {"enabled": False} for name in off}}
    stands = desired(load(defaults, switched))
    gone = {defaults["services"][name]["container"] for name in off}
    assert not gone & {container.name for container in stands.containers}
    assert len(stands.containers) == len(defaults["services"]) - len(off)
