"""Qdrant with the site's collections."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.qdrant import qdrant_collections
from stack.pyinfra.site import Stack


@deploy("Qdrant")
def qdrant(stack: Stack) -> None:
    """The database first, then its collections with the embedder's dimension."""
    if run(stack, "qdrant"):
        qdrant_collections(name="Collections", stack=stack)
