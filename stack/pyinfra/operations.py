"""Operations on what the toolkit owns. Each observes, plans, and yields only what has to change."""

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host, logger, state
from pyinfra.api import FileUploadCommand, Host, State, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.state import StateStage
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt, systemd

from stack.docker.apply import ApplyError, RemoteError, apply
from stack.docker.audit import audit_command
from stack.docker.fields import differences
from stack.docker.observe import Observed, observation_script
from stack.docker.plan import Action, Change, Plan, Refusal, plan
from stack.docker.removal import removal
from stack.docker.spec import OWNER_LABEL, Container, Desired
from stack.images import archive
from stack.pyinfra.facts import (
    DaemonConfig,
    HostObservation,
    PostgresObjects,
    QdrantCollections,
    SecretFiles,
)
from stack.pyinfra.planned import announce
from stack.pyinfra.refuse import refuse
from stack.pyinfra.remote import PyinfraRemote, operator
from stack.pyinfra.site import Stack
from stack.site import DockerSettings
from stack.topology import SECRETS_DIR, Secret
from stack.wheels import WheelsError

Commands = Generator[str | PyinfraCommand, None, None]

_observations: WeakKeyDictionary[Host, tuple[StateStage, Observed]] = WeakKeyDictionary()
_plans: WeakKeyDictionary[Host, tuple[Observed, Plan]] = WeakKeyDictionary()


def _observe(target: Host, desired: Desired) -> Observed:
    """One remote command per phase of a run, and one more after each change of ours."""
    stage = state.current_stage
    known = _observations.get(target)
    if known is None or known[0] != stage:
        known = (stage, target.get_fact(HostObservation, script=observation_script(desired)))
        _observations[target] = known
    return known[1]


def forget(target: Host) -> None:
    """Observe ``target`` again before the next plan: something changed it."""
    _observations.pop(target, None)


def _context(container: Container) -> bytes:
    assert container.build is not None
    try:
        return archive(container.build)
    except WheelsError as error:
        raise RemoteError(str(error)) from None


@dataclass(frozen=True)
class _Task:
    """A change that no plan of containers knows of: what to say about it and how to make it."""

    subject: str
    action: str
    cause: str
    commands: tuple[str | PyinfraCommand, ...]
    changes: tuple[Change, ...] = ()
    target: str = ""

    def __str__(self) -> str:
        lines = [f"{self.subject}: {self.action} ({self.cause})"]
        return "\n".join([*lines, *(f"    {change}" for change in self.changes)])


def _carry_out(*tasks: _Task) -> Commands:
    """Say what the tasks are about; each has its line in the host's audit log before it is done."""
    announce(tasks)
    for task in tasks:
        yield StringCommand(
            audit_command(operator(), task.subject, task.action, task.cause, changes=task.changes)
        )
        yield from task.commands


def current_plan(target: Host, stack: Stack) -> Plan:
    """What would change on ``target`` now. Raises Refusal as plan() does."""
    observed = _observe(target, stack.desired)
    known = _plans.get(target)
    if known is None or known[0] is not observed:
        known = (observed, plan(stack.desired, observed, stack.adopt))
        _plans[target] = known
    return known[1]


# Steps through which a container works on as it is.
_HARMLESS = frozenset({Action.WRITE, Action.RELOAD, Action.UPDATE})


def _can_be_asked(stack: Stack, container: str) -> bool:
    """Whether ``container`` is the one it has to be: what another one holds says nothing."""
    if state.is_executing:
        return True
    steps = current_plan(host, stack).about(f"container {container}").steps
    if {step.action for step in steps} <= _HARMLESS:
        return True
    host.noop(f"{container} is asked for what it holds once it is as it has to be")
    return False


