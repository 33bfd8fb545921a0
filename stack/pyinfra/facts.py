"""Facts of a host, each one remote command."""

from pyinfra.api import FactBase

from stack.docker.history import before
from stack.docker.observe import Observed, parse
from stack.machine.apt import AptSource
from stack.machine.observe import Machine
from stack.machine.observe import parse as parse_machine


class HostObservation(FactBase[Observed]):
    """Containers, networks, volumes, images and managed files; ``script`` makes the output."""

    def command(self, script: str) -> str:
        return script

    @staticmethod
    def default() -> Observed:
        return Observed()

    def process(self, output: list[str]) -> Observed:
        return parse("\n".join(output))


class MachineObservation(FactBase[Machine]):
    """What is below the containers; ``script`` makes the output."""

    def command(self, script: str) -> str:
        return script

    @staticmethod
    def default() -> Machine:
        return Machine()

    def process(self, output: list[str]) -> Machine:
        return parse_machine("\n".join(output))


class FormerContainer(FactBase[str]):
    """The note of what a container was before its last change; empty where there is none."""

    def command(self, container: str) -> str:
        return f"cat {before(container)} 2>/dev/null || true"

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


class AptSources(FactBase[tuple[AptSource, ...]]):
    """The package lists that apt is pointed at."""

    def command(self) -> str:
        fields = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(SIGNED_BY)"
        return f"apt-get indextargets --format '{fields}' 'Created-By: Packages'"

    @staticmethod
    def default() -> tuple[AptSource, ...]:
        return ()

    def process(self, output: list[str]) -> tuple[AptSource, ...]:
        rows = (line.split() for line in output if line)
        return tuple(AptSource(*row) for row in rows)
