"""PostgreSQL: migrations, and the record of every exchange."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from project_api.problems import Unavailable
from project_api.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x5A164
TIMEOUT = 3

Outcome = Literal["completed", "interrupted", "error"]
Connection = psycopg.AsyncConnection[tuple[Any, ...]]

logger = logging.getLogger(__name__)


@dataclass
class Exchange:
    """One question and what became of it; `timings` are seconds by stage."""

    user_name: str
    course: str
    question: str
    answer: str = ""
    sources: list[dict[str, Any]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    outcome: Outcome = "error"
    error: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Database:
    """The service's schema `agent` behind a pool; every method that asks it raises Unavailable."""

    def __init__(self, settings: Settings) -> None:
        self._address = f"{settings.postgres_host}:{settings.postgres_port}"
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            kwargs={
                "host": settings.postgres_host,
                "port": settings.postgres_port,
                "dbname": settings.postgres_db,
                "user": settings.postgres_user,
                "password": settings.postgres_password.get_secret_value(),
                "connect_timeout": TIMEOUT,
                "application_name": "project_api",
                "options": "-c statement_timeout=5s",
            },
            min_size=1,
            max_size=8,
            timeout=TIMEOUT,
            # The pool's retries wait longer and longer: give up soon, the next request tries anew.
            reconnect_timeout=TIMEOUT,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def open(self) -> None:
        """Start the pool; returns before PostgreSQL answers."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def check(self) -> None:
        """Ask PostgreSQL for one row."""
        async with self._connection() as connection:
            await connection.execute("SELECT 1")

    async def migrate(self) -> None:
        """Apply the migrations not applied yet, all or none, one process at a time."""
        async with self._connection() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS agent.schema_migrations ("
                "name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            rows = await connection.execute("SELECT name FROM agent.schema_migrations")
            applied = {name for (name,) in await rows.fetchall()}
            for path in sorted(MIGRATIONS.glob("[0-9]*.sql")):
                if path.stem not in applied:
                    await connection.execute(path.read_bytes())
                    await connection.execute(
                        "INSERT INTO agent.schema_migrations (name) VALUES (%s)", [path.stem]
                    )
                    logger.info("migration applied", extra={"fields": {"migration": path.stem}})

    async def save(self, exchange: Exchange) -> int:
        """Store an exchange, less NUL characters, which `text` cannot hold; returns its id."""
        async with self._connection() as connection:
            rows = await connection.execute(
                "INSERT INTO agent.exchanges (created_at, user_name, course, question, answer,"
                " sources, timings, outcome, error)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
                [
                    exchange.created_at,
                    exchange.user_name,
                    exchange.course,
                    exchange.question,
                    exchange.answer.replace("\0", ""),
                    Jsonb(exchange.sources),
                    Jsonb(exchange.timings),
                    exchange.outcome,
                    exchange.error.replace("\0", "") if exchange.error else None,
                ],
            )
            row = await rows.fetchone()
            assert row is not None
            return int(row[0])

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Connection, None]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise Unavailable("postgres", f"{self._address}: {error}") from error
