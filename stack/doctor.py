"""What would stand in a deploy's way, found in one look at the host that changes nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stack import sections
from stack.docker.spec import OWNER_LABEL, OWNER_VALUE, Desired
from stack.machine.checks import refusals, remarks
from stack.machine.observe import Machine
from stack.site import Site
from stack.values import GIB
from stack.wheels import cached

CLOCK_SECONDS = 30
CONNECT_SECONDS = 5
DOCKER_HUB = "registry-1.docker.io"

EVERY_ADDRESS = "0.0.0.0"
_PORTS = (
    "{{range .HostConfig.PortBindings}}{{range .}}"
    f'{{{{or .HostIp "{EVERY_ADDRESS}"}}}}:{{{{.HostPort}}}} {{{{end}}}}{{{{end}}}}'
)
_CONNECT = (
    f'c() {{ if timeout {CONNECT_SECONDS} bash -c "</dev/tcp/$1/$2" 2>/dev/null; then'
    ' echo "$1 $2 yes"; elif getent ahosts "$1" >/dev/null; then echo "$1 $2 no";'
    ' else echo "$1 $2 unknown"; fi; }'
)
_APT_SOURCES = r"""
for url in $(grep -rhoE '^[^#]*https?://[^/ ]+' /etc/apt/sources.list /etc/apt/sources.list.d \
    2>/dev/null | grep -oE 'https?://.*' | sort -u); do
    port=80; case $url in https:*) port=443 ;; esac
    host=${url#*://}; case $host in *:*) port=${host##*:}; host=${host%%:*} ;; esac
    c "$host" "$port" &
done"""


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What one check found; an error keeps a deploy from succeeding, a warning may."""

    level: Level
    check: str
    sentence: str


def sources(site: Site, desired: Desired) -> list[tuple[str, int]]:
    """(host, port) of every place that a deploy or a first start downloads from."""
    images = {container.image for container in desired.containers if not container.build}
    if any(container.build for container in desired.containers):
        images.add(site.python_image)
    found = {_registry(image, site) for image in images}
    found |= {_endpoint(mirror) for mirror in site.docker.registry_mirrors}
    if site.docker.source == "docker":
        found.add(_endpoint(site.apt.docker.url))
    if site.gpu == "nvidia":
        vendors = (site.apt.nvidia_cuda, site.apt.nvidia_container_toolkit)
        found |= {_endpoint(vendor.url) for vendor in vendors}
    services = site.services
    if services.saiga.enabled and site.saiga.source.url:
        found.add(_endpoint(site.saiga.source.url))
    if services.embeddings.enabled and not site.embedder.model.startswith("/"):
        found.add(_endpoint(site.model_hub))
    return sorted(found)


def _registry(image: str, site: Site) -> tuple[str, int]:
    first, slash, _ = image.partition("/")
    if not slash or not re.search(r"[.:]|^localhost$", first):
        return DOCKER_HUB, 443
    host, _, port = first.partition(":")
    plain = first in site.docker.insecure_registries
    return host, int(port or (80 if plain else 443))


def _endpoint(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def script(site: Site, desired: Desired) -> str:
    """A shell script for a bare host (nothing but Debian's base system), read by :func:`findings`.

    It changes nothing and opens no connection but one to each download source.
    """
    ours = f"--filter label={OWNER_LABEL}={OWNER_VALUE}"
    return "\n".join(
        (
            sections.BEGIN,
            "s user; id -u",
            "s clock; date +%s",
            f"s image; docker image inspect --format there {site.services.saiga.image} 2>/dev/null",
            "s listeners; ss -Hltnp 2>/dev/null",
            "s routes; ip -4 route show table main 2>/dev/null",
            f"s bridges; docker network ls -q {ours} 2>/dev/null",
            f"s published; docker inspect --format '{_PORTS}' $(docker ps -q {ours} 2>/dev/null)"
            " 2>/dev/null",
            "s firewalls; grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf && echo ufw;"
            " systemctl is-active --quiet firewalld 2>/dev/null && echo firewalld",
            "s connects",
            _CONNECT,
            *(f"c {host} {port} &" for host, port in sources(site, desired)),
            _APT_SOURCES,
            "wait",
            sections.END,
        )
    )


def findings(
    output: str, machine: Machine, site: Site, desired: Desired, now: float
) -> Iterator[Finding]:
    """What the output of :func:`script` says, and what preflight would say of ``machine``; ``now``
    is this machine's clock in seconds.

    Raises ValueError when the output is cut short.
    """
    parts = {
        name: [line for line in text.splitlines() if line.strip()]
        for name, text in sections.split(output).items()
    }
    yield _user(parts["user"])
    yield _clock(int(parts["clock"][0]), now)
    refused = refusals(site, machine, image_is_there=bool(parts["image"]))
    yield from _or_ok("machine", _shown(machine), refused)
    for remark in remarks(site, machine):
        yield Finding(Level.WARNING, "machine", remark)
    yield from _or_ok("ports", "every port is free or ours", _ports(parts, desired))
    yield from _or_ok("subnets", "no route of the host is in the way", _subnets(parts, site))
    yield _firewalls(parts["firewalls"], site)
    yield from _connects(parts["connects"])


def _or_ok(check: str, sentence: str, found: Iterator[str]) -> Iterator[Finding]:
    mistakes = [*found]
    yield from (Finding(Level.ERROR, check, mistake) for mistake in mistakes)
    if not mistakes:
        yield Finding(Level.OK, check, sentence)


def _user(lines: list[str]) -> Finding:
    if lines == ["0"]:
        return Finding(Level.OK, "privileges", "commands run as root")
    sentence = "commands do not run as root; set ssh_user = 'root', or _sudo = True"
    return Finding(Level.ERROR, "privileges", sentence)


def _clock(there: int, now: float) -> Finding:
    apart = abs(there - now)
    if apart <= CLOCK_SECONDS:
        return Finding(Level.OK, "clock", f"{apart:.0f} s apart from this machine's")
    sentence = f"{apart:.0f} s apart from this machine's; certificates may be refused"
    return Finding(Level.ERROR, "clock", sentence)


def _shown(machine: Machine) -> str:
    gpus = [gpu.name for gpu in machine.gpus] or machine.cards
    return ", ".join(
        (
            f"{machine.system_name} with kernel {machine.kernel}",
            f"{_gib(machine.memory)} of memory and {_gib(machine.swap)} of swap",
            f"{_gib(machine.free_disk)} free",
            *gpus,
        )
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.0f} GiB"


def _ports(parts: dict[str, list[str]], desired: Desired) -> Iterator[str]:
    ours = {tuple(it.rsplit(":", 1)) for line in parts["published"] for it in line.split()}
    listeners: list[tuple[str, str, str]] = []
    for line in parts["listeners"]:
        address, _, number = line.split()[3].rpartition(":")
        named = re.search(r'\(\("([^"]+)"', line)
        if not any(port == number and _meet(bind, address) for bind, port in ours):
            listeners.append((address, number, named[1] if named else "another program"))
    for container in desired.containers:
        for port in container.ports:
            for address, number, program in listeners:
                if number == str(port.published) and _meet(str(port.bind), address):
                    yield f"port {number} of {container.name} is taken by {program} on {address}"


def _meet(bind: str, address: str) -> bool:
    """Whether who listens on ``address``, as ss writes it, is in the way of a port on ``bind``.

    Docker publishes a port of every address on those of IPv6 too.
    """
    return bind == EVERY_ADDRESS or address.partition("%")[0] in (bind, EVERY_ADDRESS, "*")


def _subnets(parts: dict[str, list[str]], site: Site) -> Iterator[str]:
    bridges = {f"br-{identity[:12]}" for identity in parts["bridges"]}
    for line in parts["routes"]:
        words = line.split()
        if words[0] == "default" or "dev" not in words:
            continue
        device = words[words.index("dev") + 1]
        try:
            route = IPv4Network(words[0])
        except ValueError:
            continue
        for name, network in site.networks.items():
            if device not in bridges and network.subnet.overlaps(route):
                yield (
                    f"networks.{name}.subnet: {network.subnet} clashes with the host's route to"
                    f" {route} by {device}"
                )


def _firewalls(others: list[str], site: Site) -> Finding:
    if not others or not site.firewall.open:
        return Finding(Level.OK, "firewall", "no other one closes what the site opens")
    sentence = f"{' and '.join(others)} may close what firewall.open names; open it there too"
    return Finding(Level.WARNING, "firewall", sentence)


def on_controller(desired: Desired) -> Iterator[Finding]:
    """What is found on this machine: whether it has what the builds of our images install."""
    for container in desired.containers:
        if container.build:
            have = cached(Path(container.build.folder) / "requirements.txt")
            said = "downloaded" if have else "not downloaded yet; bin/stack fetch does it"
            level = Level.OK if have else Level.WARNING
            yield Finding(level, "wheels", f"those of {container.name} are {said}")


def _connects(lines: list[str]) -> Iterator[Finding]:
    for line in sorted(set(lines)):
        host, port, answer = line.split()
        match answer:
            case "yes":
                yield Finding(Level.OK, "downloads", f"{host}:{port} answers")
            case "no":
                sentence = f"{host}:{port} does not answer within {CONNECT_SECONDS} s"
                yield Finding(Level.ERROR, "downloads", sentence)
            case _:
                yield Finding(Level.ERROR, "downloads", f"the name {host} cannot be resolved")


def as_text(host: str, found: list[Finding]) -> str:
    """The findings for people, what is wrong last."""
    order = list(Level)
    rows = sorted(found, key=lambda finding: order.index(finding.level))
    width = max(len(finding.check) for finding in found)
    lines = (f"  {row.level:<7}  {row.check:<{width}}  {row.sentence}" for row in rows)
    return "\n".join((f"{host}:", *lines))


def as_json(host: str, found: list[Finding]) -> dict[str, Any]:
    """The findings for programs."""
    entries = [
        {"level": str(entry.level), "check": entry.check, "sentence": entry.sentence}
        for entry in found
    ]
    return {"host": host, "findings": entries}
