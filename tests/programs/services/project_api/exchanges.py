"""What the service has stored."""

from __future__ import annotations

from typing import Any

import psycopg
from loopback import eventually
from psycopg.rows import dict_row


def stored(dsn: str) -> list[dict[str, Any]]:
    """The rows of agent.exchanges, oldest first."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        return connection.execute("SELECT * FROM agent.exchanges ORDER BY id").fetchall()


async def one_stored(dsn: str) -> dict[str, Any]:
    """The only exchange, once it is there."""

    async def there() -> bool:
        return bool(stored(dsn))

    await eventually(there)
    (row,) = stored(dsn)
    return row
