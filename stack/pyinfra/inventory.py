"""The inventory outside a pyinfra run: which hosts a site has, and how to reach them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api import State
from pyinfra.context import ctx_state
from pyinfra_cli.inventory import make_inventory

from stack.pyinfra.site import Stack, stack_of
from stack.site import SiteError


@dataclass(frozen=True)
class Target:
    """A host of a site; ``ssh`` is the command line that connects to it, None for this machine."""

    name: str
    address: str
    ssh: tuple[str, ...] | None
    stack: Stack


def targets(site: str, root: Path) -> Iterator[Target]:
    """The hosts of ``site`` (a group of inventory.py under ``root``).

    Raises SiteError when there is no such group.
    """
    with ctx_state.use(State()):
        inventory = make_inventory(str(root / "inventory.py"), cwd=str(root))
    hosts = [host for host in inventory if site in host.groups or site == host.name]
    if not hosts:
        groups = sorted({group for host in inventory for group in host.groups} - {"inventory"})
        raise SiteError(f"{site} is no site of inventory.py; there are: {', '.join(groups)}")
    for host in hosts:
        local = host.name.startswith("@local")
        address = "127.0.0.1" if local else str(host.data.get("ssh_hostname", host.name))
        ssh = None if local else tuple(_ssh_command(host.data, address))
        yield Target(host.name, address, ssh, stack_of(host))


def _ssh_command(data: Any, address: str) -> Iterator[str]:
    yield "ssh"
    options = {
        "ssh_key": "IdentityFile",
        "ssh_known_hosts_file": "UserKnownHostsFile",
        "ssh_port": "Port",
        "ssh_user": "User",
    }
    if config := data.get("ssh_config_file"):
        yield from ("-F", str(config))
    for key, option in options.items():
        if value := data.get(key):
            yield from ("-o", f"{option}={value}")
    yield from ("-o", "BatchMode=yes")
    yield address
