"""Questions to Prometheus and Grafana's data frames made of the answers."""

import re
from collections.abc import Mapping
from typing import Any

import aiohttp

from .provisioning import DataSource
from .templating import TimeRange

Json = dict[str, Any]
LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
TIMEOUT = aiohttp.ClientTimeout(total=30)


class QueryError(Exception):
    """Prometheus refused a query or cannot be reached."""


class Prometheus:
    """The API of one data source."""

    def __init__(self, session: aiohttp.ClientSession, source: DataSource) -> None:
        self._session = session
        self._url = source.url

    async def query(self, expression: str, at: int) -> list[Json]:
        """The series at `at` (milliseconds). Raises QueryError."""
        data = await self._get("query", {"query": expression, "time": str(at / 1000)})
        if data["resultType"] in ("scalar", "string"):
            return [{"metric": {}, "value": data["result"]}]
        return list(data["result"])

    async def query_range(self, expression: str, span: TimeRange, step: int) -> list[Json]:
        """The series over `span`, a point each `step` milliseconds. Raises QueryError."""
        # Grafana aligns both ends to the step, so that a refresh shows the same points.
        parameters = {
            "query": expression,
            "start": str(span.start // step * step / 1000),
            "end": str(span.end // step * step / 1000),
            "step": str(step / 1000),
        }
        return list((await self._get("query_range", parameters))["result"])

    async def label_values(self, label: str, selector: str | None) -> list[str]:
        parameters = {"match[]": selector} if selector else {}
        return list(await self._get(f"label/{label}/values", parameters))

    async def forward(
        self, method: str, path: str, query: str, body: bytes, content_type: str
    ) -> tuple[int, str, bytes]:
        """Pass a request on; the answer's status, content type and body. Raises QueryError."""
        headers = {"Content-Type": content_type} if body else {}
        url = f"{self._url}/{path}" + (f"?{query}" if query else "")
        try:
            async with self._session.request(
                method, url, data=body or None, headers=headers, timeout=TIMEOUT
            ) as answer:
                return answer.status, answer.content_type, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise QueryError(f"{self._url} cannot be reached: {error}") from error

    async def _get(self, path: str, parameters: Mapping[str, str]) -> Any:
        url = f"{self._url}/api/v1/{path}"
        try:
            async with self._session.get(url, params=parameters, timeout=TIMEOUT) as answer:
                content = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise QueryError(f"{self._url} cannot be asked: {error}") from error
        if not isinstance(content, dict) or content.get("status") != "success":
            kind, message = "error", "no Prometheus answered"
            if isinstance(content, dict):
                kind = content.get("errorType", kind)
                message = content.get("error", message)
            raise QueryError(f"{kind}: {message}")
        return content["data"]


def legend(pattern: str, labels: Mapping[str, str]) -> str:
    """The name of a series: `pattern` with {{label}} filled in, or the series itself."""
    if pattern and pattern != "__auto":
        return LABEL.sub(lambda match: labels.get(match[1], ""), pattern)
    inside = ", ".join(f'{name}="{value}"' for name, value in labels.items() if name != "__name__")
    return (
        f"{labels.get('__name__', '')}{{{inside}}}" if inside else labels.get("__name__", "Value")
    )


def frames(series: list[Json], reference: str, expression: str, step: int, name: str) -> list[Json]:
    """A frame for each series, with a time field in milliseconds and a value field."""
    made = []
    for item in series:
        ranged = "values" in item
        points = item["values"] if ranged else [item["value"]]
        labels = item["metric"]
        kind = "timeseries-multi" if ranged else "numeric-multi"
        made.append(
            {
                "schema": {
                    "refId": reference,
                    "meta": {
                        "type": kind,
                        "typeVersion": [0, 1],
                        "custom": {"resultType": "matrix" if ranged else "vector"},
                        "executedQueryString": f"Expr: {expression}\nStep: {step / 1000:g}s",
                    },
                    "fields": [
                        {
                            "name": "Time",
                            "type": "time",
                            "typeInfo": {"frame": "time.Time"},
                            "config": {"interval": step} if ranged else {},
                        },
                        {
                            "name": labels.get("__name__", "Value"),
                            "type": "number",
                            "typeInfo": {"frame": "float64"},
                            "labels": labels,
                            "config": {"displayNameFromDS": legend(name, labels)},
                        },
                    ],
                },
                "data": {
                    "values": [
                        [round(point[0] * 1000) for point in points],
                        [_number(point[1]) for point in points],
                    ]
                },
            }
        )
    return made


def _number(text: str) -> float | None:
    """JSON has no NaN and no infinity; Grafana's frames show null in their place."""
    value = float(text)
    return value if abs(value) < float("inf") else None
