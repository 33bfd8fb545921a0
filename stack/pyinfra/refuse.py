"""Ending a run with one sentence."""

from collections.abc import Generator
from typing import Any

from pyinfra import logger, state
from pyinfra.api import Host, OperationError, State
from pyinfra.api.command import PyinfraCommand


def failed(host: Host, sentence: str) -> bool:
    """Tell the operator why a command failed; False, for its ``execute`` to return."""
    for line in sentence.splitlines():
        host.log_styled(line, fg="red", log_func=logger.error)
    return False


class _Refused(PyinfraCommand):
    """Fails with its sentence. An exception at this point would show the operator a traceback."""

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.sentence = sentence

    def __repr__(self) -> str:
        return self.sentence

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        return failed(host, self.sentence)


def refuse(sentence: str) -> Generator[PyinfraCommand, None, None]:
    """What an operation yields to end the run; raises OperationError while changes are detected."""
    if not state.is_executing:
        raise OperationError(sentence)
    yield _Refused(sentence)
