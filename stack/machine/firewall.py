"""Who reaches the host from outside: a table of nftables that is ours alone.

It sees packets before Docker gives them another destination, so that one rule holds for the host's
own services and for published ports.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from stack.docker.plan import Change
from stack.machine.apt import missing_tasks
from stack.machine.files import HostFile, file_tasks, write_command
from stack.machine.observe import FIREWALL, NFT, RULES, TABLE, Machine
from stack.site import Site
from stack.tasks import Task, changed

SUBJECT = "firewall"
# What Docker gives docker0 unless something else was configured before its first start.
DOCKER0 = IPv4Network("172.17.0.0/16")
DEFAULT_SSH = 22
DHCP_CLIENTS = (68, 546)

# The former rules come back by themselves unless a new connection has proven the new ones.
UNDO = f"{FIREWALL}-undo"
UNDO_SECONDS = 30
FORMER = f"/run/{FIREWALL}.former"
CANDIDATE = f"{RULES}.candidate"

KEEP = f"systemctl stop {UNDO}.timer && mv {CANDIDATE} {RULES} && rm -f {FORMER}"
TAKE_BACK = f"{NFT} -f {FORMER} && systemctl stop {UNDO}.timer && rm -f {FORMER} {CANDIDATE}"

UNIT = HostFile(
    f"/etc/systemd/system/{FIREWALL}.service",
    f"""\
[Unit]
Description=Only opened ports answer from outside
Documentation=man:nft(8)
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target
# Its restart and its reload flush the tables of everyone.
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={NFT} -f {RULES}
ExecReload={NFT} -f {RULES}
ExecStop=-{NFT} delete table {TABLE}

[Install]
WantedBy=sysinit.target
""",
    "systemctl daemon-reload",
)


@dataclass(frozen=True, order=True)
class Opening:
    """A port that ``sources`` reach; ``address`` is the one of the host's, empty for all."""

    port: int
    protocol: str
    sources: tuple[str, ...]
    address: str = ""


def openings(site: Site) -> list[Opening]:
    """Published ports that bind more than the host itself, and what else the site names."""
    published = [
        Opening(
            port.published,
            "tcp",
            tuple(map(str, port.sources)),
            "" if port.bind.is_unspecified else str(port.bind),
        )
        for _, service in site.services.enabled()
        for port in service.ports.values()
        if port.published is not None and port.is_open
    ]
    others = [Opening(it.port, it.protocol, tuple(it.sources)) for it in site.firewall.open]
    return sorted({*published, *others})


def rules_file(site: Site, ssh_ports: Iterable[int]) -> HostFile:
    """The rules; loading them replaces our table in one step and leaves all others alone."""
    networks = [network.subnet for network in site.networks.values()]
    containers = collapse_addresses([*networks, site.docker.address_pool, DOCKER0])
    lines = (
        'iif "lo" accept',
        *(f'iifname "{name}" accept' for name in sorted(site.firewall.trusted_interfaces)),
        "ct state established,related accept",
        "# A neighbour's route to 127.0.0.0/8 leads to ports published there (moby issue 45610).",
        "ip daddr 127.0.0.0/8 drop",
        "# Containers reach the host; nobody takes their addresses from elsewhere.",
        'iifname "docker0" accept',
        'iifname "br-*" ip saddr @containers fib saddr . iif oif exists accept',
        "# Docker before 28 lets a neighbour's route to containers pass.",
        "ip daddr @containers fib daddr type unicast drop",
        "# What the host passes on to others is not ours.",
        "fib daddr type != { local, broadcast, multicast, anycast } accept",
        "# Neither is what has no ports: ICMP, tunnels, routing.",
        "meta l4proto != { tcp, udp, udplite, sctp, dccp } accept",
        f"udp dport {_set(DHCP_CLIENTS)} accept",
        f"tcp dport {_set(_ssh(ssh_ports))} accept",
        *(line for opening in openings(site) for line in _rules(opening)),
        "drop",
    )
    body = "\n".join(f"\t\t{line}" for line in lines)
    return HostFile(
        RULES,
        f"""\
table {TABLE}
delete table {TABLE}
table {TABLE} {{
\tset containers {{
\t\ttype ipv4_addr
\t\tflags interval
\t\telements = {_set(containers)}
\t}}

\tchain outside {{
\t\ttype filter hook prerouting priority mangle; policy accept;
{body}
\t}}
}}
""",
    )


def _rules(opening: Opening) -> Iterator[str]:
    destination = f"ip daddr {opening.address} " if opening.address else ""
    networks = [ip_network(source) for source in opening.sources]
    ip = [*collapse_addresses(it for it in networks if isinstance(it, IPv4Network))]
    ip6 = [*collapse_addresses(it for it in networks if isinstance(it, IPv6Network))]
    for family, sources in (("ip", ip), ("ip6", ip6)):
        if sources:
            listed = _set(str(it).removesuffix(f"/{it.max_prefixlen}") for it in sources)
            port = f"{opening.protocol} dport {opening.port}"
            yield f"{destination}{family} saddr {listed} {port} accept"


