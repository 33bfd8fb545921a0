"""Qdrant's collections, points and requests, from its REST API and its /metrics."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from agent_exporter.exposition import fetch, sum_by


async def collect(
    http: aiohttp.ClientSession, base_url: str, api_key_file: Path | None
) -> Sequence[Metric]:
    """Raises aiohttp.ClientError when Qdrant is away or refuses the key."""
    base = base_url.rstrip("/")
    headers = {} if api_key_file is None else {"api-key": api_key_file.read_text().strip()}

    async def result(path: str) -> Any:
        async with http.get(base + path, headers=headers) as response:
            response.raise_for_status()
            return (await response.json())["result"]

    listing, page = await asyncio.gather(
        result("/collections"), fetch(http, f"{base}/metrics", headers)
    )
    names = sorted(collection["name"] for collection in listing["collections"])
    details = await asyncio.gather(
        *(result(f"/collections/{quote(name, safe='')}") for name in names)
    )

    collections = GaugeMetricFamily(
        "qdrant_collections_total", "Collections Qdrant holds now.", value=len(names)
    )
    points = GaugeMetricFamily(
        "qdrant_points_total",
        "Points a collection holds now, as Qdrant counts them (approximate).",
        labels=["collection"],
    )
    for name, detail in zip(names, details, strict=True):
        points.add_metric([name], detail["points_count"])

    requests = CounterMetricFamily(
        "qdrant_requests",
        "Requests Qdrant answered ({rest,grpc}_responses_total); gRPC has a status from 1.17 on.",
        labels=["api", "status"],
    )
    for api in ("rest", "grpc"):
        answered = sum_by(page.samples(f"{api}_responses_total"), "status")
        for (status,), value in sorted(answered.items()):
            requests.add_metric([api, status], value)
    return collections, points, requests
