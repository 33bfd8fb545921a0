"""The operation on Grafana's administrator."""

from pyinfra import host
from pyinfra.api import FactBase, operation

from stack.pyinfra.operations import can_be_asked
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.secrets import GRAFANA_ADMIN
from stack.tasks import Task
from stack.topology import address


class GrafanaLogin(FactBase[str]):
    """The HTTP status that Grafana gives its administrator; curl reads the password from a pipe."""

    def command(self, url: str, password: str) -> str:
        user = f"printf 'user = \"admin:'; cat {password}; printf '\"\\n'"
        ask = f"curl -s -m 10 -o /dev/null -w '%{{http_code}}\\n' -K - {url}/api/datasources"
        return f"{{ {user}; }} | {ask} || true"

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
    url, path = f"http://{address(service, 'http')}", GRAFANA_ADMIN.path
    if host.get_fact(GrafanaLogin, url=url, password=path) != "401":
        return
    reset = "grafana cli admin reset-admin-password --password-from-stdin"
    command = f"docker exec -i {service.container} {reset} <{path} >/dev/null"
    task = Task("administrator of Grafana", "set the password", "cannot log in", (command,))
    yield from carry_out(task)
