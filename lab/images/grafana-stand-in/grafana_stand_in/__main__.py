"""`python3 -m grafana_stand_in`: check the provisioning, then serve until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import os
import signal
import sys

from aiohttp import web

from . import GRAFANA_VERSION, StandInError, environment, provisioning
from .accounts import Accounts
from .api import Api
from .dashboards import Library

NAME = "grafana lab stand-in"


async def serve(api: Api, address: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(api.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address or None, port).start()
    logging.info("%s: HTTP listening on %d", NAME, port)
    await stop.wait()
    await runner.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(prog=NAME)
    parser.add_argument(
        "--version", action="version", version=f"{NAME} (API of Grafana {GRAFANA_VERSION})"
    )
    parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        settings = environment.load(os.environ)
        sources = provisioning.data_sources(settings.provisioning, settings.variables)
        library = Library(
            provisioning.providers(settings.provisioning, settings.variables), sources
        )
        logging.info("%d data sources, %d dashboards", len(sources), len(library.all()))
        accounts = Accounts(settings.data, settings.admin_user, settings.admin_password)
        asyncio.run(serve(Api(accounts, sources, library), settings.address, settings.port))
    except (StandInError, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    accounts.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
