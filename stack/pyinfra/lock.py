"""One deploy at a time: a lock on the host that falls with the connection of its holder."""

import shlex
import time
from collections.abc import Generator

from pyinfra import host, state
from pyinfra.api import StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from stack.pyinfra.observations import forget_before
from stack.pyinfra.refuse import refuse
from stack.pyinfra.remote import operation_arguments, operator

LOCK = "/run/saiga-stack.lock"

# A command goes on when the deploy that began it is killed. Each runs under a shared lock of its
# own, so that the next deploy can wait for the last one to end before it looks at the host.
WORK = "/run/saiga-stack.work"
SHELL = f"flock --shared {WORK} sh"
WORK_DEADLINE = 900
POLL_SECONDS = 1.0
PROGRESS_SECONDS = 10.0
# Of two readings of /proc/uptime, in hundredths of a second as it counts.
CLOCK_ERROR_CS = 2

# The holder is the process that lives as long as the deploy's connection: sshd's for it, or pyinfra
# itself on the machine it runs on. Its start time tells it from a later process of the same number.
# Nothing but the shell itself is run to find it: every deploy waits for this.
HOLDER = r"""
look_at() {
    read -r stat 2>/dev/null <"/proc/$1/stat" || return
    set -- ${stat##*) }
    parent=$2 born=${20}
}
uptime_cs() { read -r up idle </proc/uptime; up=${up%.*}${up#*.}; }
holder=$$
while [ "$holder" -gt 1 ]; do
    read -r comm <"/proc/$holder/comm"
    case $comm in sshd*|dropbear*|pyinfra*|python*) break ;; esac
    look_at "$holder" || parent=0
    holder=$parent
done
"""

# Answers `acquired N`: a deploy gave the lock back N hundredths of a second ago; 0: one was killed.
ACQUIRE = r"""
if [ "$holder" -le 1 ]; then echo "no process holds this connection"; exit 1; fi
exec 9>%(lock)s.guard 8>%(work)s && flock 9 || exit 1
pid=
if read -r pid started since who 2>/dev/null <%(lock)s &&
   [ "$pid" != "$holder" ] && [ -n "$started" ] && look_at "$pid" && [ "$born" = "$started" ]; then
    echo "held by $who since $since, by process $pid on the host"
elif ! flock --exclusive --nonblock 8; then
    echo busy "${who:+of $who since $since}"
else
    ago=0
    if [ -z "$pid" ] || [ "$pid" = "$holder" ]; then
        released=0
        read -r released 2>/dev/null <%(lock)s.released
        uptime_cs
        ago=$((up - released))
    fi
    look_at "$holder"
    echo "$holder $born $(date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ) "%(who)s >%(lock)s
    echo acquired $ago
fi
"""

RELEASE = r"""
exec 9>%(lock)s.guard && flock 9 || exit 1
if read -r pid rest 2>/dev/null <%(lock)s && [ "$pid" = "$holder" ]; then
    uptime_cs
    echo "$up" >%(lock)s.released
    rm -f %(lock)s
fi
"""


def _run(text: str) -> tuple[str, str]:
    """Run a script with the privileges of the operation.

    Returns what it answered, nothing when it failed, and all that it and its shell said.
    """
    values = {"lock": LOCK, "work": WORK, "who": shlex.quote(operator())}
    # In front of SHELL, the script would wait for itself.
    arguments = operation_arguments(host) | {"_shell_executable": "sh"}
    ok, output = host.run_shell_command(StringCommand(HOLDER + text % values), **arguments)
    return output.stdout.strip() if ok else "", output.output.strip()


@operation()
def acquire() -> Generator[PyinfraCommand, None, None]:
    """
    Take the host's lock for the rest of the run; a lock whose holder is gone is taken over.

    Waits until the last command of an ended deploy has ended too. Fails, naming the holder and
    since when, when another deploy has the lock.
    """
    if state.is_executing and (sentence := obstacle()):
        yield from refuse(sentence)


def obstacle() -> str:
    """Take the lock; empty, or the sentence that says why it was not to be had."""
    started = time.monotonic()
    said = started - PROGRESS_SECONDS
    while True:
        answer, said_there = _run(ACQUIRE)
        if answer.startswith("acquired"):
            forget_before(host, (int(answer.split()[1]) - CLOCK_ERROR_CS) / 100)
            return ""
        if answer.startswith("held"):
            return f"another deploy is at work, {answer}; nothing was changed"
        if not answer.startswith("busy"):
            return f"could not take {LOCK}: {said_there or 'no output'}"
        whose = answer.removeprefix("busy").strip() or "of an ended deploy"
        waited = time.monotonic() - started
        if waited > WORK_DEADLINE:
            return (
                f"a command {whose} still runs on the host after {waited:.0f} s;"
                f" `fuser -v {WORK}` there shows it; nothing was changed"
            )
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            host.log(f"waiting for a command {whose} to end: {waited:.0f} s of {WORK_DEADLINE} s")
        time.sleep(POLL_SECONDS)


@operation()
def release() -> Generator[PyinfraCommand, None, None]:
    """Give the host's lock back."""
    if state.is_executing:
        _run(RELEASE)
    yield from ()
