"""A lab beside this one: cut off while it comes up, repaired, and gone without a trace."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "lifecycle-lab"
COMMAND = [sys.executable, "-m", "lab"]
ENVIRONMENT = {**os.environ, "SAIGA_LAB_NAME": NAME}
PARTS = ("starting names", "starting registry", "laying out the disk", "booting lab")


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def traces() -> dict[str, set[str]]:
    """What of the lab this machine has."""
    namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    links = {path.name for path in Path("/sys/class/net").iterdir()}
    processes = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text()
            groups = (process / "cgroup").read_text()
        except OSError:
            continue
        # One that has ended and is still to be reaped has no command line any more.
        if f"/{NAME}" in groups and words:
            processes.add(words.replace("\0", " "))
    return {
        "namespaces": {line.split()[0] for line in namespaces.splitlines()} & {NAME},
        "interfaces": links,
        "mounts": {x for x in Path("/proc/self/mounts").read_text().splitlines() if NAME in x},
        "processes": processes,
        "control groups": {str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{NAME}")},
        "state": {str(path) for path in Path("/var/lib").glob(f"{NAME}*")},
    }


@pytest.fixture
def nothing() -> Iterator[dict[str, set[str]]]:
    """What there is without the lab."""
    lab("down")
    yield traces()
    lab("down")


def cut_off(part: str) -> None:
    """Kill an ``up`` as soon as it says that it begins ``part``."""
    up = subprocess.Popen(
        [*COMMAND, "up"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert up.stdout
    said = []
    for line in up.stdout:
        said.append(line)
        if line.startswith(part):
            break
    os.killpg(up.pid, signal.SIGKILL)
    up.wait()
    assert said[-1].startswith(part), "".join(said)


def test_an_up_that_was_cut_off_is_repaired_and_down_leaves_nothing(
    nothing: dict[str, set[str]],
) -> None:
    for part in PARTS:
        cut_off(part)
    up = lab("up")
    assert up.returncode == 0, up.stderr
    assert lab("status").returncode == 0
    assert lab("ssh", "--", "systemctl is-system-running").stdout == "running\n"
    assert all(traces()[kind] for kind in ("namespaces", "processes", "control groups", "state"))
    assert lab("up").returncode == 0, "again is a quick check"
    for _ in range(2):
        assert lab("down").returncode == 0
        assert traces() == nothing
    assert not any(nothing[kind] for kind in nothing.keys() - {"interfaces"})


def test_a_cut_off_lab_is_gone_after_down(nothing: dict[str, set[str]]) -> None:
    cut_off("booting lab")
    assert lab("down").returncode == 0
    assert traces() == nothing


def test_power_off_ends_a_host_and_keeps_its_disk(nothing: dict[str, set[str]]) -> None:
    assert lab("up").returncode == 0
    lab("ssh", "--", "echo kept >/root/note; sync")
    assert lab("power-off").returncode == 0
    assert lab("status").returncode == 3
    assert lab("power-on").returncode == 0
    assert lab("ssh", "--", "cat /root/note").stdout == "kept\n"
