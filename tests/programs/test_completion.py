"""Completion in real shells, typed as people type it."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROMPT, CLEAR = "ready>", "\x15"
CALLED = ("bin/stack", "./bin/stack", str(ROOT / "bin/stack"))
SHELLS = {
    "bash": (
        ("bash", "--norc", "--noprofile", "-i"),
        f"PS1='{PROMPT}'; bind 'set bell-style none'; eval \"$(bin/stack completion bash)\"",
    ),
    "zsh": (
        ("zsh", "-f", "-i"),
        f"PS1='{PROMPT}'; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -D -u;"
        ' eval "$(bin/stack completion zsh)"',
    ),
}


class Terminal:
    """A shell somebody types to."""

    def __init__(self, command: tuple[str, ...], folder: Path) -> None:
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            os.environ.update(TERM="dumb", HISTFILE="/dev/null", COLUMNS="200")
            os.execvp(command[0], command)
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def until(self, text: str, seconds: float = 30) -> None:
        """Read on until ``text`` has been shown; AssertionError at the deadline."""
        deadline = time.monotonic() + seconds
        while text not in self._shown:
            ready, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} is not shown:\n{self._shown}"
            self._shown += os.read(self._terminal, 4096).decode(errors="replace")
        self._shown = self._shown.partition(text)[2]

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._process, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_terminal_completes(shell: str) -> None:
    command, prepare = SHELLS[shell]
    terminal = Terminal(command, ROOT)
    try:
        terminal.type(f"{prepare}; echo set-$((40 + 2))\n")
        terminal.until("set-42")
        terminal.until(PROMPT)
        for called in CALLED:
            terminal.type(f"{CLEAR}{called} roll\t")
            terminal.until(f"{called} rollback ")
        terminal.type("lab prom\t")
        terminal.until("prometheus ")
    finally:
        terminal.close()


def test_fish_completes() -> None:
    lines = (*(f"{called} roll" for called in CALLED), "bin/stack rollback lab prom")
    asked = "; ".join(f"complete -C '{line}'" for line in lines)
    rows = run("fish", "--no-config", "-c", f"bin/stack completion fish | source; {asked}")
    assert [row.split()[0] for row in rows.splitlines()] == ["rollback"] * 3 + ["prometheus"]


def test_another_program_of_that_name_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "stack"
    other.write_text("#!/bin/sh\necho called >called\n")
    other.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    script = f'PATH={path}; eval "$({ROOT}/bin/stack completion bash)"; complete -p stack'
    assert "no completion specification" in run("bash", "-c", script)
    script = f"set PATH {tmp_path} $PATH; {ROOT}/bin/stack completion fish | source"
    assert run("fish", "--no-config", "-c", f"{script}; complete -C 'stack roll'") == ""
    assert not (tmp_path / "called").exists()


def test_the_name_is_enough_where_path_leads_to_it() -> None:
    script = f'PATH={ROOT}/bin:$PATH; eval "$(stack completion bash)"; complete -p stack'
    assert "_completion stack" in run("bash", "-c", script)


def run(*words: str) -> str:
    assert shutil.which(words[0])
    done = subprocess.run(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    return done.stdout
