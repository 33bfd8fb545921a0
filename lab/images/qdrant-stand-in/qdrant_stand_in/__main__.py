"""`python3 -m qdrant_stand_in`: serve REST and gRPC until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from aiohttp import web

from . import API_VERSION, ENGINE, grpc_health, settings
from .auth import Keys
from .errors import ApiError
from .rest import Api
from .storage import Storage


async def serve(config: settings.Settings, storage: Storage) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    keys = Keys(config.api_key, config.read_only_api_key)
    app = Api(storage, keys, config.max_request_size_mb).application()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, config.host, config.http_port).start()
    logging.info("Qdrant lab stand-in: HTTP listening on %d", config.http_port)
    grpc = None
    if config.grpc_port is not None:
        grpc = await grpc_health.serve(config.host, config.grpc_port)
        logging.info("Qdrant lab stand-in: gRPC listening on %d", config.grpc_port)
    await stop.wait()
    await runner.cleanup()
    if grpc is not None:
        await grpc.stop(grace=1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="qdrant lab stand-in")
    parser.add_argument("--config-path", type=Path, help="a configuration file to add")
    parser.add_argument(
        "--version",
        action="version",
        version=f"qdrant lab stand-in (REST API of qdrant {API_VERSION}, engine {ENGINE})",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        config = settings.from_environment(arguments.config_path)
        storage = Storage(config.storage_path, config.snapshots_path)
    except (settings.SettingsError, ApiError, OSError) as error:
        print(f"qdrant lab stand-in: {error}", file=sys.stderr)
        return 1
    try:
        asyncio.run(serve(config, storage))
    except (OSError, RuntimeError) as error:
        print(f"qdrant lab stand-in: {error}", file=sys.stderr)
        return 1
    finally:
        storage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
