"""``stack``: what plain pyinfra cannot say, with the same code and the same data."""

import hashlib
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
from pyinfra.api import DeployError
from pyinfra_cli.util import parse_cli_arg

from stack import completions, newsite, reports, schema, secret_cli, status, verification
from stack import doctor as doctors
from stack.machine import observe
from stack.messages import nearest
from stack.model import MANIFEST, manifest_of
from stack.progress import progress
from stack.pyinfra import changes, inventory, observations, runs
from stack.reports import Exit
from stack.site import ServicesSettings, SiteError
from stack.wheels import WheelsError, wheels_for

ROOT = Path(__file__).resolve().parent.parent
SERVICES = tuple(ServicesSettings.model_fields)
WATCH_SECONDS = 2.0

EXIT_CODES = """
Exit status: 0 done, or nothing to say; 1 an error, with one sentence on standard error. `drift`
ends with 2 when a host differs from its site, `doctor` and `status` with 1 when something is wrong,
`logs` with that of docker logs.
"""


class _Group(click.Group):
    """Suggests the nearest command for an unknown one."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if arguments and arguments[0] not in self.commands and not arguments[0].startswith("-"):
            near = nearest(arguments[0], self.commands)
            context.fail(f"there is no command {arguments[0]}{near}")
        return super().resolve_command(context, arguments)


def _complete_site(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    root = context.find_root()
    path = Path(root.params.get("inventory") or ROOT / "inventory.py")
    known = inventory.sites(inventory.load_inventory(path, ROOT))
    return [CompletionItem(name) for name in known if name.startswith(incomplete)]


SITE = click.argument("site", shell_complete=_complete_site)
SERVICE = click.argument("service", type=click.Choice(SERVICES))
DATA = click.option(
    "--data", multiple=True, metavar="KEY=VALUE", help="A value for this run, as pyinfra's --data."
)
JSON = click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")


@click.group(
    cls=_Group,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--inventory",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=ROOT / "inventory.py",
    help="Another inventory file.",
)
@click.pass_context
def cli(context: click.Context, inventory: Path) -> None:
    """Stand up a dialogue agent on your hosts, and keep it as its site says.

    SITE is a group of the inventory, or one of its hosts.
    """
    context.obj = inventory.absolute()


@cli.command()
@SITE
@DATA
@JSON
@click.pass_obj
def plan(path: Path, site: str, data: Sequence[str], as_json: bool) -> Exit:
    """Show what a deploy would change."""
    found = _rehearse(site, path, data)
    click.echo(_json(reports.as_json(site, found)) if as_json else reports.as_text(found))
    return Exit.ERROR if reports.outcome(found) is Exit.ERROR else Exit.OK


@cli.command()
@SITE
@DATA
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    help="How to report.",
)
@click.option("--output", type=click.File("w"), default="-", help="A file for the report.")
@click.pass_obj
def drift(path: Path, site: str, data: Sequence[str], form: str, output: Any) -> Exit:
    """Say whether a host differs from its site: 0 no, 2 yes, 1 an error. For cron and CI."""
    found = _rehearse(site, path, data)
    texts: dict[str, Callable[[], str]] = {
        "text": lambda: reports.as_text(found),
        "json": lambda: _json(reports.as_json(site, found)),
        "markdown": lambda: reports.as_markdown(site, found),
    }
    click.echo(texts[form](), file=output)
    return reports.outcome(found)


@cli.command()
@SITE
@DATA
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def deploy(path: Path, site: str, data: Sequence[str], yes: bool) -> Exit:
    """Bring the hosts of a site to what it says: pyinfra's own run of deploy.py."""
    inventory.hosts_of(site, inventory.load_inventory(path, ROOT))
    if not yes and not sys.stdin.isatty():
        raise click.ClickException("nobody is there to ask; --yes deploys without")
    values = [word for entry in data for word in ("--data", entry)]
    command = [str(path), str(ROOT / "deploy.py"), "--limit", site, *values, *(["-y"] * yes)]
    pyinfra = Path(sys.executable).with_name("pyinfra")
    done = subprocess.run([str(pyinfra), *command], cwd=ROOT, check=False)
    return Exit.OK if done.returncode == 0 else Exit.ERROR


@cli.command()
@SITE
@click.option("--junit", type=click.Path(path_type=Path), help="A file for the JUnit report.")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def verify(path: Path, site: str, junit: Path | None, pytest_arguments: Sequence[str]) -> Exit:
    """Prove every container, port, address and setting, and a question's way through all of it.

    After -- follow arguments of pytest.
    """
    inventory.hosts_of(site, inventory.load_inventory(path, ROOT))
    with tempfile.TemporaryDirectory() as folder:
        report = (junit or Path(folder) / "junit.xml").absolute()
        outcome = verification.verify(site, ROOT, path.absolute(), report, pytest_arguments)
        if report.is_file():
            click.echo("\n".join(("", *verification.summary(report))))
    return Exit.OK if outcome == 0 else Exit.ERROR


