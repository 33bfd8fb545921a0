"""Site data: what is merged, what moves along, what is allowed. Mistakes: test_wrong_sites.py."""

import subprocess
import sys
from typing import Any

import pytest

from stack.merging import merge
from stack.site import CONNECTION_KEYS, Site, load
from stack.values import parse_size


def service(name: str, **values: Any) -> dict[str, Any]:
    return {"services": {name: values}}


def addresses(site: Site, network: str) -> dict[str, str]:
    return {
        name: str(settings.addresses[network])
        for name, settings in site.services.enabled()
        if network in settings.addresses
    }


def test_the_same_port_on_two_addresses_is_allowed(defaults: dict[str, Any]) -> None:
    port = {"published": 9090, "bind": "192.0.2.1"}
    load(defaults, service("grafana", ports={"http": port}))


def test_a_disabled_service_takes_no_address(defaults: dict[str, Any]) -> None:
    load(
        defaults,
        service("dcgm_exporter", enabled=False),
        service("grafana", addresses={"mlopsnew": "172.22.0.6"}),
    )


def test_what_pyinfra_reads_itself_is_known() -> None:
    """In a process of its own: pyinfra replaces Python's threads and sockets when imported."""
    script = (
        "from typing import get_type_hints as hints\n"
        "from pyinfra.connectors.ssh import ConnectorData\n"
        "print(*hints(ConnectorData))"
    )
    output = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout
    assert set(output.split()) == CONNECTION_KEYS


def test_connection_data_is_passed_over(defaults: dict[str, Any]) -> None:
    load(defaults, {"ssh_user": "root", "_sudo": True, "_helper": {}, "adopt": "yes"})


def test_merge_changes_only_what_differs() -> None:
    merged = merge({"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2]}}, {"b": 2})
    assert merged == {"a": {"x": 1, "y": [2]}, "b": 2}


@pytest.mark.parametrize(("text", "size"), [("1k", 1024), ("512m", 512 << 20), ("8g", 8 << 30)])
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_a_subnet_takes_everything_in_it_along(defaults: dict[str, Any]) -> None:
    site = load(defaults, {"networks": {"mlopsnew": {"subnet": "10.5.0.0/16"}}})
    before = load(defaults)
    network = site.networks["mlopsnew"]
    assert (str(network.gateway), str(network.dynamic_range)) == ("10.5.0.1", "10.5.128.0/17")
    assert addresses(site, "mlopsnew") == {
        name: address.replace("172.22.", "10.5.")
        for name, address in addresses(before, "mlopsnew").items()
    }
    assert addresses(site, "agent_default") == addresses(before, "agent_default")


def test_a_smaller_subnet_keeps_numbers_and_shares(defaults: dict[str, Any]) -> None:
    site = load(defaults, {"networks": {"mlopsnew": {"subnet": "10.5.7.0/24"}}})
    assert str(site.networks["mlopsnew"].dynamic_range) == "10.5.7.128/25"
    assert addresses(site, "mlopsnew")["saiga"] == "10.5.7.9"


def test_what_a_site_sets_itself_does_not_move(defaults: dict[str, Any]) -> None:
    site = load(
        defaults,
        {
            "networks": {"mlopsnew": {"subnet": "10.5.0.0/16", "gateway": "10.5.0.254"}},
            **service("saiga", addresses={"mlopsnew": "10.5.0.99"}),
        },
    )
    assert str(site.networks["mlopsnew"].gateway) == "10.5.0.254"
    assert addresses(site, "mlopsnew")["saiga"] == "10.5.0.99"
    assert addresses(site, "mlopsnew")["qdrant"] == "10.5.0.7"


def test_a_host_moves_the_network_of_its_group(defaults: dict[str, Any]) -> None:
    group = {"networks": {"mlopsnew": {"subnet": "10.5.0.0/16"}}}
    host = {"networks": {"mlopsnew": {"subnet": "10.6.0.0/16"}}}
    assert addresses(load(defaults, group, host), "mlopsnew")["saiga"] == "10.6.0.9"
