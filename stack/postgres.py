"""What stands inside PostgreSQL, by its own catalogues, compared with what has to.

What is not ours stays as it is.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stack.docker.plan import Change
from stack.postgres_settings import MAINTENANCE
from stack.postgres_values import Shown, differing
from stack.secrets import Secret
from stack.tasks import Task, changed

SUPERUSER = "postgres"
SCHEMA, OWNER, READER = "agent", "project_api", "agent_exporter"
ROLE = "LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
READER_SETTINGS = {"default_transaction_read_only": "on", "statement_timeout": "3s"}
RESTART_DEADLINE = 120


@dataclass(frozen=True)
class Wanted:
    """What has to stand in the server of ``container``. ``passwords`` maps a role to its secret."""

    container: str
    database: str
    settings: Mapping[str, str]
    extensions: tuple[str, ...]
    passwords: Mapping[str, Secret]

    @property
    def roles(self) -> tuple[str, ...]:
        return (OWNER, READER)


@dataclass(frozen=True)
class Observed:
    """What stands there. ``altered`` has the settings that ALTER SYSTEM gave; ``overrides`` those
    of a database, a role or a role in a database, as (database, role, ``name=value``)."""

    databases: frozenset[str] = frozenset()
    roles: Mapping[str, str] = field(default_factory=dict)
    memberships: frozenset[tuple[str, str]] = frozenset()
    altered: Mapping[str, str] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()
    shown: Mapping[str, Shown] = field(default_factory=dict)
    overrides: frozenset[tuple[str, str, str]] = frozenset()
    schema_owner: str | None = None
    tables: frozenset[str] = frozenset()
    grants: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()
    available: frozenset[str] = frozenset()
    logins: frozenset[str] = frozenset()


_CLUSTER = f"""
SELECT json_build_object(
  'databases', (SELECT json_agg(datname) FROM pg_database),
  'roles', (SELECT json_object_agg(rolname, concat_ws(' ',
      CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
      CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
      CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
      CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
      CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
      CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
      CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
      CASE WHEN rolconnlimit >= 0 THEN 'CONNECTION LIMIT ' || rolconnlimit END,
      CASE WHEN rolvaliduntil < 'infinity' THEN 'VALID UNTIL ' || rolvaliduntil END))
    FROM pg_roles WHERE rolname IN ('{OWNER}', '{READER}')),
  'memberships', (SELECT json_agg(json_build_array(roleid::regrole, member::regrole))
    FROM pg_auth_members WHERE member::regrole::text IN ('{OWNER}', '{READER}')),
  'altered', (SELECT json_object_agg(name, setting) FROM pg_file_settings
    WHERE sourcefile LIKE '%/postgresql.auto.conf'),
  'pending', (SELECT json_agg(name) FROM pg_settings WHERE pending_restart),
  'overrides', (SELECT json_agg(json_build_array(coalesce(datname, ''), coalesce(rolname, ''), s))
    FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase
    LEFT JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) s))
"""

# What holds for every session: this one may have settings of its own.
_SHOWN = """
SELECT json_build_object('shown', (SELECT json_object_agg(name,
    json_build_array(setting, coalesce(unit, ''), vartype, current_setting(name)))
  FROM pg_settings WHERE name IN (%s)
    AND source NOT IN ('database', 'user', 'database user', 'client', 'session')))
"""

_DATABASE = f"""
SELECT json_build_object(
  'schema_owner', (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = '{SCHEMA}'),
  'tables', (SELECT json_agg(relname) FROM pg_class
    WHERE relnamespace = to_regnamespace('{SCHEMA}') AND relkind IN ('r', 'p', 'v', 'm')),
  'grants', (SELECT json_agg(text) FROM (
    SELECT privilege_type || ' ON SCHEMA ' || nspname AS text, grantee
      FROM pg_namespace, aclexplode(nspacl) WHERE nspname = '{SCHEMA}'
    UNION SELECT privilege_type || ' ON ' || relname, grantee FROM pg_class, aclexplode(relacl)
      WHERE relnamespace = to_regnamespace('{SCHEMA}') AND relkind IN ('r', 'p', 'v', 'm')
    UNION SELECT privilege_type || ' BY DEFAULT', grantee
      FROM pg_default_acl, aclexplode(defaclacl)
      WHERE defaclnamespace = to_regnamespace('{SCHEMA}') AND defaclobjtype = 'r'
    ) g WHERE grantee = to_regrole('{READER}')),
  'extensions', (SELECT json_agg(extname) FROM pg_extension),
  'available', (SELECT json_agg(name) FROM pg_available_extensions))
