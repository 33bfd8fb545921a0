"""The two networks with their fixed subnets, the volumes, and nothing left of former sites."""

from pyinfra import host
from pyinfra.api import deploy

from stack.docker.plan import LEFTOVERS
from stack.pyinfra.operations import converge
from stack.pyinfra.site import Stack


@deploy("Networks and volumes")
def networks(stack: Stack) -> None:
    """Every network and volume of the site; volumes are created and never removed.

    Containers of ours that the site no longer has go first: they may hold an address or a port.
    """
    converge(name="Leftovers", stack=stack, subject=LEFTOVERS)
    subjects = [f"network {network.name}" for network in stack.desired.networks]
    subjects += [f"volume {volume.name}" for volume in stack.desired.volumes]
    for subject in host.loop(subjects):
        converge(name=subject.capitalize(), stack=stack, subject=subject)
