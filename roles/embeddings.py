"""Embeddings."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.site import Stack


@deploy("Embeddings")
def embeddings(stack: Stack) -> None:
    """text-embeddings-inference, where the site runs its own."""
    run(stack, "embeddings")
