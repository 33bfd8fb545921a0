"""The lock's scripts, as a deploy on the machine it runs on executes them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stack.pyinfra.lock import ACQUIRE, HOLDER, RELEASE, SHELL, WORK

# A deploy: runs each script it is given on its standard input, and tells what it said.
DEPLOY = """
import subprocess, sys
for line in sys.stdin:
    done = subprocess.run(["sh", "-c", eval(line)], capture_output=True, text=True)
    print(repr(done.stdout.strip()), flush=True)
"""


class Deploy:
    def __init__(self, folder: Path, who: str) -> None:
        self.values = {"lock": folder / "lock", "work": folder / "work", "who": who}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DEPLOY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str) -> str:
        assert self.process.stdin and self.process.stdout
        print(repr(HOLDER + script % self.values), file=self.process.stdin, flush=True)
        return str(eval(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def deploying(folder: Path, who: str) -> Iterator[Deploy]:
    deploy = Deploy(folder, who)
    try:
        yield deploy
    finally:
        deploy.end()


def test_one_at_a_time(tmp_path: Path) -> None:
    with deploying(tmp_path, "anna@one") as first, deploying(tmp_path, "boris@two") as second:
        assert first.run(ACQUIRE).startswith("acquired ")
        assert first.run(ACQUIRE).startswith("acquired ")
        answer = second.run(ACQUIRE)
        assert answer.startswith("held by anna@one since 20")
        assert answer.endswith(f"Z, by process {first.process.pid} on the host")
        second.run(RELEASE)
        assert second.run(ACQUIRE) == answer, "another's lock was released"
        first.run(RELEASE)
        assert second.run(ACQUIRE).startswith("acquired ")


def test_a_killed_deploy_holds_nothing(tmp_path: Path) -> None:
    with deploying(tmp_path, "boris@two") as second:
        with deploying(tmp_path, "anna@one") as first:
            assert first.run(ACQUIRE).startswith("acquired ")
        assert second.run(ACQUIRE).startswith("acquired ")


@pytest.mark.parametrize("content", ["", "nonsense", "1 12345 2020-01-01T00:00:00Z x@y"])
def test_what_names_no_living_process_is_no_lock(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content + "\n")
    with deploying(tmp_path, "anna@one") as deploy:
        assert deploy.run(ACQUIRE).startswith("acquired ")


def test_a_deploy_whose_connection_ends_meanwhile_takes_nothing(tmp_path: Path) -> None:
    values = {"lock": tmp_path / "lock", "work": tmp_path / "work", "who": "anna@one"}
    beyond_all = int(Path("/proc/sys/kernel/pid_max").read_text())
    script = HOLDER.replace("holder=$$", f"holder={beyond_all}") + ACQUIRE % values
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "no process holds this connection\n")
    assert not (tmp_path / "lock").exists()


def test_a_command_of_a_killed_deploy_is_waited_for(tmp_path: Path) -> None:
    with deploying(tmp_path, "anna@one") as first:
        assert first.run(ACQUIRE).startswith("acquired ")
    shell = SHELL.replace(WORK, str(tmp_path / "work")).split()
    orphan = subprocess.Popen(
        [*shell, "-c", "echo begun; read end"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert orphan.stdout and orphan.stdout.readline() == b"begun\n"
    with deploying(tmp_path, "boris@two") as second:
        assert second.run(ACQUIRE).startswith("busy of anna@one since 20")
        orphan.communicate(b"now\n")
        assert second.run(ACQUIRE).startswith("acquired ")


def test_how_long_ago_another_deploy_gave_it_back(tmp_path: Path) -> None:
    with deploying(tmp_path, "anna@one") as first, deploying(tmp_path, "boris@two") as second:
        up = float(Path("/proc/uptime").read_text().split()[0]) * 100
        assert int(first.run(ACQUIRE).split()[1]) >= up - 1, "nobody before"
        first.run(RELEASE)
        before = time.monotonic()
        ago = int(second.run(ACQUIRE).split()[1])
        assert 0 <= ago <= (time.monotonic() - before) * 100 + 100
        second.end()
        assert first.run(ACQUIRE) == "acquired 0", "a killed deploy may have changed anything"
