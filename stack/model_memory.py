"""How much memory a model takes, from its config.json: weights, and the KV cache of a context."""

import json
from dataclasses import dataclass
from typing import Any

from stack.site import SaigaSettings
from stack.values import GIB, parse_size

# Bytes of one value of the KV cache: bfloat16 or float16.
KV_BYTES = 2
# Beside weights and cache: activations of a step, CUDA graphs and what CUDA itself takes, on a
# 24 GB card. An estimate from logs of vLLM 0.8; the exact number is in the log of each start.
OVERHEAD = int(1.6 * GIB)


@dataclass(frozen=True)
class Memory:
    """All in bytes but ``context``, which is in tokens."""

    weights: int
    kv_per_token: int
    context: int
    available: int | None = None
    source: str = "config.json"

    @property
    def needed(self) -> int:
        """Bytes that one request of the longest length needs on the card."""
        return self.weights + self.kv_per_token * self.context + OVERHEAD

    @property
    def contexts(self) -> float | None:
        """How many contexts of full length fit at once; None where that is not known."""
        if self.available is None:
            return None
        return self.available / (self.kv_per_token * self.context)

    def __str__(self) -> str:
        text = (
            f"memory: weights {self.weights / GIB:.2f} GiB, KV cache {self.kv_per_token / 1024:g}"
            f" KiB a token, {self.kv_per_token * self.context / GIB:.2f} GiB a context of"
            f" {self.context} tokens, by {self.source}"
        )
        if self.available is None or self.contexts is None:
            return text
        tokens = self.available // self.kv_per_token
        return (
            f"{text}; {self.available / GIB:.1f} GiB for it: {tokens} tokens,"
            f" {self.contexts:.1f} contexts at once"
        )


def memory(config: str, weights: int, context: int, available: int | None = None) -> Memory | None:
    """``available`` is what is left for the KV cache. None for a config.json of another shape."""
    try:
        values: dict[str, Any] = json.loads(config)
        heads = values["num_attention_heads"]
        head = values.get("head_dim") or values["hidden_size"] // heads
        kv_heads = values.get("num_key_value_heads") or heads
        per_token = 2 * values["num_hidden_layers"] * kv_heads * head * KV_BYTES
    except (ValueError, KeyError, TypeError):
        return None
    return Memory(weights, per_token, context, available)


def stated(settings: SaigaSettings) -> Memory:
    """By the site's own figures, for a model whose files are not here yet."""
    return Memory(
        parse_size(settings.weights),
        parse_size(settings.memory_per_token),
        settings.max_model_len,
        source="saiga.weights and saiga.memory_per_token",
    )


def left_on_gpu(total: int, utilization: float, weights: int) -> int:
    """What vLLM has left of a card of ``total`` bytes for the KV cache."""
    return max(0, int(total * utilization) - weights - OVERHEAD)
