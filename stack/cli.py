"""``python -m stack``: what plain pyinfra cannot say."""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stack import secret_cli
from stack.model import MANIFEST, manifest_of
from stack.pyinfra.inventory import Target, targets
from stack.site import SiteError
from stack.wheels import WheelsError, wheels_for

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 on success, 1 when it failed, with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="download what image builds need")
    status = commands.add_parser("status", help="containers, addresses, ports and health of a site")
    status.add_argument("site", help="a group of inventory.py")
    model = commands.add_parser("model", help="write the MANIFEST of a model's files")
    model.add_argument("directory", type=Path, help="where the files lie")
    secret_cli.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        if options.command == "fetch":
            fetch()
        elif options.command == "model":
            print(f"revision {manifest(options.directory)}")
        elif options.command == "secret":
            return secret_cli.run(options)
        else:
            for target in targets(options.site, ROOT):
                print(status_table(target))
    except (SiteError, WheelsError, subprocess.CalledProcessError) as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    return 0


def fetch() -> None:
    """Fill the wheel cache for every image of ours."""
    for requirements in sorted(ROOT.glob("services/*/requirements.txt")):
        print(f"{requirements.parent.name}: {wheels_for(requirements)}")


def manifest(directory: Path) -> str:
    """Write the manifest beside a model's files; returns the revision that a site states."""
    if not directory.is_dir():
        raise SiteError(f"{directory} is not a directory")
    text = manifest_of(directory)
    (directory / MANIFEST).write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


def _on_host(target: Target, command: str) -> str:
    argv = [*target.ssh, command] if target.ssh else ["sh", "-c", command]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def status_table(target: Target) -> str:
    """A table of the site's containers as they are now, and the address of the chat."""
    containers = target.stack.desired.containers
    names = " ".join(container.name for container in containers)
    output = _on_host(target, f"docker inspect {names} 2>/dev/null || true")
    live = {document["Name"].lstrip("/"): document for document in json.loads(output or "[]")}
    rows = [("SERVICE", "ADDRESS", "PUBLISHED", "HEALTH")]
    for container in containers:
        state = live.get(container.name, {}).get("State", {"Status": "missing"})
        health = state.get("Health", {}).get("Status", state["Status"])
        rows.append(
            (
                container.name,
                " ".join(attachment.address for attachment in container.attachments),
                " ".join(f"{port.bind}:{port.published}" for port in container.ports) or "-",
                health if state["Status"] == "running" else state["Status"],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    chat = target.stack.site.services.webbot2
    if chat.enabled and (port := chat.ports["http"]).published:
        host = target.address if str(port.bind) == "0.0.0.0" else port.bind
        lines += ["", f"Chat: http://{host}:{port.published}/ on {target.name}"]
    return "\n".join(lines)
