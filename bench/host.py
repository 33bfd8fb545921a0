"""The lab host under measurement: looking at it, emptying it, damaging it."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace

from lab import ssh
from lab.errors import LabError
from lab.processes import wait_until
from lab.settings import DEFAULT_HOST, HOSTS
from stack.docker import commands
from stack.docker.observe import observation_script, parse
from stack.docker.plan import Action, plan
from stack.docker.spec import Container, Desired

HEALTHY_SECONDS = 900
BY_HAND = "CHANGED_BY_HAND"

# Steps about files and their loading are no matter of containers alone.
_CONTAINER_STEPS = (
    Action.CREATE_NETWORK,
    Action.RECREATE_NETWORK,
    Action.CREATE,
    Action.REPLACE,
    Action.UPDATE,
    Action.CONNECT,
    Action.DISCONNECT,
)


class BenchHost:
    """The lab host, reached by plain ssh; `desired` is what has to stand on it."""

    def __init__(self, desired: Desired) -> None:
        self.desired = desired

    def command(self, script: str) -> list[str]:
        """The command line that runs a shell script on the host."""
        return ssh.command(HOSTS[DEFAULT_HOST], script)

    def run(self, script: str) -> str:
        """Run a shell script on the host; its output. LabError with its last words on failure."""
        done = subprocess.run(
            self.command(script), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            words = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
            raise LabError(f"on the host `{script[:200]}` ended with {done.returncode}: {words}")
        return done.stdout

    def put(self, content: bytes, path: str) -> None:
        """Write a file on the host."""
        subprocess.run(self.command(f"cat > {shlex.quote(path)}"), input=content, check=True)

    def lives(self) -> dict[str, tuple[str, str]]:
        """Container name to (id, start time) of all that run."""
        script = "docker ps -q | xargs -r docker inspect --format"
        template = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
        rows = (line.split() for line in self.run(f"{script} {template!r}").splitlines())
        return {name.lstrip("/"): (identity, started) for name, identity, started in rows}

    def clear(self) -> None:
        """Remove every container and both networks; named volumes and images stay."""
        networks = " ".join(network.name for network in self.desired.networks)
        self.run(
            "docker ps -aq | xargs -r docker rm --force --volumes >/dev/null;"
            f" for n in {networks}; do ! docker network inspect $n >/dev/null 2>&1 ||"
            " docker network rm $n >/dev/null || exit 1; done"
        )

    def wait_until_healthy(self) -> None:
        """Wait until every container runs and its health check passes."""
        names = " ".join(container.name for container in self.desired.containers)
        template = "{{.State.Status}} {{.State.Health.Status}}"

        def healthy() -> bool:
            states = self.run(f"docker inspect --format {template!r} {names} || true")
            return states.splitlines() == ["running healthy"] * len(self.desired.containers)

        wait_until(healthy, "all containers are healthy", HEALTHY_SECONDS)

    def drift(self) -> Iterator[str]:
        """What the toolkit's own planner would change of networks and containers, as text."""
        observed = parse(self.run(observation_script(self.desired)))
        for step in plan(self.desired, observed, adopt=True).steps:
            if step.action in _CONTAINER_STEPS:
                yield from (f"{step.subject}: {change}" for change in step.changes)
                if not step.changes:
                    yield f"{step.subject}: {step.action} ({step.cause})"

    def gate_command(self, container: Container) -> list[str]:
        """The command line that ends when the container's gate passes."""
        assert container.gate
        return self.command(
            f"until {{ {container.gate.command}; }} >/dev/null 2>&1; do sleep 0.05; done"
        )

    def remove_by_hand(self, container: Container) -> None:
        self.run(f"docker rm --force {container.name}")

    def change_by_hand(self, container: Container) -> None:
        """Recreate the container, labels and all, with one more environment variable."""
        template = "{{json .Config.Labels}}"
        labels = json.loads(self.run(f"docker inspect --format {template!r} {container.name}"))
        changed = replace(
            container,
            labels={**labels, **container.labels},
            environment={**container.environment, BY_HAND: "yes"},
        )
        lines = [shlex.join(argv) for argv in commands.create_container(changed)]
        name = container.name
        self.run("\n".join(["set -e", f"docker rm --force {name}", *lines, f"docker start {name}"]))

    def is_repaired(self, container: Container) -> bool:
        """Whether the container runs and bears no trace of the change by hand."""
        template = "{{.State.Running}} {{.Config.Env}}"
        shown = self.run(f"docker inspect --format {template!r} {container.name} || true")
        return shown.startswith("true") and BY_HAND not in shown
