"""Which commands make would run, and for which site."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def commands(*words: str, **environment: str) -> str:
    """What make would run."""
    return subprocess.run(
        ["make", "-n", "--no-print-directory", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.parametrize("target", ["up", "test", "soak", "bench"])
def test_what_asks_nobody_is_for_the_lab_alone(target: str) -> None:
    for said in (commands(target, "SITE=course"), commands(target, SITE="course")):
        assert "course" not in said
        assert "deploy.py --limit lab -y" in said


def test_another_site_needs_no_lab() -> None:
    for target in ("deploy", "plan", "verify", "status"):
        said = commands(target, "SITE=course")
        assert "course" in said
        assert "lab" not in said


def test_the_labs_targets_bring_it_up() -> None:
    for target in ("deploy", "plan", "verify", "status", "ssh"):
        assert "-m lab up" in commands(target)
