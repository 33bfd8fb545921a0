"""`python -m webbot2`: serve until SIGTERM."""

import logging
import sys

from aiohttp import web

from webbot2.app import create_app
from webbot2.settings import Settings

SHUTDOWN_SECONDS = 5


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = Settings()
        app = create_app(settings)
    except ValueError as error:
        sys.exit(f"webbot2: {error}")
    web.run_app(
        app,
        host=settings.host,
        port=settings.port,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
        handler_cancellation=True,
    )


if __name__ == "__main__":
    main()
