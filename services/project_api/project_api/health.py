"""Is every part that an answer needs there?"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from project_api.problems import Problem
from project_api.startup import Step

TIMEOUT = 4

OK = "ok"


class Health:
    """Live checks by dependency, and the steps of the start that must be done."""

    def __init__(
        self, checks: Mapping[str, Callable[[], Awaitable[None]]], steps: Sequence[Step]
    ) -> None:
        self._checks = checks
        self._steps = steps

    async def report(self) -> dict[str, str]:
        """`ok` or one sentence, by dependency and step; takes 4 s at most."""
        results = await asyncio.gather(*(_result(check) for check in self._checks.values()))
        report = dict(zip(self._checks, results, strict=True))
        return report | {step.name: step.fault or OK for step in self._steps}


async def _result(check: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(TIMEOUT):
            await check()
    except TimeoutError:
        return f"no answer within {TIMEOUT} s"
    except Problem as problem:
        return problem.detail
    return OK