"""


def psql(container: str, database: str) -> str:
    """psql in the container as the superuser, ending at the first error."""
    return f"docker exec -i {container} psql -U postgres -d {database} -qXAtv ON_ERROR_STOP=1"


def observation_script(wanted: Wanted) -> str:
    """A shell script for the host, one command in the container; :func:`parse` reads its output.

    Every role logs in with its password as the host has it, as libpq reads it from a service file:
    the superuser over loopback, the others from the container's own address.
    """
    ask = "psql -U postgres -qXAtw -d"
    logins = (
        f"for role in {' '.join(wanted.passwords)}; do read -r password;"
        ' if [ -z "$password" ]; then echo "login $role"; fi;'
        f" at={wanted.container}; if [ $role = {SUPERUSER} ]; then at=127.0.0.1; fi;"
        " printf '[login]\\npassword=%s\\n' \"$password\" |"
        " PGSERVICEFILE=/dev/stdin PGSERVICE=login PGCONNECT_TIMEOUT=5"
        f" psql -h $at -U $role -d {MAINTENANCE} -qXAtwc \"SELECT 'login ' || current_user\"; done"
    )
    shown = _SHOWN % ", ".join(f"'{name}'" for name in ("", *wanted.settings))
    inside = (
        f"{ask} {MAINTENANCE} -c {shlex.quote(_flat(_CLUSTER))} -c {shlex.quote(_flat(shown))}"
        " </dev/null;"
        f" {ask} {wanted.database} -c {shlex.quote(_flat(_DATABASE))} </dev/null; {logins}"
    )
    files = "; ".join(f"cat {secret.path}; echo" for secret in wanted.passwords.values())
    asked = f"docker exec -i {wanted.container} sh -c {shlex.quote(inside)}"
    return f"{{ {files}; }} 2>/dev/null | {asked} 2>/dev/null || true"


def _flat(sql: str) -> str:
    return " ".join(sql.split())


def parse(output: list[str]) -> Observed | None:
    """None while the server does not answer."""
    documents = [json.loads(line) for line in output if line.startswith("{")]
    if not documents:
        return None
    found: dict[str, Any] = {key: value for d in documents for key, value in d.items() if value}
    logins = (line.removeprefix("login ") for line in output if line.startswith("login "))
    return Observed(
        databases=frozenset(found.get("databases", ())),
        roles=found.get("roles", {}),
        memberships=frozenset((role, member) for role, member in found.get("memberships", ())),
        altered=found.get("altered", {}),
        pending=frozenset(found.get("pending", ())),
        shown={name: Shown(*row) for name, row in found.get("shown", {}).items()},
        overrides=frozenset((d, r, s) for d, r, s in found.get("overrides", ())),
        schema_owner=found.get("schema_owner"),
        tables=frozenset(found.get("tables", ())),
        grants=frozenset(found.get("grants", ())),
        extensions=frozenset(found.get("extensions", ())),
        available=frozenset(found.get("available", ())),
        logins=frozenset(logins),
    )


def refusal(wanted: Wanted, observed: Observed) -> str | None:
    """The sentence that ends a run before anything of it is changed."""
    for name in wanted.extensions:
        if observed.available and name not in observed.available:
            near = ", ".join(sorted(n for n in observed.available if n[:2] == name[:2]))
            return (
                f"postgres.extensions: {name} is not in the image of services.postgres"
                f"{f'; there are {near}' if near else ''}"
            )
    return None


def unproven(wanted: Wanted, observed: Observed) -> str | None:
    """The sentence that ends a run in which SHOW does not prove the settings."""
    changes = differing(wanted.settings, observed.shown)
    wrong = [f"{change.field} is {change.before}, not {change.after}" for change in changes]
    return f"postgres.settings: PostgreSQL shows that {', '.join(wrong)}" if wrong else None


def tasks(wanted: Wanted, observed: Observed, reload: str, gate: str) -> Iterator[Task]:
    """What brings the server to ``wanted``, in the order in which it can be done.

    ``reload`` loads the settings, restarting the server where PostgreSQL says that one of them
    needs it; ``gate`` succeeds once it answers again.
    """
    yield from _settings(wanted, observed, reload, gate)
    yield from _database(wanted, observed)
    yield from _roles(wanted, observed)
    yield from _schema(wanted, observed)


def _settings(wanted: Wanted, observed: Observed, reload: str, gate: str) -> Iterator[Task]:
    """The file is the one place of the settings: what ALTER SYSTEM gave goes."""
    answers = f"timeout {RESTART_DEADLINE} sh -c {shlex.quote(f'until {gate}; do sleep 0.5; done')}"
    load = f"(\n{reload}\n) && {answers} >/dev/null 2>&1"
    if observed.altered:
        ask = psql(wanted.container, MAINTENANCE)
        resets = " ".join(f"-c 'ALTER SYSTEM RESET {name}'" for name in sorted(observed.altered))
        changes = tuple(
            Change(name, value, wanted.settings.get(name, "-"))
            for name, value in sorted(observed.altered.items())
        )
        commands = (f"{ask} {resets} </dev/null && {load}",)
        yield Task("settings of PostgreSQL", "reset", "set by ALTER SYSTEM", commands, changes)
    elif observed.pending:
        cause = f"{', '.join(sorted(observed.pending))} waits for it"
        yield Task("settings of PostgreSQL", "load with a restart", cause, (load,))
    elif changes := tuple(differing(wanted.settings, observed.shown)):
        yield Task("settings of PostgreSQL", "load", "SHOW differs", (load,), changes)


def _database(wanted: Wanted, observed: Observed) -> Iterator[Task]:
    ask = psql(wanted.container, MAINTENANCE)
    if wanted.database not in observed.databases:
        create = f"{ask} -c 'CREATE DATABASE {wanted.database}'"
        yield Task(f"database {wanted.database}", "create", "not found", (create,))


def _alter(role: str, database: str) -> str:
    """The beginning of the statement that gives a role, a database or both together a setting."""
    if not role:
        return f"ALTER DATABASE {database}" if database else "ALTER ROLE ALL"
    return f"ALTER ROLE {role}" + (f" IN DATABASE {database}" if database else "")


def _roles(wanted: Wanted, observed: Observed) -> Iterator[Task]:
    ask = psql(wanted.container, MAINTENANCE)
    for role, secret in wanted.passwords.items():
        value = f'printf "PASSWORD \'"; cat {secret.path}; printf "\';\\n"'
        if role in wanted.roles and role not in observed.roles:
            create = f"{{ printf 'CREATE ROLE {role} {ROLE} '; {value}; }} | {ask}"
            yield Task(f"role {role}", "create", "not found", (create,))
            continue
        if role in wanted.roles and observed.roles[role] != ROLE:
            alter = f"ALTER ROLE {role} {ROLE} CONNECTION LIMIT -1 VALID UNTIL 'infinity'"
            change = Change("attributes", observed.roles[role], ROLE)
            commands = (f"{ask} -c {shlex.quote(alter)}",)
            yield Task(f"role {role}", "alter", "differs", commands, (change,))
        if role not in observed.logins:
            alter = f"{{ printf 'ALTER ROLE {role} LOGIN '; {value}; }} | {ask}"
            yield Task(f"role {role}", "set the password", "cannot log in", (alter,))
    for group, member in sorted(observed.memberships):
        revoke = f"{ask} -c 'REVOKE {group} FROM {member}'"
        yield Task(f"role {member}", "revoke", f"member of {group}", (revoke,))
    yield from _overrides(wanted, observed, ask)


def _overrides(wanted: Wanted, observed: Observed, ask: str) -> Iterator[Task]:
    right = {("", READER): {f"{name}={value}" for name, value in READER_SETTINGS.items()}}
    found: dict[tuple[str, str], set[str]] = {}
    for database, role, text in observed.overrides:
        if role in wanted.roles or (not role and database in ("", wanted.database)):
            found.setdefault((database, role), set()).add(text)
    for place in sorted(right.keys() | found.keys()):
        before, after = found.get(place, set()), right.get(place, set())
        if before == after:
            continue
        database, role = place
        alter = _alter(role, database)
        wanted_settings = READER_SETTINGS if after else {}
        statements = [
            f"{alter} RESET ALL",
            *(f"{alter} SET {name} = '{value}'" for name, value in wanted_settings.items()),
        ]
        changes = changed(
            {"settings": "; ".join(sorted(before)) or "-"},
            {"settings": "; ".join(sorted(after)) or "-"},
        )
        subject = f"role {role}" if role else f"database {database or '(all)'}"
        command = f"{ask} -c {shlex.quote('; '.join(statements))}"
        yield Task(subject, "set", "differs", (command,), changes)


def _schema(wanted: Wanted, observed: Observed) -> Iterator[Task]:
    ask = psql(wanted.container, wanted.database)
    for name in wanted.extensions:
        if name not in observed.extensions:
            create = f"""{ask} -c 'CREATE EXTENSION IF NOT EXISTS "{name}"'"""
            yield Task(f"extension {name}", "create", "not found", (create,))
    if observed.schema_owner is None:
        create = f"{ask} -c 'CREATE SCHEMA {SCHEMA} AUTHORIZATION {OWNER}'"
        yield Task(f"schema {SCHEMA}", "create", "not found", (create,))
    elif observed.schema_owner != OWNER:
        alter = f"{ask} -c 'ALTER SCHEMA {SCHEMA} OWNER TO {OWNER}'"
        change = Change("owner", observed.schema_owner, OWNER)
        yield Task(f"schema {SCHEMA}", "alter", "differs", (alter,), (change,))
    right = {
        f"USAGE ON SCHEMA {SCHEMA}",
        "SELECT BY DEFAULT",
        *(f"SELECT ON {table}" for table in observed.tables),
    }
    if observed.grants != right:
        missing = ", ".join(sorted(right - observed.grants))
        excess = ", ".join(sorted(observed.grants - right))
        statements = (
            f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {READER};"
            f" REVOKE ALL ON SCHEMA {SCHEMA} FROM {READER};"
            f" GRANT USAGE ON SCHEMA {SCHEMA} TO {READER};"
            f" GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {READER};"
            f" ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA {SCHEMA}"
            f" REVOKE ALL ON TABLES FROM {READER};"
            f" ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA {SCHEMA}"
            f" GRANT SELECT ON TABLES TO {READER}"
        )
        cause = "; ".join(
            part
            for part in (
                f"missing: {missing}" if missing else "",
                f"too much: {excess}" if excess else "",
            )
            if part
        )
        yield Task(f"role {READER}", "grant", cause, (f"{ask} -c {shlex.quote(statements)}",))
