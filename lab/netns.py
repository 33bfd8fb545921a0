"""The lab's network namespace: one bridge, one address, no way out."""

from pathlib import Path

from lab import mounts
from lab.processes import run, succeeds
from lab.settings import BRIDGE, CONTROLLER, NAME, PREFIX_LENGTH

PATH = Path("/run/netns") / NAME
# A bridge without an address of its own takes one of its ports', which come and go.
BRIDGE_MAC = "02:00:0a:4d:00:01"


def enter() -> list[str]:
    """The prefix that makes a command run in the namespace.

    `nsenter`, as `ip netns exec` would mount another /sys.
    """
    return ["nsenter", f"--net={PATH}", "--"]


def exists() -> bool:
    """Whether the name stands for a namespace (a plain file is what a killed `up` can leave)."""
    return bool(mounts.below(PATH))


def is_up() -> bool:
    """Whether the namespace and the bridge with its address are there."""
    return exists() and f" {CONTROLLER}/" in run([*_ip(), "-o", "-4", "address", "show"])


def ensure() -> bool:
    """Make the namespace and its bridge, or what is missing of them; return whether it changed."""
    if is_up():
        return False
    if not exists():
        PATH.unlink(missing_ok=True)
        run(["ip", "netns", "add", NAME])
    if not succeeds([*_ip(), "link", "show", BRIDGE]):
        run([*_ip(), "link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge"])
    run([*_ip(), "link", "set", "lo", "up"])
    run([*_ip(), "link", "set", BRIDGE, "up"])
    run([*_ip(), "address", "replace", f"{CONTROLLER}/{PREFIX_LENGTH}", "dev", BRIDGE])
    return True


def listens(address: str, port: int) -> bool:
    """Whether some process in the namespace accepts TCP connections there."""
    query = [*enter(), "ss", "-Hltn", "src", f"{address}:{port}"]
    return exists() and bool(run(query).strip())


def attach(link: str) -> bool:
    """Put an interface of the namespace on the bridge; return whether there is such a one."""
    return succeeds([*_ip(), "link", "set", link, "master", BRIDGE])


def remove_link(name: str) -> None:
    """Remove an interface of the namespace if it is there."""
    if exists() and succeeds([*_ip(), "link", "show", name]):
        succeeds([*_ip(), "link", "delete", name])


def delete() -> None:
    """Remove the namespace's name, and /run/netns where the lab was its only user."""
    if exists():
        run(["ip", "netns", "delete", NAME])
    PATH.unlink(missing_ok=True)
    directory = PATH.parent
    if directory.is_dir() and not any(directory.iterdir()):
        for mount in mounts.below(directory):
            run(["umount", mount])
        directory.rmdir()


def _ip() -> list[str]:
    return ["ip", "-n", NAME]
