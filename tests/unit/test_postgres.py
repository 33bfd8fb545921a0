"""What is done about a server that is not what the site says, as the operator reads it."""

from dataclasses import replace
from typing import Any

import pytest

from stack.docker.plan import Change
from stack.postgres import ROLE, Observed, Wanted, parse, refusal, tasks, unproven
from stack.postgres_values import Shown, differing
from stack.secrets import Secret

WANTED = Wanted(
    container="ml_postgres",
    database="ml_db",
    settings={"work_mem": "16MB"},
    extensions=("pg_trgm",),
    passwords={
        "postgres": Secret("postgres_superuser"),
        "project_api": Secret("postgres_project_api"),
        "agent_exporter": Secret("postgres_agent_exporter"),
    },
)
RIGHT = Observed(
    databases=frozenset({"postgres", "ml_db"}),
    roles={"project_api": ROLE, "agent_exporter": ROLE},
    overrides=frozenset(
        {
            ("", "agent_exporter", "default_transaction_read_only=on"),
            ("", "agent_exporter", "statement_timeout=3s"),
        }
    ),
    schema_owner="project_api",
    tables=frozenset({"exchanges"}),
    grants=frozenset({"USAGE ON SCHEMA agent", "SELECT BY DEFAULT", "SELECT ON exchanges"}),
    extensions=frozenset({"plpgsql", "pg_trgm"}),
    available=frozenset({"plpgsql", "pg_trgm", "pgcrypto"}),
    logins=frozenset({"postgres", "project_api", "agent_exporter"}),
)


def said(observed: Observed) -> str:
    return "\n".join(str(task) for task in tasks(WANTED, observed, "RELOAD", "GATE"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, ""),
        (
            {"altered": {"work_mem": "4MB", "jit": "off"}},
            "settings of PostgreSQL: reset (set by ALTER SYSTEM)\n"
            "    jit: off -> -\n"
            "    work_mem: 4MB -> 16MB",
        ),
        (
            {"pending": frozenset({"max_connections"})},
            "settings of PostgreSQL: load with a restart (max_connections waits for it)",
        ),
        (
            {"shown": {"work_mem": Shown("4096", "kB", "integer", "4MB")}},
            "settings of PostgreSQL: load (SHOW differs)\n    work_mem: 4MB -> 16MB",
        ),
        ({"databases": frozenset({"postgres"})}, "database ml_db: create (not found)"),
        (
            {
                "roles": {
                    "project_api": ROLE.replace("NOSUPERUSER", "SUPERUSER"),
                    "agent_exporter": ROLE,
                }
            },
            "role project_api: alter (differs)\n"
            "    attributes: LOGIN INHERIT SUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
            " NOBYPASSRLS -> LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"
            " NOBYPASSRLS",
        ),
        (
            {"logins": frozenset({"project_api", "agent_exporter"})},
            "role postgres: set the password (cannot log in)",
        ),
        (
            {"memberships": frozenset({("pg_write_all_data", "agent_exporter")})},
            "role agent_exporter: revoke (member of pg_write_all_data)",
        ),
        (
            {"overrides": RIGHT.overrides | {("ml_db", "", "work_mem=64kB")}},
            "database ml_db: set (differs)\n    settings: work_mem=64kB -> -",
        ),
        ({"overrides": RIGHT.overrides | {("other", "", "work_mem=64kB")}}, ""),
        (
            {"overrides": frozenset({("", "agent_exporter", "statement_timeout=0")})},
            "role agent_exporter: set (differs)\n"
            "    settings: statement_timeout=0 ->"
            " default_transaction_read_only=on; statement_timeout=3s",
        ),
        (
            {"schema_owner": "postgres"},
            "schema agent: alter (differs)\n    owner: postgres -> project_api",
        ),
        ({"extensions": frozenset({"plpgsql"})}, "extension pg_trgm: create (not found)"),
        (
            {"grants": (RIGHT.grants - {"SELECT BY DEFAULT"}) | {"INSERT ON exchanges"}},
            "role agent_exporter: grant (missing: SELECT BY DEFAULT;"
            " too much: INSERT ON exchanges)",
        ),
    ],
)
def test_what_is_said(change: dict[str, Any], text: str) -> None:
    assert said(replace(RIGHT, **change)) == text


