"""What takes long says so: on a terminal, off it, and in a run of pyinfra."""

import os
import pty
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SLOW = (
    "import time; from stack import progress; progress.QUIET_SECONDS = 0.2\n"
    "with progress.progress('looking'): time.sleep({seconds})"
)


def test_progress_is_silent_where_it_is_quick_and_has_no_codes_off_a_terminal() -> None:
    for seconds, said in ((0, ""), (0.5, "looking: 0 s\n")):
        run = subprocess.run(
            [sys.executable, "-c", SLOW.format(seconds=seconds)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        assert (run.stdout, run.stderr) == ("", said)


def test_progress_leaves_nothing_on_a_terminal() -> None:
    near, far = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", SLOW.format(seconds=0.5)], cwd=ROOT, check=True, stderr=far
    )
    said = os.read(near, 1000).decode()
    assert said.startswith("\rlooking: 0 s")
    assert said.endswith(" \r")


# In a process of its own: pyinfra replaces Python's threads and sockets when it is imported.
RUN = """
import subprocess
from types import SimpleNamespace
from stack import progress
from stack.pyinfra.remote import PyinfraRemote
from stack.pyinfra.tasks import _Command
from stack.tasks import Task

progress.QUIET_SECONDS, progress.LINE_SECONDS = 0.2, 0.5

def run_shell_command(command, **arguments):
    subprocess.run(["sh", "-c", command.get_raw_value()], check=True)
    return True, SimpleNamespace(stdout="", output="")

host = SimpleNamespace(run_shell_command=run_shell_command, log=print)
state = SimpleNamespace(print_output=False, print_input=False)
_Command("sleep 0.4", Task("packages docker", "install", "missing", ())).execute(state, host, {})
remote = PyinfraRemote(host, {}, None, None, "container grafana")
remote.run("sleep 0.4 # opensesame")
remote.say("container grafana: pull the image (not found)")
remote.say("    image: - -> 2")
remote.run("sleep 0.9")
remote.run("true")
"""


def test_a_run_says_what_it_still_does_and_no_command() -> None:
    run = subprocess.run(
        [sys.executable, "-c", RUN], cwd=ROOT, check=True, capture_output=True, text=True
    )
    said = (re.sub(r": \d+ s$", "", line) for line in run.stdout.splitlines())
    assert [line for line, _ in groupby(said)] == [
        "    still: packages docker: install",
        "    still: container grafana",
        "container grafana: pull the image (not found)",
        "    image: - -> 2",
        "    still: container grafana: pull the image (not found)",
    ]
    assert run.stdout.count("pull the image (not found): ") >= 2
