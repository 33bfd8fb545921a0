"""Facts of a host, each one remote command."""

import json
import shlex

from pyinfra.api import FactBase

from stack.docker.history import before
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


class SecretFiles(FactBase[dict[str, tuple[str, str]]]):
    """Name to (mode, uid) of every file in the secrets folder; never their content."""

    def command(self, folder: str) -> str:
        return f"stat -c '%a %u %n' {folder}/* 2>/dev/null || true"

    @staticmethod
    def default() -> dict[str, tuple[str, str]]:
        return {}

    def process(self, output: list[str]) -> dict[str, tuple[str, str]]:
        rows = (line.split(" ", 2) for line in output if line)
        return {path.rpartition("/")[2]: (mode, uid) for mode, uid, path in rows}


class FormerContainer(FactBase[str]):
    """The note of what a container was before its last change; empty where there is none."""

    def command(self, container: str) -> str:
        return f"cat {before(container)} 2>/dev/null || true"

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


class DaemonConfig(FactBase[str]):
    """The text of Docker's daemon.json; ``null`` when there is no such file."""

    def command(self) -> str:
        return "cat /etc/docker/daemon.json 2>/dev/null || echo null"

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


class QdrantCollections(FactBase[dict[str, int]]):
    """Collection name to vector dimension; empty while Qdrant does not answer."""

    def command(self, url: str) -> str:
        return (
            f'for c in $(curl -sf -m 10 {url}/collections | grep -o \'"name": *"[^"]*"\' |'
            " cut -d'\"' -f4); do"
            f" printf '%s ' \"$c\"; curl -sf -m 10 {url}/collections/$c; echo; done"
        )

    @staticmethod
    def default() -> dict[str, int]:
        return {}

    def process(self, output: list[str]) -> dict[str, int]:
        collections = {}
        for line in filter(None, output):
            name, _, document = line.partition(" ")
            vectors = json.loads(document)["result"]["config"]["params"]["vectors"]
            collections[name] = vectors["size"]
        return collections


class PostgresObjects(FactBase[set[str]]):
    """What stands in the database, as lines such as ``role project_api``; see the query.

    ``login project_api`` says that the role logs in with its password, or that there is none to try
    it with. ``passwords`` maps a role to the file on the host that holds it.
    """

    def command(self, container: str, database: str, query: str, passwords: dict[str, str]) -> str:
        files = "; ".join(f"cat {path}; echo" for path in passwords.values())
        logins = (
            f"for role in {' '.join(passwords)}; do read -r PGPASSWORD; export PGPASSWORD;"
            ' if [ -z "$PGPASSWORD" ]; then echo "login $role"; fi;'
            f" psql -h {container} -U $role -d {database} -qtAc \"SELECT 'login ' || current_user\""
            " </dev/null; done"
        )
        psql = f'psql -U postgres -d {database} -qtAc "{query}" </dev/null'
        asked = f"docker exec -i {container} sh -c {shlex.quote(f'{psql}; {logins}')}"
        return f"{{ {files}; }} 2>/dev/null | {asked} 2>/dev/null || true"

    @staticmethod
    def default() -> set[str]:
        return set()

    def process(self, output: list[str]) -> set[str]:
        return {line for line in output if line}
