"""Qdrant's metrics, with its names and labels (src/common/metrics.rs of qdrant 1.19.0).

Only what the stand-in really measures is reported.
"""

import resource
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import API_VERSION
from .storage import Storage

BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0)
TIMED_STATUS = 200
COLLECTION = "/collections/{collection_name}"
REPORTED_ENDPOINTS = frozenset(
    f"{COLLECTION}/{tail}"
    for tail in (
        "index",
        "points",
        "points/count",
        "points/delete",
        "points/payload",
        "points/payload/clear",
        "points/payload/delete",
        "points/query",
        "points/scroll",
        "points/search",
    )
)


@dataclass
class _Timing:
    count: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))


class Responses:
    """Counts and durations of REST responses by method, endpoint and status."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timings: defaultdict[tuple[str, str, int], _Timing] = defaultdict(_Timing)

    def observe(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        if endpoint not in REPORTED_ENDPOINTS:
            return
        with self._lock:
            timing = self._timings[method, endpoint, status]
            timing.count += 1
            timing.seconds += seconds
            for index, bound in enumerate(BUCKETS):
                timing.buckets[index] += seconds <= bound

    def families(self) -> Iterable[str]:
        totals: list[str] = []
        durations: list[str] = []
        name = "rest_responses_duration_seconds"
        with self._lock:
            for (method, endpoint, status), timing in sorted(self._timings.items()):
                labels = {"method": method, "endpoint": endpoint, "status": str(status)}
                totals.append(_sample("rest_responses_total", timing.count, labels))
                if status != TIMED_STATUS:
                    continue
                for bound, count in zip(BUCKETS, timing.buckets, strict=True):
                    durations.append(
                        _sample(f"{name}_bucket", count, labels | {"le": f"{bound:g}"})
                    )
                durations.append(_sample(f"{name}_bucket", timing.count, labels | {"le": "+Inf"}))
                durations.append(_sample(f"{name}_sum", timing.seconds, labels))
                durations.append(_sample(f"{name}_count", timing.count, labels))
        yield _family("rest_responses_total", "counter", "total number of responses", totals)
        yield _family(name, "histogram", "response duration histogram", durations)


def render(storage: Storage, responses: Responses) -> str:
    """The whole exposition, in Prometheus' text format."""
    return "".join((*_application(), *_collections(storage), *responses.families(), *_process()))


def _application() -> Iterable[str]:
    # The name differs from the real server's so that no dashboard can take one for the other.
    labels = {"name": "qdrant-lab-stand-in", "version": API_VERSION}
    yield _gauge("app_info", "information about qdrant server", [(labels, 1)])
    yield _gauge("app_status_recovery_mode", "features enabled in qdrant server", [({}, 0)])
    yield _gauge("cluster_enabled", "is cluster support enabled", [({}, 0)])


def _collections(storage: Storage) -> Iterable[str]:
    collections = storage.collections()
    vectors = [
        ({"collection": collection.name, "vector": name}, count)
        for collection in collections
        for name, count in collection.vector_counts().items()
    ]
    yield _gauge("collections_total", "number of collections", [({}, len(collections))])
    yield _gauge(
        "collections_vector_total",
        "total number of vectors in all collections",
        [({}, sum(count for _, count in vectors))],
    )
    yield _gauge("collection_vectors", "amount of vectors grouped by vector name", vectors)
    yield _gauge(
        "collection_points",
        "approximate amount of points per collection",
        [({"id": item.name}, item.points_count()) for item in collections],
    )
    yield _gauge(
        "collection_running_optimizations",
        "number of currently running optimization tasks per collection",
        [({"id": item.name}, item.running_optimizations) for item in collections],
    )
    created = [
        _sample("snapshot_created_total", storage.snapshots_created[item.name], {"id": item.name})
        for item in collections
    ]
    yield _family("snapshot_created_total", "counter", "total amount of snapshots created", created)


def _process() -> Iterable[str]:
    fields = Path("/proc/self/stat").read_text("ascii").rpartition(")")[2].split()
    resident_pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    max_mappings = int(Path("/proc/sys/vm/max_map_count").read_text("ascii"))
    for name, text, value in (
        (
            "memory_resident_bytes",
            "Maximum number of bytes in physically resident data pages mapped",
            resident_pages * resource.getpagesize(),
        ),
        ("process_threads", "count of active threads", int(fields[17])),
        ("process_open_mmaps", "count of open mmaps", mappings),
        ("system_max_mmaps", "system wide limit of open mmaps", max_mappings),
        (
            "process_open_fds",
            "count of currently open file descriptors",
            sum(1 for _ in Path("/proc/self/fd").iterdir()),
        ),
        (
            "process_max_fds",
            "limit for open file descriptors",
            resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        ),
    ):
        yield _gauge(name, text, [({}, value)])
    for name, text, value in (
        (
            "process_minor_page_faults_total",
            "count of minor page faults which didn't cause a disk access",
            int(fields[7]),
        ),
        (
            "process_major_page_faults_total",
            "count of disk accesses caused by a mmap page fault",
            int(fields[9]),
        ),
    ):
        yield _family(name, "counter", text, [_sample(name, value, {})])


def _gauge(name: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> str:
    return _family(name, "gauge", text, [_sample(name, value, labels) for labels, value in values])


def _family(name: str, kind: str, text: str, samples: list[str]) -> str:
    if not samples:
        return ""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{''.join(samples)}"


def _sample(name: str, value: float, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}\n" if inside else f"{name} {value}\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
