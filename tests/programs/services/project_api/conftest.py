"""The service between a scripted Saiga, a Qdrant in memory and a real PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import aiohttp
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

REPOSITORY = Path(__file__).parents[4]
sys.path[:0] = [str(Path(__file__).parent), str(REPOSITORY / "services" / "project_api")]

from fake_qdrant import FakeQdrant  # noqa: E402
from fake_saiga import FakeSaiga  # noqa: E402
from loopback import eventually, free_port, port_of, running, serving  # noqa: E402
from project_api.app import create_app  # noqa: E402
from project_api.settings import Settings  # noqa: E402


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[str]:
    """The superuser's DSN of a database in which the service has no table."""

    def drop_tables() -> None:
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute("DROP TABLE IF EXISTS agent.exchanges, agent.schema_migrations")

    drop_tables()
    yield postgres_dsn
    drop_tables()


@pytest.fixture
def settings(database: str) -> Settings:
    """Settings for the fakes, which need not run yet."""
    postgres = conninfo_to_dict(database)
    return Settings(
        saiga_url=f"http://127.0.0.1:{free_port()}/v1",
        qdrant_url=f"http://127.0.0.1:{free_port()}",
        postgres_host=str(postgres["host"]),
        postgres_port=int(str(postgres["port"])),
        postgres_password=SecretStr("project_api"),
    )


@pytest.fixture
async def saiga(settings: Settings) -> AsyncGenerator[FakeSaiga, None]:
    """A Saiga that is running."""
    fake = FakeSaiga()
    async with serving(fake.application, port_of(settings.saiga_url)):
        yield fake


@pytest.fixture
async def qdrant(settings: Settings) -> AsyncGenerator[FakeQdrant, None]:
    """A Qdrant that is running and has the collections, empty."""
    fake = FakeQdrant()
    for name in settings.collections:
        await fake.create(name)
    async with serving(fake.application, port_of(settings.qdrant_url)):
        yield fake


@pytest.fixture
async def http() -> AsyncGenerator[aiohttp.ClientSession, None]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def api(
    settings: Settings, saiga: FakeSaiga, qdrant: FakeQdrant, http: aiohttp.ClientSession
) -> AsyncGenerator[str, None]:
    """The URL of the service, healthy."""
    async with running(create_app(settings)) as url:

        async def healthy() -> bool:
            async with http.get(f"{url}/health") as response:
                return response.status == 200

        await eventually(healthy)
        yield url
