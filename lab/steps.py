"""The long steps of a build: seconds on stderr, output in a log that is shown on failure only."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.processes import report

SHOWN_ON_FAILURE = 30
# A builder that is killed must leave nothing at work in a cache that the next one takes.
DIES_WITH_US = ("setpriv", "--pdeathsig", "TERM")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Report `title`, and when the block ends without an error, how many seconds it took."""
    report(f"{title} ...")
    start = time.monotonic()
    yield
    report(f"{title}: {time.monotonic() - start:.1f} s")


def run_logged(
    command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None
) -> None:
    """Run a command with its output appended to `log`; LabError with the last lines on failure."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begin = output.tell()
        status = subprocess.run(
            [*DIES_WITH_US, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
        ).returncode
    if status:
        with log.open("rb") as output:
            output.seek(begin)
            lines = output.read().decode(errors="replace").splitlines()
        tail = "\n".join(lines[-SHOWN_ON_FAILURE:])
        raise LabError(f"{command[0]} ended with status {status} (all of it in {log}):\n{tail}")
