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


# The output of a command may hold what a log must not.
FAILED = "a command of it failed; the output of the deploy says why"


class _Command(StringCommand):
    """A shell command of a task; says what it is for while it takes long, and logs its failure."""

    def __init__(self, command: str, task: Task) -> None:
        super().__init__(command)
        self.task = task

    def execute(self, state: State, host: Host, connector_arguments: Any) -> Any:
        with at_work(host, f"{self.task.subject}: {self.task.action}"):
            done, output = super().execute(state, host, connector_arguments)
        if not done:
            host.run_shell_command(_log(self.task, FAILED), **connector_arguments)
        return done, output


def _log(task: Task, failure: str = "") -> StringCommand:
    return StringCommand(
        audit_command(
            operator(),
            task.subject,
            task.action,
            task.cause,
            task.target,
            changes=task.changes,
            failure=failure,
        )
    )


def carry_out(*tasks: Task) -> Commands:
    """Say what the tasks are about; each has its line in the host's audit log before it is done."""
    announce(tasks)
    for task in tasks:
        yield _log(task)
        yield from (_Command(it, task) if isinstance(it, str) else it for it in task.commands)
