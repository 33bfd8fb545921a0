"""Agent exporter."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.site import Stack


@deploy("Agent exporter")
def agent_exporter(stack: Stack) -> None:
    """Numbers of the dialogues, of Qdrant and of vLLM."""
    run(stack, "agent_exporter")
