"""The agent exporter as a process of its own, with PostgreSQL 15 and scripted HTTP sources."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.json import Jsonb

SERVICES = Path(__file__).parents[4] / "services"
MIGRATIONS = SERVICES / "project_api" / "project_api" / "migrations"
DATABASE = "agent_exporter_tests"
DEADLINE = 20.0
API_KEY = "qdrant-key"
COLLECTIONS = {"BD_curs_data": 120, "BD_chat_question": 45, "BD_organization_question": 0}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# The form of vLLM 0.8.5 and of 0.32: what was renamed in between is not read.
VLLM = """\
# TYPE vllm:{cache}_usage_perc gauge
vllm:{cache}_usage_perc{{engine="0",model_name="saiga"}} 0.25
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{{engine="0",model_name="saiga"}} 1000.0
vllm:prompt_tokens_total{{engine="1",model_name="saiga"}} 500.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{{engine="0",model_name="saiga"}} 700.0
# TYPE vllm:request_success_total counter
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="saiga"}} 8.0
vllm:request_success_total{{engine="1",finished_reason="stop",model_name="saiga"}} 1.0
vllm:request_success_total{{engine="0",finished_reason="length",model_name="saiga"}} 2.0
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_bucket{{engine="0",le="0.5",model_name="saiga"}} 3.0
vllm:e2e_request_latency_seconds_bucket{{engine="1",le="0.5",model_name="saiga"}} 1.0
vllm:e2e_request_latency_seconds_bucket{{engine="0",le="10.0",model_name="saiga"}} 9.0
vllm:e2e_request_latency_seconds_bucket{{engine="1",le="10.0",model_name="saiga"}} 1.0
vllm:e2e_request_latency_seconds_bucket{{engine="0",le="+Inf",model_name="saiga"}} 10.0
vllm:e2e_request_latency_seconds_bucket{{engine="1",le="+Inf",model_name="saiga"}} 1.0
vllm:e2e_request_latency_seconds_count{{engine="0",model_name="saiga"}} 10.0
vllm:e2e_request_latency_seconds_count{{engine="1",model_name="saiga"}} 1.0
vllm:e2e_request_latency_seconds_sum{{engine="0",model_name="saiga"}} 20.5
vllm:e2e_request_latency_seconds_sum{{engine="1",model_name="saiga"}} 0.25
"""
VLLM_PAGES = {"0.8.5": VLLM.format(cache="gpu_cache"), "0.32": VLLM.format(cache="kv_cache")}

QDRANT = """\
# TYPE collections_total gauge
collections_total 3
# TYPE rest_responses_total counter
rest_responses_total{method="POST",endpoint="/collections/{name}/points/query",status="200"} 40
rest_responses_total{method="PUT",endpoint="/collections/{name}/points",status="200"} 5
rest_responses_total{method="POST",endpoint="/collections/{name}/points/query",status="404"} 2
# TYPE grpc_responses_total counter
grpc_responses_total{endpoint="/qdrant.Points/Search"} 17
"""

DCGM = """\
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-1",modelName="NVIDIA GeForce RTX 4090"} 22000
"""


class FakeSources:
    """vLLM, Qdrant and the DCGM exporter: a page per path, or a path that hangs or fails."""

    def __init__(self) -> None:
        sources = self
        self._close = threading.Event()
        self.reset()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path in sources.hanging:
                    sources._close.wait(DEADLINE)
                    return
                if self.path.startswith("/qdrant") and self.headers["api-key"] != API_KEY:
                    self.send_error(401)
                elif self.path not in sources.pages:
                    self.send_error(404)
                else:
                    body = sources.pages[self.path]
                    self.send_response(200)
                    kind = "application/json" if body.startswith("{") else "text/plain"
                    self.send_header("Content-Type", kind)
                    self.end_headers()
                    self.wfile.write(body.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        names = [{"name": name} for name in COLLECTIONS]
        self.hanging: set[str] = set()
        self.pages = {
            "/saiga/metrics": VLLM_PAGES["0.8.5"],
            "/dcgm/metrics": DCGM,
            "/qdrant/metrics": QDRANT,
            "/qdrant/collections": json.dumps({"result": {"collections": names}}),
        } | {
            f"/qdrant/collections/{name}": json.dumps({"result": {"points_count": points}})
            for name, points in COLLECTIONS.items()
        }

    def close(self) -> None:
        self._close.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Exporter:
    """A running `python -m agent_exporter`."""

    def __init__(self, port: int, environment: dict[str, str]) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self.environment = environment

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self._url + path, timeout=DEADLINE) as response:
            assert response.status == 200
            return str(response.read().decode())

    def scrape(self) -> Samples:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.get("/metrics"))
            for sample in family.samples
        }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def successes(samples: Samples) -> dict[str, float]:
    return {
        labels[0][1]: sample
        for (name, labels), sample in samples.items()
        if name == "agent_collector_success"
    }


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_exporter(
    directory: Path, postgres: tuple[str, int], sources_url: str
) -> Iterator[Exporter]:
    for name, secret in (("postgres", "agent_exporter"), ("qdrant", API_KEY)):
        (directory / name).write_text(secret + "\n")
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SERVICES / "agent_exporter"),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "POSTGRES_HOST": postgres[0],
        "POSTGRES_PORT": str(postgres[1]),
        "POSTGRES_DB": DATABASE,
        "POSTGRES_PASSWORD_FILE": str(directory / "postgres"),
        "QDRANT_URL": f"{sources_url}/qdrant",
        "QDRANT_API_KEY_FILE": str(directory / "qdrant"),
        "SAIGA_METRICS_URL": f"{sources_url}/saiga/metrics",
        "DCGM_METRICS_URL": f"{sources_url}/dcgm/metrics",
    }
    exporter = Exporter(port, environment)
    process = subprocess.Popen([sys.executable, "-m", "agent_exporter"], env=environment)

    def listening() -> bool:
        assert process.poll() is None, f"agent_exporter exited with {process.returncode}"
        try:
            return exporter.get("/health") != ""
        except OSError:
            return False

    try:
        until(listening)
        yield exporter
    finally:
        process.terminate()
        assert process.wait(DEADLINE) == 0


@pytest.fixture(scope="module")
def database(postgres_dsn: str) -> Iterator[str]:
    """A database of our own with the Project API's tables, as the deploy makes it."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    dsn = make_conninfo(postgres_dsn, dbname=DATABASE)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA agent AUTHORIZATION project_api")
        connection.execute("GRANT USAGE ON SCHEMA agent TO agent_exporter")
        connection.execute("SET ROLE project_api")
        connection.execute(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA agent GRANT SELECT ON TABLES TO agent_exporter"
        )
        migrations = sorted(MIGRATIONS.glob("*.sql"))
        assert migrations
        for migration in migrations:
            connection.execute(migration.read_bytes())
    yield dsn
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def table(database: str) -> Iterator[psycopg.Connection]:
    """The superuser's connection to an empty agent.exchanges."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE agent.exchanges RESTART IDENTITY")
        yield connection


@pytest.fixture(scope="module")
def running_sources() -> Iterator[FakeSources]:
    sources = FakeSources()
    yield sources
    sources.close()


@pytest.fixture
def sources(running_sources: FakeSources) -> FakeSources:
    running_sources.reset()
    return running_sources


@pytest.fixture(scope="module")
def exporter(
    database: str, running_sources: FakeSources, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exporter]:
    server = conninfo_to_dict(database)
    postgres = (str(server["host"]), int(server["port"] or 5432))
    directory = tmp_path_factory.mktemp("agent_exporter")
    with running_exporter(directory, postgres, running_sources.url) as exporter:
        yield exporter


def store(
    table: psycopg.Connection,
    user_name: str = "Анна",
    course: str = "Python",
    answer: str = "Ответ",
    total: object = 1.0,
    outcome: str = "completed",
    hours_ago: float = 0,
) -> None:
    table.execute(
        "INSERT INTO agent.exchanges (created_at, user_name, course, question, answer, sources,"
        " timings, outcome) VALUES (now() - %s * interval '1 hour', %s, %s, '?', %s, '[]', %s, %s)",
        (hours_ago, user_name, course, answer, Jsonb({"total": total}), outcome),
    )


def test_all_sources_together(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources
) -> None:
    store(table)
    samples = exporter.scrape()
    assert successes(samples) == {"postgres": 1, "saiga": 1, "qdrant": 1, "dcgm": 1}
    assert {
        "agent_unique_users_24h",
        "agent_interactions_total",
        "agent_topics_total",
        "agent_response_time_seconds_bucket",
        "agent_answer_length_chars_bucket",
        "saiga_requests_total",
        "saiga_response_time_seconds_bucket",
        "saiga_tokens_total",
        "saiga_gpu_memory_usage_bytes",
        "qdrant_requests_total",
        "qdrant_collections_total",
        "qdrant_points_total",
    } <= names(samples)
    assert 0 <= value(samples, "agent_collector_duration_seconds", collector="qdrant") < 3


def test_an_empty_table_is_zeros(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources
) -> None:
    samples = exporter.scrape()
    assert value(samples, "agent_interactions_total") == 0
    assert value(samples, "agent_unique_users_24h") == 0
    assert value(samples, "agent_outcomes_total", outcome="error") == 0
    assert value(samples, "agent_response_time_seconds_count") == 0
    assert value(samples, "agent_answer_length_chars_bucket", le="+Inf") == 0
    assert "agent_topics_total" not in names(samples)


def test_users_and_outcomes(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources
) -> None:
    store(table, user_name="Анна")
    store(table, user_name="Анна", outcome="interrupted")
    store(table, user_name="Борис", hours_ago=23.5, outcome="error")
    store(table, user_name="Вера", hours_ago=24.5)
    samples = exporter.scrape()
    assert value(samples, "agent_unique_users_24h") == 2
    assert value(samples, "agent_interactions_total") == 4
    assert value(samples, "agent_outcomes_total", outcome="completed") == 2
    assert value(samples, "agent_outcomes_total", outcome="interrupted") == 1
    assert value(samples, "agent_outcomes_total", outcome="error") == 1


def test_response_times_fall_into_buckets_that_include_their_bound(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources
) -> None:
    for total in (0.1, 0.100001, 2.5, 60.0, 500):
        store(table, total=total)
    store(table, total=3, outcome="error")
    store(table, total=None)
    samples = exporter.scrape()
    expected = {"0.1": 1, "0.25": 2, "1": 2, "2.5": 3, "30": 3, "60": 4, "120": 4, "+Inf": 5}
    for bound, count in expected.items():
        assert value(samples, "agent_response_time_seconds_bucket", le=bound) == count
    assert value(samples, "agent_response_time_seconds_count") == 5
    assert value(samples, "agent_response_time_seconds_sum") == pytest.approx(562.700001)


def test_answer_lengths_count_characters(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources
) -> None:
    for length in (50, 51, 9000):
        store(table, answer="ы" * length)
    store(table, answer="half an ans", outcome="interrupted")
    samples = exporter.scrape()
    assert value(samples, "agent_answer_length_chars_bucket", le="50") == 1
    assert value(samples, "agent_answer_length_chars_bucket", le="100") == 2
    assert value(samples, "agent_answer_length_chars_bucket", le="8000") == 2
    assert value(samples, "agent_answer_length_chars_bucket", le="+Inf") == 3
    assert value(samples, "agent_answer_length_chars_sum") == 9101


def test_topics_are_bounded_and_never_fall(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources
) -> None:
    store(table, course=" Python ")
    store(table, course="python")
    for number in range(25):
        store(table, course=f"course {number}")
    before = exporter.scrape()
    assert value(before, "agent_topics_total", topic="python") == 2
    assert value(before, "agent_topics_total", topic="other") == 6
    for _ in range(5):
        store(table, course="course 24")
    after = exporter.scrape()
    assert value(after, "agent_topics_total", topic="other") == 11
    topics = {key: before[key] for key in before if key[0] == "agent_topics_total"}
    assert len(topics) == 21
    assert all(after[key] >= count for key, count in topics.items())


@pytest.mark.parametrize("version", VLLM_PAGES)
def test_saiga_sums_the_engines_of_old_and_new_vllm(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources, version: str
) -> None:
    sources.pages["/saiga/metrics"] = VLLM_PAGES[version]
    samples = exporter.scrape()
    assert value(samples, "saiga_requests_total", finished_reason="stop") == 9
    assert value(samples, "saiga_requests_total", finished_reason="length") == 2
    assert value(samples, "saiga_tokens_total", kind="prompt") == 1500
    assert value(samples, "saiga_tokens_total", kind="generation") == 700
    assert value(samples, "saiga_response_time_seconds_bucket", le="0.5") == 4
    assert value(samples, "saiga_response_time_seconds_bucket", le="10.0") == 10
    assert value(samples, "saiga_response_time_seconds_count") == 11
    assert value(samples, "saiga_response_time_seconds_sum") == 20.75


def test_qdrant_counts(exporter: Exporter, table: psycopg.Connection, sources: FakeSources) -> None:
    samples = exporter.scrape()
    assert value(samples, "qdrant_collections_total") == 3
    for collection, points in COLLECTIONS.items():
        assert value(samples, "qdrant_points_total", collection=collection) == points
    assert value(samples, "qdrant_requests_total", api="rest", status="200") == 45
    assert value(samples, "qdrant_requests_total", api="rest", status="404") == 2
    assert value(samples, "qdrant_requests_total", api="grpc", status="") == 17


def test_gpu_memory_is_dcgms_in_bytes_or_absent(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources
) -> None:
    samples = exporter.scrape()
    assert value(samples, "saiga_gpu_memory_usage_bytes", gpu="0") == 22000 * 1024 * 1024
    del sources.pages["/dcgm/metrics"]
    samples = exporter.scrape()
    assert successes(samples) == {"postgres": 1, "saiga": 1, "qdrant": 1, "dcgm": 0}
    assert "saiga_gpu_memory_usage_bytes" not in names(samples)


@pytest.mark.parametrize(
    ("path", "collector", "prefix"),
    [
        ("/saiga/metrics", "saiga", "saiga_re"),
        ("/qdrant/collections/BD_curs_data", "qdrant", "qdrant_"),
    ],
)
def test_a_source_that_hangs_costs_three_seconds_and_only_itself(
    exporter: Exporter,
    table: psycopg.Connection,
    sources: FakeSources,
    path: str,
    collector: str,
    prefix: str,
) -> None:
    sources.hanging.add(path)
    started = time.monotonic()
    samples = exporter.scrape()
    assert time.monotonic() - started < 4.5
    assert [name for name, success in successes(samples).items() if not success] == [collector]
    assert not any(name.startswith(prefix) for name in names(samples))
    assert value(samples, "agent_collector_duration_seconds", collector=collector) >= 2.9
    sources.hanging.clear()
    assert successes(exporter.scrape())[collector] == 1


def test_a_missing_vllm_family_is_a_failure_not_a_zero(
    exporter: Exporter, table: psycopg.Connection, sources: FakeSources
) -> None:
    page = VLLM_PAGES["0.32"]
    sources.pages["/saiga/metrics"] = page.replace("vllm:prompt_tokens_total", "vllm:renamed")
    samples = exporter.scrape()
    assert successes(samples)["saiga"] == 0
    assert "saiga_tokens_total" not in names(samples)


def test_a_locked_table_fails_alone_and_recovers(
    exporter: Exporter, database: str, table: psycopg.Connection, sources: FakeSources
) -> None:
    with psycopg.connect(database) as blocker:
        blocker.execute("LOCK TABLE agent.exchanges")
        samples = exporter.scrape()
        assert successes(samples) == {"postgres": 0, "saiga": 1, "qdrant": 1, "dcgm": 1}
        assert "agent_interactions_total" not in names(samples)
    assert successes(exporter.scrape())["postgres"] == 1


@pytest.fixture
def silent_postgres() -> Iterator[tuple[str, int]]:
    """A listener that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield ("127.0.0.1", server.getsockname()[1])


