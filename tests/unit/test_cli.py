"""The command line itself: exit status, sentences, completion. No host is needed."""

import os
import subprocess
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


@pytest.mark.parametrize("password", ["ssh_password", "ssh_key_password"])
def test_a_password_that_only_pyinfra_can_use(inventory: Path, password: str) -> None:
    (inventory.parent / "group_data/course.py").write_text(f"{password} = 'opensesame'\n")
    for command in (("status",), ("doctor",), ("logs", "saiga")):
        status, said = stack("--inventory", str(inventory), command[0], "course", *command[1:])
        assert (status, said) == (
            1,
            f"stack: 192.0.2.1: {password} serves pyinfra alone; this command logs in by OpenSSH,"
            " which needs a key without a passphrase (ssh_key), or an agent\n",
        )


def test_a_manifest_says_what_it_reads(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    status, said = stack("model", str(tmp_path))
    assert status == 0
    assert said.startswith("reading config.json (0.0 MB)\nrevision ")


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
