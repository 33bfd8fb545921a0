"""The Grafana dashboards: their structure, and queries that parse, name metrics that exist and
stay free of NaN while nothing happens."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import promql_parser as promql
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "files" / "grafana" / "dashboards"
TITLES = {
    "system-gpu-overview.json": "System & GPU Overview",
    "saiga-metrics.json": "Saiga Metrics",
    "qdrant-performance.json": "Qdrant Performance",
    "agent.json": "Диалоговый агент · Dialogue agent",
}
DASHBOARDS: dict[str, dict[str, Any]] = {
    name: json.loads((FOLDER / name).read_text(encoding="utf-8")) for name in TITLES
}
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
GRID_COLUMNS = 24

RATE_INTERVAL = timedelta(seconds=97)
RANGE = timedelta(seconds=19997)
VARIABLES = {
    "$__rate_interval": "97s",
    "$__range_s": "19997",
    "$__range": "19997s",
    "$node": "node-exporter:9100",
}

Node = TypeVar("Node", bound=promql.Expr)


@dataclass(frozen=True)
class Known:
    """Metric names one Prometheus job yields, and where that was read.

    A histogram is listed once, without _bucket, _sum and _count. `job` is None for the names that
    Prometheus itself adds for every job.
    """

    job: str | None
    source: str
    names: tuple[str, ...]
    histograms: tuple[str, ...] = ()

    @property
    def series(self) -> set[str]:
        suffixes = ("_bucket", "_sum", "_count")
        return {*self.names, *(name + suffix for name in self.histograms for suffix in suffixes)}


OURS = (
    Known(
        "project_api",
        "services/project_api/project_api/metrics.py",
        ("project_api_requests_total",),
        ("project_api_request_duration_seconds", "project_api_stage_duration_seconds"),
    ),
    Known(
        "agent",
        "services/agent_exporter/agent_exporter/exchanges.py",
        (
            "agent_unique_users_24h",
            "agent_interactions_total",
            "agent_outcomes_total",
            "agent_topics_total",
        ),
        ("agent_response_time_seconds", "agent_answer_length_chars"),
    ),
    Known("agent", "services/agent_exporter/agent_exporter/saiga.py", ("saiga_tokens_total",)),
    Known("agent", "services/agent_exporter/agent_exporter/qdrant.py", ("qdrant_points_total",)),
    Known(
        "agent", "services/agent_exporter/agent_exporter/source.py", ("agent_collector_success",)
    ),
    # What the DCGM exporter is told to export: fields that a GeForce RTX 4090 has.
    Known(
        "dcgm",
        "files/dcgm_exporter/counters.csv",
        (
            "DCGM_FI_DEV_FB_FREE",
            "DCGM_FI_DEV_FB_USED",
            "DCGM_FI_DEV_GPU_TEMP",
            "DCGM_FI_DEV_GPU_UTIL",
            "DCGM_FI_DEV_MEM_CLOCK",
            "DCGM_FI_DEV_MEM_COPY_UTIL",
            "DCGM_FI_DEV_POWER_USAGE",
            "DCGM_FI_DEV_SM_CLOCK",
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
            "DCGM_FI_DEV_XID_ERRORS",
        ),
    ),
)
KNOWN = (
    *OURS,
    Known(
        None,
        "prometheus v3.5: docs/concepts/jobs_instances.md",
        ("up", "scrape_duration_seconds"),
    ),
    Known(
        "prometheus",
        "prometheus v3.5: tsdb/db.go, tsdb/head.go, tsdb/wlog/wlog.go",
        (
            "prometheus_tsdb_storage_blocks_bytes",
            "prometheus_tsdb_wal_storage_size_bytes",
            "prometheus_tsdb_head_chunks_storage_size_bytes",
            "prometheus_tsdb_head_series",
        ),
    ),
    Known(
        "node",
        "node_exporter 1.5 and later: /metrics of the running program",
        (
            "node_boot_time_seconds",
            "node_cpu_seconds_total",
            "node_disk_io_time_seconds_total",
            "node_disk_read_bytes_total",
            "node_disk_read_time_seconds_total",
            "node_disk_reads_completed_total",
            "node_disk_write_time_seconds_total",
            "node_disk_writes_completed_total",
            "node_disk_written_bytes_total",
            "node_filesystem_avail_bytes",
            "node_filesystem_size_bytes",
            "node_load1",
            "node_load15",
            "node_load5",
            "node_memory_MemAvailable_bytes",
            "node_memory_MemTotal_bytes",
            "node_memory_SwapFree_bytes",
            "node_memory_SwapTotal_bytes",
            "node_pressure_cpu_waiting_seconds_total",
            "node_pressure_io_waiting_seconds_total",
            "node_pressure_memory_waiting_seconds_total",
            "node_time_seconds",
            "node_timex_sync_status",
            "node_uname_info",
            "node_vmstat_oom_kill",
        ),
    ),
    Known(
        "saiga",
        "vllm 0.8.5.post1 to 0.32: vllm/v1/metrics/loggers.py",
        (
            "vllm:cache_config_info",
            "vllm:generation_tokens_total",
            "vllm:num_preemptions_total",
            "vllm:num_requests_running",
            "vllm:num_requests_waiting",
            "vllm:prompt_tokens_total",
            "vllm:request_success_total",
        ),
        (
            "vllm:e2e_request_latency_seconds",
            "vllm:request_decode_time_seconds",
            "vllm:request_generation_tokens",
            "vllm:request_prefill_time_seconds",
            "vllm:request_prompt_tokens",
            "vllm:request_queue_time_seconds",
            "vllm:time_to_first_token_seconds",
        ),
    ),
    Known(
        "saiga",
        "vllm 0.8.5.post1: vllm/v1/metrics/loggers.py",
        (
            "vllm:gpu_cache_usage_perc",
            "vllm:gpu_prefix_cache_hits_total",
            "vllm:gpu_prefix_cache_queries_total",
        ),
        ("vllm:time_per_output_token_seconds",),
    ),
    Known(
        "saiga",
        "vllm 0.32: vllm/v1/metrics/loggers.py",
        (
            "vllm:kv_cache_usage_perc",
            "vllm:prefix_cache_hits_total",
            "vllm:prefix_cache_queries_total",
        ),
        ("vllm:inter_token_latency_seconds",),
    ),
    Known(
        "saiga",
        "prometheus-fastapi-instrumentator 7.1, 8.0: metrics.py",
        ("http_requests_total",),
    ),
    Known(
        "qdrant",
        "qdrant v1.16.3 to v1.19.0: src/common/metrics.rs",
        (
            "app_info",
            "app_status_recovery_mode",
            "collection_indexed_only_excluded_points",
            "collection_points",
            "collection_running_optimizations",
            "collections_total",
            "collections_vector_total",
            "grpc_responses_total",
            "memory_allocated_bytes",
            "memory_resident_bytes",
            "memory_retained_bytes",
            "process_major_page_faults_total",
            "process_max_fds",
            "process_open_fds",
            "process_open_mmaps",
            "rest_responses_total",
            "snapshot_creation_running",
            "snapshot_recovery_running",
            "system_max_mmaps",
        ),
        ("grpc_responses_duration_seconds", "rest_responses_duration_seconds"),
    ),
)
# vLLM 0.8.5.post1 (production) -> 0.32 (lab).
VLLM_RENAMES = {
    "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
    "vllm:gpu_prefix_cache_hits_total": "vllm:prefix_cache_hits_total",
    "vllm:gpu_prefix_cache_queries_total": "vllm:prefix_cache_queries_total",
    "vllm:time_per_output_token_seconds": "vllm:inter_token_latency_seconds",
}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show data, in order."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every query, annotations and variables included."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{name}: {panel['id']} {panel['title']}: {target['refId']}", target["expr"]
        for annotation in dashboard["annotations"]["list"]:
            yield f"{name}: annotation {annotation['name']}", annotation["expr"]
        for variable in dashboard["templating"]["list"]:
            query = variable["query"]["query"]
            label_values = re.fullmatch(r"label_values\((.+), \w+\)", query)
            assert label_values, f"{name}: {query} should be label_values(selector, label)"
            yield f"{name}: variable {variable['name']}", label_values[1]


QUERIES = dict(expressions())
each_query = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())


def parse(query: str) -> promql.Expr:
    """The query as a tree, Grafana's variables filled in; raises ValueError on a syntax error."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    expression = promql.parse(query)
    assert isinstance(expression, promql.Expr)
    return expression


