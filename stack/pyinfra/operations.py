"""Operations on what the toolkit owns. Each observes, plans, and yields only what has to change."""

import json
from collections.abc import Generator
from io import StringIO
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host, logger, state
from pyinfra.api import FileUploadCommand, Host, OperationError, State, StringCommand, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.state import StateStage
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt

from stack.docker.apply import ApplyError, RemoteError, apply
from stack.docker.observe import Observed, observation_script
from stack.docker.plan import Plan, Refusal, plan
from stack.docker.spec import Container, Desired
from stack.images import archive
from stack.pyinfra.facts import (
    DaemonConfig,
    HostObservation,
    PostgresObjects,
    QdrantCollections,
    SecretFiles,
)
from stack.pyinfra.remote import PyinfraRemote
from stack.pyinfra.site import Stack
from stack.site import DockerSettings
from stack.topology import SECRETS_DIR, Secret
from stack.wheels import WheelsError

Commands = Generator[str | PyinfraCommand, None, None]

_observations: WeakKeyDictionary[Host, tuple[StateStage, Observed]] = WeakKeyDictionary()


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


def current_plan(target: Host, stack: Stack) -> Plan:
    """What would change on ``target`` now. Raises Refusal as plan() does."""
    return plan(stack.desired, _observe(target, stack.desired), stack.adopt)


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
            host.log_styled(str(error), fg="red", log_func=logger.error)
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
    try:
        steps = current_plan(host, stack).about(subject)
    except Refusal as error:
        raise OperationError(str(error)) from None
    if not steps:
        host.noop(f"{subject} is as it has to be")
        return
    if not state.is_executing:
        for line in str(steps).splitlines():
            host.log(line)
    yield Converge(stack, subject, steps)


@operation()
def packages(names: tuple[str, ...]) -> Commands:
    """
    Install missing packages; the package lists are brought up to date only when one is missing.

    + names: Debian packages
    """
    installed = host.get_fact(DebPackages)
    if set(names) - installed.keys():
        yield from apt.update._inner()
        yield from apt.packages._inner(packages=list(names), no_recommends=True)


@operation()
def daemon_config(settings: DockerSettings) -> Commands:
    """
    Merge our settings into Docker's daemon.json and restart a running daemon when they changed.

    + settings: the site's

    Keys that are not ours stay as they are. Containers live through the restart (live-restore).
    """
    present = host.get_fact(DaemonConfig)
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
    yield "mkdir -p /etc/docker"
    text = json.dumps(wanted, indent=4) + "\n"
    yield FileUploadCommand(StringIO(text), "/etc/docker/daemon.json.new")
    yield (
        "chmod 0644 /etc/docker/daemon.json.new &&"
        " mv /etc/docker/daemon.json.new /etc/docker/daemon.json &&"
        " if systemctl is-active --quiet docker; then systemctl restart docker; fi"
    )
    forget(host)


@operation()
def secrets(wanted: tuple[Secret, ...]) -> Commands:
    """
    Give every secret a value, born on the host, and its owner and mode; a value is never changed.

    + wanted: the secrets
    """
    present = host.get_fact(SecretFiles, folder=SECRETS_DIR)
    if any(secret.name not in present for secret in wanted):
        yield f"install -d -m 0700 {SECRETS_DIR}"
    for secret in wanted:
        if secret.name not in present:
            yield (
                f"umask 077 && head -c 24 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\\n'"
                f" > {secret.path}.new && chown {secret.uid} {secret.path}.new"
                f" && chmod 0400 {secret.path}.new && mv {secret.path}.new {secret.path}"
            )
        elif present[secret.name] != ("400", str(secret.uid)):
            yield f"chown {secret.uid} {secret.path} && chmod 0400 {secret.path}"


@operation()
def qdrant_collections(url: str, names: tuple[str, ...], dimension: int) -> Commands:
    """
    Create missing collections for cosine similarity; nothing is ever dropped.

    + url: Qdrant's REST API as the host reaches it
    + names: the collections
    + dimension: the embedder's
    """
    present = host.get_fact(QdrantCollections, url=url)
    for name in names:
        if name not in present:
            body = f'{{"vectors": {{"size": {dimension}, "distance": "Cosine"}}}}'
            yield (
                f"curl -sSf -m 60 -o /dev/null -X PUT -H 'Content-Type: application/json'"
                f" -d '{body}' {url}/collections/{name}"
            )
        elif present[name] != dimension:
            raise OperationError(
                f"collection {name} holds vectors of {present[name]} dimensions, but the embedder"
                f" makes {dimension}; keep the embedder or name a new collection in"
                f" qdrant.collections"
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
def postgres_roles(container: str, database: str, passwords: dict[str, Secret]) -> Commands:
    """
    The roles project_api (owner of schema ``agent``) and agent_exporter (reads it), the schema and
    the privileges.

    + container: PostgreSQL's
    + database: where the schema stands
    + passwords: role to its secret; the value goes from the file to psql's standard input
    """
    present = host.get_fact(
        PostgresObjects, container=container, database=database, query=_POSTGRES_QUERY
    )
    psql = f"docker exec -i {container} psql -U postgres -d {database} -qXv ON_ERROR_STOP=1"
    for role, secret in passwords.items():
        if f"role {role}" not in present:
            yield (
                f'{{ printf "CREATE ROLE {role} LOGIN PASSWORD \'"; cat {secret.path};'
                f' printf "\';\\n"; }} | {psql}'
            )
    if "schema agent" not in present:
        yield f"{psql} -c 'CREATE SCHEMA IF NOT EXISTS agent AUTHORIZATION project_api'"
    if {"usage agent_exporter", "default select agent_exporter"} - present:
        grants = (
            "GRANT USAGE ON SCHEMA agent TO agent_exporter;"
            " GRANT SELECT ON ALL TABLES IN SCHEMA agent TO agent_exporter;"
            " ALTER DEFAULT PRIVILEGES FOR ROLE project_api IN SCHEMA agent"
            " GRANT SELECT ON TABLES TO agent_exporter;"
            " ALTER ROLE agent_exporter SET statement_timeout = '3s'"
        )
        yield StringCommand(f'{psql} -c "{grants}"')
