"""Control groups as the lab's list of its own processes.

Everything that the lab leaves running is in a group below `saiga-lab` from its first instruction,
and so is all that it starts in turn, containers of a lab host included. So nothing has to be
recorded for `down` to find what is ours, whatever was killed before. Works with cgroup v1 (every
mounted hierarchy), v2, and both at once; needs no systemd.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from lab.errors import LabError


def hierarchies() -> list[Path]:
    """Where the cgroup hierarchies are mounted, one directory for each hierarchy."""
    return list(memberships())


def memberships(mounts: str | None = None, own: str | None = None) -> dict[Path, str]:
    """Where each hierarchy is mounted, and the group of this process in it (`/`, `/a/b`).

    From the texts of /proc/self/mounts and /proc/self/cgroup.
    """
    lines = (Path("/proc/self/mounts").read_text() if mounts is None else mounts).splitlines()
    mounted = [
        (kind, point, set(options.split(",")))
        for _, point, kind, options, *_ in map(str.split, lines)
    ]
    found: dict[Path, str] = {}
    for line in (Path("/proc/self/cgroup").read_text() if own is None else own).splitlines():
        _, controllers, group = line.split(":", 2)
        names = set(controllers.split(",")) - {""}
        kind = "cgroup" if names else "cgroup2"
        for mounted_kind, point, options in mounted:
            if mounted_kind == kind and names <= options:
                found[Path(point)] = group
                break
    return found


def create(group: str) -> None:
    """Make `group` and its parents in every hierarchy, with all controllers on."""
    for hierarchy in hierarchies():
        directory = hierarchy
        for part in group.split("/"):
            _delegate(directory)
            directory = directory / part
            directory.mkdir(exist_ok=True)
            _inherit_cpuset(directory)


def join(group: str) -> None:
    """Move the calling process into `group` in every hierarchy."""
    for hierarchy in hierarchies():
        _enter(hierarchy / group)


@contextlib.contextmanager
def within(group: str) -> Iterator[None]:
    """Be in `group`, with all that this process starts meanwhile, until the block ends."""
    before = memberships()
    create(group)
    join(group)
    try:
        yield
    finally:
        for hierarchy, own in before.items():
            _enter(hierarchy / own.lstrip("/"))
        remove(group)


def pids(group: str) -> set[int]:
    """The processes in `group` and below it."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy / group):
            with contextlib.suppress(OSError):
                text = Path(directory, "cgroup.procs").read_text()
                found.update(map(int, text.split()))
    return found - {0}


def kill(group: str, seconds: float = 30) -> None:
    """SIGKILL all in `group` and wait until nothing is left of them.

    Raises LabError when a process is still there after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while left := pids(group):
        _thaw(group)
        if time.monotonic() > deadline:
            shown = ", ".join(map(str, sorted(left)))
            raise LabError(f"processes {shown} of {group} do not end after SIGKILL")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def remove(group: str, seconds: float = 10) -> None:
    """Remove the empty `group` from every hierarchy; nothing happens where there is none."""
    deadline = time.monotonic() + seconds
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy / group, topdown=False):
            while True:
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    break
                except OSError as error:
                    # The kernel lets go of a dead process's group a moment after its death.
                    if time.monotonic() > deadline:
                        raise LabError(
                            f"cannot remove the control group {directory}: {error}"
                        ) from error
                    time.sleep(0.05)
                else:
                    break


def _thaw(group: str) -> None:
    """Let go on what is frozen: an engine killed in the wrong moment leaves a container like that.

    A frozen process does not end.
    """
    for hierarchy in hierarchies():
        for directory, _, files in os.walk(hierarchy / group):
            for name, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                if name in files:
                    with contextlib.suppress(OSError):
                        Path(directory, name).write_text(thawed)


def _enter(directory: Path) -> None:
    (directory / "cgroup.procs").write_text("0")


def _delegate(directory: Path) -> None:
    control = directory / "cgroup.subtree_control"
    if not control.is_file():
        return
    for controller in (directory / "cgroup.controllers").read_text().split():
        # Some controllers (cpu with real-time tasks, for one) refuse; the lab runs without them.
        with contextlib.suppress(OSError):
            control.write_text(f"+{controller}")


def _inherit_cpuset(directory: Path) -> None:
    if (directory / "cgroup.controllers").is_file():
        return
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = directory / name
        if file.is_file() and not file.read_text().strip():
            file.write_text((directory.parent / name).read_text())
