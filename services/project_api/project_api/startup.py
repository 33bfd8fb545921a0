"""What must happen once before the service is ready, tried until it succeeds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

FIRST_DELAY = 0.5
LONGEST_DELAY = 10.0

logger = logging.getLogger(__name__)


class Step:
    """One step of the start: `fault` says why it is not done yet, and is None once it is."""

    def __init__(self, name: str, action: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self.fault: str | None = "not tried yet"
        self._action = action

    async def run(self) -> None:
        """Try until it succeeds, every 10 s at the rarest; a new fault is logged once."""
        delay = FIRST_DELAY
        while True:
            try:
                await self._action()
            except Exception as error:
                fault = str(error) or repr(error)
                if fault != self.fault:
                    fields = {"step": self.name, "fault": fault}
                    logger.warning("start-up waits", extra={"fields": fields})
                self.fault = fault
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY)
            else:
                self.fault = None
                logger.info("start-up step done", extra={"fields": {"step": self.name}})
                return
