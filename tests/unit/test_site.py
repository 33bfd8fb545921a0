"""Site data: what is merged, and one exact sentence for each mistake."""

from typing import Any

import pytest

from stack.site import SiteError, load, merge, parse_size


def service(name: str, **values: Any) -> dict[str, Any]:
    return {"services": {name: values}}


def published(name: str, port: int, bind: str = "127.0.0.1") -> dict[str, Any]:
    return service(name, ports={"http": {"published": port, "bind": bind}})


MISTAKES = [
    ({"servces": {}}, "servces: unknown key"),
    (service("qdrant", imge="x:1"), "services.qdrant.imge: unknown key"),
    (
        service("saiga", addresses={"mlopsnew": "172.31.0.9"}),
        "services.saiga.addresses.mlopsnew: 172.31.0.9 is outside mlopsnew (172.22.0.0/16)",
    ),
    (
        service("saiga", addresses={"mlopsnew": "172.22.0.7"}),
        "services.saiga.addresses.mlopsnew: 172.22.0.7 is taken by"
        " services.qdrant.addresses.mlopsnew",
    ),
    (
        service("grafana", addresses={"mlopsnew": "172.22.0.1"}),
        "services.grafana.addresses.mlopsnew: 172.22.0.1 is taken by networks.mlopsnew.gateway",
    ),
    (
        service("grafana", addresses={"mlopsnew": "172.22.200.5"}),
        "services.grafana.addresses.mlopsnew: 172.22.200.5 is in the range that Docker assigns"
        " itself (172.22.128.0/17)",
    ),
    (
        service("grafana", addresses={"mlopsnew": "172.22.255.255"}),
        "services.grafana.addresses.mlopsnew: 172.22.255.255 is no address for a container in"
        " 172.22.0.0/16",
    ),
    (
        service("grafana", addresses={"mlops": "172.22.0.5"}),
        "services.grafana.addresses.mlops: no network of that name; there are mlopsnew,"
        " agent_default",
    ),
    (
        service("grafana", aliases={"agent_default": ["grafana"]}),
        "services.grafana.aliases.agent_default: the service has no address in agent_default",
    ),
    (
        service("grafana", image="grafana/grafana:latest"),
        "services.grafana.image: 'grafana/grafana:latest' has no pinned tag; write name:version or"
        " name@sha256:...",
    ),
    (
        service("grafana", image="registry.example:5000/grafana"),
        "services.grafana.image: 'registry.example:5000/grafana' has no pinned tag; write"
        " name:version or name@sha256:...",
    ),
    (
        service("grafana", memory="512 MB"),
        "services.grafana.memory: '512 MB' is not a size; write a number with k, m or g, such as"
        " 512m",
    ),
    (
        service("grafana", container="ml postgres"),
        "services.grafana.container: string should match pattern"
        " '^[a-zA-Z0-9][a-zA-Z0-9_.-]+$', not 'ml postgres'",
    ),
    (
        service("grafana", container="ml_postgres"),
        "services.grafana.container: ml_postgres is taken by services.postgres.container",
    ),
    (
        published("grafana", 9090),
        "services.grafana.ports.http.published: 9090 is taken by"
        " services.prometheus.ports.http.published",
    ),
    (
        published("grafana", 9090, "0.0.0.0"),
        "services.grafana.ports.http.published: 9090 is taken by"
        " services.prometheus.ports.http.published",
    ),
    (
        published("grafana", 70000),
        "services.grafana.ports.http.published: input should be less than or equal to 65535, not"
        " 70000",
    ),
    (
        published("grafana", 3000, "localhost"),
        "services.grafana.ports.http.bind: input is not a valid IPv4 address, not 'localhost'",
    ),
    (
        {"networks": {"mlopsnew": {"gateway": "10.0.0.1"}}},
        "networks.mlopsnew.gateway: 10.0.0.1 is outside mlopsnew (172.22.0.0/16)",
    ),
    (
        {"networks": {"mlopsnew": {"dynamic_range": "10.0.0.0/24"}}},
        "networks.mlopsnew.dynamic_range: 10.0.0.0/24 is outside mlopsnew (172.22.0.0/16)",
    ),
    (
        {"docker": {"address_pool": "172.16.0.0/12"}},
        "docker.address_pool: 172.16.0.0/12 overlaps networks.mlopsnew.subnet (172.22.0.0/16)\n"
        "docker.address_pool: 172.16.0.0/12 overlaps networks.agent_default.subnet"
        " (172.20.0.0/16)",
    ),
    (
        {"apt": {"docker": {"key": "0x9DC8"}}},
        "apt.docker.key: string should match pattern '^[0-9A-F]{40}$', not '0x9DC8'",
    ),
    (
        {"nvidia": {"kernel_limit": "6"}},
        "nvidia.kernel_limit: string should match pattern '^\\d+\\.\\d+$', not '6'",
    ),
    ({"gpu": "amd"}, "gpu: input should be 'nvidia' or 'none', not 'amd'"),
    (
        {"saiga": {"max_tokens": 20000}},
        "saiga.max_tokens: 20000 leaves no room for a prompt in saiga.max_model_len (20000)",
    ),
    (
        {"embedder": {"url": None}},
        "embedder.url: is missing; kind openai needs the URL of an embeddings API",
    ),
    (
        {"qdrant": {"score_threshold": 7}},
        "qdrant.score_threshold: input should be less than or equal to 1, not 7",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_a_mistake_is_named(defaults: dict[str, Any], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SiteError) as caught:
        load(defaults, wrong)
    assert str(caught.value) == message


def test_every_mistake_is_named_at_once(defaults: dict[str, Any]) -> None:
    with pytest.raises(SiteError) as caught:
        load(defaults, {"gpu": "amd", "colour": "red"})
    assert len(str(caught.value).splitlines()) == 2


def test_the_same_port_on_two_addresses_is_allowed(defaults: dict[str, Any]) -> None:
    load(defaults, published("grafana", 9090, "192.0.2.1"))


def test_a_disabled_service_takes_no_address(defaults: dict[str, Any]) -> None:
    load(
        defaults,
        service("saiga", enabled=False),
        service("grafana", addresses={"mlopsnew": "172.22.0.9"}),
    )


def test_connection_data_is_passed_over(defaults: dict[str, Any]) -> None:
    load(defaults, {"ssh_user": "root", "_sudo": True, "adopt": "yes"})


def test_merge_changes_only_what_differs() -> None:
    merged = merge({"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2]}}, {"b": 2})
    assert merged == {"a": {"x": 1, "y": [2]}, "b": 2}


@pytest.mark.parametrize(("text", "size"), [("1k", 1024), ("512m", 512 << 20), ("8g", 8 << 30)])
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size
