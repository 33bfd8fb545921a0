"""``python -m stack secret``: name the secrets, show one to the operator, rotate one."""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from stack.docker.audit import audit_command
from stack.pyinfra.inventory import Target, targets
from stack.pyinfra.remote import operator
from stack.secrets import SECRETS, Secret
from stack.site import SiteError

ROOT = Path(__file__).resolve().parent.parent


def add_parser(commands: Any) -> None:
    """Add ``secret list``, ``secret show NAME`` and ``secret rotate NAME``."""
    secret: argparse.ArgumentParser = commands.add_parser("secret", help="show or rotate a secret")
    actions = secret.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="the names of all secrets")
    names = [secret.name for secret in SECRETS]
    for action, choices, text in (
        ("show", names, "print the value that a site's host has"),
        ("rotate", [*names, "all"], "give it, or all, a new value and deploy: its users follow"),
    ):
        parser = actions.add_parser(action, help=text)
        parser.add_argument("name", choices=choices, metavar="NAME")
        parser.add_argument("--site", required=True, help="a group of inventory.py")


def run(options: argparse.Namespace) -> int:
    """Carry out one of the commands; its exit status. Raises SiteError."""
    match options.action:
        case "list":
            print("\n".join(secret.name for secret in SECRETS))
        case "show":
            secret = next(secret for secret in SECRETS if secret.name == options.name)
            for target in targets(options.site, ROOT):
                print(show(target, secret))
        case "rotate":
            return rotate(options.site, options.name)
    return 0


def show(target: Target, secret: Secret) -> str:
    """The value on the host; that it was shown is in the host's audit log. Raises SiteError."""
    log = audit_command(operator(), f"secret {secret.name}", "show", "asked for")
    script = f"{{ {log}; }} && cat {secret.path}"
    argv = [*target.ssh, script] if target.ssh else ["sh", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["the command failed without a word"]
        raise SiteError(f"{target.name}: secret {secret.name} cannot be read: {reason[0]}")
    return done.stdout


def rotate(site: str, name: str) -> int:
    """Give a secret, or ``all``, a new value; the exit status.

    The new value is made inside a deploy, under its lock, and so are the changes it asks for.
    """
    pyinfra = Path(sys.executable).with_name("pyinfra")
    argv = [
        *(str(pyinfra), "inventory.py", "deploy.py", "--limit", site, "-y"),
        *("--data", f"rotate={name}"),
    ]
    print(shlex.join(["pyinfra", *argv[1:]]), file=sys.stderr)
    return subprocess.run(argv, cwd=ROOT, check=False).returncode
