"""Saiga."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.model import old_models
from stack.pyinfra.site import Stack


@deploy("Saiga")
def saiga(stack: Stack) -> None:
    """vLLM with the site's model; passes its gate once it completes a token."""
    if run(stack, "saiga"):
        old_models(name="Old revisions of the model", stack=stack)
