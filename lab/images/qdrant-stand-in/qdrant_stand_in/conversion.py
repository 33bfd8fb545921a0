"""Qdrant's REST bodies to the engine's objects and back (openapi.json of qdrant 1.19.0)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from uuid import UUID

import qdrant_edge as edge

from .errors import ApiError, bad_json, invalid, not_implemented, wrong_input

Json = dict[str, Any]
T = TypeVar("T")

# The stubs do not say that a fusion's variants are fusions.
RRF: Callable[[int], edge.Fusion] = edge.Fusion.Rrf  # type: ignore[assignment]
DBSF: Callable[[], edge.Fusion] = edge.Fusion.Dbsf  # type: ignore[assignment]
DEFAULT_RRF_K = 2

DISTANCES = {
    name: getattr(edge.Distance, name) for name in ("Cosine", "Euclid", "Dot", "Manhattan")
}
FIELD_TYPES = ("keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid")
MATCHES: dict[str, Callable[[Any], edge.MatchType]] = {
    "value": edge.MatchValue,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
    "prefix": edge.MatchPrefix,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
}


def engine_call(call: Callable[[], T]) -> T:
    """Run `call`; the engine's complaint about its input becomes Qdrant's 400."""
    try:
        return call()
    except ApiError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_json(str(error).splitlines()[0]) from error
    except Exception as error:
        message = str(error)
        if message.startswith(("Service runtime error", "Inconsistent storage", "Out of memory")):
            raise ApiError(500, f"Service internal error: {message}") from error
        raise wrong_input(message) from error


def member(body: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """The required member `key` of `body`, refused unless it is a `kind`."""
    if key not in body:
        raise bad_json(f"missing field `{key}`")
    value = body[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise bad_json(f"{key}: {value!r} is not a {kind.__name__}")
    return value


def whole(body: Mapping[str, Any], key: str, default: int | None, minimum: int = 0) -> int | None:
    """The optional whole number `key`, at least `minimum`."""
    if body.get(key) is None:
        return default
    value = member(body, key, int)
    if value < minimum:
        raise invalid(f"[{key}: value {value} invalid, must be {minimum} or larger]")
    return value


def number(body: Mapping[str, Any], key: str) -> float | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_json(f"{key}: {value!r} is not a number")
    return float(value)


def point_id(value: Any) -> edge.PointId:
    """An unsigned integer or a UUID; anything else is refused in Qdrant's words."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError:
            pass
    raise bad_json(
        f"value {value} is not a valid point ID, valid values are either an unsigned integer "
        "or a UUID"
    )


def point_ids(body: Mapping[str, Any], key: str) -> list[edge.PointId]:
    return [point_id(value) for value in member(body, key, list)]


def json_id(value: edge.PointId) -> int | str:
    return value if isinstance(value, int) else str(value)


def named_vector(value: Any) -> Any:
    """One dense, sparse or multi vector."""
    if isinstance(value, Mapping):
        if {"indices", "values"} <= value.keys():
            return edge.SparseVector(
                indices=member(value, "indices", list), values=member(value, "values", list)
            )
        raise ApiError(
            400,
            "InferenceService is not initialized. Please check if it was properly configured and "
            "initialized during startup.",
        )
    if isinstance(value, list) and value:
        rows = value if isinstance(value[0], list) else [value]
        if all(isinstance(row, list) and all(_is_number(item) for item in row) for row in rows):
            return value
    raise bad_json(f"data did not match any variant of untagged enum Vector: {str(value)[:80]}")


def vectors(value: Any) -> Any:
    """A point's vector(s): the unnamed one, or a mapping from name to vector."""
    if isinstance(value, Mapping) and not {"indices", "values"} <= value.keys():
        return {str(name): named_vector(item) for name, item in value.items()}
    return named_vector(value)


def points(body: Mapping[str, Any]) -> list[edge.Point]:
    """The points of an upsert, given as a list or as a batch of columns."""
    if "points" in body:
        return [_point(item) for item in member(body, "points", list)]
    batch = member(body, "batch", dict)
    ids = member(batch, "ids", list)
    columns = batch.get("vectors")
    payloads = batch.get("payloads") or [None] * len(ids)
    if isinstance(columns, Mapping):
        rows: list[Any] = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    else:
        rows = member(batch, "vectors", list)
    if not len(ids) == len(rows) == len(payloads):
        raise bad_json("number of ids, vectors and payloads must be equal")
    return [
        _point({"id": identifier, "vector": row, "payload": payload})
        for identifier, row, payload in zip(ids, rows, payloads, strict=True)
    ]


def _point(item: Any) -> edge.Point:
    if not isinstance(item, Mapping):
        raise bad_json(f"a point is an object, not {item!r}")
    if "vector" not in item:
        raise bad_json("missing field `vector`")
    payload = item.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise bad_json(f"payload: {payload!r} is not an object")
    return edge.Point(point_id(item.get("id")), vectors(item["vector"]), payload)


