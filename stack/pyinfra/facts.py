"""Facts of a host, each one remote command."""

import json
import shlex
from dataclasses import replace

from pyinfra.api import FactBase

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


class MachineObservation(FactBase[Machine]):
    """What is below the containers; ``script`` makes the output."""

    def command(self, script: str) -> str:
        return script

    @staticmethod
    def default() -> Machine:
        return Machine()

    def process(self, output: list[str]) -> Machine:
        return parse_machine("\n".join(output))


class AptSources(FactBase[tuple[AptSource, ...]]):
    """Where apt is pointed at, each component with the text of its entry."""

    def command(self) -> str:
        stanza = (
            'awk -v n="$n" \'NF == 0 { if (p) exit; b = ""; next } { b = b $0 "\\n" }'
            ' NR == n { p = 1 } END { printf "%s", b }\''
        )
        return (
            "apt-get indextargets --format '$(SOURCESENTRY) $(RELEASE) $(COMPONENT)'"
            " 'Created-By: Packages' | sort -u | while read -r entry release component; do"
            ' f=${entry%:*}; n=${entry##*:}; echo "== $release|$component|$f";'
            f' case $f in *.sources) {stanza} "$f" ;; *) sed -n "${{n}}p" "$f" ;; esac; done'
        )

    @staticmethod
    def default() -> tuple[AptSource, ...]:
        return ()

    def process(self, output: list[str]) -> tuple[AptSource, ...]:
        sources: list[AptSource] = []
        for line in output:
            if line.startswith("== "):
                sources.append(AptSource(*line.removeprefix("== ").split("|")))
            elif sources:
                sources[-1] = replace(sources[-1], entry=f"{sources[-1].entry}{line}\n")
        return tuple(sources)


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
