"""The command line of the lab."""

import argparse
import os
import sys
from collections.abc import Sequence

from lab import lifecycle, netns, preflight, ssh
from lab.errors import LabError
from lab.settings import DEFAULT_HOST, HOSTS

DESCRIPTION = "A disposable bare Debian 12 host, and what it downloads from, without a way out."


def parser() -> argparse.ArgumentParser:
    """The commands and what they take."""
    top = argparse.ArgumentParser(prog="python -m lab", description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", help="bring the lab up, or repair what is missing of it")
    up.add_argument("hosts", nargs="*", metavar="HOST", help=f"default: {DEFAULT_HOST}")
    up.add_argument("--fresh", action="store_true", help="give the hosts new, bare disks")

    commands.add_parser("down", help="leave nothing of the lab but its cache")
    commands.add_parser("clean", help="down, and the cache emptied")
    commands.add_parser("status", help="one line for each part; exit status 3 unless all is up")

    shell = commands.add_parser("ssh", help="a shell on a host, or one command (after --)")
    shell.add_argument("--host", default=DEFAULT_HOST, choices=HOSTS)
    shell.add_argument("words", nargs="*", metavar="CMD")

    execute = commands.add_parser("exec", help="run a command here, in the lab's network")
    execute.add_argument("words", nargs="+", metavar="CMD")

    for name, text in (
        ("power-off", "cut a host's power; its disk stays"),
        ("power-on", "boot a host again"),
    ):
        power = commands.add_parser(name, help=text)
        power.add_argument("host", nargs="?", default=DEFAULT_HOST, choices=HOSTS)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 and one sentence on standard error when it cannot be done."""
    chosen = parser().parse_args(arguments)
    try:
        return _run(chosen)
    except (LabError, RuntimeError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `python -m lab up` goes on from here", file=sys.stderr)
        return 130


def _run(chosen: argparse.Namespace) -> int:
    preflight.check_root()
    match chosen.command:
        case "up":
            unknown = [name for name in chosen.hosts if name not in HOSTS]
            if unknown:
                raise LabError(f"there is no host {unknown[0]}: the lab has {', '.join(HOSTS)}")
            names = chosen.hosts or [DEFAULT_HOST]
            lifecycle.up([HOSTS[name] for name in names], fresh=chosen.fresh)
            print(f"the lab is up: ssh -F {ssh.CONFIG} {names[0]} (by `python -m lab exec --`)")
        case "down":
            lifecycle.down()
        case "clean":
            lifecycle.clean()
        case "status":
            lines, is_up = lifecycle.status()
            print("\n".join(lines))
            return 0 if is_up else 3
        case "power-off":
            lifecycle.power_off(HOSTS[chosen.host])
        case "power-on":
            lifecycle.power_on(HOSTS[chosen.host])
        case "ssh":
            lifecycle.require_up()
            _become(ssh.command(HOSTS[chosen.host], *chosen.words))
        case "exec":
            lifecycle.require_up()
            _become([*netns.enter(), *chosen.words])
    return 0


def _become(command: Sequence[str]) -> None:
    sys.stdout.flush()
    os.execvp(command[0], list(command))
