"""GPU memory, from the DCGM exporter. vLLM itself does not export it."""

from collections.abc import Sequence

import aiohttp
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from agent_exporter.exposition import fetch

FRAMEBUFFER_USED = "DCGM_FI_DEV_FB_USED"
BYTES_PER_MIB = 2**20


async def collect(http: aiohttp.ClientSession, url: str) -> Sequence[Metric]:
    """Framebuffer in use per GPU, by all of its processes; DCGM counts in MiB."""
    page = await fetch(http, url)
    memory = GaugeMetricFamily(
        "saiga_gpu_memory_usage_bytes",
        f"GPU memory in use on Saiga's host, by all processes ({FRAMEBUFFER_USED}).",
        labels=["gpu"],
    )
    for sample in page.required(FRAMEBUFFER_USED):
        memory.add_metric([sample.labels["gpu"]], sample.value * BYTES_PER_MIB)
    return (memory,)
