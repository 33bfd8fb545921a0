"""Operations on what the toolkit owns. Each observes, plans, and yields only what has to change."""

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host, logger, state
from pyinfra.api import Host, State, operation
from pyinfra.api.command import PyinfraCommand

from stack.docker.apply import ApplyError, RemoteError, apply
from stack.docker.observe import Observed
from stack.docker.plan import Action, Change, Plan, Refusal, plan
from stack.docker.spec import Container
from stack.images import archive
from stack.pyinfra.facts import PostgresObjects, QdrantCollections, SecretFiles
from stack.pyinfra.observations import forget
from stack.pyinfra.observations import observed as observed_on
from stack.pyinfra.refuse import refuse
from stack.pyinfra.remote import PyinfraRemote
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.tasks import Task
from stack.topology import SECRETS_DIR, Secret
from stack.wheels import WheelsError

_plans: WeakKeyDictionary[Host, tuple[Observed, Plan]] = WeakKeyDictionary()


def _context(container: Container) -> bytes:
    assert container.build is not None
    try:
        return archive(container.build)
    except WheelsError as error:
        raise RemoteError(str(error)) from None


def current_plan(target: Host, stack: Stack) -> Plan:
    """What would change on ``target`` now. Raises Refusal as plan() does."""
    observed = observed_on(target, stack)
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
            observed = observed_on(host, self.stack)
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
    if observed_on(host, stack).stopped:
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
        for line in str(steps).splitlines():
            host.log(line)
    yield Converge(stack, subject, steps)


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
    yield from carry_out(*_secret_tasks(wanted, present, readers))


def _secret_tasks(
    wanted: tuple[Secret, ...],
    present: dict[str, tuple[str, str]],
    readers: dict[str, tuple[str, str]],
) -> Iterator[Task]:
    for secret in wanted:
        subject, path, new = f"secret {secret.name}", secret.path, f"{secret.path}.new"
        protect = f"chown {secret.uid} {{0}} && chmod 0400 {{0}}"
        if secret.name in present:
            before, after = " ".join(present[secret.name]), f"400 {secret.uid}"
            if before != after:
                change = Change("mode and owner", before, after)
                yield Task(subject, "protect", "differs", (protect.format(path),), (change,))
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
        yield Task(subject, "restore or generate", "not found", (make,))


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
    yield from carry_out(
        *(
            Task(
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
    yield from carry_out(*_postgres_tasks(psql, passwords, present))


def _postgres_tasks(psql: str, passwords: dict[str, Secret], present: set[str]) -> Iterator[Task]:
    for role, secret in passwords.items():
        value = f'printf "PASSWORD \'"; cat {secret.path}; printf "\';\\n"'
        if f"role {role}" not in present:
            create = f"{{ printf 'CREATE ROLE {role} LOGIN '; {value}; }} | {psql}"
            yield Task(f"role {role}", "create", "not found", (create,))
        elif f"login {role}" not in present:
            alter = f"{{ printf 'ALTER ROLE {role} LOGIN '; {value}; }} | {psql}"
            yield Task(f"role {role}", "set the password", "cannot log in", (alter,))
    if "schema agent" not in present:
        schema = f"{psql} -c 'CREATE SCHEMA IF NOT EXISTS agent AUTHORIZATION project_api'"
        yield Task("schema agent", "create", "not found", (schema,))
    if {"usage agent_exporter", "default select agent_exporter"} - present:
        grants = (
            "GRANT USAGE ON SCHEMA agent TO agent_exporter;"
            " GRANT SELECT ON ALL TABLES IN SCHEMA agent TO agent_exporter;"
            " ALTER DEFAULT PRIVILEGES FOR ROLE project_api IN SCHEMA agent"
            " GRANT SELECT ON TABLES TO agent_exporter;"
            " ALTER ROLE agent_exporter SET statement_timeout = '3s'"
        )
        command = f'{psql} -c "{grants}"'
        yield Task("role agent_exporter", "grant", "privileges missing", (command,))
