"""What a lab host finds in its network: a name server, the apt repository, the image registry."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import aptrepo, cgroups, netns
from lab.errors import LabError
from lab.processes import last_line, report, spawn, wait_until
from lab.settings import (
    APT_PORT,
    CACHE,
    CONTROLLER,
    DNS_PORT,
    FILES,
    HOSTS,
    LOG,
    NAME,
    REGISTRY_PORT,
    STATE,
)
from lab.template import fill
from lab.vendors import repositories


@dataclass(frozen=True)
class Server:
    """A plain foreground process that listens on the controller's address in the lab."""

    name: str
    port: int
    template: str
    command: Sequence[str]
    root: Path | None = None

    @property
    def group(self) -> str:
        return f"{NAME}/servers/{self.name}"

    @property
    def log(self) -> Path:
        return LOG / f"{self.name}.log"

    @property
    def configuration(self) -> Path:
        return STATE / self.template

    def values(self) -> dict[str, str]:
        """What the marks in the template stand for."""
        records = (f"host-record={host.name},{host.address}" for host in HOSTS.values())
        return {
            "STATE": str(STATE),
            "ADDRESS": CONTROLLER,
            "PORT": str(self.port),
            "ROOT": str(self.root),
            "VENDORS": str(repositories.path(CACHE)),
            "HOSTS": "\n".join(records),
        }

    def text(self) -> str:
        """The configuration that the server has to have."""
        return fill((FILES / self.template).read_text(), self.values())

    def is_configured(self) -> bool:
        """Whether that is the configuration it was started with."""
        return self.configuration.is_file() and self.configuration.read_text() == self.text()

    def is_up(self) -> bool:
        """Whether our own process runs and the port answers."""
        return bool(cgroups.pids(self.group)) and netns.listens(CONTROLLER, self.port)

    def ensure(self) -> bool:
        """Start the server, or again when it is half there or configured otherwise; whether so."""
        if self.is_up() and self.is_configured():
            return False
        report(f"starting {self.name} on {CONTROLLER}:{self.port}")
        cgroups.kill(self.group)
        if self.root:
            self.root.mkdir(parents=True, exist_ok=True)
        self.configuration.write_text(self.text())
        spawn([*netns.enter(), *self.command], group=self.group, log=self.log)
        wait_until(self._is_up_or_dead, f"{self.name} answers on port {self.port}", 30)
        if not self.is_up():
            raise LabError(f"{self.name} ended at once: {last_line(self.log)}")
        return True

    def _is_up_or_dead(self) -> bool:
        return self.is_up() or not cgroups.pids(self.group)


SERVERS = (
    Server(
        name="names",
        port=DNS_PORT,
        template="dnsmasq.conf",
        command=["dnsmasq", f"--conf-file={STATE}/dnsmasq.conf"],
    ),
    Server(
        name="apt",
        port=APT_PORT,
        template="nginx.conf",
        command=["nginx", "-e", "stderr", "-p", str(STATE), "-c", f"{STATE}/nginx.conf"],
        root=aptrepo.path(CACHE),
    ),
    Server(
        name="registry",
        port=REGISTRY_PORT,
        template="registry.yml",
        command=["docker-registry", "serve", f"{STATE}/registry.yml"],
        root=CACHE / "registry",
    ),
)
