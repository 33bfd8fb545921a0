"""One deploy at a time: a lock on the host that falls with the connection of its holder."""

import getpass
import shlex
import socket
from collections.abc import Generator

from pyinfra import host, state
from pyinfra.api import OperationError, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

LOCK = "/run/saiga-stack.lock"

# The holder is the process that lives as long as the deploy's connection: sshd's for it, or pyinfra
# itself on the machine it runs on. Its start time tells it from a later process of the same number.
_HOLDER = r"""
holder=$$
while [ "$holder" -gt 1 ]; do
    case $(cat /proc/$holder/comm) in sshd*|pyinfra*|python*) break ;; esac
    holder=$(sed 's/.*) //' /proc/$holder/stat | cut -d' ' -f2)
done
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
"""

_ACQUIRE = r"""
exec 9>%(lock)s.guard && flock 9 || exit 1
if read -r pid started since who 2>/dev/null <%(lock)s &&
   [ "$pid" != "$holder" ] && [ "$(born "$pid")" = "$started" ]; then
    echo "held by $who since $since"
else
    echo "$holder $(born $holder) $(date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ) "%(who)s >%(lock)s
    echo acquired
fi
"""

_RELEASE = r"""
exec 9>%(lock)s.guard && flock 9 || exit 1
if read -r pid rest 2>/dev/null <%(lock)s && [ "$pid" = "$holder" ]; then rm -f %(lock)s; fi
"""


def _script(text: str) -> StringCommand:
    who = shlex.quote(f"{getpass.getuser()}@{socket.gethostname()}")
    return StringCommand(_HOLDER + text % {"lock": LOCK, "who": who})


@operation()
def acquire() -> Generator[PyinfraCommand, None, None]:
    """
    Take the host's lock for the rest of the run; a lock whose holder is gone is taken over.

    Raises OperationError, naming the holder and since when, when another deploy has it.
    """
    if state.is_executing:
        ok, output = host.run_shell_command(_script(_ACQUIRE))
        if not ok or output.stdout.strip() != "acquired":
            raise OperationError(f"{host.name}: another deploy is at work, {output.stdout.strip()}")
    yield from ()


@operation()
def release() -> Generator[PyinfraCommand, None, None]:
    """Give the host's lock back."""
    if state.is_executing:
        host.run_shell_command(_script(_RELEASE))
    yield from ()
