"""A lock many may share or one may own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedLock:
    """Shared for work on a shard, exclusive for closing, copying or replacing it.

    A waiting owner stops new sharers, so a stream of requests cannot starve it.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._sharers = 0
        self._owners_waiting = 0
        self._owned = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._owned and not self._owners_waiting)
            self._sharers += 1
        try:
            yield
        finally:
            with self._condition:
                self._sharers -= 1
                self._condition.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._condition:
            self._owners_waiting += 1
            self._condition.wait_for(lambda: not self._owned and not self._sharers)
            self._owners_waiting -= 1
            self._owned = True
        try:
            yield
        finally:
            with self._condition:
                self._owned = False
                self._condition.notify_all()
