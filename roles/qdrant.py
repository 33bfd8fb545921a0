"""Qdrant with the site's collections."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.operations import qdrant_collections
from stack.pyinfra.site import Stack
from stack.topology import address


@deploy("Qdrant")
def qdrant(stack: Stack) -> None:
    """The database first, then its collections with the embedder's dimension."""
    if settings := run(stack, "qdrant"):
        qdrant_collections(
            name="Collections",
            stack=stack,
            container=settings.container,
            url=f"http://{address(settings, 'http')}",
            names=tuple(stack.site.qdrant.collections),
            dimension=stack.site.embedder.dimension,
        )
