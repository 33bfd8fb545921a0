"""Qdrant's collections: what they are compared in, and the requests that make them."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stack.docker.plan import Change
from stack.secrets import QDRANT_API_KEY, QDRANT_READ_ONLY_KEY, curl
from stack.tasks import Task, changed

DISTANCE = "Cosine"
# What searches filter by.
INDEXES = ("course", "source")
VERSION = re.compile(r":v?(\d+\.\d+\.\d+)")


@dataclass(frozen=True)
class Wanted:
    """The collections that have to be at ``url``; ``dimension`` is the embedder's."""

    url: str
    names: tuple[str, ...]
    dimension: int
    vectors_on_disk: bool
    payload_on_disk: bool

    @property
    def fields(self) -> dict[str, str]:
        """What can be changed of a collection that holds points."""
        return {
            "vectors on disk": _flag(self.vectors_on_disk),
            "payload on disk": _flag(self.payload_on_disk),
        }


def _flag(value: object) -> str:
    return "yes" if value else "no"


def version_of(image: str) -> str | None:
    """The version of Qdrant in an image's tag; None when it names none."""
    found = VERSION.search(image)
    return found[1] if found else None


def observation_script(wanted: Wanted) -> str:
    """A shell script for the host that prints each collection's name and Qdrant's answer."""
    lines = []
    for name in wanted.names:
        ask = curl("api-key: ", QDRANT_READ_ONLY_KEY, f"-s -m 10 {wanted.url}/collections/{name}")
        lines.append(f"printf '%s ' {name}; {ask}; echo")
    return "\n".join(lines)


def parse(output: list[str]) -> dict[str, Any] | None:
    """Name to what Qdrant says of each collection that exists; None when it does not answer."""
    found = {}
    for line in filter(None, output):
        name, _, text = line.partition(" ")
        try:
            document = json.loads(text)
        except json.JSONDecodeError:
            return None
        if result := document.get("result"):
            found[name] = result
    return found


def refusal(wanted: Wanted, found: Mapping[str, Any]) -> str | None:
    """The sentence for a collection that another embedder has filled."""
    for name, result in found.items():
        vectors = result["config"]["params"]["vectors"]
        size, distance = vectors.get("size"), vectors.get("distance")
        if (size, distance) == (wanted.dimension, DISTANCE):
            continue
        if size is None:
            holds = "named vectors"
        else:
            holds = f"vectors of {size} dimensions, compared by {distance}"
        return (
            f"collection {name} holds {holds}, but the embedder makes {wanted.dimension},"
            f" compared by {DISTANCE}; keep the embedder or name a new collection in"
            f" qdrant.collections"
        )
    return None


def _request(wanted: Wanted, method: str, path: str, body: Mapping[str, Any]) -> str:
    arguments = (
        f"-sS --fail-with-body -m 60 -X {method}"
        f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
        f" '{wanted.url}/collections/{path}'"
    )
    return curl("api-key: ", QDRANT_API_KEY, arguments)


def tasks(wanted: Wanted, found: Mapping[str, Any]) -> Iterator[Task]:
    """Create what is missing, change what can be changed; nothing is ever dropped."""
    for name in wanted.names:
        subject = f"collection {name}"
        if name not in found:
            body = {
                "vectors": {
                    "size": wanted.dimension,
                    "distance": DISTANCE,
                    "on_disk": wanted.vectors_on_disk,
                },
                "on_disk_payload": wanted.payload_on_disk,
            }
            change = Change("dimension", "-", str(wanted.dimension))
            create = _request(wanted, "PUT", name, body)
            yield Task(subject, "create", "not found", (create,), (change,))
        else:
            params = found[name]["config"]["params"]
            before = {
                "vectors on disk": _flag(params["vectors"].get("on_disk")),
                "payload on disk": _flag(params.get("on_disk_payload")),
            }
            if changes := changed(before, wanted.fields):
                body = {
                    "vectors": {"": {"on_disk": wanted.vectors_on_disk}},
                    "params": {"on_disk_payload": wanted.payload_on_disk},
                }
                update = _request(wanted, "PATCH", name, body)
                yield Task(subject, "update", "differs", (update,), changes)
        schema = found.get(name, {}).get("payload_schema", {})
        for field in INDEXES:
            kind = schema.get(field, {}).get("data_type", "-")
            if kind != "keyword":
                body = {"field_name": field, "field_schema": "keyword"}
                index = _request(wanted, "PUT", f"{name}/index?wait=true", body)
                change = Change("type", kind, "keyword")
                yield Task(f"{subject}", f"index {field}", "not found", (index,), (change,))


def check_command(image: str, volume: str, script: str) -> str | None:
    """Ask the volume whether this version of Qdrant may serve it; None for an unknown version."""
    version = version_of(image)
    if version is None:
        return None
    run = [
        *("docker", "run", "--rm", "--network=none", "--user=0:0", "--cap-drop=ALL"),
        *("--cap-add=DAC_READ_SEARCH", "--security-opt=no-new-privileges", "--read-only"),
        f"--mount=type=volume,source={volume},target=/data,readonly,volume-nocopy",
        *("--env=DATA=/data", f"--env=WANTED={version}", f"--env=VOLUME={volume}"),
        *("--entrypoint=sh", image, "-c", script),
    ]
    return shlex.join(run)
