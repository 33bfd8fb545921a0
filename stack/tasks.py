"""Changes that no plan of containers knows of: rows, roles, secrets, collections."""

from dataclasses import dataclass
from typing import Any

from stack.docker.plan import Change


@dataclass(frozen=True)
class Task:
    """One such change: what to say about it and the commands that make it on the host."""

    subject: str
    action: str
    cause: str
    commands: tuple[Any, ...]
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.subject}: {self.action} ({self.cause})"]
        return "\n".join([*lines, *(f"    {change}" for change in self.changes)])
