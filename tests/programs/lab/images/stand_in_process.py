"""Start a stand-in (or any program) on loopback, wait for it, end it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import requests

IMAGES = Path(__file__).resolve().parents[4] / "lab" / "images"
DEADLINE = 20.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
    """Return when `condition` holds; AssertionError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"{what} within {deadline} s"
        time.sleep(0.05)


def stand_in_command(image: str, *arguments: str) -> list[str]:
    package = image.replace("-", "_")
    return [sys.executable, "-m", package, *arguments]


def stand_in_environment(image: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The test's environment without what would configure the program, plus `extra`."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("QDRANT_", "GF_", "DCGM_"))
    }
    return {**kept, "PYTHONPATH": str(IMAGES / image), "PYTHONUNBUFFERED": "1", **extra}


class Program:
    """A running program whose output goes to a file."""

    def __init__(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], ready_url: str
    ) -> None:
        self._log = cwd / "output.log"
        self._ready_url = ready_url
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=dict(environment), stdout=log, stderr=log
            )
        try:
            wait_until(self._ready, f"{ready_url} answers")
        except BaseException:
            self.stop()
            raise

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"the program ended:\n{self.output()}"
        try:
            return requests.get(self._ready_url, timeout=2).ok
        except requests.ConnectionError:
            return False

    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=DEADLINE)

    def stop(self) -> int:
        """End it with SIGTERM and return the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.returncode)


def run_stand_in(
    image: str, cwd: Path, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a stand-in that is expected to end by itself."""
    return subprocess.run(
        stand_in_command(image, *arguments),
        cwd=cwd,
        env=stand_in_environment(image, environment),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
