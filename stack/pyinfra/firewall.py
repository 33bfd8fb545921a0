"""Nobody is locked out: new rules of the firewall stay only when a new connection can be made."""

from typing import Any

from pyinfra.api import Host, State, StringCommand
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.ssh import SSHConnector

from stack.machine.firewall import KEEP, TAKE_BACK, UNDO_SECONDS
from stack.pyinfra.refuse import failed


class KeepRules(PyinfraCommand):
    """Connects to the host once more, and keeps the loaded rules or takes them back.

    The run's own connection stays: the host's lock falls with it.
    """

    def __repr__(self) -> str:
        return "keep the rules when a new connection can be made"

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        if mistake := _connection_mistake(state, host):
            host.run_shell_command(StringCommand(TAKE_BACK), **connector_arguments)
            return failed(
                host,
                "with the new rules of the firewall no new connection could be made, so the former"
                f" ones are back: {mistake}",
            )
        kept, _ = host.run_shell_command(StringCommand(KEEP), **connector_arguments)
        if not kept:
            return failed(
                host,
                f"the former rules of the firewall are back: the new ones were not proven within"
                f" {UNDO_SECONDS} s",
            )
        return True


def _connection_mistake(state: State, host: Host) -> str:
    """Why a second connection to ``host`` cannot be made; empty when it can."""
    connector = host.connector_cls(state, host)
    try:
        connector.connect()
        answered, _ = connector.run_shell_command(StringCommand("true"), False, False)
    except (ConnectError, OSError, EOFError) as error:
        return str(error)
    finally:
        if isinstance(connector, SSHConnector) and connector.client:
            connector.client.close()
    return "" if answered else "the host answers and runs no command"
