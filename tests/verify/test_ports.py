"""The published ports, their bind addresses, and that nothing else listens to the outside."""

import re
from dataclasses import dataclass

from testinfra.host import Host

from stack.docker.spec import Desired, PublishedPort

# What takes the host's own address from the network, by protocol and port.
DHCP_CLIENTS = {("udp", 68), ("udp", 546)}


@dataclass(frozen=True, order=True)
class Listener:
    """A socket that waits for others: ``program`` is ``?`` where ss names none."""

    protocol: str
    address: str
    port: int
    program: str


def _listeners(host: Host) -> set[Listener]:
    listeners = set()
    for line in host.check_output("ss -Hlntup").splitlines():
        protocol, _, _, _, local = line.split()[:5]
        address, _, port = local.rpartition(":")
        program = re.search(r'\(\("([^"]+)"', line)
        listeners.add(
            Listener(
                protocol,
                address.strip("[]").partition("%")[0],
                int(port),
                program[1] if program else "?",
            )
        )
    return listeners


def _bound(port: PublishedPort) -> set[tuple[str, str, int]]:
    """Where Docker listens for a port: on IPv6 too where it is open to all."""
    addresses = {port.bind, "::"} if port.bind == "0.0.0.0" else {port.bind}
    return {(port.protocol, address, port.published) for address in addresses}


def test_published_ports_are_exactly_the_sites(host: Host, desired: Desired) -> None:
    ports = [port for container in desired.containers for port in container.ports]
    actual = {
        (each.protocol, each.address, each.port)
        for each in _listeners(host)
        if each.program == "docker-proxy"
    }
    assert actual - set().union(*map(_bound, ports)) == set()
    assert {(port.protocol, port.bind, port.published) for port in ports} <= actual


def test_every_published_port_takes_a_connection(host: Host, desired: Desired) -> None:
    for container in desired.containers:
        for port in container.ports:
            address = "127.0.0.1" if port.bind == "0.0.0.0" else port.bind
            connect = f"timeout 5 bash -c '</dev/{port.protocol}/{address}/{port.published}'"
            assert host.run(connect).rc == 0, f"{container.name}: {address}:{port.published}"


def test_nothing_else_listens_to_the_outside(host: Host) -> None:
    settings = host.check_output("$(command -v sshd || echo /usr/sbin/sshd) -T")
    ssh = {("tcp", int(port)) for port in re.findall(r"^port (\d+)$", settings, re.M)}
    others = {
        each
        for each in _listeners(host)
        if not each.address.startswith("127.")
        and each.address != "::1"
        and each.program != "docker-proxy"
        and not (each.program in ("sshd", "systemd") and (each.protocol, each.port) in ssh)
        and (each.protocol, each.port) not in DHCP_CLIENTS
    }
    assert others == set()
