"""Facts of a host, each one remote command."""

from pyinfra.api import FactBase

from stack.docker.observe import Observed, parse


class HostObservation(FactBase[Observed]):
    """Containers, networks, volumes, images and managed files; ``script`` makes the output."""

    def command(self, script: str) -> str:
        return script

    @staticmethod
    def default() -> Observed:
        return Observed()

    def process(self, output: list[str]) -> Observed:
        return parse("\n".join(output))


class DaemonConfig(FactBase[str]):
    """The text of Docker's daemon.json; ``null`` when there is no such file."""

    def command(self) -> str:
        return "cat /etc/docker/daemon.json 2>/dev/null || echo null"

    def process(self, output: list[str]) -> str:
        return "\n".join(output)
