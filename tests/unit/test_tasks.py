"""What is left of a task whose command fails."""

from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api import StringCommand

from stack.docker.audit import AUDIT_LOG
from stack.pyinfra.tasks import FAILED, carry_out
from stack.tasks import Task

TASK = Task("role agent_exporter", "create", "not found", ("psql opensesame",))


@pytest.mark.parametrize("works", [True, False])
def test_a_failure_is_logged_without_what_the_command_said(
    works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.pyinfra.tasks.announce", lambda tasks: None)
    scripts: list[str] = []

    def run(command: StringCommand, **_: Any) -> tuple[bool, list[str]]:
        scripts.append(command.get_raw_value())
        return works or AUDIT_LOG in scripts[-1], ["opensesame"]

    host: Any = SimpleNamespace(run_shell_command=run, log=print)
    state: Any = SimpleNamespace(print_output=False, print_input=False)
    results = [command.execute(state, host, {}) for command in carry_out(TASK)]  # type: ignore[union-attr]
    assert [done for done, _ in results] == [True, works]
    failures = [script for script in scripts if FAILED in script]
    assert len(failures) == (0 if works else 1)
    assert not any("opensesame" in script for script in scripts if AUDIT_LOG in script)
