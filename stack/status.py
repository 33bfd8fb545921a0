"""A host as it is now: one look, and what it says as a table."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from stack import sections
from stack.docker.audit import AUDIT_LOG, SHOWN
from stack.docker.spec import Container, Desired

LAST_DEPLOYS = 5
# Enough lines of the audit log for the last deploys, and the pause that ends one.
_LINES = 500
_PAUSE = timedelta(minutes=10)
_GPU = "index,name,driver_version,utilization.gpu,memory.used,memory.total,temperature.gpu"


@dataclass(frozen=True)
class Deploy:
    """Changes of one operator without a long pause: when they began, in UTC, and on what."""

    at: str
    by: str
    changes: int
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """``containers`` are rows (name, state, addresses, published, version), ``gpus`` lines of
    nvidia-smi, ``deploys`` the last ones that changed something, the newest last."""

    containers: tuple[tuple[str, ...], ...]
    docker: str
    gpus: tuple[str, ...]
    deploys: tuple["Deploy", ...]

    @property
    def healthy(self) -> bool:
        """Whether every container runs and is healthy."""
        return all(row[1] == "healthy" for row in self.containers)


def script(desired: Desired) -> str:
    """A shell script whose output :func:`parse` reads."""
    names = " ".join(container.name for container in desired.containers)
    return "\n".join(
        (
            sections.BEGIN,
            f"s containers; docker inspect {names} 2>/dev/null || true",
            "s docker; docker version --format '{{.Server.Version}}' 2>/dev/null",
            f"s gpus; nvidia-smi --query-gpu={_GPU} --format=csv,noheader 2>/dev/null",
            f"s changes; tail -n {_LINES} {AUDIT_LOG} 2>/dev/null || true",
            sections.END,
        )
    )


def parse(output: str, desired: Desired) -> Status:
    """What the output of :func:`script` says about what has to stand on the host."""
    parts = sections.split(output)
    documents = json.loads(parts["containers"] or "[]")
    live = {document["Name"].lstrip("/"): document for document in documents}
    return Status(
        tuple(_row(container, live.get(container.name)) for container in desired.containers),
        parts["docker"].strip(),
        tuple(line for line in parts["gpus"].splitlines() if line.strip()),
        tuple(_deploys(_changes(parts["changes"])))[-LAST_DEPLOYS:],
    )


def _changes(log: str) -> Iterator[dict[str, Any]]:
    """The lines of the audit log that stand for a change; one that failed has a second line."""
    for line in filter(str.strip, log.splitlines()):
        entry: dict[str, Any] = json.loads(line)
        if entry["action"] != SHOWN and "failure" not in entry:
            yield entry


def _deploys(changes: Iterable[dict[str, Any]]) -> Iterator[Deploy]:
    """The changes of the audit log by operator and time."""
    group: list[dict[str, Any]] = []
    for change in changes:
        if group and not _same_deploy(group[-1], change):
            yield _deploy(group)
            group = []
        group.append(change)
    if group:
        yield _deploy(group)


def _same_deploy(one: dict[str, Any], next_one: dict[str, Any]) -> bool:
    pause = datetime.fromisoformat(next_one["at"]) - datetime.fromisoformat(one["at"])
    return bool(one["from"] == next_one["from"] and pause < _PAUSE)


def _deploy(changes: list[dict[str, Any]]) -> Deploy:
    subjects = dict.fromkeys(str(change["subject"]) for change in changes)
    return Deploy(changes[0]["at"], changes[0]["from"], len(changes), tuple(subjects))


def _row(container: Container, document: dict[str, Any] | None) -> tuple[str, ...]:
    published = " ".join(f"{port.bind}:{port.published}" for port in container.ports) or "-"
    if document is None:
        addresses = " ".join(attachment.address for attachment in container.attachments)
        return container.name, "missing", addresses, published, "-"
    networks = document["NetworkSettings"]["Networks"] or {}
    addresses = " ".join(endpoint["IPAddress"] or "-" for endpoint in networks.values())
    return container.name, _state(document), addresses, published, _version(document)


def _state(document: dict[str, Any]) -> str:
    state = document["State"]
    if state["Status"] != "running":
        return str(state["Status"])
    return str(state.get("Health", {}).get("Status", "running"))


def _version(document: dict[str, Any]) -> str:
    """The image's tag, or the start of its digest where it has none."""
    name, _, digest = document["Config"]["Image"].partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return str(tag or digest.removeprefix("sha256:")[:12])


def table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Rows as aligned lines."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def as_text(host: str, status: Status) -> str:
    """The status for people."""
    header = ("CONTAINER", "STATE", "ADDRESSES", "PUBLISHED", "VERSION")
    lines = [f"{host}: Docker {status.docker or 'does not answer'}", ""]
    lines += table([header, *status.containers])
    if status.gpus:
        lines += ["", "GPU", *(f"  {line}" for line in status.gpus)]
    if status.deploys:
        lines += ["", "LAST DEPLOYS"]
        lines += table([_deploy_row(deploy) for deploy in status.deploys])
    return "\n".join(lines)


def _deploy_row(deploy: Deploy) -> tuple[str, ...]:
    shown = ", ".join(deploy.subjects[:3])
    more = len(deploy.subjects) - 3
    subjects = f"{shown} and {more} more" if more > 0 else shown
    number = f"{deploy.changes} change{'s' * (deploy.changes > 1)}"
    return f"  {deploy.at}", deploy.by, number, subjects


def as_json(host: str, status: Status) -> dict[str, Any]:
    """The status for programs."""
    keys = ("name", "state", "addresses", "published", "version")
    return {
        "host": host,
        "docker": status.docker or None,
        "healthy": status.healthy,
        "containers": [dict(zip(keys, row, strict=True)) for row in status.containers],
        "gpus": list(status.gpus),
        "deploys": [asdict(deploy) for deploy in status.deploys],
    }
