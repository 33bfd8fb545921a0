"""``stack secret``: name the secrets, show one to the operator, rotate one."""

import shlex
import subprocess
import sys
from pathlib import Path

import click

from stack.docker.audit import SHOWN, audit_command
from stack.pyinfra.inventory import Target, targets
from stack.pyinfra.remote import operator
from stack.reports import Exit
from stack.secrets import SECRETS, Secret
from stack.site import SiteError

ROOT = Path(__file__).resolve().parent.parent
NAMES = [secret.name for secret in SECRETS]
SITE = click.option("--site", required=True, metavar="SITE", help="A group of the inventory.")


@click.group("secret")
def secret() -> None:
    """Show or rotate a secret."""


@secret.command("list")
def list_names() -> None:
    """The names of all secrets."""
    click.echo("\n".join(NAMES))


@secret.command()
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@SITE
@click.pass_obj
def show(path: Path, name: str, site: str) -> None:
    """Print the value that a site's host has; with several hosts each behind its name."""
    found = [*targets(site, ROOT, path)]
    for target in found:
        value = _value(target, SECRETS[NAMES.index(name)])
        click.echo(f"{target.name}: {value}" if len(found) > 1 else value)


@secret.command()
@click.argument("name", type=click.Choice([*NAMES, "all"]), metavar="NAME")
@SITE
@click.pass_obj
def rotate(path: Path, name: str, site: str) -> Exit:
    """Give a secret, or all, a new value and deploy: its users follow.

    The new value is made inside the deploy, under its lock, and so are the changes it asks for.
    """
    pyinfra = Path(sys.executable).with_name("pyinfra")
    argv = [
        *(str(pyinfra), str(path), "deploy.py", "--limit", site, "-y"),
        *("--data", f"rotate={name}"),
    ]
    click.echo(shlex.join(["pyinfra", *argv[1:]]), err=True)
    done = subprocess.run(argv, cwd=ROOT, check=False)
    return Exit.OK if done.returncode == 0 else Exit.ERROR


def _value(target: Target, secret: Secret) -> str:
    """The value on the host; that it was shown is in the host's audit log."""
    log = audit_command(operator(), f"secret {secret.name}", SHOWN, "asked for")
    script = f"{{ {log}; }} && cat {secret.path}"
    done = subprocess.run(target.command(script), capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["the command failed without a word"]
        raise SiteError(f"{target.name}: secret {secret.name} cannot be read: {reason[0]}")
    return done.stdout