def _set(elements: Iterable[object]) -> str:
    return f"{{ {', '.join(map(str, elements))} }}"


def _ssh(observed: Iterable[int]) -> tuple[int, ...]:
    return tuple(observed) or (DEFAULT_SSH,)


def nftables_tasks(machine: Machine) -> Iterator[Task]:
    """The program that loads the rules."""
    yield from missing_tasks(machine, ("nftables",))


def rules_tasks(machine: Machine, site: Site, keep: Any) -> Iterator[Task]:
    """The file, and the table in the kernel as the file has it.

    ``keep`` is the command that keeps the loaded rules once the host can still be reached.
    """
    file = rules_file(site, machine.ssh_ports)
    written = not [*file_tasks(machine, (file,))]
    if written and machine.rules and machine.rules == machine.rules_of_file:
        return
    if not machine.rules:
        cause = "not loaded"
    else:
        cause = "not what its file says" if written else "differs"
    changes = _changes(machine, machine.rules, file.content)
    yield Task(SUBJECT, "load", cause, (_load(file), keep), changes)


def _load(file: HostFile) -> str:
    return (
        f"{write_command(HostFile(CANDIDATE, file.content))} && {NFT} -c -f {CANDIDATE} &&"
        f" {{ {{ echo 'table {TABLE}'; echo 'delete table {TABLE}';"
        f" {NFT} list table {TABLE} 2>/dev/null; }} >{FORMER};"
        f" systemctl stop {UNDO}.timer 2>/dev/null;"
        f" systemd-run --quiet --collect --unit {UNDO} --on-active {UNDO_SECONDS}"
        f" --timer-property AccuracySec=1s {NFT} -f {FORMER} && {NFT} -f {CANDIDATE}; }}"
    )


def boot_tasks(machine: Machine) -> Iterator[Task]:
    """The unit loads the rules before the network is there."""
    yield from file_tasks(machine, (UNIT,))
    unit = machine.unit(FIREWALL)
    if not (unit.active and unit.enabled):
        enable = f"systemctl enable --quiet {FIREWALL} && systemctl start {FIREWALL}"
        yield Task(f"service {FIREWALL}", "enable and start", "does not run at boot", (enable,))


def removal_tasks(machine: Machine) -> Iterator[Task]:
    """Nothing of ours decides any more who reaches the host."""
    files = [path for path in (UNIT.path, RULES) if path in machine.files]
    if files or machine.rules:
        commands = (
            f"systemctl stop {UNDO}.timer 2>/dev/null;"
            f" systemctl disable --quiet --now {FIREWALL} 2>/dev/null;"
            f" {NFT} delete table {TABLE} 2>/dev/null;"
            f" rm -f {UNIT.path} {RULES} && systemctl daemon-reload",
        )
        changes = _changes(machine, machine.rules, "")
        yield Task(SUBJECT, "remove", "firewall.enabled is False", commands, changes)


_ACCEPTED = re.compile(
    r"(?:ip6? daddr (?P<address>\S+) )?(?:ip6? saddr (?P<sources>{[^}]*}|\S+) )?"
    r"(?P<protocol>tcp|udp) dport (?P<ports>{[^}]*}|\S+) accept"
)


def _changes(machine: Machine, before: str, after: str) -> tuple[Change, ...]:
    """Ports, with the programs that listen there, whom other sources reach under other rules."""
    programs = {f"{it.port}/{it.protocol}": it.program for it in machine.listeners}
    ports = programs.keys() | _accepted(before).keys() | _accepted(after).keys()
    titles = {it: f"{it} ({programs[it]})" if programs.get(it) else it for it in ports}

    def reach(rules: str) -> dict[str, str]:
        accepted = _accepted(rules)
        who = {it: accepted.get(it, set()) if rules else {"everyone"} for it in ports}
        return {
            titles[it]: f"open to {', '.join(sorted(who[it]))}" if who[it] else "closed"
            for it in ports
        }

    return changed(reach(before), reach(after))


def _accepted(rules: str) -> Mapping[str, set[str]]:
    accepted: dict[str, set[str]] = {}
    for rule in _ACCEPTED.finditer(rules):
        sources = re.findall(r"[^{},\s]+", rule["sources"] or "everyone")
        for port in re.findall(r"\d+", rule["ports"]):
            who = accepted.setdefault(f"{port}/{rule['protocol']}", set())
            at = f" at {rule['address']}" if rule["address"] else ""
            who |= {("everyone" if it.endswith("/0") else it) + at for it in sources}
    return accepted
