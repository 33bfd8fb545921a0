"""The inventory outside a pyinfra run: which hosts a site has, and how to reach them."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api import Host, Inventory, State
from pyinfra.context import ctx_state
from pyinfra_cli.exceptions import UnexpectedExternalError
from pyinfra_cli.inventory import make_inventory

from stack.messages import nearest
from stack.pyinfra.site import Stack, stack_of
from stack.site import SiteError

CONNECT_SECONDS = 15
# OpenSSH takes them from nobody but a terminal.
PASSWORDS = ("ssh_password", "ssh_key_password")


@dataclass(frozen=True)
class Target:
    """A host of a site; ``ssh`` is the command line that connects to it, None for this machine.

    ``shell`` runs what it is given as its last word, with the privileges of the deploy.
    """

    name: str
    address: str
    ssh: tuple[str, ...] | None
    stack: Stack
    shell: tuple[str, ...] = ("sh", "-c")

    @property
    def sudo(self) -> bool:
        return self.shell[0] == "sudo"

    def command(self, script: str, terminal: bool = False) -> list[str]:
        """The command line that runs a shell script on the host, ``terminal`` on one of its own."""
        if self.ssh is None:
            return [*self.shell, script]
        options = ("-t",) if terminal else ()
        return [self.ssh[0], *options, *self.ssh[1:], shlex.join([*self.shell, script])]


def load_inventory(path: Path, root: Path, data: Mapping[str, Any] | None = None) -> Inventory:
    """The inventory file ``path`` with the group_data beside it and under ``root``.

    Raises SiteError when one of the files cannot be run.
    """
    try:
        with ctx_state.use(State()):
            inventory: Inventory = make_inventory(
                str(path), override_data=dict(data or {}), cwd=str(root)
            )
    except SyntaxError as error:
        raise SiteError(f"{error.filename} line {error.lineno}: {error.msg}") from None
    except UnexpectedExternalError as error:
        raised = error.exception
        raise SiteError(f"{error.filename}: {type(raised).__name__}: {raised}") from None
    return inventory


def sites(inventory: Inventory) -> list[str]:
    """The groups that have hosts."""
    return sorted({group for host in inventory for group in host.groups} - {"inventory"})


def hosts_of(site: str, inventory: Inventory) -> list[Host]:
    """The hosts of ``site``, a group or a host. Raises SiteError when there is none."""
    found = [host for host in inventory if site in host.groups or site == host.name]
    if not found:
        known = sites(inventory)
        raise SiteError(
            f"{site} is no site of inventory.py{nearest(site, known)}; there are:"
            f" {', '.join(known)}"
        )
    return found


def targets(site: str, root: Path, inventory: Path | None = None) -> Iterator[Target]:
    """The hosts of ``site`` (a group of inventory.py under ``root``).

    Raises SiteError when there is no such group, DeployError when its data is wrong.
    """
    for host in hosts_of(site, load_inventory(inventory or root / "inventory.py", root)):
        local = host.name.startswith("@local")
        address = "127.0.0.1" if local else str(host.data.get("ssh_hostname", host.name))
        ssh = None if local else tuple(_ssh_command(host, address))
        shell = ("sudo", "-n", "sh", "-c") if host.data.get("_sudo") else ("sh", "-c")
        yield Target(host.name, address, ssh, stack_of(host), shell)


def _ssh_command(host: Host, address: str) -> Iterator[str]:
    """OpenSSH's command line for a host; it trusts the keys that pyinfra trusts.

    Raises SiteError when the host's data have a password, which only pyinfra can use.
    """
    data: Any = host.data
    for key in PASSWORDS:
        if data.get(key):
            raise SiteError(
                f"{host.name}: {key} serves pyinfra alone; this command logs in by OpenSSH, which"
                " needs a key without a passphrase (ssh_key), or an agent"
            )
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
    known = data.get("ssh_strict_host_key_checking") or "accept-new"
    yield from ("-o", f"StrictHostKeyChecking={known}")
    yield from ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}")
    yield address
