"""WebBot2."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.site import Stack


@deploy("WebBot2")
def webbot2(stack: Stack) -> None:
    """The chat page over the Project API."""
    run(stack, "webbot2")
