"""What operations say they would do, kept for whoever asks after the detection of changes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

from pyinfra import host, state
from pyinfra.api import Host
from pyinfra.context import ctx_host

from stack.docker.plan import Change


class Announcement(Protocol):
    """A step of a plan. As text: one line, and one more for each change."""

    @property
    def subject(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def cause(self) -> str: ...
    @property
    def changes(self) -> tuple[Change, ...]: ...


@dataclass
class _Announced:
    steps: list[Announcement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    operations: set[str] = field(default_factory=set)


_announced: WeakKeyDictionary[Host, _Announced] = WeakKeyDictionary()


def announce(steps: Iterable[Announcement]) -> None:
    """Show the operator what the running operation is about to do, or would do."""
    known = _announced.setdefault(ctx_host.get(), _Announced())
    for step in steps:
        for line in str(step).splitlines():
            host.log(line)
        if not state.is_executing:
            known.steps.append(step)
            known.operations.add(host.current_op_hash or "")


def note(text: str) -> None:
    """Show the operator what belongs to the plan and changes nothing."""
    host.log(text)
    if not state.is_executing:
        _announced.setdefault(ctx_host.get(), _Announced()).notes.append(text)


def noted(target: Host) -> Sequence[str]:
    """The notes of the operations on ``target`` while changes were detected."""
    return _announced.get(target, _Announced()).notes


def announced(target: Host) -> Sequence[Announcement]:
    """What the operations on ``target`` announced while changes were detected."""
    return _announced.get(target, _Announced()).steps


def has_announced(target: Host, operation: str) -> bool:
    """Whether the operation with this hash said what it would do."""
    return operation in _announced.get(target, _Announced()).operations
