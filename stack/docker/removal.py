"""Taking everything of ours off a host, data only where it is named."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stack.docker.observe import Observed
from stack.docker.plan import Refusal
from stack.docker.spec import OWNER_LABEL, OWNER_VALUE, Desired


@dataclass(frozen=True)
class Removal:
    """One thing to remove: ``container NAME``, ``network NAME`` or ``volume NAME``, and how."""

    subject: str
    command: str


def removal(desired: Desired, observed: Observed, volumes: Sequence[str] = ()) -> list[Removal]:
    """What to remove, in order: containers as they depend on each other, networks, volumes.

    Whatever carries our label goes, also what the site no longer has. Raises Refusal when
    ``volumes`` names one that is not the site's, or a stranger stands in a network of ours.
    """
    refusals = [*_unknown_volumes(desired, volumes), *_strangers(observed)]
    if refusals:
        raise Refusal("\n".join(refusals))
    order = [container.name for container in desired.containers]
    names = sorted(
        _ours(observed.containers, lambda document: document["Config"]["Labels"]),
        key=lambda name: order.index(name) if name in order else len(order),
        reverse=True,
    )
    return [
        *(
            Removal(f"container {name}", f"docker stop {name} >/dev/null; docker rm --force {name}")
            for name in names
        ),
        *(
            Removal(f"network {name}", f"docker network rm {name}")
            for name in sorted(_ours(observed.networks, lambda document: document["Labels"]))
        ),
        *(
            Removal(f"volume {name}", f"docker volume rm {name}")
            for name in volumes
            if name in observed.volumes
        ),
    ]


def _ours(documents: Any, labels: Any) -> Iterator[str]:
    for name, document in documents.items():
        if (labels(document) or {}).get(OWNER_LABEL) == OWNER_VALUE:
            yield name


def _unknown_volumes(desired: Desired, volumes: Sequence[str]) -> Iterator[str]:
    known = [volume.name for volume in desired.volumes]
    for name in volumes:
        if name not in known:
            yield f"volume {name} is none of the site's; there are: {', '.join(known)}"


def _strangers(observed: Observed) -> Iterator[str]:
    ours = set(_ours(observed.containers, lambda document: document["Config"]["Labels"]))
    for network in _ours(observed.networks, lambda document: document["Labels"]):
        for name, document in sorted(observed.containers.items()):
            if name not in ours and network in (document["NetworkSettings"]["Networks"] or {}):
                yield (
                    f"network {network} cannot be removed: container {name}, which is not ours, is"
                    f" attached to it; disconnect {name} first"
                )