def test_it_is_healthy_without_any_source(silent_postgres: tuple[str, int], tmp_path: Path) -> None:
    with running_exporter(tmp_path, silent_postgres, f"http://127.0.0.1:{free_port()}") as exporter:
        for _ in range(2):
            started = time.monotonic()
            samples = exporter.scrape()
            assert time.monotonic() - started < 4.5
            assert successes(samples) == {"postgres": 0, "saiga": 0, "qdrant": 0, "dcgm": 0}
            assert names(samples) == {
                "agent_collector_success",
                "agent_collector_duration_seconds",
            }
        command = [sys.executable, "-m", "agent_exporter.healthcheck"]
        subprocess.run(command, env=exporter.environment, timeout=DEADLINE, check=True)


class FreezingProxy:
    """Stands between the exporter and PostgreSQL and stops passing bytes at the first query."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._flowing = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._server.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            upstream = socket.create_connection(self._target)
            for one, other in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        querying = False
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                querying = querying or b"agent.exchanges" in data
                if querying:
                    self._flowing.wait(DEADLINE)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def thaw(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self.thaw()
        self._server.close()


def test_a_query_that_never_returns_does_not_hold_the_scrape(
    database: str, table: psycopg.Connection, sources: FakeSources, tmp_path: Path
) -> None:
    server = conninfo_to_dict(database)
    proxy = FreezingProxy((str(server["host"]), int(server["port"] or 5432)))
    with (
        contextlib.closing(proxy),
        running_exporter(tmp_path, proxy.address, sources.url) as exporter,
    ):
        for _ in range(2):
            started = time.monotonic()
            samples = exporter.scrape()
            assert time.monotonic() - started < 4.5
            assert successes(samples) == {"postgres": 0, "saiga": 1, "qdrant": 1, "dcgm": 1}
        proxy.thaw()
        until(lambda: successes(exporter.scrape())["postgres"] == 1)


def test_the_healthcheck_fails_when_nothing_listens() -> None:
    environment = {"PYTHONPATH": str(SERVICES / "agent_exporter"), "PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-m", "agent_exporter.healthcheck"],
        env=environment,
        timeout=DEADLINE,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
