"""Grafana."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.site import Stack


@deploy("Grafana")
def grafana(stack: Stack) -> None:
    """Dashboards and their data source, provisioned."""
    run(stack, "grafana")
