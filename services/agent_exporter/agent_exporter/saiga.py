"""Saiga's requests, tokens and response times, from vLLM's own /metrics.

The four families used here have kept their names from vLLM 0.8.5 (V1 engine) to 0.32; the ones
that were renamed (cache usage, prefix cache, time per output token) are not needed.
"""

from collections.abc import Sequence

import aiohttp
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from agent_exporter.exposition import fetch, sum_by

LATENCY = "vllm:e2e_request_latency_seconds"
TOKENS = {
    "prompt": "vllm:prompt_tokens_total",
    "generation": "vllm:generation_tokens_total",
}


async def collect(http: aiohttp.ClientSession, url: str) -> Sequence[Metric]:
    """Sums over all engines of the server; raises LookupError when a family is missing."""
    page = await fetch(http, url)
    requests = CounterMetricFamily(
        "saiga_requests",
        "Requests vLLM finished, by reason (vllm:request_success_total).",
        labels=["finished_reason"],
    )
    finished = sum_by(page.required("vllm:request_success_total"), "finished_reason")
    for (reason,), value in sorted(finished.items()):
        requests.add_metric([reason], value)

    tokens = CounterMetricFamily(
        "saiga_tokens",
        "Tokens vLLM read (prompt) and wrote (generation).",
        labels=["kind"],
    )
    for kind, name in TOKENS.items():
        tokens.add_metric([kind], sum_by(page.required(name))[()])

    by_bound = sum_by(page.required(f"{LATENCY}_bucket"), "le")
    latency = HistogramMetricFamily(
        "saiga_response_time_seconds",
        f"Time from a request's arrival at vLLM to its last token ({LATENCY}).",
        buckets=[
            (bound, value)
            for (bound,), value in sorted(by_bound.items(), key=lambda item: float(item[0][0]))
        ],
        sum_value=sum_by(page.required(f"{LATENCY}_sum"))[()],
    )
    return requests, tokens, latency
