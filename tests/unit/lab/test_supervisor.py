import subprocess

import pytest

from lab import cgroups, supervisor
from lab.settings import HOSTS


def test_a_reboot_inside_boots_again_and_anything_else_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended_with = iter([133, 133, 0])
    steps: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        steps.append("boot")
        return subprocess.CompletedProcess(command, next(ended_with))

    monkeypatch.setattr(subprocess, "run", run)
    for name in ("create", "kill", "remove"):
        monkeypatch.setattr(cgroups, name, lambda group, name=name: steps.append(name))
    assert supervisor.supply(HOSTS["lab"]) == 0
    assert steps == ["create", "boot", "kill", "remove"] * 3
