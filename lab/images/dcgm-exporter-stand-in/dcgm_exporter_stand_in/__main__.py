"""`python3 -m dcgm_exporter_stand_in`: serve until SIGTERM or SIGINT."""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from . import EXPORTER_VERSION, counters, exporter, gpu

NAME = "dcgm-exporter lab stand-in"


def parse() -> argparse.Namespace:
    """dcgm-exporter's options in use, with the environment variables as defaults."""
    environ = os.environ.get
    parser = argparse.ArgumentParser(prog=NAME)
    parser.add_argument(
        "-f",
        "--collectors",
        type=Path,
        default=environ("DCGM_EXPORTER_COLLECTORS", "/etc/dcgm-exporter/default-counters.csv"),
    )
    parser.add_argument("-a", "--address", default=environ("DCGM_EXPORTER_LISTEN", ":9400"))
    parser.add_argument(
        "-c",
        "--collect-interval",
        type=int,
        default=environ("DCGM_EXPORTER_INTERVAL", "30000"),
        help="milliseconds",
    )
    parser.add_argument(
        "--version", action="version", version=f"{NAME} (metrics of {EXPORTER_VERSION})"
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    host, separator, port = arguments.address.rpartition(":")
    if not separator or not port.isdecimal():
        return fail(f"listen address {arguments.address!r} is not [host]:port")
    if arguments.collect_interval <= 0:
        return fail(f"collect interval {arguments.collect_interval} is not above 0 milliseconds")
    card = gpu.Card(started=time.time())
    no_hostname = os.environ.get("DCGM_EXPORTER_NO_HOSTNAME", "false").lower() in ("1", "t", "true")
    hostname = None if no_hostname else os.environ.get("NODE_NAME") or socket.gethostname()
    known = frozenset(card.values(card.started))
    try:
        fields = counters.read(arguments.collectors, known, warn=log)
        sampler = exporter.Sampler(
            lambda: exporter.render(fields, card, time.time(), hostname),
            arguments.collect_interval / 1000,
        )
        server = exporter.server(host, int(port), sampler)
    except (counters.CountersError, OSError, OverflowError) as error:
        return fail(str(error))

    def stop(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    log(f"listening on {arguments.address}, no card is read")
    server.serve_forever()
    server.server_close()
    return 0


def log(message: str) -> None:
    print(f"{NAME}: {message}", flush=True)


def fail(message: str) -> int:
    print(f"{NAME}: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
