"""The site of a pyinfra host: its data layers merged, validated, and what follows from them."""

from dataclasses import dataclass

from pyinfra.api import DeployError, Host

from stack.docker.spec import Desired
from stack.messages import nearest
from stack.secrets import SECRETS
from stack.site import Site, SiteError, load
from stack.topology import desired


@dataclass(frozen=True)
class Stack:
    """One host's site and everything that has to stand on it; ``adopt`` as in plan(); ``rotate``
    names the secrets that get a new value in this run."""

    site: Site
    desired: Desired
    adopt: bool
    rotate: frozenset[str] = frozenset()


def stack_of(host: Host) -> Stack:
    """Merge all.py, the host's groups, the host's own data and --data, in rising rank.

    Raises DeployError with every mistake in the data; no command has run on the host by then.
    """
    inventory = host.inventory
    groups = [inventory.get_group_data(group) for group in host.groups]
    overrides = inventory.get_override_data()
    layers = [inventory.get_data(), *groups, host.host_data, overrides]
    try:
        _check_file_names(host)
        site = load(*layers)
    except SiteError as error:
        raise DeployError(f"the data of {host.name} is wrong:\n{error}") from None
    adopt = overrides.get("adopt") in ("yes", True)
    return Stack(site, desired(site), adopt, _rotated(site, overrides.get("rotate")))


def _rotated(site: Site, rotate: object) -> frozenset[str]:
    """The secrets that ``--data rotate=NAME`` is about; ``all`` are those that the host keeps."""
    names = [secret.name for secret in SECRETS]
    if rotate is None:
        return frozenset()
    if rotate == "all":
        return frozenset(names) - site.secrets.keys()
    if rotate in site.secrets:
        raise DeployError(f"secret {rotate} is supplied by the site: change it there and deploy")
    if rotate not in names:
        raise DeployError(f"there is no secret {rotate}; there are {', '.join(names)}")
    return frozenset({str(rotate)})


def _check_file_names(host: Host) -> None:
    """Refuse a file of group_data for no group, where a group of the host may be meant by it."""
    groups = {group for other in host.inventory for group in other.groups}
    silent = [group for group in host.groups if not host.inventory.get_group_data(group)]
    for name, data in host.inventory.group_data.items():
        if data and name not in groups and (meant := nearest(name, silent)):
            raise SiteError(f"group_data/{name}.py: no group of the inventory has that name{meant}")
