"""The command line itself: exit status, sentences, completion, progress. No host is needed."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STACK = str(ROOT / "bin/stack")


def stack(*words: str, **environment: str) -> tuple[int, str]:
    """Exit status and all that was said."""
    run = subprocess.run(
        [STACK, *words],
        cwd="/",
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return run.returncode, run.stdout


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """An inventory whose sites nobody can reach."""
    (tmp_path / "group_data").mkdir()
    path = tmp_path / "inventory.py"
    path.write_text("course = ['192.0.2.1']\nschool = ['192.0.2.2']\n")
    return path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("drfit", "course"), "there is no command drfit; did you mean drift?"),
        (("drift",), "Missing argument 'SITE'."),
        (("drift", "course", "--fast"), "No such option '--fast'."),
        (
            ("drift", "corse"),
            "corse is no site of inventory.py; did you mean course?; there are: course, school",
        ),
        (("schema", "saigo"), "saigo is no option; did you mean saiga?"),
        (("deploy", "course"), "nobody is there to ask; --yes deploys without"),
        (("new-site", "all", "192.0.2.3"), "all names what all sites have in common"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_ends_with_one_sentence(
    inventory: Path, words: tuple[str, ...], sentence: str
) -> None:
    status, said = stack("--inventory", str(inventory), *words)
    assert status == 1, "2 is for drift alone"
    assert said.startswith(f"stack: {sentence}"), said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("gpu = 'amd", "line 1: unterminated string literal"),
        ("gpu = amd", "NameError: name 'amd' is not defined"),
        ("gpu = 'amd'", "gpu: should be 'nvidia' or 'none', not 'amd'"),
    ],
)
def test_a_wrong_site_is_named_by_every_command(
    inventory: Path, source: str, sentence: str
) -> None:
    (inventory.parent / "group_data/course.py").write_text(source)
    for command in (("status",), ("doctor",), ("logs", "saiga")):
        status, said = stack("--inventory", str(inventory), command[0], "course", *command[1:])
        assert (status, sentence in said, "Traceback" in said) == (1, True, False), said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_three_shells(shell: str) -> None:
    status, said = stack("completion", shell)
    assert status == 0
    assert f"_STACK_COMPLETE={shell}_complete" in said


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("stack dr", {"drift"}),
        ("stack plan co", {"course"}),
        ("stack logs course prom", {"prometheus"}),
    ],
)
def test_completion_knows_commands_sites_and_services(
    inventory: Path, line: str, completed: set[str]
) -> None:
    words = line.replace("stack", f"stack --inventory {inventory}", 1)
    number = len(words.split()) - 1
    status, said = stack(_STACK_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(number))
    assert status == 0
    assert {row.partition(",")[2] for row in said.splitlines()} == completed


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