@cli.command("status")
@SITE
@JSON
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.pass_obj
def show_status(path: Path, site: str, as_json: bool, watch: bool) -> Exit:
    """Containers, health, addresses, versions, GPUs and the last changes, as they are now."""
    found = [*inventory.targets(site, ROOT, path)]
    outcome = _show_status(found, as_json)
    try:
        while watch:
            time.sleep(WATCH_SECONDS)
            outcome = _show_status(found, as_json, anew=True)
    except KeyboardInterrupt:
        click.echo()
    return outcome


def _show_status(found: Sequence[inventory.Target], as_json: bool, anew: bool = False) -> Exit:
    """Ask the hosts and show what they say, ``anew`` in the place of what a terminal shows."""
    seen = []
    for target in found:
        desired = target.stack.desired
        output = _ask(target, status.script(desired))
        seen.append((target, status.parse(output, desired)))
    if anew:
        click.clear()
    if as_json:
        click.echo(_json([status.as_json(target.name, state) for target, state in seen]))
    else:
        texts = (status.as_text(target.name, state) + _chat(target) for target, state in seen)
        click.echo("\n\n".join(texts))
    return Exit.OK if all(state.healthy for _, state in seen) else Exit.ERROR


@cli.command()
@SITE
@JSON
@click.pass_obj
def doctor(path: Path, site: str, as_json: bool) -> Exit:
    """Look for what would stand in a deploy's way: ports, subnets, disk, downloads and the like."""
    seen = []
    for target in inventory.targets(site, ROOT, path):
        data, desired = target.stack.site, target.stack.desired
        output = _ask(target, doctors.script(data, desired))
        machine = observe.parse(_ask(target, observations.machine_script(target.stack)))
        found = [*doctors.findings(output, machine, data, desired, time.time())]
        seen.append((target, [*found, *doctors.on_controller(desired)]))
    if as_json:
        click.echo(_json([doctors.as_json(target.name, found) for target, found in seen]))
    else:
        click.echo("\n\n".join(doctors.as_text(target.name, found) for target, found in seen))
    levels = {finding.level for _, found in seen for finding in found}
    return Exit.ERROR if doctors.Level.ERROR in levels else Exit.OK


@cli.command()
@SITE
@SERVICE
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--tail", type=int, default=100, show_default=True, help="Lines from the end.")
@click.option("--since", help="Only what is newer, such as 15m or 2026-01-31T12:00:00.")
@click.pass_obj
def logs(path: Path, site: str, service: str, follow: bool, tail: int, since: str | None) -> int:
    """Show the log of a service."""
    found = [*inventory.targets(site, ROOT, path)]
    if follow and len(found) > 1:
        names = ", ".join(target.name for target in found)
        raise click.ClickException(f"only one host can be followed; name one of {names}")
    outcomes = []
    for target in found:
        name = getattr(target.stack.site.services, service).container
        options = ["--timestamps", f"--tail={tail}", *(["--follow"] * follow)]
        options += [f"--since={since}"] if since else []
        command = target.command(shlex.join(["docker", "logs", *options, name]), terminal=follow)
        if len(found) > 1:
            click.echo(f"=== {target.name}")
        outcomes.append(subprocess.run(command, check=False).returncode)
    return max(outcomes)


@cli.command()
@SITE
@SERVICE
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def rollback(path: Path, site: str, service: str, yes: bool) -> Exit:
    """Return a service to the image and the configuration it had before its last change.

    The site's data stay as they are: change them too, or the next deploy goes forward again.
    """

    def confirm(run: runs.Run) -> bool:
        if not any(runs.changes_something(run, host) for host in run.hosts):
            click.echo(f"{service} is as it was before its last change")
            return False
        return yes or _confirm("Go back to this?")

    return _change(site, path, changes.roll_back(service), confirm)


@cli.command()
@SITE
@click.option("--confirm", "typed", metavar="SITE", help="The site's name, instead of asking.")
@click.option(
    "--data",
    "volumes",
    multiple=True,
    metavar="VOLUME",
    help="Remove this volume and its data too. There is no way back.",
)
@click.pass_obj
def remove(path: Path, site: str, typed: str | None, volumes: Sequence[str]) -> Exit:
    """Remove the containers and networks of a site; data only when its volume is named.

    Configuration and secrets in /etc/saiga-stack, images, Docker and the firewall stay.
    """

    def confirm(run: runs.Run) -> bool:
        if not any(runs.changes_something(run, host) for host in run.hosts):
            click.echo("there is nothing to remove")
            return False
        if not typed and not sys.stdin.isatty():
            raise click.ClickException(f"nobody is there to ask; --confirm {site} removes this")
        name = typed or click.prompt("Type the name of the site to remove this", err=True)
        if name != site:
            raise click.ClickException(f"{name} is not {site}; nothing was removed")
        return True

    return _change(site, path, changes.remove(tuple(volumes)), confirm)


