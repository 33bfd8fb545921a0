"""A collection's configuration: what REST shows, what the engine is opened with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge

from .conversion import DISTANCES, Json, engine_call, member
from .errors import bad_json, not_implemented, wrong_input

# config/config.yaml of qdrant 1.19.0; thresholds are in kilobytes of vectors.
HNSW = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
OPTIMIZERS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
}
WAL = {"wal_capacity_mb": 32, "wal_segments_ahead": 0}
ENGINE_OPTIMIZERS = (
    "deleted_threshold",
    "vacuum_min_vector_number",
    "default_segment_number",
    "max_segment_size",
    "indexing_threshold",
)


def from_request(body: Mapping[str, Any]) -> Json:
    """The CollectionConfig that a CreateCollection body asks for."""
    _refuse(body, "quantization_config", "strict_mode_config", "sharding_method", "init_from")
    for key in ("shard_number", "replication_factor", "write_consistency_factor"):
        if body.get(key) not in (None, 1):
            raise not_implemented(f"{key} {body[key]}: it is one node with one shard")
    params: Json = {
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": body.get("on_disk_payload") is not False,
    }
    for key in ("vectors", "sparse_vectors"):
        if body.get(key):
            params[key] = member(body, key, dict)
    params.setdefault("vectors", {})
    config: Json = {
        "params": params,
        "hnsw_config": HNSW | _given(body, "hnsw_config"),
        "optimizer_config": OPTIMIZERS | _given(body, "optimizers_config"),
        "wal_config": WAL | _given(body, "wal_config"),
        "quantization_config": None,
    }
    if body.get("metadata") is not None:
        config["metadata"] = member(body, "metadata", dict)
    return config


def patched(config: Json, body: Mapping[str, Any]) -> Json:
    """`config` changed as an UpdateCollection body says."""
    _refuse(body, "quantization_config", "strict_mode_config", "sparse_vectors")
    answer = copy.deepcopy(config)
    for name, options in _given(body, "vectors").items():
        _refuse(options, "quantization_config", "hnsw_config")
        vectors = answer["params"]["vectors"]
        found = vectors if name == "" and "size" in vectors else vectors.get(name)
        if found is None:
            raise wrong_input(f"Not existing vector name error: {name}")
        if "on_disk" in options:
            found["on_disk"] = options["on_disk"]
    answer["hnsw_config"] |= _given(body, "hnsw_config")
    answer["optimizer_config"] |= _given(body, "optimizers_config")
    if "on_disk_payload" in _given(body, "params"):
        answer["params"]["on_disk_payload"] = bool(body["params"]["on_disk_payload"])
    if body.get("metadata") is not None:
        answer["metadata"] = answer.get("metadata", {}) | member(body, "metadata", dict)
    return answer


def engine_config(config: Json) -> edge.EdgeConfig:
    """`config` for the engine. Raises ApiError for what Qdrant would refuse."""
    params = config["params"]
    vectors = params["vectors"]
    dense: Any = None
    if "size" in vectors:
        dense = _vector_params(vectors)
    elif vectors:
        dense = {name: _vector_params(member(vectors, name, dict)) for name in vectors}
    sparse = {
        name: edge.EdgeSparseVectorParams(
            full_scan_threshold=(options.get("index") or {}).get("full_scan_threshold"),
            on_disk=(options.get("index") or {}).get("on_disk"),
            modifier=edge.Modifier.Idf if options.get("modifier") == "idf" else None,
        )
        for name, options in params.get("sparse_vectors", {}).items()
    }
    optimizers = config["optimizer_config"]
    return engine_call(
        lambda: edge.EdgeConfig(
            vectors=dense,
            sparse_vectors=sparse or None,
            on_disk_payload=params["on_disk_payload"],
            hnsw_config=_hnsw(config["hnsw_config"]),
            optimizers=edge.EdgeOptimizersConfig(
                **{key: optimizers[key] for key in ENGINE_OPTIMIZERS}
            ),
        )
    )


def _vector_params(value: Mapping[str, Any]) -> edge.EdgeVectorParams:
    _refuse(value, "quantization_config", "datatype")
    distance = member(value, "distance", str)
    if distance not in DISTANCES:
        raise bad_json(f"unknown variant `{distance}`, expected one of {', '.join(DISTANCES)}")
    multivector = value.get("multivector_config")
    hnsw = value.get("hnsw_config")
    return engine_call(
        lambda: edge.EdgeVectorParams(
            size=member(value, "size", int),
            distance=DISTANCES[distance],
            on_disk=value.get("on_disk"),
            multivector_config=None
            if multivector is None
            else edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
            hnsw_config=None if hnsw is None else _hnsw(HNSW | hnsw),
        )
    )


def _hnsw(value: Mapping[str, Any]) -> edge.HnswIndexConfig:
    return edge.HnswIndexConfig(
        **{key: value[key] for key in (*HNSW, "payload_m") if value.get(key) is not None}
    )


def _given(body: Mapping[str, Any], key: str) -> Json:
    """The members of the object `key` that are not null."""
    if body.get(key) is None:
        return {}
    return {name: value for name, value in member(body, key, dict).items() if value is not None}


def _refuse(body: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        if body.get(key) is not None:
            raise not_implemented(key)
