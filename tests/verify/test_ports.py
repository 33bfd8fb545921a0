"""The published ports, their bind addresses, and that nothing else listens."""

import re

from testinfra.host import Host

from stack.docker.spec import Desired
from stack.site import Site

SYSTEM_LISTENERS = {"sshd", "systemd", "systemd-resolve"}


def _listeners(host: Host) -> set[tuple[str, str, int]]:
    """(program, address, port) of every TCP socket that listens on the host."""
    listeners = set()
    for line in host.check_output("ss -Hltnp").splitlines():
        local = line.split()[3]
        address, _, port = local.rpartition(":")
        program = re.search(r'\(\("([^"]+)"', line)
        listeners.add((program[1] if program else "?", address.strip("[]"), int(port)))
    return listeners


def test_published_ports_are_exactly_the_sites(host: Host, desired: Desired) -> None:
    wanted = {(p.bind, p.published) for c in desired.containers for p in c.ports}
    actual = {
        (address, port) for program, address, port in _listeners(host) if program == "docker-proxy"
    }
    assert {entry for entry in actual if entry[0] != "::"} == wanted


def test_nothing_else_listens_to_the_outside(host: Host, site: Site) -> None:
    opened = {it.port for it in site.firewall.open if it.protocol == "tcp"}
    others = {
        (program, address, port)
        for program, address, port in _listeners(host)
        if program not in SYSTEM_LISTENERS | {"docker-proxy"}
        and not address.startswith("127.")
        and address != "::1"
        and port not in opened
    }
    assert others == set()