def test_a_new_server_gets_everything() -> None:
    empty = Observed(databases=frozenset({"postgres", "ml_db"}), logins=frozenset({"postgres"}))
    assert [line for line in said(empty).splitlines() if not line.startswith(" ")] == [
        "role project_api: create (not found)",
        "role agent_exporter: create (not found)",
        "role agent_exporter: set (differs)",
        "extension pg_trgm: create (not found)",
        "schema agent: create (not found)",
        "role agent_exporter: grant (missing: SELECT BY DEFAULT, USAGE ON SCHEMA agent)",
    ]


def test_no_command_holds_a_password() -> None:
    empty = Observed(databases=frozenset({"postgres", "ml_db"}))
    commands = [c for task in tasks(WANTED, empty, "", "") for c in task.commands]
    passwords = [command for command in commands if "PASSWORD" in command]
    assert len(passwords) == 3
    assert all("cat /etc/saiga-stack/secrets/postgres_" in command for command in passwords)


def test_an_extension_that_the_image_lacks() -> None:
    wanted = replace(WANTED, extensions=("pgvector",))
    assert refusal(wanted, RIGHT) == (
        "postgres.extensions: pgvector is not in the image of services.postgres;"
        " there are pg_trgm, pgcrypto"
    )
    assert refusal(WANTED, RIGHT) is None


def test_a_server_that_does_not_answer() -> None:
    assert parse(["psql: error: connection refused"]) is None
    assert parse(['{"databases": ["postgres"], "altered": null}', "login postgres"]) == Observed(
        databases=frozenset({"postgres"}), logins=frozenset({"postgres"})
    )


@pytest.mark.parametrize(
    ("wanted", "shown", "same"),
    [
        ("1GB", Shown("1024", "MB", "integer", "1GB"), True),
        ("0.5GB", Shown("65536", "8kB", "integer", "512MB"), True),
        ("16MB", Shown("2048", "8kB", "integer", "16MB"), True),
        ("16MB", Shown("1024", "8kB", "integer", "8MB"), False),
        ("100", Shown("100", "", "integer", "100"), True),
        ("100", Shown("40", "", "integer", "40"), False),
        ("5min", Shown("300", "s", "integer", "5min"), True),
        ("250", Shown("200", "ms", "integer", "200ms"), False),
        ("0.9", Shown("0.9", "", "real", "0.9"), True),
        ("1.1", Shown("4", "", "real", "4"), False),
        ("-1", Shown("2048", "8kB", "integer", "16MB"), True),
        ("yes", Shown("on", "", "bool", "on"), True),
        ("off", Shown("on", "", "bool", "on"), False),
        ("Replica", Shown("replica", "", "enum", "replica"), True),
        ("minimal", Shown("replica", "", "enum", "replica"), False),
        ("iso, dmy", Shown("ISO, DMY", "", "string", "ISO, DMY"), True),
    ],
)
def test_a_value_is_compared_as_postgresql_does(wanted: str, shown: Shown, same: bool) -> None:
    changes = list(differing({"name": wanted}, {"name": shown}))
    assert changes == ([] if same else [Change("name", shown.shown, wanted)])


def test_show_does_not_prove_the_settings() -> None:
    shown = {"work_mem": Shown("4096", "kB", "integer", "4MB")}
    sentence = "postgres.settings: PostgreSQL shows that work_mem is 4MB, not 16MB"
    assert unproven(WANTED, replace(RIGHT, shown=shown)) == sentence
    assert unproven(WANTED, RIGHT) is None