def with_payload(value: Any, default: bool) -> edge.WithPayloadType:
    if value is None:
        return default
    if isinstance(value, bool) or _is_strings(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, Mapping) and _is_strings(value.get("include")):
        return edge.PayloadSelector.Include(value["include"])
    if isinstance(value, Mapping) and _is_strings(value.get("exclude")):
        return edge.PayloadSelector.Exclude(value["exclude"])
    raise bad_json("data did not match any variant of untagged enum WithPayloadInterface")


def with_vector(value: Any) -> edge.WithVectorType:
    if value is None:
        return False
    if isinstance(value, bool) or _is_strings(value):
        return value  # type: ignore[no-any-return]
    raise bad_json("data did not match any variant of untagged enum WithVector")


def search_params(value: Any) -> edge.SearchParams | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise bad_json(f"params: {value!r} is not an object")
    if value.get("quantization") or value.get("acorn"):
        raise not_implemented("search params quantization and acorn")
    return edge.SearchParams(
        hnsw_ef=whole(value, "hnsw_ef", None),
        exact=bool(value.get("exact", False)),
        indexed_only=bool(value.get("indexed_only", False)),
    )


def query(value: Any, using: str | None) -> edge.ScoringQueryType | None:
    """The scoring part of a query whose point ids were already replaced by vectors."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        if "nearest" in value:
            if value.get("mmr"):
                raise not_implemented("mmr")
            return edge.Query.Nearest(named_vector(value["nearest"]), using)
        if "fusion" in value:
            return _fusion(value["fusion"])
        if "rrf" in value:
            return RRF(whole(value["rrf"], "k", None, minimum=1) or DEFAULT_RRF_K)
        if "order_by" in value:
            return order_by(value["order_by"])
        if "sample" in value:
            return edge.Sample.Random
        if not {"indices", "values"} <= value.keys():
            raise not_implemented(f"the query kind {', '.join(value) or 'of an empty object'}")
    return edge.Query.Nearest(named_vector(value), using)


def _fusion(value: Any) -> edge.ScoringQueryType:
    if value == "rrf":
        return RRF(DEFAULT_RRF_K)
    if value == "dbsf":
        return DBSF()
    raise bad_json(f"unknown variant `{value}`, expected `rrf` or `dbsf`")


def order_by(value: Any) -> edge.OrderBy:
    if isinstance(value, str):
        return edge.OrderBy(value)
    if not isinstance(value, Mapping):
        raise bad_json(f"order_by: {value!r} is neither a key nor an object")
    direction = value.get("direction")
    if direction not in (None, "asc", "desc"):
        raise bad_json(f"unknown variant `{direction}`, expected `asc` or `desc`")
    return edge.OrderBy(
        member(value, "key", str),
        direction=edge.Direction.Desc if direction == "desc" else edge.Direction.Asc,
        start_from=value.get("start_from"),
    )


def conditions_filter(value: Any) -> edge.Filter | None:
    """A filter object, or None where the request has none."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) - {"must", "should", "must_not", "min_should"}:
        raise bad_json("data did not match any variant of untagged enum Filter")
    min_should = value.get("min_should")
    return edge.Filter(
        must=_conditions(value.get("must")),
        should=_conditions(value.get("should")),
        must_not=_conditions(value.get("must_not")),
        min_should=None
        if min_should is None
        else edge.MinShould(
            _conditions(min_should.get("conditions")) or [], member(min_should, "min_count", int)
        ),
    )


def _conditions(value: Any) -> list[edge.ConditionType] | None:
    if value is None:
        return None
    return [_condition(item) for item in (value if isinstance(value, list) else [value])]


def _condition(value: Any) -> edge.ConditionType:
    if isinstance(value, Mapping):
        if "nested" in value:
            nested = member(value, "nested", dict)
            inner = conditions_filter(nested.get("filter"))
            if inner is not None:
                return edge.NestedCondition(member(nested, "key", str), inner)
        elif "has_id" in value:
            return edge.HasIdCondition(set(point_ids(value, "has_id")))
        elif "has_vector" in value:
            return edge.HasVectorCondition(member(value, "has_vector", str))
        elif "key" in value:
            return _field_condition(value)
        elif isinstance(value.get("is_empty"), Mapping):
            return edge.IsEmptyCondition(member(value["is_empty"], "key", str))
        elif isinstance(value.get("is_null"), Mapping):
            return edge.IsNullCondition(member(value["is_null"], "key", str))
        elif value.keys() & {"must", "should", "must_not", "min_should"}:
            inner = conditions_filter(value)
            if inner is not None:
                return inner
    raise bad_json("data did not match any variant of untagged enum Condition")


def _field_condition(value: Mapping[str, Any]) -> edge.FieldCondition:
    parts: dict[str, Any] = {
        "match": _optional(value, "match", _match),
        "range": _optional(value, "range", _range),
        "geo_bounding_box": _optional(value, "geo_bounding_box", _geo_box),
        "geo_radius": _optional(value, "geo_radius", _geo_radius),
        "geo_polygon": _optional(value, "geo_polygon", _geo_polygon),
        "values_count": _optional(value, "values_count", _values_count),
        "is_empty": value.get("is_empty"),
        "is_null": value.get("is_null"),
    }
    if all(part is None for part in parts.values()):
        raise invalid("[At least one field condition must be specified]")
    return edge.FieldCondition(member(value, "key", str), **parts)


