"""/health follows the dependencies; the service starts without them and finds them later."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import psycopg
import pytest
from fake_qdrant import FakeQdrant
from fake_saiga import FakeSaiga
from loopback import eventually, free_port, port_of, relaying, running, serving
from project_api.app import create_app
from project_api.settings import Settings

pytestmark = pytest.mark.anyio


class HealthOf:
    """The health of the service at `url`."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url

    async def status(self) -> tuple[int, dict[str, str]]:
        async with self._http.get(f"{self._url}/health") as response:
            report = await response.json()
        assert report["status"] == ("ok" if response.status == 200 else "unavailable")
        return response.status, report["dependencies"]

    async def becomes(self, **expected: str) -> None:
        """Wait until 200 with no `expected`, or 503 with just these faults, each a part of one."""

        async def reached() -> bool:
            status, report = await self.status()
            faults = {name: state for name, state in report.items() if state != "ok"}
            return (
                status == (503 if expected else 200)
                and set(faults) == set(expected)
                and all(part in faults[name] for name, part in expected.items())
            )

        await eventually(reached, deadline=30)


async def test_health_follows_every_dependency(
    settings: Settings, http: aiohttp.ClientSession
) -> None:
    postgres_port = free_port()
    relayed = settings.model_copy(update={"postgres_port": postgres_port})
    saiga, qdrant = FakeSaiga(), FakeQdrant()
    saiga_port, qdrant_port = port_of(settings.saiga_url), port_of(settings.qdrant_url)
    first, *others = settings.collections
    async with running(create_app(relayed)) as url:
        health = HealthOf(http, url)
        async with http.get(f"{url}/livez") as response:
            assert response.status == 200
        down = {"postgres": str(postgres_port), "qdrant": "", "saiga": str(saiga_port)}
        await health.becomes(**down, migrations="postgres")
        async with (
            relaying(postgres_port, settings.postgres_port),
            serving(qdrant.application, qdrant_port),
        ):
            await health.becomes(qdrant=f"{first} is missing", saiga="")
            for name in others:
                await qdrant.create(name)
            await qdrant.create(first, dimension=768)
            await health.becomes(qdrant=f"{first} has dimension 768, the embedder", saiga="")
            await qdrant.store.delete_collection(first)
            await qdrant.create(first)
            async with serving(saiga.application, saiga_port):
                await health.becomes()
                saiga.served = ["other"]
                await health.becomes(saiga="serves other, not saiga")
        await health.becomes(**down)
        async with (
            relaying(postgres_port, settings.postgres_port),
            serving(qdrant.application, qdrant_port),
        ):
            await health.becomes(saiga="")


async def test_health_asks_the_embedder(
    settings: Settings, saiga: FakeSaiga, qdrant: FakeQdrant, http: aiohttp.ClientSession
) -> None:
    port = free_port()
    asking = settings.model_copy(
        update={
            **{"embedder": "openai", "embedder_model": "m"},
            "embedder_url": f"http://127.0.0.1:{port}/v1",
        }
    )
    async with running(create_app(asking)) as url:
        await HealthOf(http, url).becomes(embedder=str(port))


async def test_knowledge_waits_for_its_collections(
    settings: Settings, saiga: FakeSaiga, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    collection = settings.collections[0]
    passages = "passages: [{title: Списки, text: Список изменяем.}]"
    (tmp_path / f"{collection}.yaml").write_text(passages, encoding="utf-8")
    qdrant = FakeQdrant()
    knowing = settings.model_copy(update={"knowledge_dir": tmp_path})
    async with (
        serving(qdrant.application, port_of(settings.qdrant_url)),
        running(create_app(knowing)) as url,
    ):
        health = HealthOf(http, url)
        missing = f"{collection} is missing"
        await health.becomes(qdrant=missing, knowledge=missing)
        for name in settings.collections:
            await qdrant.create(name)
        await health.becomes()
    assert (await qdrant.store.count(collection)).count == 1


async def test_a_broken_knowledge_file_is_named(
    settings: Settings,
    saiga: FakeSaiga,
    qdrant: FakeQdrant,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    (tmp_path / "BD_curs_data.yaml").write_text("passages: [{title: Списки}]", encoding="utf-8")
    knowing = settings.model_copy(update={"knowledge_dir": tmp_path})
    async with running(create_app(knowing)) as url:
        await HealthOf(http, url).becomes(knowledge="BD_curs_data.yaml: passages.0.text:")


async def test_services_that_start_together_migrate_once(
    settings: Settings,
    saiga: FakeSaiga,
    qdrant: FakeQdrant,
    http: aiohttp.ClientSession,
    database: str,
) -> None:
    async with running(create_app(settings)) as one, running(create_app(settings)) as two:
        await asyncio.gather(*(HealthOf(http, url).becomes() for url in (one, two)))
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT name FROM agent.schema_migrations").fetchall()
    assert rows == [("0001_exchanges",)]


async def test_the_exporter_can_read_but_not_write(api: str, database: str) -> None:
    as_exporter = database.replace("postgres:postgres@", "agent_exporter:agent_exporter@")
    with psycopg.connect(as_exporter) as connection:
        assert connection.execute("SELECT count(*) FROM agent.exchanges").fetchall() == [(0,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM agent.exchanges")
