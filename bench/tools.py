"""The tools: the command line of each, its version, and what it needs beside the host."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import yaml

from bench.ansible import configuration, inventory, playbook
from bench.compose import compose_file
from bench.host import BenchHost
from lab import netns, ssh
from lab.errors import LabError
from lab.settings import CHECKOUT, DEFAULT_HOST, STATE

ANSIBLE_ENVIRONMENT = CHECKOUT / ".venv-bench"
COMPOSE_FILE = "/var/tmp/saiga-bench.yaml"
# Every tool may keep its compiled modules, as Python does unless it is told not to.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Tool:
    """A tool that brings the host to the desired state by one command.

    `own` begins the fields that differ with this tool although the container is the same; tools
    with the same `own` make the same containers.
    """

    name: str
    version: str
    command: Sequence[str | Path]
    environment: dict[str, str]
    own: str = ""

    def run(self, output: Path) -> None:
        """Run the command, its output going to a file; LabError with its last lines on failure."""
        with output.open("w") as file:
            done = subprocess.run(
                self.command,
                cwd=CHECKOUT,
                env={**_ENVIRONMENT, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            words = "\n".join(output.read_text().splitlines()[-20:])
            raise LabError(f"{self.name} ended with status {done.returncode}:\n{words}")


def pyinfra(name: str, *words: str, environment: dict[str, str] | None = None) -> Tool:
    """A pyinfra run of this checkout against the lab host."""
    program = str(CHECKOUT / ".venv/bin/pyinfra")
    command = [program, "inventory.py", "--limit", DEFAULT_HOST, *words]
    return Tool(
        name, f"pyinfra {version('pyinfra')}", [*netns.enter(), *command], environment or {}
    )


def toolkit(host: BenchHost) -> Tool:
    return pyinfra("this toolkit", "bench/containers.py", "-y")


def compose(host: BenchHost) -> Tool:
    """docker compose on the host, as an operator calls it there."""
    text = yaml.safe_dump(compose_file(host.desired), sort_keys=False, allow_unicode=True)
    host.put(text.encode(), COMPOSE_FILE)
    return Tool(
        "docker compose",
        f"Docker Compose {host.run('docker compose version --short').strip()}",
        host.command(f"docker compose --file {COMPOSE_FILE} up --detach"),
        {},
        own="label.com.docker.compose.",
    )


def ansible(host: BenchHost) -> Tool:
    """ansible-playbook here, as it comes: its default configuration, the facts gathered."""
    return _ansible(host, "Ansible", tuned=False)


def tuned_ansible(host: BenchHost) -> Tool:
    """ansible-playbook here, with every option that makes it faster without comparing less."""
    return _ansible(host, "Ansible, tuned", tuned=True)


def _ansible(host: BenchHost, name: str, tuned: bool) -> Tool:
    folder = STATE / "bench" / ("tuned" if tuned else "default")
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "hosts": inventory(DEFAULT_HOST, tuned),
        "ansible.cfg": configuration(folder / "hosts", ssh.CONFIG, tuned),
        "playbook.yaml": yaml.safe_dump(playbook(host.desired, tuned), sort_keys=False),
    }
    for file, text in files.items():
        (folder / file).write_text(text)
    program = ANSIBLE_ENVIRONMENT / "bin/ansible-playbook"
    return Tool(
        name,
        _ansible_version(),
        [*netns.enter(), program, folder / "playbook.yaml"],
        {"ANSIBLE_CONFIG": str(folder / "ansible.cfg")},
        own="image:",
    )


def _ansible_version() -> str:
    packages = next(ANSIBLE_ENVIRONMENT.glob("lib/*/site-packages"))
    collection = packages / "ansible_collections/community/docker/MANIFEST.json"
    docker = json.loads(collection.read_text())["collection_info"]["version"]
    core = next(packages.glob("ansible_core-*.dist-info")).stem.removeprefix("ansible_core-")
    return f"ansible-core {core}, community.docker {docker}"


TOOLS: Sequence[Callable[[BenchHost], Tool]] = (toolkit, compose, ansible, tuned_ansible)
