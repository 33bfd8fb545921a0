"""A sign of life for whatever takes longer than two seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_SECONDS = 2.0
LINE_SECONDS = 10.0
COUNT_SECONDS = 1.0

Say = Callable[[str], None]


def _on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress(doing: str, say: Say | None = None) -> Iterator[None]:
    """Say what is being done, and for how long, while the block runs.

    ``say`` gets a line now and then. Without it standard error does; on a terminal one line that
    counts and goes away.
    """
    done = threading.Event()
    talk = _count if say is None and sys.stderr.isatty() else _report
    talker = threading.Thread(target=talk, args=(doing, done, say or _on_stderr), daemon=True)
    talker.start()
    try:
        yield
    finally:
        done.set()
        talker.join()


def _report(doing: str, done: threading.Event, say: Say) -> None:
    started, wait = time.monotonic(), QUIET_SECONDS
    while not done.wait(wait):
        say(f"{doing}: {time.monotonic() - started:.0f} s")
        wait = LINE_SECONDS


def _count(doing: str, done: threading.Event, _: Say) -> None:
    started, wait, line = time.monotonic(), QUIET_SECONDS, ""
    while not done.wait(wait):
        line = f"{doing}: {time.monotonic() - started:.0f} s"
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
        wait = COUNT_SECONDS
    if line:
        print(f"\r{' ' * len(line)}\r", end="", file=sys.stderr, flush=True)
