"""A site that changes nothing gets exactly what the seed document lists."""

import dataclasses
from typing import Any

import pytest

from stack.docker.spec import Container, Desired
from stack.site import Site, load
from stack.topology import desired, scrape_targets

# name: (address in mlopsnew, address in agent_default, {port inside: published})
SEED = {
    "saiga_saiga_1": ("172.22.0.9", None, {8010: 8010}),
    "qdrant_new": ("172.22.0.7", "172.20.0.6", {6333: 6333, 6334: 6334}),
    "ml_postgres": (None, "172.20.0.4", {5432: 5432}),
    "project_api": ("172.22.0.10", "172.20.0.2", {8000: 8000}),
    "webbot2": (None, "172.20.0.3", {8080: 8080}),
    "agent_exporter": ("172.22.0.2", "172.20.0.5", {9090: 9402}),
    "prometheus_new": ("172.22.0.3", "172.20.0.7", {9090: 9090}),
    "grafana_new": ("172.22.0.5", None, {3000: 3000}),
    "node-exporter": ("172.22.0.4", None, {9100: 9101}),
    "dcgm-exporter": ("172.22.0.6", None, {9400: 9401}),
}


@pytest.fixture
def seed(site: Site) -> Desired:
    return desired(site)


def argument(container: Container, name: str) -> str:
    assert container.command
    return container.command[container.command.index(name) + 1]


@pytest.mark.parametrize("name", SEED)
def test_addresses_and_ports(seed: Desired, name: str) -> None:
    mlopsnew, agent_default, ports = SEED[name]
    container = seed.container(name)
    addresses = {a.network: a.address for a in container.attachments}
    assert addresses.get("mlopsnew") == mlopsnew
    assert addresses.get("agent_default") == agent_default
    assert {port.inside: port.published for port in container.ports} == ports
    assert {port.bind for port in container.ports} == {"127.0.0.1"}


def test_there_are_the_seeds_containers_and_the_embedder(seed: Desired) -> None:
    assert {container.name for container in seed.containers} == {*SEED, "embeddings"}
    attachments = [a for c in seed.containers for a in c.attachments if c.name in SEED]
    assert len(attachments) == 14


def test_networks(seed: Desired) -> None:
    networks = {network.name: (network.subnet, network.gateway) for network in seed.networks}
    assert networks == {
        "mlopsnew": ("172.22.0.0/16", "172.22.0.1"),
        "agent_default": ("172.20.0.0/16", "172.20.0.1"),
    }


def test_volumes(seed: Desired) -> None:
    names = {volume.name for volume in seed.volumes}
    assert names >= {
        "grafana_data_new",
        "prometheus_data_new",
        "qdrant_storage_new",
        "postgres_data",
    }


def test_qdrant_has_both_names(seed: Desired) -> None:
    aliases = {a.network: a.aliases for a in seed.container("qdrant_new").attachments}
    assert aliases == {"mlopsnew": (), "agent_default": ("qdrant",)}


def test_logs_rotate_everywhere(seed: Desired) -> None:
    for container in seed.containers:
        assert container.log.driver == "json-file"
        assert container.log.options == {"max-size": "100m", "max-file": "3"}


def test_everything_is_hardened_and_limited(seed: Desired) -> None:
    for container in seed.containers:
        assert container.cap_drop == ("ALL",)
        assert container.security == ("no-new-privileges",)
        assert container.memory and container.pids
        assert container.restart == "unless-stopped"
        assert container.health and container.gate


# What each gate makes its service do: none is content with a page that only says that it lives.
WORK = {
    "ml_postgres": "SELECT 1",
    "qdrant_new": "/collections",
    "saiga_saiga_1": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "project_api": "/health",  # its own program asks all four that it needs
    "webbot2": "/api/session",
    "agent_exporter": "^agent_interactions_total ",
    "node-exporter": "^node_cpu_seconds",
    "dcgm-exporter": "^DCGM_FI_DEV_",
    "prometheus_new": "timestamp(up == 1) > $started",
    "grafana_new": "/api/datasources/uid/prometheus/health",
}


def test_every_gate_does_real_work(seed: Desired) -> None:
    gates = {container.name: container.gate for container in seed.containers}
    assert gates.keys() == WORK.keys()
    for name, gate in gates.items():
        assert gate and WORK[name] in gate.command
        # A value would stand in the arguments of a program.
        assert "$(cat" not in gate.command


