"""The exposition, sampled at the collect interval, and the HTTP server."""

import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import gpu
from .counters import Counter


def render(counters: Sequence[Counter], card: gpu.Card, now: float, hostname: str | None) -> str:
    """Prometheus text; without `hostname` the label Hostname is left out."""
    labels = {
        "gpu": "0",
        "UUID": gpu.UUID,
        "pci_bus_id": gpu.PCI_BUS_ID,
        "device": "nvidia0",
        "modelName": gpu.MODEL,
    }
    if hostname is not None:
        labels["Hostname"] = hostname
    labels |= {
        item.field: gpu.LABEL_VALUES[item.field] for item in counters if item.kind == "label"
    }
    inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
    values = card.values(now)
    lines = []
    for item in counters:
        if item.kind == "label" or item.field not in values:
            continue
        value = values[item.field]
        shown = f"{value:.6f}" if isinstance(value, float) else str(value)
        lines += [
            f"# HELP {item.field} {item.text}",
            f"# TYPE {item.field} {item.kind}",
            f"{item.field}{{{inside}}} {shown}",
        ]
    return "\n".join(lines) + "\n"


class Sampler:
    """Keeps the text of the latest sample, as dcgm-exporter does; a scrape reads no card."""

    def __init__(self, sample: Callable[[], str], interval: float) -> None:
        self._sample = sample
        self._interval = interval
        self.text = sample()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._interval)
            self.text = self._sample()


def server(host: str, port: int, sampler: Sampler) -> ThreadingHTTPServer:
    """Listen on host:port. Raises OSError when that is impossible."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._send(200, "text/plain; charset=utf-8", sampler.text)
            elif path == "/health":
                self._send(200, "text/plain; charset=utf-8", "OK")
            else:
                self._send(200 if path == "/" else 404, "text/html; charset=utf-8", PAGE)

        def _send(self, status: int, content_type: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer((host, port), Handler)


PAGE = """<!doctype html><html lang="ru"><meta charset="utf-8">
<title>GPU Exporter: lab stand-in</title>
<h1>GPU Exporter: учебная замена / lab stand-in</h1>
<p>Видеокарты здесь нет, значения вычислены. / There is no card here, the values are computed.</p>
<p><a href="/metrics">/metrics</a></p>
"""
