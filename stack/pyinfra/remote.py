"""A pyinfra host as the Remote that applying a plan needs."""

import getpass
import io
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from pyinfra.api import Host, StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS

from stack.docker.apply import RemoteError
from stack.docker.observe import Observed
from stack.docker.spec import Container
from stack.progress import progress

LAST_LINES = 15


def operator() -> str:
    """Who runs this deploy, as ``user@machine``."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def operation_arguments(host: Host) -> dict[str, Any]:
    """The privileges and the environment of the operation that is being prepared or runs."""
    given: Any = host.current_op_global_arguments or {}
    return {key: given[key] for key in CONNECTOR_ARGUMENT_KEYS if key in given}


def at_work(host: Host, doing: str) -> AbstractContextManager[None]:
    """Tell the operator now and then that what takes long is still being done."""
    return progress(f"    still: {doing}", host.log)


class PyinfraRemote:
    """Runs everything over the connection and with the privileges of the running operation.

    ``doing`` is what it is for; the line of a step that is said takes its place.
    """

    def __init__(
        self,
        host: Host,
        arguments: dict[str, object],
        observe: Callable[[], Observed],
        context: Callable[[Container], bytes],
        doing: str,
    ) -> None:
        self._host = host
        self._arguments = arguments
        self._observe = observe
        self._context = context
        self._doing = doing

    @property
    def origin(self) -> str:
        return operator()

    def run(self, script: str) -> str:
        with at_work(self._host, self._doing):
            ok, output = self._host.run_shell_command(StringCommand(script), **self._arguments)
        if not ok:
            lines = output.output.splitlines()[-LAST_LINES:]
            raise RemoteError("\n".join(lines) or "the command failed without a word")
        return output.stdout

    def put(self, content: bytes, path: str) -> None:
        with at_work(self._host, self._doing):
            ok = self._host.put_file(io.BytesIO(content), path, **self._arguments)
        if not ok:
            raise RemoteError(f"could not write {path}")

    def observe(self) -> Observed:
        return self._observe()

    def context(self, container: Container) -> bytes:
        with at_work(self._host, self._doing):
            return self._context(container)

    def say(self, text: str) -> None:
        if not text.startswith(" "):
            self._doing = text
        self._host.log(text)
