"""Running commands, leaving processes behind on purpose, and waiting for conditions."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from lab import cgroups
from lab.errors import LabError


def report(line: str) -> None:
    """Tell the user what happens now."""
    print(line, file=sys.stderr, flush=True)


def run(
    command: Sequence[str | Path], *, stdin: str = "", env: Mapping[str, str] | None = None
) -> str:
    """Run a command and return its standard output.

    Raises LabError with the last line that it wrote to standard error when it fails.
    """
    try:
        result = subprocess.run(command, input=stdin, env=env, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise LabError(f"the program {command[0]} is not installed") from error
    if result.returncode:
        shown = " ".join(map(str, command))
        why = (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()[-1]
        raise LabError(f"`{shown}` ended with status {result.returncode}: {why}")
    return result.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command ends with status 0; its output is dropped."""
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet).returncode == 0


def spawn(command: Sequence[str | Path], *, group: str, log: Path) -> None:
    """Start a process that outlives this one: own session and control group, output to `log`.

    It inherits PATH and nothing else of the environment.
    """
    cgroups.create(group)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            preexec_fn=partial(cgroups.join, group),
        )


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask `condition` until it holds; LabError naming `what` when it does not within `seconds`."""
    started = time.monotonic()
    told = started
    while not condition():
        now = time.monotonic()
        if now - started > seconds:
            raise LabError(f"{what}: not so after {seconds:.0f} s")
        if now - told > 10:
            report(f"waiting: {what} ({now - started:.0f} s of at most {seconds:.0f} s)")
            told = now
        time.sleep(0.1)


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, for an error message."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "its log is empty")