@cli.command("new-site")
@click.argument("name")
@click.argument("address")
@click.option("--user", default="root", show_default=True, help="Who logs in; others use sudo.")
def new_site(name: str, address: str, user: str) -> Exit:
    """Write group_data/NAME.py and add NAME with the host at ADDRESS to inventory.py."""
    data, entry = newsite.new_site(name, address, user, ROOT)
    click.echo(f"{data.relative_to(ROOT)}: what differs from group_data/all.py")
    click.echo(f"{entry.relative_to(ROOT)}: {name} has the host {address}")
    click.echo(f"Next: bin/stack doctor {name}")
    return Exit.OK


@cli.command("schema")
@click.argument("path", required=False, default="")
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text")
def show_schema(path: str, form: str) -> Exit:
    """Print every option of a site, or those below PATH, with type, default and meaning."""
    found = [*schema.under([*schema.sections(ROOT / "group_data/all.py")], path)]
    if not found:
        known = [section.name for section in schema.sections(ROOT / "group_data/all.py")]
        raise click.ClickException(f"{path} is no option{nearest(path, known)}")
    texts: dict[str, Callable[[], str]] = {
        "text": lambda: schema.as_text(found),
        "json": lambda: _json(schema.as_json(found)),
        "markdown": lambda: schema.as_markdown(found).rstrip("\n"),
    }
    click.echo(texts[form]())
    return Exit.OK


@cli.command()
def fetch() -> Exit:
    """Download what image builds need."""
    for requirements in sorted(ROOT.glob("services/*/requirements.txt")):
        with progress(f"downloading the wheels of {requirements.parent.name}"):
            folder = wheels_for(requirements)
        click.echo(f"{requirements.parent.name}: {folder}")
    return Exit.OK


@cli.command()
@click.argument("shell", type=click.Choice(completions.SHELLS))
def completion(shell: str) -> Exit:
    """Print what completes this program's words: eval "$(bin/stack completion bash)"."""
    click.echo(completions.script(shell, cli, ROOT / "bin/stack"))
    return Exit.OK


def _rehearse(site: str, path: Path, data: Sequence[str]) -> list[runs.HostPlan]:
    values = dict(entry.partition("=")[::2] for entry in data)
    with progress(f"looking at {site}"):
        return runs.rehearse(
            site, ROOT, path, {key: parse_cli_arg(value) for key, value in values.items()}
        )


def _change(
    site: str, path: Path, work: Callable[[], None], confirm: Callable[[runs.Run], bool]
) -> Exit:
    """Show what ``work`` would do, ask, and do it."""
    runs.talk()
    with ExitStack() as hosts:
        with progress(f"looking at {site}", partial(click.echo, err=True)):
            run = hosts.enter_context(runs.prepared(site, ROOT, path, work))
        if run.failures:
            sentences = (f"{host}: {sentence}" for host, sentence in run.failures.items())
            raise click.ClickException("\n".join(sentences))
        if not confirm(run):
            return Exit.OK
        return Exit.OK if run.execute() else Exit.ERROR


def _confirm(question: str) -> bool:
    if not sys.stdin.isatty():
        raise click.ClickException("nobody is there to ask; --yes goes on without")
    return click.confirm(question, err=True)


def _ask(target: inventory.Target, script: str) -> str:
    with progress(f"asking {target.name}"):
        done = subprocess.run(
            target.command(script), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise click.ClickException(f"{target.name} cannot be asked: {last}")
    return done.stdout


def _chat(target: inventory.Target) -> str:
    chat = target.stack.site.services.webbot2
    port = chat.ports["http"]
    if not chat.enabled or not port.published:
        return ""
    host = target.address if str(port.bind) == "0.0.0.0" else port.bind
    return f"\n\nChat: http://{host}:{port.published}/ on {target.name}"


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


cli.add_command(secret_cli.secret)


@cli.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def model(directory: Path) -> None:
    """Write the MANIFEST of a model's files beside them; prints the revision that a site states."""
    text = manifest_of(directory, partial(click.echo, err=True))
    (directory / MANIFEST).write_text(text)
    click.echo(f"revision {hashlib.sha256(text.encode()).hexdigest()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status, see ``stack --help``."""
    try:
        outcome = cli.main(arguments, prog_name="stack", standalone_mode=False)
        return int(outcome or Exit.OK)
    except click.exceptions.Abort:
        sentence = "ended by the operator"
    except click.ClickException as error:
        sentence = error.format_message()
    except (SiteError, DeployError, WheelsError, ValueError) as error:
        sentence = str(error)
    click.echo(f"stack: {sentence}", err=True)
    return Exit.ERROR
