"""Facts of a host, each one remote command."""

from dataclasses import replace
from typing import TypeVar

from pyinfra.api import FactBase

from stack.docker.history import before
from stack.docker.observe import Observed, parse
from stack.machine.apt import AptSource
from stack.machine.observe import Machine
from stack.machine.observe import parse as parse_machine

T = TypeVar("T")


class ScriptFact(FactBase[T]):
    """What a shell script of ours prints, as values: ``process`` is the script's own parser."""

    def command(self, script: str) -> str:
        return script


class Several(FactBase[list[list[str]]]):
    """What each of several scripts prints, by one remote command."""

    _END = "=== saiga-stack script"

    def command(self, scripts: tuple[str, ...]) -> str:
        return "\n".join(f"(\n{script}\n)\necho '{self._END}'" for script in scripts)

    def process(self, output: list[str]) -> list[list[str]]:
        parts: list[list[str]] = [[]]
        for line in output:
            if line == self._END:
                parts.append([])
            else:
                parts[-1].append(line)
        return parts[:-1]


class HostObservation(ScriptFact[Observed]):
    """Containers, networks, volumes, images and managed files."""

    @staticmethod
    def default() -> Observed:
        return Observed()

    def process(self, output: list[str]) -> Observed:
        return parse("\n".join(output))


class MachineObservation(ScriptFact[Machine]):
    """What is below the containers."""

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
