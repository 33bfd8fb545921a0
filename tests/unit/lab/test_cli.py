import os

import pytest

from lab import cli, lifecycle, netns, preflight, ssh
from lab.errors import LabError


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that the process would have become."""
    became: list[list[str]] = []
    monkeypatch.setattr(preflight, "check_root", lambda: None)
    monkeypatch.setattr(lifecycle, "require_up", lambda: None)
    monkeypatch.setattr(os, "execvp", lambda file, command: became.append(command))
    return became


def test_exec_hands_the_words_on_untouched(replaced: list[list[str]]) -> None:
    cli.main(["exec", "--", "pytest", "-x", "--limit", "a b", "--", "last"])
    assert replaced == [[*netns.enter(), "pytest", "-x", "--limit", "a b", "--", "last"]]


def test_ssh_runs_one_command_or_a_shell(replaced: list[list[str]]) -> None:
    cli.main(["ssh", "--", "ls -la; exit 7"])
    cli.main(["ssh", "--host", "lab2"])
    assert replaced == [
        [*netns.enter(), "ssh", "-F", str(ssh.CONFIG), "lab", "ls -la; exit 7"],
        [*netns.enter(), "ssh", "-F", str(ssh.CONFIG), "lab2"],
    ]


def test_an_error_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise LabError("the moon is not full")

    monkeypatch.setattr(preflight, "check_root", refuse)
    assert cli.main(["down"]) == 1
    assert capsys.readouterr().err == "lab: the moon is not full\n"


def test_an_unknown_host_is_named(
    replaced: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["up", "moon"]) == 1
    assert "there is no host moon: the lab has lab, lab2" in capsys.readouterr().err


def test_status_tells_by_its_exit_status(
    replaced: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "status", lambda: (["host lab off"], False))
    assert cli.main(["status"]) == 3