def _optional(
    value: Mapping[str, Any], key: str, convert: Callable[[Mapping[str, Any]], Any]
) -> Any:
    return None if value.get(key) is None else convert(member(value, key, dict))


def _match(value: Mapping[str, Any]) -> edge.MatchType:
    if len(value) == 1:
        [(kind, operand)] = value.items()
        if kind in MATCHES:
            return MATCHES[kind](operand)
    raise bad_json("data did not match any variant of untagged enum Match")


def _range(value: Mapping[str, Any]) -> edge.RangeType:
    bounds = {key: bound for key, bound in value.items() if bound is not None}
    if set(bounds) - {"gt", "gte", "lt", "lte"}:
        raise bad_json("data did not match any variant of untagged enum RangeInterface")
    if any(isinstance(bound, str) for bound in bounds.values()):
        return edge.RangeDateTime(**bounds)
    return edge.RangeFloat(**{key: float(bound) for key, bound in bounds.items()})


def _values_count(value: Mapping[str, Any]) -> edge.ValuesCount:
    return edge.ValuesCount(**{key: whole(value, key, None) for key in ("lt", "gt", "lte", "gte")})


def _geo_point(value: Mapping[str, Any]) -> edge.GeoPoint:
    return edge.GeoPoint(lon=value["lon"], lat=value["lat"])


def _geo_box(value: Mapping[str, Any]) -> edge.GeoBoundingBox:
    return edge.GeoBoundingBox(
        _geo_point(member(value, "top_left", dict)), _geo_point(member(value, "bottom_right", dict))
    )


def _geo_radius(value: Mapping[str, Any]) -> edge.GeoRadius:
    return edge.GeoRadius(_geo_point(member(value, "center", dict)), value["radius"])


def _geo_polygon(value: Mapping[str, Any]) -> edge.GeoPolygon:
    def ring(line: Mapping[str, Any]) -> list[edge.GeoPoint]:
        return [_geo_point(point) for point in member(line, "points", list)]

    interiors = value.get("interiors")
    return edge.GeoPolygon(
        ring(member(value, "exterior", dict)),
        None if interiors is None else [ring(line) for line in interiors],
    )


def field_schema(value: Any) -> Any:
    """The schema of a payload index: a type's name, or an object with `type` and parameters."""
    if isinstance(value, str) and value in FIELD_TYPES:
        return getattr(edge.PayloadSchemaType, value.capitalize())
    if isinstance(value, Mapping) and value.get("type") in FIELD_TYPES:
        given = {key: item for key, item in value.items() if key != "type" and item is not None}
        if given.keys() & {"stopwords", "stemmer", "scoring", "memory"}:
            raise not_implemented("the index parameters stopwords, stemmer, scoring and memory")
        if "tokenizer" in given:
            given["tokenizer"] = getattr(edge.TokenizerType, str(given["tokenizer"]).capitalize())
        return getattr(edge, f"{value['type'].capitalize()}IndexParams")(**given)
    raise bad_json(f"field_schema: {value!r} is not one of {', '.join(FIELD_TYPES)}")


def payload_index_json(index: edge.PayloadIndexInfo) -> Json:
    data_type = _enum_name(index.data_type)
    answer: Json = {"data_type": data_type, "points": index.points}
    if index.params is not None:
        answer["params"] = {"type": data_type} | {
            name: _enum_name(value) if name == "tokenizer" else value
            for name in INDEX_PARAMETERS
            if (value := getattr(index.params, name, None)) is not None
        }
    return answer


INDEX_PARAMETERS = (
    "is_tenant",
    "is_principal",
    "lookup",
    "range",
    "tokenizer",
    "min_token_len",
    "max_token_len",
    "lowercase",
    "ascii_folding",
    "phrase_matching",
    "on_disk",
)


def vector_json(value: Any) -> Any:
    if isinstance(value, edge.SparseVector):
        return {"indices": value.indices, "values": value.values}
    if isinstance(value, Mapping):
        return {name: vector_json(item) for name, item in value.items()}
    return value


def record_json(record: edge.Record) -> Json:
    answer: Json = {"id": json_id(record.id), "payload": record.payload}
    if record.vector is not None:
        answer["vector"] = vector_json(record.vector)
    if record.order_value is not None:
        answer["order_value"] = record.order_value
    return answer


def scored_json(point: edge.ScoredPoint) -> Json:
    answer: Json = {
        "id": json_id(point.id),
        "version": point.version,
        "score": point.score,
    }
    if point.payload is not None:
        answer["payload"] = point.payload
    if point.vector is not None:
        answer["vector"] = vector_json(point.vector)
    if point.order_value is not None:
        answer["order_value"] = point.order_value
    return answer


def _enum_name(value: Any) -> str:
    return str(value).rsplit(".", 1)[-1].lower()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
