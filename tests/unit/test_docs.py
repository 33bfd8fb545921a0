"""The documentation names only what exists."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = ROOT / "docs/operations.md"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """Command to its help. In a process of its own: pyinfra replaces Python's threads."""
    script = (
        "import click, json; from stack.cli import cli\n"
        "def help(command):\n"
        "    below = getattr(command, 'commands', {}).values()\n"
        "    return chr(10).join([command.get_help(click.Context(command)), *map(help, below)])\n"
        "print(json.dumps({name: help(command) for name, command in cli.commands.items()}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(run.stdout)
    return found


def named(text: str) -> list[list[str]]:
    """The command lines of ``bin/stack`` in a page, as words."""
    lines = re.findall(r"bin/stack ([^`|\n#;&\"]+)", text)
    return [shlex.split(line.replace("'", "")) for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_can_be_typed(commands: dict[str, str], page: Path) -> None:
    for words in named(page.read_text()):
        if words[0] == "--help":
            continue
        assert words[0] in commands, words
        for option in (word for word in words[1:] if word.startswith("-")):
            option = option.partition("=")[0].rstrip(".,)")
            assert re.search(rf"{option}\b", commands[words[0]]), words


def test_every_command_has_its_exit_status(commands: dict[str, str]) -> None:
    rows = re.findall(
        r"^\| `bin/stack (\S+)[^|]*\|[^|]+\| ([^|]+) \|$", OPERATIONS.read_text(), re.M
    )
    assert {name.rstrip("`") for name, _ in rows} == commands.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.search(r"^\.PHONY: (.*)", makefile, re.M)[1].split())  # type: ignore[index]
    code = re.findall(r"`make ([a-z]+)|^    make ([a-z]+)", page.read_text(), re.M)
    assert {one or other for one, other in code} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_both_readmes_take_the_same_five_steps() -> None:
    pages = [(ROOT / name).read_text() for name in ("README.md", "README.ru.md")]
    steps = [re.findall(r"^       (.*)", page, re.M) for page in pages]
    assert steps[0] == steps[1]
    assert "bin/stack verify course" in steps[0]


def test_both_readmes_say_the_same_things() -> None:
    """As far as a program sees it: the kinds of their lines, one after the other."""
    kinds = r"^(#+|- |\||\d\. |    \S|```|!\[)"
    pages = [(ROOT / name).read_text() for name in ("README.md", "README.ru.md")]
    assert re.findall(kinds, pages[0], re.M) == re.findall(kinds, pages[1], re.M)
    links = [re.findall(r"\]\((docs/[^)]+|lab/[^)]+)\)", page) for page in pages]
    assert links[0] == links[1]


def test_the_recipes_of_ci_are_valid_and_keep_the_exit_status() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.S)
    github, gitlab = map(yaml.safe_load, blocks)
    runs = [step.get("run", "") for step in github["jobs"]["check"]["steps"]]
    for script in ("\n".join(runs), "\n".join(gitlab["site"]["script"])):
        subprocess.run(["sh", "-n", "-c", script], check=True)
        assert 'exit "${status:-0}"' in script
        assert "bin/stack drift course" in script
        assert "bin/stack verify course" in script