class Converge(PyinfraCommand):
    """Carry out the steps of one subject; fails with the step's own sentence."""

    def __init__(self, stack: Stack, subject: str, steps: Plan) -> None:
        super().__init__()
        self.stack, self.subject, self.steps = stack, subject, steps

    def __repr__(self) -> str:
        return str(self.steps)

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        desired = self.stack.desired

        def observe() -> Observed:
            observed = _observe(host, desired)
            forget(host)
            return observed

        remote = PyinfraRemote(host, dict(connector_arguments), observe, _context)
        try:
            apply(remote, desired, self.subject, self.stack.adopt)
        except (ApplyError, RemoteError, Refusal) as error:
            for line in str(error).splitlines():
                host.log_styled(line, fg="red", log_func=logger.error)
            return False
        finally:
            forget(host)
        return True


@operation()
def converge(stack: Stack, subject: str) -> Commands:
    """
    Bring one network, volume or container to its desired state.

    + stack: what has to stand on the host
    + subject: ``container NAME``, ``network NAME`` or ``volume NAME``

    Shows the plan while changes are detected and refuses, before anything is changed, to touch what
    is not ours.
    """
    if _observe(host, stack.desired).stopped:
        if state.is_executing:
            yield from refuse("Docker does not run on the host: systemctl status docker says why")
        host.noop(f"{subject} is compared once Docker runs")
        return
    try:
        steps = current_plan(host, stack).about(subject)
    except Refusal as error:
        yield from refuse(str(error))
        return
    if not steps:
        host.noop(f"{subject} is as it has to be")
        return
    if not state.is_executing:
        announce(steps.steps)
    yield Converge(stack, subject, steps)


@operation()
def packages(names: tuple[str, ...]) -> Commands:
    """
    Install missing packages; the package lists are brought up to date only when one is missing.

    + names: Debian packages
    """
    installed = host.get_fact(DebPackages)
    if missing := sorted(set(names) - installed.keys()):
        install = apt.packages._inner(packages=list(names), no_recommends=True)
        commands = (*apt.update._inner(), *install)
        yield from _carry_out(
            _Task(f"packages {' '.join(missing)}", "install", "not found", commands)
        )


# Engines before 23.0 check the health of containers that lived through a restart of the engine
# only after these have been paused for a moment (moby issue 41871).
_RESUME_HEALTH_CHECKS = (
    "case $(docker version --format '{{.Server.Version}}') in 1[0-9].*|20.*)"
    f" for id in $(docker ps -q --filter status=running --filter label={OWNER_LABEL});"
    " do docker pause $id && docker unpause $id; done >/dev/null ;; esac"
)


@operation()
def run_docker() -> Commands:
    """
    Run Docker, now and after each boot.
    """
    start = tuple(systemd.service._inner(service="docker", running=True))
    enable = tuple(systemd.service._inner(service="docker", running=None, enabled=True))
    tasks = []
    if start:
        commands = (*start, _RESUME_HEALTH_CHECKS)
        tasks.append(_Task("service docker", "start", "not running", commands))
    if enable:
        tasks.append(_Task("service docker", "enable", "does not start at boot", enable))
    yield from _carry_out(*tasks)


_RESTART_DOCKER = (
    "systemctl reload docker &&"
    " timeout 20 sh -c 'until docker info --format {{.LiveRestoreEnabled}} | grep -q true;"
    " do sleep 0.2; done'; systemctl restart docker &&"
    f" {_RESUME_HEALTH_CHECKS}"
)


