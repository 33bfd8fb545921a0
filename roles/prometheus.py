"""Prometheus."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.site import Stack


@deploy("Prometheus")
def prometheus(stack: Stack) -> None:
    """Scrapes every service; a changed configuration is reloaded."""
    run(stack, "prometheus")
