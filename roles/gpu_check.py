"""The GPU, where it has to be in the end."""

from pyinfra.api import deploy

from stack.pyinfra.machine import gpu_in_containers
from stack.pyinfra.site import Stack


@deploy("GPU check")
def gpu_check(stack: Stack) -> None:
    """Last of all: whatever reloaded systemd or restarted Docker has done so by now."""
    if stack.site.gpu == "nvidia":
        gpu_in_containers(name="Containers see the GPU", stack=stack)
