"""Carrying out tasks: said, written to the host's audit log, done."""

from collections.abc import Generator

from pyinfra.api import StringCommand
from pyinfra.api.command import PyinfraCommand

from stack.docker.audit import audit_command
from stack.pyinfra.planned import announce
from stack.pyinfra.remote import operator
from stack.tasks import Task

Commands = Generator[str | PyinfraCommand, None, None]


def carry_out(*tasks: Task) -> Commands:
    """Say what the tasks are about; each has its line in the host's audit log before it is done."""
    announce(tasks)
    for task in tasks:
        yield StringCommand(
            audit_command(operator(), task.subject, task.action, task.cause, changes=task.changes)
        )
        yield from (StringCommand(it) if isinstance(it, str) else it for it in task.commands)
