"""Carrying out tasks: said, written to the host's audit log, done."""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand
from pyinfra.api.command import PyinfraCommand

from stack.docker.audit import audit_command
from stack.pyinfra.remote import operator
from stack.tasks import Task

Commands = Generator[str | PyinfraCommand, None, None]


def carry_out(*tasks: Task) -> Commands:
    """Say what the tasks are about; each has its line in the host's audit log before it is done."""
    for task in tasks:
        for line in str(task).splitlines():
            host.log(line)
    for task in tasks:
        yield StringCommand(
            audit_command(operator(), task.subject, task.action, task.cause, changes=task.changes)
        )
        yield from task.commands
