"""Tests that change the lab host and let the toolkit repair it, through its real front door."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stack.docker.spec import Desired
from stack.pyinfra.inventory import Target, targets
from stack.secrets import QDRANT_API_KEY, curl

ROOT = Path(__file__).resolve().parents[2]
PYINFRA = ROOT / ".venv/bin/pyinfra"
SUBJECTS = (
    "packages|file|firewall|service|sysctl|registry|module|machine|secret|model|leftovers|network"
    "|volume|container|collection|settings|database|role|schema|extension|administrator"
)
PLAN_LINE = re.compile(rf"^    \[lab\] ((?:(?:{SUBJECTS})[ :]|    ).*)$", re.M)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The second deploy comes second: before any test has changed the host."""
    items.sort(key=lambda item: item.path.name != "test_second_deploy.py")


@dataclass(frozen=True)
class Run:
    """A finished run of pyinfra: exit status, what the operator saw, the JSON result."""

    status: int
    text: str
    result: dict[str, Any] | None

    def changed(self) -> list[str]:
        """Names of the operations that changed something, in order."""
        assert self.result is not None, self.text
        return [op["name"] for op in self.result["results"]["operations"] if op["success"]]

    def planned(self) -> list[str]:
        """Names of the operations that a dry run expects to change something, in order."""
        assert self.result is not None, self.text
        return [op["name"] for op in self.result["plan"] if op["hosts_with_change"]]

    def plan(self) -> str:
        """The plan as shown: what has to change, and every field of it."""
        return "\n".join(PLAN_LINE.findall(self.text))


def _step(step: dict[str, Any]) -> str:
    about = f" {step['target']}" if step["target"] else ""
    first = f"{step['subject']}: {step['action']}{about} ({step['cause']})"
    fields = (f"    {c['field']}: {c['before']} -> {c['after']}" for c in step["changes"])
    return "\n".join((first, *fields))


class Lab:
    """The lab host under test."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.desired: Desired = target.stack.desired

    def run(self, command: str, check: bool = True) -> str:
        """Run a command on the host; its standard output, stripped."""
        assert self.target.ssh
        done = subprocess.run(
            [*self.target.ssh, command], capture_output=True, text=True, timeout=300
        )
        if check and done.returncode:
            raise AssertionError(f"{command}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def qdrant(self, method: str, url: str, body: str = "{}") -> str:
        """Ask Qdrant as the host may, with the key of the site."""
        request = f"-sSf -m 60 -X {method} -H 'Content-Type: application/json' -d '{body}' '{url}'"
        return self.run(curl("api-key: ", QDRANT_API_KEY, request))

    def psql(self, statement: str, database: str = "postgres") -> str:
        """Ask PostgreSQL as its superuser."""
        return self.run(
            f"docker exec ml_postgres psql -U postgres -d {database} -qtAc {shlex.quote(statement)}"
        )

    def pyinfra(self, *options: str, inventory: str = "inventory.py", timeout: int = 900) -> Run:
        done = subprocess.run(
            [str(PYINFRA), inventory, "deploy.py", "--limit", "lab", *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        result = json.loads(done.stdout) if "--json" in options and done.stdout.strip() else None
        return Run(done.returncode, done.stdout + done.stderr, result)

    def deploy(self, *options: str, inventory: str = "inventory.py") -> Run:
        """A deploy that has to succeed."""
        run = self.pyinfra("-y", "--json", *options, inventory=inventory)
        assert run.status == 0, run.text
        return run

    def stack(self, *words: str, inventory: str = "inventory.py", timeout: int = 900) -> Run:
        """``bin/stack WORDS``; its text is what the operator saw, errors last."""
        done = subprocess.run(
            [str(ROOT / "bin/stack"), "--inventory", inventory, *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        result = json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else None
        return Run(done.returncode, done.stdout + done.stderr, result)

    def drift(self, *options: str, inventory: str = "inventory.py") -> tuple[int, str]:
        """The exit status of ``drift`` and the plan of its report, as a dry run shows it."""
        run = self.stack("drift", "lab", "--format=json", *options, inventory=inventory)
        assert run.result is not None, run.text
        (host,) = run.result["hosts"]
        return run.status, "\n".join(map(_step, host["steps"]))

    def dry(self, *options: str) -> str:
        """The plan that a dry run shows."""
        run = self.pyinfra("--dry", *options)
        assert run.status == 0, run.text
        return run.plan()

    def audited(self) -> list[str]:
        """What has been done on the host, a text of the plan each, in order."""
        log = self.run("cat /var/log/saiga-stack/audit.jsonl 2>/dev/null || true")
        entries = [json.loads(line) for line in log.splitlines()]
        return [_step({"target": ""} | entry) for entry in entries if "failure" not in entry]

    def lives(self) -> dict[str, tuple[str, str]]:
        """Container name to (id, start time), of all that run on the host."""
        template = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
        output = self.run(f"docker inspect --format '{template}' $(docker ps -q)")
        rows = (line.split() for line in output.splitlines())
        return {name.lstrip("/"): (identity, started) for name, identity, started in rows}


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    yield Lab(next(targets("lab", ROOT)))
