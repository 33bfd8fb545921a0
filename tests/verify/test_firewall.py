"""What the kernel lets in from outside is what the site opens."""

import re

from testinfra.host import Host

from stack.docker.spec import Desired
from stack.machine.observe import FIREWALL, RULES, TABLE
from stack.site import Site

DHCP_CLIENTS = {("udp", 68), ("udp", 546)}
SSH_SERVERS = ("sshd", "dropbear", "systemd")


def test_the_rules_are_loaded_at_boot(host: Host, site: Site) -> None:
    wanted = site.firewall.enabled
    assert (host.service(FIREWALL).is_enabled, host.service(FIREWALL).is_running) == (wanted,) * 2
    assert host.file(RULES).exists == wanted


def test_the_kernel_has_the_rules_of_the_file(host: Host, site: Site) -> None:
    live = host.run(f"nft -s list table {TABLE}")
    anew = f"nft -f {RULES} && nft -s list table {TABLE}"
    if site.firewall.enabled:
        assert live.stdout == host.check_output(f"unshare --net sh -c '{anew}'") + "\n"
    else:
        assert live.stdout == ""


def test_the_opened_ports_are_exactly_the_sites(host: Host, site: Site, desired: Desired) -> None:
    """Besides them only those that the host is logged in to."""
    if not site.firewall.enabled:
        return
    published = (port for container in desired.containers for port in container.ports)
    wanted = {(p.protocol, p.published) for p in published if not p.bind.startswith("127.")}
    wanted |= {(it.protocol, it.port) for it in site.firewall.open} | DHCP_CLIENTS
    actual = {
        (protocol, int(port))
        for protocol, ports in re.findall(
            r"(tcp|udp) dport ({[^}]*}|\d+) accept", host.check_output(f"nft list table {TABLE}")
        )
        for port in re.findall(r"\d+", ports)
    }
    assert wanted <= actual
    for protocol, port in actual - wanted:
        program = host.check_output(f"ss -Hltnp 'sport = :{port}'")
        assert protocol == "tcp" and any(f'("{name}"' in program for name in SSH_SERVERS), port
