"""A sign of life on standard error for whatever takes longer than two seconds."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUIET_SECONDS = 2.0
LINE_SECONDS = 10.0


@contextmanager
def progress(doing: str) -> Iterator[None]:
    """Say what is being done, and for how long, while the block runs.

    On a terminal one line that counts and goes away, elsewhere a line now and then.
    """
    done = threading.Event()
    talker = threading.Thread(target=_talk, args=(doing, done), daemon=True)
    talker.start()
    try:
        yield
    finally:
        done.set()
        talker.join()


def _talk(doing: str, done: threading.Event) -> None:
    started = time.monotonic()
    terminal = sys.stderr.isatty()
    said = False
    wait = QUIET_SECONDS
    while not done.wait(wait):
        elapsed = f"{doing}: {time.monotonic() - started:.0f} s"
        print(
            f"\r{elapsed}" if terminal else elapsed, end="" if terminal else "\n", file=sys.stderr
        )
        sys.stderr.flush()
        said = True
        wait = 1.0 if terminal else LINE_SECONDS
    if said and terminal:
        print("\r" + " " * (len(doing) + 16) + "\r", end="", file=sys.stderr, flush=True)
