"""Saiga."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.site import Stack


@deploy("Saiga")
def saiga(stack: Stack) -> None:
    """vLLM with the site's model; passes its gate once it completes a token."""
    run(stack, "saiga")
