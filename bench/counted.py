"""A deploy file to put before another one: it notes every remote command of the run.

SAIGA_BENCH_COMMANDS=FILE pyinfra inventory.py bench/counted.py deploy.py -y

Each command becomes a line of JSON in FILE: the stage of the run, the operation that needed it and
the seconds until it had ended. Uploads count as one command.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyinfra import host, state

notes = Path(os.environ["SAIGA_BENCH_COMMANDS"])


def operation() -> str:
    """The operation in whose name the host is asked now."""
    identity = host.executing_op_hash or host.current_op_hash
    if identity is None:
        return host.current_deploy_name or "(outside operations)"
    return ", ".join(sorted(state.op_meta[identity].names))


def noted(ask: Callable[..., Any]) -> Callable[..., Any]:
    def ask_and_note(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return ask(*arguments, **options)
        finally:
            note = {
                "stage": state.current_stage.name,
                "operation": operation(),
                "seconds": time.perf_counter() - started,
            }
            with notes.open("a") as file:
                file.write(json.dumps(note) + "\n")

    return ask_and_note


for method in ("run_shell_command", "put_file", "get_file"):
    setattr(host.connector, method, noted(getattr(host.connector, method)))
