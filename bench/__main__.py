"""``python -m bench``: measure on the running lab, print the figures, write docs/benchmarks.md."""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import packages, report
from bench.host import BenchHost
from bench.rounds import measure, remote_commands, restored, whole_deploy
from bench.tools import TOOLS
from lab.errors import LabError
from lab.settings import CHECKOUT, DEFAULT_HOST
from stack.pyinfra.inventory import targets

PAGE = CHECKOUT / "docs/benchmarks.md"


def main() -> int:
    """Run the bench; 1 and one sentence on standard error when it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="of every case (2 at least)")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    host = BenchHost(next(targets(DEFAULT_HOST, CHECKOUT)).stack.desired)
    try:
        with TemporaryDirectory() as scratch:
            text = bench(host, max(options.rounds, 2), load, Path(scratch))
    except LabError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(text)
    report.write(PAGE, text)
    return 0


def bench(host: BenchHost, rounds: int, load: float, scratch: Path) -> str:
    """Install the peers, measure, put the host right again; the figures as Markdown."""
    installed = packages.install(host)
    try:
        with restored(host, scratch):
            tools = [make(host) for make in TOOLS]
            samples = list(measure(host, tools, rounds, scratch))
            head = report.machine(host, load)
            seconds = whole_deploy(rounds, scratch)
            commands = {
                name: remote_commands(name.split()[1], "deploy.py", scratch) for name in seconds
            }
    finally:
        packages.remove(host, installed)
    versions = [f"- {tool.name}: {tool.version}" for tool in tools]
    return "\n\n".join(
        [
            head,
            "\n".join(versions),
            report.comparison(tools, samples),
            report.deploys(seconds, commands),
            report.where(commands["deploy.py -y"]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
