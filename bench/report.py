"""The figures as Markdown."""

import datetime
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from bench.host import BenchHost
from bench.rounds import Commands, Sample
from bench.tools import Tool

BEGIN, END = "<!-- measured by make bench -->", "<!-- end of what make bench measured -->"


def machine(host: BenchHost, load: float) -> str:
    """Date, size of the machine and versions; `load` is its load average before the bench."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert memory
    engine = host.run("docker version --format '{{.Server.Version}}'").strip()
    system = host.run(". /etc/os-release && echo $PRETTY_NAME").strip()
    return (
        f"Measured on {datetime.date.today().isoformat()} on a machine with {os.cpu_count()} cores"
        f" and {int(memory[1]) / 1024**2:.0f} GiB of memory that runs both sides (load average"
        f" {load:.1f} before the run); the host runs {system} with Docker {engine}."
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f}–{max(seconds):.2f})"


def _ratio(columns: Sequence[Sequence[float]]) -> str:
    if not columns[0]:
        return "-"
    first = median(columns[0])
    ratios = [f"{median(each) / first:.1f}" if each else "-" for each in columns[1:]]
    return " : ".join(["1", *ratios])


def _row(title: str, columns: Sequence[Sequence[float]], note: Sequence[str]) -> list[str]:
    cells = [
        " ".join(filter(None, (_spread(each) if each else "-", words)))
        for each, words in zip(columns, note, strict=True)
    ]
    return [title, *cells, _ratio(columns)]


def comparison(tools: Sequence[Tool], samples: Sequence[Sample]) -> str:
    """Median, least and greatest seconds of every case, and the ratio of the medians."""
    rows = []
    for case in dict.fromkeys(sample.case for sample in samples):
        of_case = [[s for s in samples if (s.case, s.tool) == (case, t.name)] for t in tools]
        missed = ["" if all(s.repaired for s in each) else "**not repaired**" for each in of_case]
        commands = [[sample.seconds for sample in each] for each in of_case]
        rows.append(_row(case, commands, missed))
        serving = [[s.serving for s in each if s.serving is not None] for each in of_case]
        if any(serving):
            rows.append(_row("… until it serves", serving, [""] * len(tools)))
    names = [tool.name for tool in tools]
    return table(["", *names, "ratio"], rows)


def deploys(seconds: dict[str, list[float]], commands: dict[str, list[Commands]]) -> str:
    """Seconds of whole deploys, and how many remote commands they were."""
    rows = [
        [
            f"`{name}`",
            _spread(values),
            str(sum(each.number for each in commands[name])),
            f"{sum(each.seconds for each in commands[name]):.2f} s",
        ]
        for name, values in seconds.items()
    ]
    return table(
        ["the whole deploy, nothing changed", "seconds", "remote commands", "time in them"], rows
    )


def where(commands: Sequence[Commands]) -> str:
    """The remote commands of one run, by stage and operation."""
    rows = [
        [
            each.stage.lower(),
            each.operation.replace(" | ", ": "),
            str(each.number),
            f"{each.seconds * 1000:.0f} ms",
        ]
        for each in commands
    ]
    return table(["stage", "operation", "remote commands", "time in them"], rows)


def write(path: Path, text: str) -> None:
    """Put `text` between the two marks of a page."""
    before, _, rest = path.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