def test_the_gate_of_prometheus_waits_for_a_scrape(defaults: dict[str, Any]) -> None:
    slow = desired(load(defaults, {"prometheus": {"scrape_interval": 120}}))
    gate = slow.container("prometheus_new").gate
    assert gate and gate.deadline > 120


def test_saiga_serves_with_the_seeds_parameters(seed: Desired) -> None:
    saiga = seed.container("saiga_saiga_1")
    folder = "/var/lib/saiga-stack/models/saiga_nemo_12b-GPTQ/04b00b6"
    assert argument(saiga, "--model") == folder
    assert folder in {mount.source for mount in saiga.mounts if mount.read_only}
    assert saiga.environment["HF_HUB_OFFLINE"] == "1"
    assert saiga.command and "--enable-prefix-caching" in saiga.command
    caches = {value for name, value in saiga.environment.items() if name.endswith("_CACHE_DIR")}
    assert all(path.startswith("/root/.cache/") for path in caches)
    assert "/root/.cache" in {mount.target for mount in saiga.mounts if mount.kind == "volume"}
    assert argument(saiga, "--max-model-len") == "20000"
    assert argument(saiga, "--override-generation-config") == '{"temperature": 0.7, "top_p": 0.9}'
    assert saiga.runtime == "nvidia"
    assert saiga.environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    environment = seed.container("project_api").environment
    assert environment["SAIGA_MAX_TOKENS"] == "1024"
    assert environment["SAIGA_PRESENCE_PENALTY"] == "0"
    assert environment["SAIGA_FREQUENCY_PENALTY"] == "0"


def test_postgres_settings(seed: Desired) -> None:
    files = {file.path.rpartition("/")[2]: file for file in seed.container("ml_postgres").files}
    lines = files["postgresql.conf"].content.splitlines()
    for line in (
        "max_connections = '100'",
        "shared_buffers = '256MB'",
        "work_mem = '16MB'",
        "maintenance_work_mem = '128MB'",
        "wal_buffers = '16MB'",
        "min_wal_size = '1GB'",
        "max_wal_size = '4GB'",
        "effective_cache_size = '768MB'",
    ):
        assert line in lines


def test_retention(seed: Desired) -> None:
    command = seed.container("prometheus_new").command
    assert command
    assert "--storage.tsdb.retention.time=7d" in command
    assert "--storage.tsdb.retention.size=5GB" in command


def test_every_job_is_scraped(site: Site) -> None:
    assert scrape_targets(site) == {
        "saiga": "saiga_saiga_1:8010",
        "qdrant": "qdrant_new:6333",
        "node": "node-exporter:9100",
        "dcgm": "dcgm-exporter:9400",
        "agent": "agent_exporter:9090",
        "project_api": "project_api:8000",
        "prometheus": "prometheus_new:9090",
    }


def test_a_site_without_a_gpu_requests_none(defaults: dict[str, Any]) -> None:
    site = load(defaults, {"gpu": "none", "services": {"dcgm_exporter": {"enabled": False}}})
    stack = desired(site)
    for container in stack.containers:
        assert container.runtime is None
        assert "NVIDIA_VISIBLE_DEVICES" not in container.environment
    assert "dcgm" not in scrape_targets(site)
    assert "DCGM_METRICS_URL" not in stack.container("agent_exporter").environment


def test_no_secret_is_in_an_environment(seed: Desired) -> None:
    for container in seed.containers:
        for name, value in container.environment.items():
            if any(word in name.upper() for word in ("PASSWORD", "SECRET", "KEY", "TOKEN")):
                is_file = value.startswith(("/run/secrets/", "$__file{/run/secrets/"))
                assert is_file or name == "SAIGA_MAX_TOKENS"


def test_no_image_of_others_moves_a_secret_into_its_environment(seed: Desired) -> None:
    """The start scripts of PostgreSQL's and Grafana's images do so with NAME_FILE, NAME__FILE."""
    for container in seed.containers:
        if container.build is None:
            assert not [name for name in container.environment if name.endswith("_FILE")]


def test_files_of_an_unchanged_site_hash_the_same(site: Site) -> None:
    first, second = desired(site), desired(site)
    for container in first.containers:
        again = second.container(container.name)
        assert container == again
        assert dataclasses.replace(container).files_hash == again.files_hash
