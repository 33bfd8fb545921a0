"""The language model's files on the host, before the container that serves them starts."""

from pyinfra.api import deploy

from stack.pyinfra.model import model_files, model_memory
from stack.pyinfra.site import Stack


@deploy("Model")
def model(stack: Stack) -> None:
    """From the Hub, a mirror or a directory of the controller; what it takes of the memory."""
    if stack.site.services.saiga.enabled:
        model_files(name="Files", stack=stack)
        model_memory(name="Memory", stack=stack)
