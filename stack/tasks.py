"""A change on a host that no plan of containers knows of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stack.docker.fields import differences
from stack.docker.plan import Change, described


@dataclass(frozen=True)
class Task:
    """What to say about a change and what makes it: shell commands, or commands of pyinfra."""

    subject: str
    action: str
    cause: str
    commands: tuple[Any, ...]
    changes: tuple[Change, ...] = ()
    target: str = ""

    def __str__(self) -> str:
        return described(self.subject, self.action, self.target, self.cause, self.changes)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """The fields in which two views of a subject differ."""
    return tuple(Change(*change) for change in differences(dict(before), dict(after)))
