"""Files on the host that belong to no container."""

import hashlib
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stack.machine.observe import Machine
from stack.tasks import Task, changed


@dataclass(frozen=True)
class HostFile:
    """A file with its whole content. ``then`` is a shell command that makes its change known."""

    path: str
    content: str
    then: str = ""
    mode: str = "0644"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


def file_tasks(machine: Machine, files: Iterable[HostFile]) -> Iterator[Task]:
    """Write what is missing or differs. Content and consequence are one command, so that a deploy
    cut short leaves both or none."""
    for file in files:
        present = machine.files.get(file.path)
        before = {"content": present.sha256[:12], "mode": present.mode} if present else {}
        changes = changed(before, {"content": file.sha256[:12], "mode": file.mode})
        if not changes:
            continue
        command = write_command(file)
        yield Task(
            f"file {file.path}",
            "write",
            "differs" if present else "not found",
            (f"{command} && {file.then}" if file.then else command,),
            changes if present else (),
        )


def write_command(file: HostFile) -> str:
    """A shell command after which the file is there as a whole, or as it was."""
    folder, new = file.path.rpartition("/")[0], shlex.quote(f"{file.path}.new")
    return (
        f"mkdir -p {folder} && printf %s {shlex.quote(file.content)} >{new} &&"
        f" chmod {file.mode} {new} && mv {new} {shlex.quote(file.path)}"
    )
