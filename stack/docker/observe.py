"""Observed state: ``docker inspect`` and ``stat`` of one host, parsed once into plain values.

The input is the output of :func:`observation_script`, which costs one remote command.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stack.docker.spec import Desired

LOADED_DIR = "/var/lib/saiga-stack/loaded"
IMAGES_DIR = "/var/lib/saiga-stack/images"
ADOPTED_DIR = "/var/lib/saiga-stack/adopted"
ASIDE_SUFFIX = ".saiga-stack-old"

Json = dict[str, Any]

_SECTION = "=== saiga-stack "


@dataclass(frozen=True)
class ObservedFile:
    """A file on the host; ``modified`` in seconds since the epoch."""

    sha256: str
    mode: str
    owner: str
    modified: float


@dataclass(frozen=True)
class Observed:
    """What one host runs. ``None`` for ``engine`` means that Docker does not answer.

    ``containers``, ``networks`` and ``volumes`` map a name to its inspect document, ``images`` a
    reference to its inspect document. ``loaded`` maps a container that reloads to the pair
    (container id, hash of the files it loaded last), ``pulled`` an image reference to the image id
    that its last pull gave. ``adopted`` names the volumes taken over by hand: a volume's labels
    cannot be changed.
    """

    engine: str | None = None
    containers: Mapping[str, Json] = field(default_factory=dict)
    networks: Mapping[str, Json] = field(default_factory=dict)
    volumes: Mapping[str, Json] = field(default_factory=dict)
    images: Mapping[str, Json] = field(default_factory=dict)
    files: Mapping[str, ObservedFile] = field(default_factory=dict)
    loaded: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    pulled: Mapping[str, str] = field(default_factory=dict)
    adopted: frozenset[str] = frozenset()


def image_record(reference: str) -> str:
    """Path of the host's note of which image a pull of ``reference`` gave."""
    return f"{IMAGES_DIR}/{re.sub(r'[^A-Za-z0-9._-]', '_', reference)}"


def observation_script(desired: Desired) -> str:
    """A POSIX shell script that prints everything :func:`parse` needs, in marked sections."""
    references = sorted({container.image for container in desired.containers})
    paths = sorted({file.path for container in desired.containers for file in container.files})
    image_lines = [
        f"printf '%s\\n' {shlex.quote(json.dumps(reference))}; "
        f"docker image inspect {shlex.quote(reference)} 2>/dev/null || true; "
        f"cat {shlex.quote(image_record(reference))} 2>/dev/null || echo -; echo ---"
        for reference in references
    ]
    quoted_paths = " ".join(shlex.quote(path) for path in paths)
    return "\n".join(
        [
            f"s() {{ printf '%s%s\\n' {shlex.quote(_SECTION)} \"$1\"; }}",
            "s engine",
            "docker version --format '{{.Server.Version}}' 2>/dev/null || echo -",
            "s containers",
            "docker ps -aq --no-trunc 2>/dev/null | xargs -r docker container inspect 2>/dev/null"
            " || true",
            "s networks",
            "docker network ls -q --no-trunc 2>/dev/null | xargs -r docker network inspect"
            " 2>/dev/null || true",
            "s volumes",
            "docker volume ls -q 2>/dev/null | xargs -r docker volume inspect 2>/dev/null || true",
            "s images",
            *image_lines,
            "s files",
            *(
                [
                    f'for f in {quoted_paths}; do if [ -f "$f" ]; then'
                    " printf '%s ' \"$(sha256sum <\"$f\" | cut -d' ' -f1)\";"
                    " stat -c '0%a %u:%g %.Y %n' \"$f\"; fi; done"
                ]
                if paths
                else []
            ),
            "s loaded",
            f'for f in {LOADED_DIR}/*; do if [ -f "$f" ]; then'
            ' printf \'%s %s\\n\' "${f##*/}" "$(cat "$f")"; fi; done',
            "s adopted",
            f"ls {ADOPTED_DIR} 2>/dev/null || true",
            "s end",
        ]
    )


def _sections(output: str) -> dict[str, str]:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith(_SECTION):
            current = sections.setdefault(line.removeprefix(_SECTION), [])
        else:
            current.append(line)
    return {name: "\n".join(lines) for name, lines in sections.items()}


def _by_name(documents: Iterable[Json]) -> dict[str, Json]:
    return {document["Name"].lstrip("/"): document for document in documents}


def _documents(text: str) -> list[Json]:
    """Every document of the JSON arrays that stand one after the other in ``text``."""
    decoder = json.JSONDecoder()
    documents: list[Json] = []
    position = 0
    text = text.strip()
    while position < len(text):
        array, end = decoder.raw_decode(text, position)
        documents.extend(array)
        position = end + len(text[end:]) - len(text[end:].lstrip())
    return documents


def _images(text: str) -> tuple[dict[str, Json], dict[str, str]]:
    images: dict[str, Json] = {}
    pulled: dict[str, str] = {}
    for entry in text.split("\n---"):
        lines = entry.strip().splitlines()
        if not lines:
            continue
        reference = json.loads(lines[0])
        if documents := _documents("\n".join(lines[1:-1])):
            images[reference] = documents[0]
        if lines[-1] != "-":
            pulled[reference] = lines[-1]
    return images, pulled


def _files(text: str) -> dict[str, ObservedFile]:
    files = {}
    for line in text.splitlines():
        sha256, mode, owner, modified, path = line.split(" ", 4)
        files[path] = ObservedFile(sha256, f"{int(mode, 8):04o}", owner, float(modified))
    return files


def _loaded(text: str) -> dict[str, tuple[str, str]]:
    records = (line.split() for line in text.splitlines())
    return {record[0]: (record[1], record[2]) for record in records if len(record) == 3}


def parse(output: str) -> Observed:
    """Parse the output of :func:`observation_script`.

    Raises ValueError when the output is cut short or is not what the script prints.
    """
    sections = _sections(output)
    if "end" not in sections:
        raise ValueError("the observation of the host is incomplete: its last section is missing")
    images, pulled = _images(sections["images"])
    engine = sections["engine"].strip()
    return Observed(
        engine=None if engine in ("", "-") else engine,
        containers=_by_name(_documents(sections["containers"])),
        networks=_by_name(_documents(sections["networks"])),
        volumes=_by_name(_documents(sections["volumes"])),
        images=images,
        files=_files(sections["files"]),
        loaded=_loaded(sections["loaded"]),
        pulled=pulled,
        adopted=frozenset(sections["adopted"].split()),
    )
