"""Exporters of the machine itself: node and DCGM."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.site import Stack


@deploy("Host exporters")
def host_exporters(stack: Stack) -> None:
    """CPU, memory, disks and, where there is one, the GPU."""
    run(stack, "node_exporter")
    run(stack, "dcgm_exporter")
