"""`python -m agent_exporter`: serve until SIGTERM."""

import logging
import sys

from aiohttp import web

from agent_exporter.app import create_app
from agent_exporter.settings import Settings

SHUTDOWN_SECONDS = 5


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = Settings()
    except ValueError as error:
        sys.exit(f"agent_exporter: {error}")
    web.run_app(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
