"""Desired state: what has to stand on a host, as plain values."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from stack.secrets import SecretFile

OWNER_LABEL = "saiga-stack.managed"
FILES_LABEL = "saiga-stack.files"
CONTEXT_LABEL = "saiga-stack.context"
OWNER_VALUE = "yes"
DEFAULT_SHM_SIZE = 64 * 1024**2


@dataclass(frozen=True)
class Network:
    """A user-defined bridge network; in ``dynamic_range`` Docker may pick addresses itself."""

    name: str
    subnet: str
    gateway: str
    dynamic_range: str
    driver: str = "bridge"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Volume:
    """A named volume with the local driver. A deploy creates volumes and never removes one."""

    name: str


@dataclass(frozen=True)
class Attachment:
    """Membership of a container in a network, with its fixed address and extra DNS names."""

    network: str
    address: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublishedPort:
    """A container port reachable on the host as ``bind:published``."""

    inside: int
    published: int
    bind: str
    protocol: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True)
class Mount:
    """A bind mount (``source`` is a host path) or a named volume (``source`` is its name)."""

    kind: Literal["bind", "volume"]
    source: str
    target: str
    read_only: bool = False
    propagation: str = ""


@dataclass(frozen=True)
class HealthCheck:
    """Docker's health check: a shell command and its timing in seconds."""

    command: str
    interval: int = 30
    timeout: int = 5
    retries: int = 3
    start_period: int = 0


@dataclass(frozen=True)
class LogConfig:
    driver: str = "json-file"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ConfigFile:
    """A file on the host that a container reads. ``mode`` is octal text such as ``0644``.

    A ``live`` file is read again by the service itself: writing it is all that is needed.
    """

    path: str
    content: str
    mode: str = "0644"
    owner: str = "0:0"
    live: bool = False

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True)
class Gate:
    """Proof of real work: a host shell command that succeeds once the service does its job.

    ``deadline`` is in seconds from the start of the container.
    """

    title: str
    command: str
    deadline: int = 60


@dataclass(frozen=True)
class Build:
    """An image of ours: built on the host from ``folder`` when the tag is missing.

    ``context`` is the hash of everything the build reads; it is also the image's tag.
    """

    folder: str
    context: str
    base_image: str


@dataclass(frozen=True)
class Container:
    """A container as it has to run. ``None`` or empty means the image's or the engine's default.

    ``check`` is a host shell command that is run before files or the container are changed; ``$1``
    is a folder with its start files, by name. It fails, saying why in one sentence, when the
    program would not serve with them. ``secrets`` are files with secrets that it has mounted.
    """

    name: str
    image: str
    attachments: tuple[Attachment, ...]
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    restart: str = "unless-stopped"
    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[Mount, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    health: HealthCheck | None = None
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None
    shm_size: int | None = None
    ulimits: Mapping[str, str] = field(default_factory=dict)
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    read_only: bool = False
    pid_mode: str = ""
    gpus: Literal["all"] | None = None
    runtime: Literal["nvidia"] | None = None
    log: LogConfig = LogConfig()
    stop_timeout: int | None = None
    hostname: str | None = None
    extra_hosts: tuple[str, ...] = ()
    files: tuple[ConfigFile, ...] = ()
    secrets: tuple[SecretFile, ...] = ()
    check: str | None = None
    reload: str | None = None
    gate: Gate | None = None

    @property
    def start_files(self) -> tuple[ConfigFile, ...]:
        return tuple(file for file in self.files if not file.live)

    @property
    def files_hash(self) -> str:
        """Hash over path and content of every file the container reads at its start."""
        digest = hashlib.sha256()
        for file in sorted(self.start_files, key=lambda file: file.path):
            digest.update(f"{file.path}\0{file.sha256}\n".encode())
        return digest.hexdigest()[:16]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows the program: Docker's command line takes one word of an entrypoint only."""
        return (*(self.entrypoint or ())[1:], *(self.command or ()))

    @property
    def all_labels(self) -> dict[str, str]:
        """Labels as created: the site's, the owner's mark and, where it has files, their hash."""
        ours = {OWNER_LABEL: OWNER_VALUE}
        if self.start_files and not self.reload:
            ours[FILES_LABEL] = self.files_hash
        return {**self.labels, **ours}


@dataclass(frozen=True)
class Desired:
    """Everything the toolkit owns on one host. Containers stand in the order they start in."""

    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    containers: tuple[Container, ...] = ()

    def container(self, name: str) -> Container:
        return next(container for container in self.containers if container.name == name)
