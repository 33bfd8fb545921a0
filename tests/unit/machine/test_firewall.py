"""The firewall: its file for some sites, and what is left to do, as text."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stack.machine.firewall import (
    CANDIDATE,
    UNIT,
    boot_tasks,
    nftables_tasks,
    removal_tasks,
    rules_file,
    rules_tasks,
)
from stack.machine.observe import FIREWALL, RULES, Listener, Machine, Package
from stack.site import Site, load
from stack.tasks import Task
from tests.unit.machine.hosts import BARE, RUNS, on_host

KEEP = "keep"
JUPYTER = Listener("tcp", "*", 8888, "jupyter-lab")
SSHD = Listener("tcp", "0.0.0.0", 22, "sshd")

CLOSED = """\
table inet saiga_stack
delete table inet saiga_stack
table inet saiga_stack {
	set containers {
		type ipv4_addr
		flags interval
		elements = { 172.17.0.0/16, 172.20.0.0/16, 172.22.0.0/16, 172.30.0.0/16 }
	}

	chain outside {
		type filter hook prerouting priority mangle; policy accept;
		iif "lo" accept
		ct state established,related accept
		# A neighbour's route to 127.0.0.0/8 leads to ports published there (moby issue 45610).
		ip daddr 127.0.0.0/8 drop
		# Containers reach the host; nobody takes their addresses from elsewhere.
		iifname "docker0" accept
		iifname "br-*" ip saddr @containers fib saddr . iif oif exists accept
		# Docker before 28 lets a neighbour's route to containers pass.
		ip daddr @containers fib daddr type unicast drop
		# What the host passes on to others is not ours.
		fib daddr type != { local, broadcast, multicast, anycast } accept
		# Neither is what has no ports: ICMP, tunnels, routing.
		meta l4proto != { tcp, udp, udplite, sctp, dccp } accept
		udp dport { 68, 546 } accept
		tcp dport { 22 } accept
		drop
	}
}
"""


def site_with(defaults: dict[str, Any], **firewall: Any) -> Site:
    webbot2 = {"ports": {"http": {"bind": "0.0.0.0"}}}
    grafana = {"bind": "192.0.2.7", "sources": ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.9"]}
    services = {"webbot2": webbot2, "grafana": {"ports": {"http": grafana}}}
    return load(defaults, {"services": services, "firewall": firewall})


@pytest.fixture
def open_site(defaults: dict[str, Any]) -> Site:
    return site_with(
        defaults,
        open=[{"port": 99}, {"port": 9100, "protocol": "udp", "sources": ["fd00::/8", "10.0.0.1"]}],
        trusted_interfaces=["wg0"],
    )


def opened(site: Site) -> Iterator[str]:
    """The rules beyond those of a site that opens nothing."""
    known = CLOSED.splitlines()
    for line in rules_file(site, [22]).content.splitlines():
        if line not in known:
            yield line.strip()


def test_a_site_that_opens_nothing(site: Site) -> None:
    assert rules_file(site, [22]).content == CLOSED


def test_what_a_site_opens(open_site: Site) -> None:
    assert [*opened(open_site)] == [
        'iifname "wg0" accept',
        "ip saddr { 0.0.0.0/0 } tcp dport 99 accept",
        "ip6 saddr { ::/0 } tcp dport 99 accept",
        "ip daddr 192.0.2.7 ip saddr { 10.0.0.0/8, 192.0.2.9 } tcp dport 3000 accept",
        "ip saddr { 0.0.0.0/0 } tcp dport 8080 accept",
        "ip saddr { 10.0.0.1 } udp dport 9100 accept",
        "ip6 saddr { fd00::/8 } udp dport 9100 accept",
    ]


def test_a_service_that_does_not_run_opens_nothing(defaults: dict[str, Any]) -> None:
    port = {"ports": {"http": {"bind": "0.0.0.0"}}}
    site = load(defaults, {"services": {"webbot2": {"enabled": False, **port}}})
    assert [*opened(site)] == []


def test_networks_that_moved_next_to_each_other(defaults: dict[str, Any]) -> None:
    networks = {"mlopsnew": {"subnet": "172.16.0.0/16"}}
    site = load(defaults, {"networks": networks, "docker": {"address_pool": "172.18.0.0/16"}})
    assert [*opened(site)] == ["elements = { 172.16.0.0/15, 172.18.0.0/16, 172.20.0.0/16 }"]


@pytest.mark.parametrize(
    ("ports", "rule"),
    [([22, 2222], "tcp dport { 22, 2222 } accept"), ([], "tcp dport { 22 } accept")],
)
def test_ssh_is_always_open(site: Site, ports: list[int], rule: str) -> None:
    assert f"\t\t{rule}\n" in rules_file(site, ports).content


def as_deployed(site: Site, rules: str = "") -> Machine:
    file = rules_file(site, [22])
    rules = rules or file.content
    return replace(
        BARE,
        packages={"nftables": Package("1.0.6-2+deb12u2", held=False)},
        files=on_host(file, UNIT),
        units={FIREWALL: RUNS},
        listeners=(SSHD,),
        ssh_ports=(22,),
        rules=rules,
        rules_of_file=rules,
    )


def tasks(machine: Machine, site: Site) -> list[Task]:
    return [
        *nftables_tasks(machine),
        *rules_tasks(machine, site, KEEP),
        *boot_tasks(machine),
    ]


def test_nothing_is_left_to_do(open_site: Site) -> None:
    assert tasks(as_deployed(open_site), open_site) == []


def test_a_bare_host_is_told_what_will_be_closed(open_site: Site) -> None:
    machine = replace(BARE, listeners=(JUPYTER, SSHD), ssh_ports=(22,))
    nftables, rules, unit, service = tasks(machine, open_site)
    assert str(nftables) == "packages nftables: install (not found)"
    assert str(rules) == (
        "firewall: load (not loaded)\n"
        "    3000/tcp: open to everyone -> open to 10.0.0.0/8 at 192.0.2.7, 192.0.2.9 at"
        " 192.0.2.7\n"
        "    8888/tcp (jupyter-lab): open to everyone -> closed\n"
        "    9100/udp: open to everyone -> open to 10.0.0.1, fd00::/8"
    )
    assert str(unit) == f"file /etc/systemd/system/{FIREWALL}.service: write (not found)"
    assert str(service) == f"service {FIREWALL}: enable and start (does not run at boot)"


def test_the_way_back_is_armed_before_the_rules_are_loaded(site: Site) -> None:
    (task,) = rules_tasks(BARE, site, KEEP)
    load_rules, keep = task.commands
    assert keep == KEEP
    assert load_rules.index("systemd-run") < load_rules.index(f"&& /usr/sbin/nft -f {CANDIDATE}")
    assert RULES not in load_rules.replace(CANDIDATE, "")
    assert subprocess.run(["sh", "-n", "-c", load_rules], capture_output=True).stderr == b""


def test_what_is_opened_and_closed_is_named(defaults: dict[str, Any], open_site: Site) -> None:
    then = site_with(defaults, open=[{"port": 99, "sources": ["10.0.0.0/8"]}, {"port": 98}])
    (task,) = tasks(as_deployed(open_site), then)
    assert str(task) == (
        "firewall: load (differs)\n"
        "    9100/udp: open to 10.0.0.1, fd00::/8 -> closed\n"
        "    98/tcp: closed -> open to everyone\n"
        "    99/tcp: open to everyone -> open to 10.0.0.0/8"
    )


def test_rules_flushed_by_hand(site: Site) -> None:
    (task,) = tasks(replace(as_deployed(site), rules="", listeners=(JUPYTER,)), site)
    assert str(task) == (
        "firewall: load (not loaded)\n    8888/tcp (jupyter-lab): open to everyone -> closed"
    )


def test_a_rule_added_by_hand(site: Site) -> None:
    by_hand = CLOSED.replace("drop\n\t}", "tcp dport 8888 accept\n\t\tdrop\n\t}")
    (task,) = tasks(replace(as_deployed(site), rules=by_hand), site)
    assert str(task) == (
        "firewall: load (not what its file says)\n    8888/tcp: open to everyone -> closed"
    )


def test_another_ssh_port(site: Site) -> None:
    (task,) = tasks(replace(as_deployed(site), ssh_ports=(22, 2222)), site)
    assert str(task) == "firewall: load (differs)\n    2222/tcp: closed -> open to everyone"


@pytest.mark.parametrize("state", [{"active": False}, {"enabled": False}])
def test_a_unit_that_does_not_run(site: Site, state: dict[str, bool]) -> None:
    units = {FIREWALL: replace(RUNS, **state)}
    (task,) = tasks(replace(as_deployed(site), units=units), site)
    assert str(task) == f"service {FIREWALL}: enable and start (does not run at boot)"


def test_a_site_without_a_firewall(defaults: dict[str, Any]) -> None:
    none = load(defaults, {"firewall": {"enabled": False}})
    assert [*removal_tasks(BARE)] == []
    (task,) = removal_tasks(replace(as_deployed(none), listeners=(JUPYTER,)))
    assert str(task) == (
        "firewall: remove (firewall.enabled is False)\n"
        "    8888/tcp (jupyter-lab): closed -> open to everyone"
    )
