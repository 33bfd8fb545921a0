"""Secrets: values born on the host, and the files in which containers read them."""

import shlex
from dataclasses import dataclass

SECRETS_DIR = "/etc/saiga-stack/secrets"


@dataclass(frozen=True)
class Secret:
    """A value that the host keeps in a file of its own, readable by root only.

    ``least`` is the number of characters that a value supplied by the site has at least.
    """

    name: str
    least: int = 16

    @property
    def path(self) -> str:
        return f"{SECRETS_DIR}/{self.name}"


@dataclass(frozen=True)
class SecretFile:
    """What the container of one service reads: text around secrets, readable by ``uid`` only.

    ``at_start`` says that the program reads it once, so that a newer file asks for a restart.
    """

    service: str
    name: str
    uid: int
    parts: tuple[str | Secret, ...]
    at_start: bool = True

    @property
    def folder(self) -> str:
        return f"{SECRETS_DIR}/{self.service}"

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(part for part in self.parts if isinstance(part, Secret))

    @property
    def is_plain(self) -> bool:
        """Whether it holds the value of one secret and nothing else."""
        return self.parts == self.secrets and len(self.parts) == 1

    @property
    def render(self) -> str:
        """A shell command that prints the content."""
        commands = (
            f"cat {part.path}" if isinstance(part, Secret) else f"printf %s {shlex.quote(part)}"
            for part in self.parts
        )
        return f"{{ {' && '.join(commands)}; }}"


POSTGRES_SUPERUSER = Secret("postgres_superuser")
POSTGRES_PROJECT_API = Secret("postgres_project_api")
POSTGRES_AGENT_EXPORTER = Secret("postgres_agent_exporter")
QDRANT_API_KEY = Secret("qdrant_api_key")
QDRANT_READ_ONLY_KEY = Secret("qdrant_read_only_key")
SAIGA_API_KEY = Secret("saiga_api_key")
GRAFANA_ADMIN = Secret("grafana_admin")
WEBBOT2_SESSION = Secret("webbot2_session", least=32)
SECRETS = (
    POSTGRES_SUPERUSER,
    POSTGRES_PROJECT_API,
    POSTGRES_AGENT_EXPORTER,
    QDRANT_API_KEY,
    QDRANT_READ_ONLY_KEY,
    SAIGA_API_KEY,
    GRAFANA_ADMIN,
    WEBBOT2_SESSION,
)


def curl(header: str, secret: Secret, arguments: str) -> str:
    """A shell command: curl with a header that ends in a secret, which no argument shows."""
    return f"{{ printf %s {shlex.quote(header)}; cat {secret.path}; }} | curl -H @- {arguments}"
