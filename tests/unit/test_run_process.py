"""What importing the roles does to the Python process of a run."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = """
import atexit, gc
atexit.register(lambda: print("kept from the collector:", gc.get_freeze_count()))
import roles.networks
"""


def run(folder: Path, **environment: str) -> str:
    """pyinfra with a deploy file that only imports a role; modules are compiled into ``folder``."""
    deploy = folder / "deploy.py"
    deploy.write_text(DEPLOY)
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [ROOT / ".venv/bin/pyinfra", "@local", deploy, "--dry"],
        cwd=ROOT,
        env={**inherited, "PYTHONPYCACHEPREFIX": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("environment", "compiled"),
    [({}, True), ({"PYTHONDONTWRITEBYTECODE": "1"}, False)],
    ids=["as Python does", "unless it is told not to"],
)
def test_modules_stay_compiled(tmp_path: Path, environment: dict[str, str], compiled: bool) -> None:
    run(tmp_path, **environment)
    assert bool(list(tmp_path.rglob("roles/networks.*.pyc"))) is compiled
    assert bool(list(tmp_path.rglob("stack/docker/plan.*.pyc"))) is compiled


def test_no_garbage_is_looked_for_at_the_end(tmp_path: Path) -> None:
    assert int(run(tmp_path).rpartition("kept from the collector:")[2]) > 0
