"""Deploys that a test starts, stops at an exact point, and cuts short."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.lab.conftest import PYINFRA, ROOT, Lab, Run

HOLD, HELD = "/run/lab-hold", "/run/lab-held"
BIN = "/usr/local/bin"

# Stands before a program on the host's PATH and stops in front of the one command line that a test
# waits for, so that no production code needs a hook and no test a guess about time.
_GATEKEEPER = r"""#!/bin/sh
if [ -e %(hold)s ]; then
    pattern=$(cat %(hold)s)
    case "%(program)s $*" in
        $pattern) echo $$ >%(held)s; while [ -e %(hold)s ]; do sleep 0.05; done ;;
    esac
fi
exec /usr/bin/%(program)s "$@"
"""


def variant(folder: Path, data: Mapping[str, Any]) -> str:
    """An inventory of the lab in which ``data`` stands above the site's own values."""
    path = folder / "inventory.py"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"lab = [({'lab'!r}, {dict(data)!r})]\n")
    return str(path)


class Deploy:
    """A deploy beside the test. It may be killed, or wait for its end."""

    def __init__(self, log: Path, inventory: str = "inventory.py", *options: str) -> None:
        self._log = log.open("w+")
        self._process = subprocess.Popen(
            [str(PYINFRA), inventory, "deploy.py", "--limit", "lab", "-y", *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        """What the operator saw until now."""
        return Path(self._log.name).read_text()

    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the deploy and all that it started here."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait_at_most(self, seconds: float) -> None:
        """Until its end or, when that does not come, for ``seconds``."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def wait(self, timeout: float = 600) -> Run:
        """Its end; AssertionError with what it said when that does not come."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {timeout} s:\n{self.text}") from None
        return Run(status, self.text, None)


class Hold:
    """The command line on the host in front of which everything stops."""

    def __init__(self, lab: Lab, deploy: Deploy) -> None:
        self._lab = lab
        self._deploy = deploy

    def wait(self, timeout: float = 300) -> None:
        """Until the deploy stands in front of it; AssertionError when it ends before."""
        until(
            lambda: self._lab.run(f"test -s {HELD} && echo held", check=False) == "held",
            lambda: f"the deploy did not come there:\n{self._deploy.text}",
            timeout,
            lambda: self._deploy.runs(),
        )

    def release(self) -> None:
        """Let the command go on."""
        self._lab.run(f"rm -f {HOLD}")

    def end_command(self) -> None:
        """End the command in front of which it stands, and the script that it belongs to."""
        self._lab.run(f"kill -KILL -- -$(ps -o pgid= -p $(cat {HELD}) | tr -d ' '); rm -f {HOLD}")


@contextmanager
def held(lab: Lab, deploy: Callable[[], Deploy], command: str) -> Iterator[tuple[Deploy, Hold]]:
    """Start a deploy that stops in front of ``command``, a pattern such as ``docker rm *``."""
    program = command.split()[0]
    text = _GATEKEEPER % {"hold": HOLD, "held": HELD, "program": program}
    keeper = f"{BIN}/{program}"
    lab.run(
        f"rm -f {HELD}; printf %s {shlex.quote(text)} >{keeper}.new && chmod 755 {keeper}.new &&"
        f" mv {keeper}.new {keeper}; printf %s {shlex.quote(command)} >{HOLD}"
    )
    started = deploy()
    try:
        hold = Hold(lab, started)
        hold.wait()
        yield started, hold
    finally:
        lab.run(f"rm -f {HOLD} {HELD} {keeper}", check=False)
        if started.runs():
            started.kill()


def until(
    condition: Callable[[], bool],
    what: Callable[[], str],
    timeout: float,
    still: Callable[[], bool] = lambda: True,
) -> None:
    """Ask ``condition`` until it holds; AssertionError with ``what`` at the deadline or when
    ``still`` does not hold any more."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert still() and time.monotonic() < deadline, what()
        time.sleep(0.05)


def lab_command(*words: str) -> None:
    """``python -m lab WORDS``."""
    subprocess.run([sys.executable, "-m", "lab", *words], cwd=ROOT, check=True, timeout=300)


def reboot(lab: Lab) -> None:
    """Reboot the host, and wait until its next boot has ended."""
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    before = lab.run(boot_id)
    lab.run("systemctl reboot", check=False)
    until(
        lambda: lab.run(boot_id, check=False) not in ("", before), lambda: "it did not reboot", 120
    )
    lab_command("up")


def audit(lab: Lab) -> list[dict[str, Any]]:
    """The audit log of the host."""
    lines = lab.run("cat /var/log/saiga-stack/audit.jsonl").splitlines()
    return [json.loads(line) for line in lines]


def serves(lab: Lab, timeout: float = 600) -> None:
    """Wait until every container runs and passes its gate."""
    names = [container.name for container in lab.desired.containers]
    running = f"docker inspect --format '{{{{.State.Running}}}}' {' '.join(names)} | grep -c true"
    gates = [f"{{ {c.gate.command}; }} >/dev/null" for c in lab.desired.containers if c.gate]
    script = "\n".join(("set -e", f"test $({running}) = {len(names)}", *gates))
    until(
        lambda: lab.run(f"(\n{script}\n) >/dev/null 2>&1 && echo yes", check=False) == "yes",
        lambda: f"not all serve after {timeout} s: {lab.run('docker ps --all')}",
        timeout,
    )


def verify(*tests: str, only: str = "", inventory: str = "inventory.py") -> None:
    """Run the verification of what ``inventory`` says, or some of its files, or ``only`` (-k)."""
    paths = [f"tests/verify/{test}" for test in tests] or ["tests/verify"]
    options = ["-q", "--site", "lab", "--inventory", inventory, *(["-k", only] if only else [])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *paths],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
