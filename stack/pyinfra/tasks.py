"""Carrying out tasks: said, written to the host's audit log, done."""

from collections.abc import Generator
from typing import Any

from pyinfra.api import Host, State, StringCommand
from pyinfra.api.command import PyinfraCommand

from stack.docker.audit import audit_command
from stack.pyinfra.planned import announce
from stack.pyinfra.remote import at_work, operator
from stack.tasks import Task

Commands = Generator[str | PyinfraCommand, None, None]


class _Command(StringCommand):
    """A shell command that says what it is for while it takes long."""

    def __init__(self, command: str, doing: str) -> None:
        super().__init__(command)
        self.doing = doing

    def execute(self, state: State, host: Host, connector_arguments: Any) -> Any:
        with at_work(host, self.doing):
            return super().execute(state, host, connector_arguments)


def carry_out(*tasks: Task) -> Commands:
    """Say what the tasks are about; each has its line in the host's audit log before it is done."""
    announce(tasks)
    for task in tasks:
        yield StringCommand(
            audit_command(operator(), task.subject, task.action, task.cause, changes=task.changes)
        )
        doing = f"{task.subject}: {task.action}"
        yield from (_Command(it, doing) if isinstance(it, str) else it for it in task.commands)
