"""A lock file that says who holds it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.processes import report


@contextmanager
def held(path: Path, what: str, seconds: float) -> Iterator[None]:
    """Hold the lock `path` of `what`; say so and wait, at most `seconds`, while another has it.

    The lock goes with its process, however that ends; the file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + seconds
        told = False
        while not _locked(file.fileno()):
            file.seek(0)
            holder = file.read().strip()
            if time.monotonic() > deadline:
                raise LabError(
                    f"{what} is still busy after {seconds:.0f} s: end process {holder} first"
                )
            if not told:
                report(f"{what} is busy (process {holder}), waiting for it")
                told = True
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
