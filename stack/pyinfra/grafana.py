"""The operation on Grafana's administrator."""

from pyinfra import host
from pyinfra.api import FactBase, operation

from stack.pyinfra.operations import can_be_asked
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.secrets import GRAFANA_ADMIN
from stack.tasks import Task
from stack.topology import grafana_query


class GrafanaLogin(FactBase[str]):
    """The HTTP status that Grafana gives its administrator."""

    def command(self, query: str) -> str:
        return f"{query} || true"

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: list[str]) -> str:
        return output[-1] if output else ""


@operation()
def grafana_administrator(stack: Stack) -> Commands:
    """
    Give Grafana's administrator the password of the host: Grafana reads its file at the first
    start only.

    + stack: what has to stand on the host
    """
    service = stack.site.services.grafana
    if not can_be_asked(stack, service.container):
        return
    query = grafana_query(stack.site)
    if host.get_fact(GrafanaLogin, query=query) != "401":
        return
    reset = "grafana cli admin reset-admin-password --password-from-stdin"
    command = f"docker exec -i {service.container} {reset} <{GRAFANA_ADMIN.path} >/dev/null"
    proof = f"test $({query}) = 200"
    task = Task("administrator of Grafana", "set the password", "cannot log in", (command, proof))
    yield from carry_out(task)
