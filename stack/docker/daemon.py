"""Docker's daemon.json: our settings merged into whatever else stands there."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from stack.docker.spec import OWNER_LABEL
from stack.machine.observe import Machine
from stack.site import Site
from stack.tasks import Task, changed

Json = dict[str, Any]

PATH = "/etc/docker/daemon.json"

# What dockerd takes over on SIGHUP: "Configuration reload behavior" of its reference.
RELOADABLE = frozenset(
    {
        *("authorization-plugins", "debug", "default-runtime", "features", "insecure-registries"),
        *("labels", "live-restore", "max-concurrent-downloads", "max-concurrent-uploads"),
        *("max-download-attempts", "registry-mirrors", "runtimes", "shutdown-timeout"),
    }
)

# Engines before 23.0 check the health of containers that lived through a restart of the engine
# only after these have been paused for a moment (moby issue 41871).
RESUME_HEALTH_CHECKS = (
    "case $(docker version --format '{{.Server.Version}}') in 1[0-9].*|20.*)"
    f" for id in $(docker ps -q --filter status=running --filter label={OWNER_LABEL});"
    " do docker pause $id && docker unpause $id; done >/dev/null ;; esac"
)
# Containers live through a restart only when the daemon knows of it before.
RESTART = (
    "systemctl reload docker &&"
    " timeout 20 sh -c 'until docker info --format {{.LiveRestoreEnabled}} | grep -q true;"
    " do sleep 0.2; done'; systemctl restart docker"
)


# Engines before 23.0 have no --validate. They read their configuration before they make the file of
# their process id, which cannot be made below /dev/null: such a start ends there at the latest.
_VALIDATE = (
    "if dockerd --help 2>/dev/null | grep -q -- --validate; then"
    f" dockerd --validate --config-file {PATH}.new; elif command -v dockerd >/dev/null; then"
    f" ! dockerd --config-file {PATH}.new --pidfile /dev/null/pid 2>&1 |"
    " grep '^unable to configure' >&2; fi"
)


class DaemonConfigError(ValueError):
    """daemon.json cannot be merged with; the message is one sentence."""


def settings(site: Site) -> Json:
    """Our part of daemon.json."""
    docker = site.docker
    ours: Json = {
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {"max-size": docker.log_max_size, "max-file": str(docker.log_max_file)},
        "default-address-pools": [{"base": str(docker.address_pool), "size": 24}],
        "insecure-registries": docker.insecure_registries,
        "registry-mirrors": docker.registry_mirrors,
    }
    if site.gpu == "nvidia":
        ours["runtimes"] = {"nvidia": {"path": "nvidia-container-runtime", "args": []}}
        # The default from 28.3 on.
        ours["features"] = {"cdi": True}
    return ours


def merged(present: Mapping[str, Any], ours: Mapping[str, Any]) -> Json:
    """``present`` with our values in it; keys of others stay, inside dictionaries too."""
    result = dict(present)
    for key, value in ours.items():
        before = result.get(key)
        nested = isinstance(value, Mapping) and isinstance(before, Mapping)
        result[key] = merged(before, value) if nested else value  # type: ignore[arg-type]
    return result


def parse(text: str) -> Json | None:
    """The file's content; None when there is none. Raises DaemonConfigError."""
    if not text.strip():
        return None
    try:
        present = json.loads(text)
    except json.JSONDecodeError as error:
        raise DaemonConfigError(f"{PATH} is not JSON ({error}); correct or remove it") from None
    if not isinstance(present, dict):
        raise DaemonConfigError(f"{PATH} holds no JSON object; correct or remove it")
    return present


def daemon_tasks(text: str, ours: Json, pending: str, is_pending: bool) -> list[Task]:
    """Write our settings and let a running daemon take them, by a reload where that is enough.

    ``text`` is the file as it is. ``pending`` is a note on the host that the daemon has not taken
    the file yet; ``is_pending`` that a run which was cut short left it. Raises DaemonConfigError.
    """
    present = parse(text)
    wanted = merged(present or {}, ours)
    subject = f"file {PATH}"
    if wanted == present:
        if not is_pending:
            return []
        return [Task(subject, "load", "an interrupted run wrote it", (_take(pending, False),))]
    before = {key: json.dumps(value) for key, value in (present or {}).items()}
    after = {key: json.dumps(value) for key, value in wanted.items()}
    changes = changed(before, after)
    by_reload = {change.field for change in changes} <= RELOADABLE
    content = shlex.quote(json.dumps(wanted, indent=4) + "\n")
    write = (
        f"mkdir -p /etc/docker && printf %s {content} >{PATH}.new && chmod 0644 {PATH}.new &&"
        f" {_VALIDATE} &&"
        f" touch {pending} && if [ -e {PATH} ]; then cp -p {PATH} {PATH}.previous; fi &&"
        f" mv {PATH}.new {PATH}"
    )
    cause = "not found" if present is None else "differs"
    return [Task(subject, "write", cause, (write, _take(pending, by_reload)), changes)]


def service_tasks(machine: Machine) -> Iterator[Task]:
    """Docker runs, now and after each boot."""
    unit = machine.unit("docker")
    if not unit.active:
        start = ("systemctl start docker", RESUME_HEALTH_CHECKS)
        yield Task("service docker", "start", "not running", start)
    if not unit.enabled:
        enable = ("systemctl enable docker",)
        yield Task("service docker", "enable", "does not start at boot", enable)


def _take(pending: str, by_reload: bool) -> str:
    """When the daemon does not start with the file, the previous one returns, and the daemon's own
    words end the run."""
    restart = (
        f"{{ {RESTART}; }} || {{ if [ -e {PATH}.previous ]; then mv {PATH}.previous {PATH};"
        " systemctl reset-failed docker; systemctl restart docker; fi;"
        " journalctl --unit=docker --priority=err --lines=5 --output=cat >&2;"
        f" rm -f {pending}; exit 1; }}"
    )
    change = "systemctl reload docker" if by_reload else f"{restart}; {RESUME_HEALTH_CHECKS}"
    return (
        f"if systemctl is-active --quiet docker; then {change}; fi &&"
        f" rm -f {pending} {PATH}.previous"
    )