def nodes(expression: promql.Expr, kind: type[Node]) -> list[Node]:
    """Every node of that kind in the tree."""
    found: list[Node] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, kind):
            found.append(node)

    promql.walk(expression, visit)
    return found


def may_be_nan(expression: promql.Expr, guarded: bool = False) -> bool:
    """Whether a 0/0 or a quantile of nothing reaches the result past every comparison with 0."""
    match expression:
        case promql.ParenExpr() | promql.AggregateExpr():
            return may_be_nan(expression.expr, guarded)
        case promql.BinaryExpr():
            if str(expression.op) in (">", ">=") and isinstance(
                expression.rhs, promql.NumberLiteral
            ):
                guarded = True
            divides = str(expression.op) == "/"
            if divides and not isinstance(expression.rhs, promql.NumberLiteral) and not guarded:
                return True
            return may_be_nan(expression.lhs, guarded) or may_be_nan(expression.rhs, guarded)
        case promql.Call():
            if expression.func.name == "histogram_quantile" and not guarded:
                return True
            return any(may_be_nan(argument, guarded) for argument in expression.args)
    return False


def values_of(tree: Any, key: str) -> Iterator[Any]:
    """Every value stored under that key, at any depth."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from values_of(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from values_of(value, key)


def is_bilingual(text: str) -> bool:
    russian, dot, english = text.partition(" · ")
    cyrillic = re.compile("[а-яё]", re.IGNORECASE)
    return bool(dot and cyrillic.search(russian) and english and not cyrillic.search(english))


def test_exactly_the_four_dashboards() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(TITLES)
    assert {name: dashboard["title"] for name, dashboard in DASHBOARDS.items()} == TITLES


def test_uids_are_fixed_and_different() -> None:
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{1,39}", uid) for uid in uids)


@each_dashboard
def test_dashboard_can_be_provisioned(dashboard: dict[str, Any]) -> None:
    assert dashboard["id"] is None
    assert "__inputs" not in dashboard
    assert dashboard["schemaVersion"] == 42
    assert dashboard["refresh"] == "30s"
    hours = 24 if dashboard["title"] == TITLES["agent.json"] else 6
    assert dashboard["time"] == {"from": f"now-{hours}h", "to": "now"}


@each_dashboard
def test_everything_asks_the_one_datasource(dashboard: dict[str, Any]) -> None:
    assert all(datasource == DATASOURCE for datasource in values_of(dashboard, "datasource"))
    for panel in panels(dashboard):
        assert all("datasource" in part for part in (panel, *panel["targets"])), panel["title"]


@each_dashboard
def test_texts_are_russian_then_english(dashboard: dict[str, Any]) -> None:
    texts = [dashboard["description"], *(panel["title"] for panel in dashboard["panels"])]
    texts += [panel["description"] for panel in panels(dashboard)]
    assert [text for text in texts if not is_bilingual(text)] == []


@each_dashboard
def test_panels_say_how_to_read_them(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] and defaults["noValue"], panel["title"]
        steps = defaults["thresholds"]["steps"]
        assert steps[0]["value"] is None, panel["title"]
        levels = [step["value"] for step in steps[1:]]
        assert levels == sorted(set(levels)), panel["title"]


@each_dashboard
def test_panels_lie_in_rows_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    assert dashboard["panels"][0]["type"] == "row"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= GRID_COLUMNS, panel["title"]
        if panel["type"] == "row":
            assert (place["x"], place["w"], place["h"]) == (0, GRID_COLUMNS, 1), panel["title"]
    for one, other in combinations(dashboard["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, f"{one['title']} overlaps {other['title']}"


@each_dashboard
def test_queries_of_a_panel_have_their_own_names(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        references = [target["refId"] for target in panel["targets"]]
        assert references and len(set(references)) == len(references), panel["title"]


@each_query
def test_query_uses_only_variables_that_exist(query: str) -> None:
    for variable in VARIABLES:
        query = query.replace(variable, "")
    assert re.findall(r"\$\{?[A-Za-z_]\w*", query) == []


@each_query
def test_query_parses_and_names_metrics_of_the_job(query: str) -> None:
    for selector in nodes(parse(query), promql.VectorSelector):
        jobs = {known.job for known in KNOWN if selector.name in known.series}
        assert jobs, f"{selector.name} is no metric we know a source for"
        if jobs != {None}:
            asked = [m.value for m in selector.matchers.matchers if m.name == "job"]
            assert len(asked) == 1 and asked[0] in jobs, f"{selector} should ask one of {jobs}"


@each_query
def test_rates_span_what_grafana_knows_to_hold_samples(query: str) -> None:
    allowed = {"rate": {RATE_INTERVAL}, "increase": {RATE_INTERVAL, RANGE}}
    for call in nodes(parse(query), promql.Call):
        if call.func.name in allowed:
            (selector,) = call.args
            assert isinstance(selector, promql.MatrixSelector), str(call)
            assert selector.range in allowed[call.func.name], str(call)


@each_query
def test_quantiles_keep_le(query: str) -> None:
    for call in nodes(parse(query), promql.Call):
        if call.func.name == "histogram_quantile":
            buckets = call.args[1]
            assert isinstance(buckets, promql.AggregateExpr), str(call)
            assert str(buckets.op) == "sum" and buckets.modifier is not None, str(call)
            assert buckets.modifier.type == promql.AggModifierType.By, str(call)
            assert "le" in buckets.modifier.labels, str(call)


@each_query
def test_query_gives_no_nan_when_nothing_happens(query: str) -> None:
    assert not may_be_nan(parse(query)), f"{query} needs `>= 0` after the division or quantile"


@each_query
def test_query_survives_an_upgrade_of_vllm(query: str) -> None:
    names = {s.name or "" for s in nodes(parse(query), promql.VectorSelector)}
    bases = {re.sub("_(bucket|sum|count)$", "", name) for name in names}
    for old, new in VLLM_RENAMES.items():
        assert (old in bases) == (new in bases), f"{query} asks one of {old}, {new} alone"


@pytest.mark.parametrize("known", OURS, ids=lambda known: Path(known.source).stem)
def test_our_own_files_still_declare_these_names(known: Known) -> None:
    declared = set(re.findall(r"\w+", (ROOT / known.source).read_text(encoding="utf-8")))
    for name in (*known.names, *known.histograms):
        # A CounterMetricFamily is declared without the suffix that it is exported with.
        assert declared & {name, name.removesuffix("_total")}, name