@operation()
def daemon_config(settings: DockerSettings) -> Commands:
    """
    Merge our settings into Docker's daemon.json and restart a running daemon when they changed.

    + settings: the site's

    Keys that are not ours stay as they are. Containers live through the restart: Docker is told
    so (live-restore) before it ends.
    """
    try:
        present = json.loads(host.get_fact(DaemonConfig))
    except json.JSONDecodeError as error:
        yield from refuse(f"/etc/docker/daemon.json is not JSON ({error}); correct or remove it")
        return
    wanted = {
        **(present or {}),
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {
            "max-size": settings.log_max_size,
            "max-file": str(settings.log_max_file),
        },
        "default-address-pools": [{"base": str(settings.address_pool), "size": 24}],
        "insecure-registries": settings.insecure_registries,
        "registry-mirrors": settings.registry_mirrors,
    }
    if wanted == present:
        host.noop("daemon.json is as it has to be")
        return
    text = json.dumps(wanted, indent=4) + "\n"
    commands = (
        "mkdir -p /etc/docker",
        FileUploadCommand(StringIO(text), "/etc/docker/daemon.json.new"),
        "chmod 0644 /etc/docker/daemon.json.new &&"
        " mv /etc/docker/daemon.json.new /etc/docker/daemon.json &&"
        f" if systemctl is-active --quiet docker; then {_RESTART_DOCKER}; fi",
    )
    before = {key: json.dumps(value) for key, value in (present or {}).items()}
    after = {key: json.dumps(value) for key, value in wanted.items()}
    changes = tuple(Change(*change) for change in differences(before, after))
    cause = "not found" if present is None else "differs"
    yield from _carry_out(_Task("file /etc/docker/daemon.json", "write", cause, commands, changes))
    forget(host)


@operation()
def secrets(stack: Stack, wanted: tuple[Secret, ...]) -> Commands:
    """
    Give every secret a value, born on the host, and its owner and mode; a value is never changed.

    + stack: what has to stand on the host
    + wanted: the secrets

    A lost file gets its value back from the container that still has it.
    """
    present = host.get_fact(SecretFiles, folder=SECRETS_DIR)
    readers = {
        mount.source: (container.name, mount.target)
        for container in stack.desired.containers
        for mount in container.mounts
    }
    yield from _carry_out(*_secret_tasks(wanted, present, readers))


def _secret_tasks(
    wanted: tuple[Secret, ...],
    present: dict[str, tuple[str, str]],
    readers: dict[str, tuple[str, str]],
) -> Iterator[_Task]:
    for secret in wanted:
        subject, path, new = f"secret {secret.name}", secret.path, f"{secret.path}.new"
        protect = f"chown {secret.uid} {{0}} && chmod 0400 {{0}}"
        if secret.name in present:
            before, after = " ".join(present[secret.name]), f"400 {secret.uid}"
            if before != after:
                change = Change("mode and owner", before, after)
                yield _Task(subject, "protect", "differs", (protect.format(path),), (change,))
            continue
        value = "head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\\n'"
        if secret.path in readers:
            container, target = readers[secret.path]
            process = f"$(docker inspect --format '{{{{.State.Pid}}}}' {container} 2>/dev/null)"
            value = f"{{ cat /proc/{process}/root{target} 2>/dev/null || {value}; }}"
        make = (
            f"install -d -m 0700 {SECRETS_DIR} && umask 077 && {value} > {new} &&"
            f" {protect.format(new)} && mv {new} {path}"
        )
        yield _Task(subject, "restore or generate", "not found", (make,))


@operation()
def qdrant_collections(
    stack: Stack, container: str, url: str, names: tuple[str, ...], dimension: int
) -> Commands:
    """
    Create missing collections for cosine similarity; nothing is ever dropped.

    + stack: what has to stand on the host
    + container: Qdrant's
    + url: Qdrant's REST API as the host reaches it
    + names: the collections
    + dimension: the embedder's
    """
    if not _can_be_asked(stack, container):
        return
    present = host.get_fact(QdrantCollections, url=url)
    for name in present.keys() & names:
        if present[name] != dimension:
            yield from refuse(
                f"collection {name} holds vectors of {present[name]} dimensions, but the embedder"
                f" makes {dimension}; keep the embedder or name a new collection in"
                f" qdrant.collections"
            )
            return
    body = f'{{"vectors": {{"size": {dimension}, "distance": "Cosine"}}}}'
    create = f"curl -sSf -m 60 -o /dev/null -X PUT -H 'Content-Type: application/json' -d '{body}'"
    change = Change("dimension", "-", str(dimension))
    yield from _carry_out(
        *(
            _Task(
                f"collection {name}",
                "create",
                "not found",
                (f"{create} {url}/collections/{name}",),
                (change,),
            )
            for name in names
            if name not in present
        )
    )


