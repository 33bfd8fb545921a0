"""Grafana."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.grafana import grafana_administrator
from stack.pyinfra.site import Stack


@deploy("Grafana")
def grafana(stack: Stack) -> None:
    """Dashboards and their data source, provisioned; the administrator's password."""
    if run(stack, "grafana"):
        grafana_administrator(name="Administrator", stack=stack)
