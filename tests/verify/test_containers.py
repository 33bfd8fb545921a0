"""Every container is up, healthy, where it belongs and reachable by its neighbours."""

from typing import Any

import pytest
from testinfra.host import Host

from stack.docker.spec import Desired
from stack.site import Site

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"
LOOKUP = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"


def test_running_and_healthy(live: dict[str, Any], container_name: str) -> None:
    state = live[container_name]["State"]
    assert state["Status"] == "running"
    assert state["Health"]["Status"] == "healthy"


def test_nothing_is_left_of_a_replacement(host: Host) -> None:
    assert host.check_output("docker ps -aq --filter name=saiga-stack-old") == ""


def test_address(live: dict[str, Any], desired: Desired, attachment: tuple[str, str]) -> None:
    name, network = attachment
    wanted = {a.network: a.address for a in desired.container(name).attachments}
    networks = live[name]["NetworkSettings"]["Networks"]
    assert networks.keys() == wanted.keys()
    assert networks[network]["IPAddress"] == wanted[network]


def test_address_answers_a_neighbour(
    host: Host, site: Site, desired: Desired, attachment: tuple[str, str]
) -> None:
    name, network = attachment
    (ports,) = (
        settings.ports.values() for _, settings in site.services if settings.container == name
    )
    assert ports
    neighbour = _python_neighbour(desired, name, network)
    container = desired.container(name)
    address = next(a.address for a in container.attachments if a.network == network)
    for port in sorted({port.inside for port in ports}):
        host.check_output(
            "docker exec %s python3 -c %s %s %s", neighbour, CONNECT, address, str(port)
        )


def _python_neighbour(desired: Desired, name: str, network: str) -> str:
    """Another container of ours in ``network`` that has Python: one of our own images. Skips the
    test where the site runs none."""
    for container in desired.containers:
        networks = {attachment.network for attachment in container.attachments}
        if container.build and container.name != name and network in networks:
            return container.name
    pytest.skip(f"no other image of ours in {network} to ask from")


def test_aliases_resolve(host: Host, desired: Desired) -> None:
    for container in desired.containers:
        for attachment in container.attachments:
            for alias in (container.name, *attachment.aliases):
                neighbour = _python_neighbour(desired, container.name, attachment.network)
                answer = host.check_output(
                    "docker exec %s python3 -c %s %s", neighbour, LOOKUP, alias
                )
                assert answer in {a.address for a in container.attachments}


def test_networks(host: Host, desired: Desired) -> None:
    for network in desired.networks:
        template = "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{.IPRange}}{{end}}"
        actual = host.check_output("docker network inspect --format %s %s", template, network.name)
        assert actual == f"{network.subnet} {network.gateway} {network.dynamic_range}"


def test_hardening(host: Host, live: dict[str, Any], desired: Desired, container_name: str) -> None:
    config, wanted = live[container_name]["HostConfig"], desired.container(container_name)
    assert not config["Privileged"]
    assert config["CapDrop"] == list(wanted.cap_drop) == ["ALL"]
    assert {cap.removeprefix("CAP_") for cap in config["CapAdd"] or ()} == set(wanted.cap_add)
    # Docker adds the label itself to who shares the host's process ids.
    assert set(config["SecurityOpt"]) - {"label=disable"} == set(wanted.security)
    assert wanted.security == ("no-new-privileges",)
    assert config["ReadonlyRootfs"] == wanted.read_only
    assert config["PidsLimit"] == wanted.pids
    assert config["Memory"] == wanted.memory
    assert config["LogConfig"]["Config"] == dict(wanted.log.options)
    if wanted.user:
        assert live[container_name]["Config"]["User"] == wanted.user
    # What the kernel says about its first process.
    status = host.check_output("cat /proc/%s/status", str(live[container_name]["State"]["Pid"]))
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    if not wanted.cap_add:
        assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    if wanted.user:
        assert fields["Uid"].split()[0] == wanted.user.partition(":")[0]


def test_mounts(live: dict[str, Any], desired: Desired, container_name: str) -> None:
    """Data and caches lie in their volumes, so that a new container finds them."""
    found = {
        mount["Destination"]: (mount["Type"], mount.get("Name") or mount["Source"], mount["RW"])
        for mount in live[container_name]["Mounts"]
    }
    for mount in desired.container(container_name).mounts:
        assert found[mount.target] == (mount.kind, mount.source, not mount.read_only)
