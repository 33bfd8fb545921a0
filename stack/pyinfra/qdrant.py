"""The operation on Qdrant's collections."""

from typing import Any

from pyinfra import host
from pyinfra.api import operation

from stack import qdrant
from stack.pyinfra.facts import ScriptFact
from stack.pyinfra.operations import can_be_asked, silent
from stack.pyinfra.refuse import refuse
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.qdrant import Wanted
from stack.topology import address


class QdrantCollections(ScriptFact[dict[str, Any] | None]):
    """The collections as Qdrant describes them; None while it does not answer."""

    def process(self, output: list[str]) -> dict[str, Any] | None:
        return qdrant.parse(output)


@operation()
def qdrant_collections(stack: Stack) -> Commands:
    """
    Create the site's collections with the embedder's dimension, cosine distance and their payload
    indexes. Nothing is ever dropped; a collection of another dimension ends the run.

    + stack: what has to stand on the host
    """
    service, settings = stack.site.services.qdrant, stack.site.qdrant
    if not can_be_asked(stack, service.container):
        return
    wanted = Wanted(
        url=f"http://{address(service, 'http')}",
        names=tuple(settings.collections),
        dimension=stack.site.embedder.dimension,
        vectors_on_disk=settings.vectors_on_disk,
        payload_on_disk=settings.payload_on_disk,
    )
    found = host.get_fact(QdrantCollections, script=qdrant.observation_script(wanted))
    if found is None:
        yield from silent(service.container)
    elif sentence := qdrant.refusal(wanted, found):
        yield from refuse(sentence)
    else:
        yield from carry_out(*qdrant.tasks(wanted, found))
