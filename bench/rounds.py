"""The measurement: every tool in its turn, every case in every round."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.host import BenchHost
from bench.tools import Tool, pyinfra
from lab.errors import LabError
from lab.processes import report, run
from stack.docker.spec import Container


@dataclass(frozen=True)
class Case:
    """What is done to the host by hand before a tool runs; nothing where there is no container."""

    title: str
    container: Container | None = None
    damage: Callable[[BenchHost, Container], None] | None = None


@dataclass(frozen=True)
class Sample:
    """One run of one tool.

    `seconds` is the wall time of the command. `serving` is the time from its start until the gate
    of the damaged container passed; None where there was nothing to repair or it was not repaired.
    """

    tool: str
    case: str
    seconds: float
    serving: float | None
    repaired: bool


@dataclass(frozen=True)
class Commands:
    """The remote commands of one operation in one stage of a run."""

    stage: str
    operation: str
    number: int
    seconds: float


def cases(host: BenchHost) -> list[Case]:
    node_exporter = host.desired.container("node-exporter")
    webbot2 = host.desired.container("webbot2")
    return [
        Case("nothing changed"),
        Case("node-exporter removed", node_exporter, BenchHost.remove_by_hand),
        Case("webbot2 with another variable", webbot2, BenchHost.change_by_hand),
    ]


def visits(tools: Sequence[Tool]) -> list[Tool]:
    """There and back: a drift of the machine's speed falls on all tools alike."""
    return [*tools, *reversed(tools)]


def take_over(host: BenchHost, tool: Tool, output: Path) -> None:
    """Let a tool create everything on an empty host.

    Raises LabError when what it made is not what the toolkit's planner wants, but for the fields
    in which the tool keeps its own books.
    """
    report(f"{tool.name}: takes the host over")
    host.clear()
    tool.run(output)
    host.wait_until_healthy()
    foreign = [line for line in host.drift() if not tool.own or f": {tool.own}" not in line]
    if foreign:
        raise LabError(f"{tool.name} does not describe the same containers:\n" + "\n".join(foreign))
    tool.run(output)


def measure(host: BenchHost, tools: Sequence[Tool], rounds: int, scratch: Path) -> Iterator[Sample]:
    """Every case of every tool, `rounds` times (at least 2: half of them on each visit)."""
    output = scratch / "output"
    present: Tool | None = None
    visited: set[str] = set()
    for tool in visits(tools):
        if present is None or tool.own != present.own:
            take_over(host, tool, output)
        present = tool
        part = rounds // 2 if tool.name in visited else rounds - rounds // 2
        visited.add(tool.name)
        for _ in range(part):
            for case in cases(host):
                sample = _sample(host, tool, case, output)
                report(f"{tool.name}, {case.title}: {sample.seconds:.2f} s")
                yield sample


def _sample(host: BenchHost, tool: Tool, case: Case, output: Path) -> Sample:
    if case.damage is None or case.container is None:
        before = host.lives()
        seconds = _timed(tool, output)
        if host.lives() != before:
            raise LabError(f"{tool.name} restarted containers though nothing had changed")
        return Sample(tool.name, case.title, seconds, None, True)

    case.damage(host, case.container)
    if case.container.name in host.lives():
        host.wait_until_healthy()
    before = host.lives()
    started = time.perf_counter()
    seconds = _timed(tool, output)
    repaired = host.is_repaired(case.container)
    serving = None
    if repaired:
        run(host.gate_command(case.container))
        serving = time.perf_counter() - started
    else:
        host.remove_by_hand(case.container)
        tool.run(output)
    host.wait_until_healthy()
    after = host.lives()
    touched = {name for name in after if after[name] != before.get(name)}
    if touched != {case.container.name}:
        raise LabError(f"{tool.name} restarted {', '.join(sorted(touched))}")
    return Sample(tool.name, case.title, seconds, serving, repaired)


def _timed(tool: Tool, output: Path) -> float:
    started = time.perf_counter()
    tool.run(output)
    return time.perf_counter() - started


def whole_deploy(rounds: int, scratch: Path) -> dict[str, list[float]]:
    """Seconds of runs of deploy.py on a host where nothing has changed, by their command."""
    tools = [pyinfra(f"deploy.py {option}", "deploy.py", option) for option in ("-y", "--dry")]
    seconds: dict[str, list[float]] = {tool.name: [] for tool in tools}
    for _ in range(rounds):
        for tool in tools:
            seconds[tool.name].append(_timed(tool, scratch / "output"))
            report(f"{tool.name}: {seconds[tool.name][-1]:.2f} s")
    return seconds


def remote_commands(option: str, deploy: str, scratch: Path) -> list[Commands]:
    """The remote commands of one run of pyinfra with `option`, in the order of their first use."""
    notes = scratch / "commands"
    notes.write_text("")
    environment = {"SAIGA_BENCH_COMMANDS": str(notes)}
    pyinfra(deploy, "bench/counted.py", deploy, option, environment=environment).run(
        scratch / "output"
    )
    groups: dict[tuple[str, str], list[float]] = {}
    for note in map(json.loads, notes.read_text().splitlines()):
        groups.setdefault((note["stage"], note["operation"]), []).append(note["seconds"])
    return [
        Commands(stage, operation, len(seconds), sum(seconds))
        for (stage, operation), seconds in groups.items()
    ]


@contextmanager
def restored(host: BenchHost, scratch: Path) -> Iterator[None]:
    """Leave the host as deploy.py makes it, and no change after that."""
    try:
        yield
    finally:
        report("the host becomes the toolkit's again")
        if list(host.drift()):
            host.clear()
        pyinfra("deploy.py", "deploy.py", "-y").run(scratch / "output")
        before = host.lives()
        again = pyinfra("deploy.py", "deploy.py", "-y", "--json")
        operations = json.loads(run(again.command))["results"]["operations"]
        changed = [operation["name"] for operation in operations if operation["success"]]
        if changed or host.lives() != before:
            raise LabError(f"a deploy after the bench changed the host again: {changed}")
