"""The site of a pyinfra host: its data layers merged, validated, and what follows from them."""

from dataclasses import dataclass

from pyinfra.api import DeployError, Host

from stack.docker.spec import Desired
from stack.site import Site, SiteError, load
from stack.topology import desired


@dataclass(frozen=True)
class Stack:
    """One host's site and everything that has to stand on it; ``adopt`` as in plan()."""

    site: Site
    desired: Desired
    adopt: bool


def stack_of(host: Host) -> Stack:
    """Merge all.py, the host's groups, the host's own data and --data, in rising rank.

    Raises DeployError with every mistake in the data; no command has run on the host by then.
    """
    inventory = host.inventory
    groups = [inventory.get_group_data(group) for group in host.groups]
    overrides = inventory.get_override_data()
    layers = [inventory.get_data(), *groups, host.host_data, overrides]
    try:
        site = load(*layers)
    except SiteError as error:
        raise DeployError(f"the data of {host.name} is wrong:\n{error}") from None
    return Stack(site, desired(site), adopt=overrides.get("adopt") in ("yes", True))