_POSTGRES_QUERY = """
SELECT 'role ' || rolname FROM pg_roles WHERE rolname IN ('project_api', 'agent_exporter')
UNION ALL SELECT 'schema ' || nspname FROM pg_namespace
  WHERE nspname = 'agent' AND nspowner = to_regrole('project_api')
UNION ALL SELECT 'usage ' || grantee.rolname
  FROM pg_namespace n, aclexplode(n.nspacl) acl JOIN pg_roles grantee ON grantee.oid = acl.grantee
  WHERE n.nspname = 'agent' AND acl.privilege_type = 'USAGE'
UNION ALL SELECT 'default select ' || grantee.rolname
  FROM pg_default_acl d, aclexplode(d.defaclacl) acl
  JOIN pg_roles grantee ON grantee.oid = acl.grantee
  WHERE d.defaclnamespace = to_regnamespace('agent') AND acl.privilege_type = 'SELECT'
"""


@operation()
def postgres_roles(
    stack: Stack, container: str, database: str, passwords: dict[str, Secret]
) -> Commands:
    """
    The roles project_api (owner of schema ``agent``) and agent_exporter (reads it), the schema and
    the privileges.

    + stack: what has to stand on the host
    + container: PostgreSQL's
    + database: where the schema stands
    + passwords: role to its secret; the value goes from the file to psql's standard input
    """
    if not _can_be_asked(stack, container):
        return
    present = host.get_fact(
        PostgresObjects,
        container=container,
        database=database,
        query=_POSTGRES_QUERY,
        passwords={role: secret.path for role, secret in passwords.items()},
    )
    psql = f"docker exec -i {container} psql -U postgres -d {database} -qXv ON_ERROR_STOP=1"
    yield from _carry_out(*_postgres_tasks(psql, passwords, present))


def _postgres_tasks(psql: str, passwords: dict[str, Secret], present: set[str]) -> Iterator[_Task]:
    for role, secret in passwords.items():
        value = f'printf "PASSWORD \'"; cat {secret.path}; printf "\';\\n"'
        if f"role {role}" not in present:
            create = f"{{ printf 'CREATE ROLE {role} LOGIN '; {value}; }} | {psql}"
            yield _Task(f"role {role}", "create", "not found", (create,))
        elif f"login {role}" not in present:
            alter = f"{{ printf 'ALTER ROLE {role} LOGIN '; {value}; }} | {psql}"
            yield _Task(f"role {role}", "set the password", "cannot log in", (alter,))
    if "schema agent" not in present:
        schema = f"{psql} -c 'CREATE SCHEMA IF NOT EXISTS agent AUTHORIZATION project_api'"
        yield _Task("schema agent", "create", "not found", (schema,))
    if {"usage agent_exporter", "default select agent_exporter"} - present:
        grants = (
            "GRANT USAGE ON SCHEMA agent TO agent_exporter;"
            " GRANT SELECT ON ALL TABLES IN SCHEMA agent TO agent_exporter;"
            " ALTER DEFAULT PRIVILEGES FOR ROLE project_api IN SCHEMA agent"
            " GRANT SELECT ON TABLES TO agent_exporter;"
            " ALTER ROLE agent_exporter SET statement_timeout = '3s'"
        )
        command = StringCommand(f'{psql} -c "{grants}"')
        yield _Task("role agent_exporter", "grant", "privileges missing", (command,))


@operation()
def remove_all(stack: Stack, volumes: tuple[str, ...]) -> Commands:
    """
    Remove every container and network of ours, and the named volumes.

    + stack: what stands on the host
    + volumes: names of volumes of the site whose data goes too; all others stay
    """
    observed = host.get_fact(HostObservation, script=observation_script(stack.desired))
    try:
        removals = removal(stack.desired, observed, volumes)
    except Refusal as error:
        yield from refuse(str(error))
        return
    yield from _carry_out(
        *(
            _Task(entry.subject, "remove", "its removal was asked for", (entry.command,))
            for entry in removals
        )
    )
