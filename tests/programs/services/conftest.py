"""A real PostgreSQL 15 for the tests of the services."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
DATABASE = "ml_db"
SET_UP = """
CREATE ROLE project_api LOGIN PASSWORD 'project_api';
CREATE ROLE agent_exporter LOGIN PASSWORD 'agent_exporter';
ALTER ROLE agent_exporter SET statement_timeout = '2s';
CREATE SCHEMA agent AUTHORIZATION project_api;
GRANT USAGE ON SCHEMA agent TO agent_exporter;
ALTER DEFAULT PRIVILEGES FOR ROLE project_api IN SCHEMA agent
    GRANT SELECT ON TABLES TO agent_exporter;
"""


def _as_postgres(*command: str) -> None:
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    done = subprocess.run(
        command, user=user, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed: {done.stderr or done.stdout}", pytrace=False)


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """libpq URL of the superuser `postgres` on `ml_db` of a throwaway PostgreSQL 15.

    Schema `agent` and the roles `project_api` (its owner) and `agent_exporter` (read only) are
    there as the deploy makes them; each role's password is its own name; there are no tables.
    """
    if not (POSTGRES_BIN / "initdb").exists():
        pytest.fail(
            f"{POSTGRES_BIN}/initdb is missing: the tests of the services need PostgreSQL 15, "
            "install it with `apt-get install postgresql-15`",
            pytrace=False,
        )
    directory = Path(tempfile.mkdtemp(prefix="postgres-"))
    data, password_file = directory / "data", directory / "password"
    password_file.write_text("postgres")
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        for path in (directory, password_file):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pg_ctl = (str(POSTGRES_BIN / "pg_ctl"), "-D", str(data), "-w", "-s")
    try:
        _as_postgres(
            str(POSTGRES_BIN / "initdb"), "-D", str(data), "-U", "postgres", "--encoding=UTF8",
            "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync",
        )  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {directory} -c fsync=off"
        _as_postgres(*pg_ctl, "-l", str(directory / "log"), "-o", options, "start")
        try:
            server = f"postgresql://postgres:postgres@127.0.0.1:{port}"
            with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            with psycopg.connect(f"{server}/{DATABASE}", autocommit=True) as connection:
                connection.execute(SET_UP)
            yield f"{server}/{DATABASE}"
        finally:
            _as_postgres(*pg_ctl, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)
