"""Where the lab lives: names, addresses and directories."""

import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FILES = Path(__file__).resolve().parent / "files"

CACHE = Path(os.environ.get("SAIGA_LAB_CACHE", "/var/cache/saiga-lab")).absolute()
# A second lab beside the first, for another checkout on the same machine, needs another name.
NAME = os.environ.get("SAIGA_LAB_NAME", "saiga-lab")
STATE = Path("/var/lib") / NAME
LOG = STATE / "log"
PINS = STATE / "images.json"
LOCK = Path(f"/run/lock/{NAME}.lock")

COMMAND_GROUP = f"{NAME}-command"
BRIDGE = "lab0"
CONTROLLER = "10.77.0.1"
PREFIX_LENGTH = 24
DNS_PORT = 53
APT_PORT = 8081
REGISTRY_PORT = 5000
APT_URL = f"http://{CONTROLLER}:{APT_PORT}"

RELEASE = "bookworm"


@dataclass(frozen=True)
class Host:
    """One bare host of the lab: its name (also its host name) and its fixed IPv4 address."""

    name: str
    address: str

    @property
    def directory(self) -> Path:
        return STATE / "hosts" / self.name

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def group(self) -> str:
        """The control group, below every hierarchy, of all of the host's processes."""
        return f"{NAME}/hosts/{self.name}"


HOSTS = {
    host.name: host
    for host in (
        Host("lab", "10.77.0.10"),
        Host("lab2", "10.77.0.11"),
    )
}
DEFAULT_HOST = "lab"
