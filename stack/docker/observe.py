"""Observed state: ``docker inspect`` and ``stat`` of one host, parsed once into plain values.

The input is the output of :func:`observation_script`, which costs one remote command.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from stack import sections
from stack.docker.spec import Desired
from stack.secrets import SECRETS_DIR

LOADED_DIR = "/var/lib/saiga-stack/loaded"
IMAGES_DIR = "/var/lib/saiga-stack/images"
ADOPTED_DIR = "/var/lib/saiga-stack/adopted"
CHECK_DIR = "/var/lib/saiga-stack/check"
ASIDE_SUFFIX = ".saiga-stack-old"
# The content that a file of a container had before a change that is not yet proven; a link to
# nowhere when there was no file.
PREVIOUS_SUFFIX = ".previous"
NEW_SUFFIX = ".new"

Json = dict[str, Any]

# Asking would make systemd's docker.socket start a Docker that somebody stopped.
_STOPPED = (
    "stopped=; if [ -d /run/systemd/system ] && command -v docker >/dev/null &&"
    " ! systemctl is-active --quiet docker; then stopped=stopped; docker() { return 1; }; fi"
)
# Each client lives for milliseconds and holds little: without its garbage collector, a fifth less.
_NO_COLLECTOR = "export GOGC=off"
# A container may go away between two questions; a Docker that does shows half of the host.
_ASK = (
    'ask() { docker "$@" && return; docker version >/dev/null || : >"$answers/gone"; return 1; }'
    " 2>/dev/null"
)
# Folders that a container has mounted and that are no longer the ones of that name on the host.
_STALE_FOLDERS = (
    "docker container inspect --format"
    """ '{{$c := .}}{{range .Mounts}}{{if eq .Type "bind"}}{{$c.Name}} {{$c.State.Pid}}"""
    """ {{.Source}} {{.Destination}}{{"\\n"}}{{end}}{{end}}' $ids 2>/dev/null |"""
    " while read -r name pid source target; do mounted=/proc/$pid/root$target;"
    ' if [ -d "$mounted" ] && ! [ "$mounted" -ef "$source" ]; then'
    """ printf '%s %s\\n' "${name#/}" "$source"; fi; done"""
)
_ENGINE = "{{.ServerVersion}} {{.DefaultRuntime}} {{.SwapLimit}} {{json .SecurityOptions}}"


@dataclass(frozen=True)
class ObservedFile:
    """A file on the host; ``modified`` in seconds since the epoch."""

    sha256: str
    mode: str
    owner: str
    modified: float


@dataclass(frozen=True)
class Engine:
    """A Docker daemon, with those of its defaults that it writes into each container it creates."""

    version: str
    runtime: str = "runc"
    cgroup_namespace: str = "private"
    limits_swap: bool = True


@dataclass(frozen=True)
class Observed:
    """What one host runs. ``None`` for ``engine`` means that Docker does not answer; ``stopped``
    that it is installed and does not run, so that nothing is known of what it has.

    ``containers``, ``networks`` and ``volumes`` map a name to its inspect document, ``images`` a
    reference to its inspect document. ``loaded`` maps a container that was seen to work to the pair
    (container id, hash of the files it loaded last), ``pulled`` an image reference to the image id
    that its last pull or build gave. ``files`` has all that lies in the folders of our files.
    ``adopted`` has the names of volumes taken over by hand, as a volume's labels cannot be changed,
    and the ids of containers whose adoption has begun. ``unproven`` names the files whose change
    was interrupted before the container that reads them was seen to work. ``stale_folders`` maps a
    running container to the folders on the host that it still has mounted although they were
    deleted or replaced. ``secrets`` maps the path of a secret's file to its modification time, in
    seconds since the epoch; its content is never read.
    """

    engine: Engine | None = None
    stopped: bool = False
    containers: Mapping[str, Json] = field(default_factory=dict)
    networks: Mapping[str, Json] = field(default_factory=dict)
    volumes: Mapping[str, Json] = field(default_factory=dict)
    images: Mapping[str, Json] = field(default_factory=dict)
    files: Mapping[str, ObservedFile] = field(default_factory=dict)
    loaded: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    pulled: Mapping[str, str] = field(default_factory=dict)
    adopted: frozenset[str] = frozenset()
    unproven: frozenset[str] = frozenset()
    stale_folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    secrets: Mapping[str, float] = field(default_factory=dict)


def image_record(reference: str) -> str:
    """Path of the host's note of which image a pull or build of ``reference`` gave."""
    return f"{IMAGES_DIR}/{re.sub(r'[^A-Za-z0-9._-]', '_', reference)}"


def _image_lines(references: list[str]) -> Iterator[str]:
    """One ``docker image inspect`` for all images; one for each only when some are missing."""

    def block(*these: str) -> str:
        names = shlex.join(json.dumps(reference) for reference in these)
        notes = (shlex.quote(image_record(reference)) for reference in these)
        pulled = " ".join(f"cat {note} 2>/dev/null || echo -;" for note in notes)
        return f"printf '%s\\n' {names} \"$found\"; {pulled} echo ---"

    if not references:
        yield ":"
    else:
        found = f"found=$(ask image inspect {shlex.join(references)})"
        yield f"if {found}; then {block(*references)}; else"
        for reference in references:
            found = f"found=$(docker image inspect {shlex.quote(reference)} 2>/dev/null)"
            yield f"{found}; {block(reference)}"
        yield "fi"


def observation_script(desired: Desired) -> str:
    """A POSIX shell script that prints everything :func:`parse` needs, in marked sections."""
    references = sorted({container.image for container in desired.containers})
    folders = sorted({f.folder for container in desired.containers for f in container.files})
    find = f"find {shlex.join(folders)} -maxdepth 1 \\( -type f -o -type l \\)"
    attributes = shlex.join(["-printf", "0%m %U:%G %T@ %p\\n"])
    volumes = shlex.join(volume.name for volume in desired.volumes)
    return "\n".join(
        [
            sections.BEGIN,
            _STOPPED,
            's stopped; echo "$stopped"',
            _NO_COLLECTOR,
            _ASK,
            f"later engine ask info --format {shlex.quote(_ENGINE)}",
            "ids=$(ask ps -aq --no-trunc)",
            "later containers ask container inspect $ids",
            f"stale() {{ {_STALE_FOLDERS}; }}",
            "later stale stale",
            "networks() { ask network inspect $(docker network ls -q --no-trunc); }",
            "later networks networks",
            f"later volumes ask volume inspect {volumes}",
            "images() {",
            *_image_lines(references),
            "}",
            "later images images",
            "s files",
            *([f"{find} {attributes} 2>/dev/null"] if folders else []),
            "s hashes",
            *([f"{find} -exec sha256sum {{}} + 2>/dev/null"] if folders else []),
            "s loaded",
            f'for f in {LOADED_DIR}/*; do if [ -f "$f" ]; then'
            ' printf \'%s %s\\n\' "${f##*/}" "$(cat "$f")"; fi; done',
            "s adopted",
            f"ls {ADOPTED_DIR} 2>/dev/null || true",
            "s secrets",
            f"stat -c '%.Y %n' {SECRETS_DIR}/*/* 2>/dev/null || true",
            "together",
            sections.END,
        ]
    )


def _engine(found: Mapping[str, str]) -> Engine | None:
    """The daemon that answered each time it was asked."""
    answer = found["engine"].strip()
    if "gone" in found or len(answer.split()) < 4:
        return None
    version, runtime, limits_swap, security = answer.split(maxsplit=3)
    # Engines name the namespace among their security options where it is the default.
    private = "name=cgroupns" in (json.loads(security) or ())
    return Engine(version, runtime, "private" if private else "host", limits_swap == "true")


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


def _is_reference(line: str) -> bool:
    return line.startswith('"')


def _images(text: str) -> tuple[dict[str, Json], dict[str, str]]:
    images: dict[str, Json] = {}
    pulled: dict[str, str] = {}
    for entry in text.split("\n---"):
        lines = entry.strip().splitlines()
        if not lines:
            continue
        references = [json.loads(line) for line in takewhile(_is_reference, lines)]
        number = len(references)
        documents = _documents("\n".join(lines[number:-number]))
        images |= zip(references, documents, strict=False)
        notes = zip(references, lines[-number:], strict=True)
        pulled |= {reference: note for reference, note in notes if note != "-"}
    return images, pulled


def _files(attributes: str, hashes: str) -> tuple[dict[str, ObservedFile], frozenset[str]]:
    """The files by path, and the paths of those whose change is not proven."""
    files: dict[str, ObservedFile] = {}
    unproven = set()
    sums = {path: sha256 for sha256, _, path in (h.partition("  ") for h in hashes.splitlines())}
    for line in attributes.splitlines():
        mode, owner, modified, path = line.split(" ", 3)
        if path.endswith(PREVIOUS_SUFFIX):
            unproven.add(path.removesuffix(PREVIOUS_SUFFIX))
        elif path in sums and not path.endswith(NEW_SUFFIX):
            files[path] = ObservedFile(sums[path], f"{int(mode, 8):04o}", owner, float(modified))
    return files, frozenset(unproven)


def _loaded(text: str) -> dict[str, tuple[str, str]]:
    records = (line.split() for line in text.splitlines())
    return {record[0]: (record[1], record[2]) for record in records if len(record) == 3}


def _stale_folders(text: str) -> dict[str, tuple[str, ...]]:
    folders: dict[str, tuple[str, ...]] = {}
    for line in sorted(text.splitlines()):
        name, _, folder = line.partition(" ")
        folders[name] = (*folders.get(name, ()), folder)
    return folders


def _secrets(text: str) -> dict[str, float]:
    rows = (line.split(" ", 1) for line in text.splitlines())
    return {path: float(modified) for modified, path in rows}


def parse(output: str) -> Observed:
    """Parse the output of :func:`observation_script`.

    Raises ValueError when the output is cut short or is not what the script prints.
    """
    found = sections.split(output)
    images, pulled = _images(found["images"])
    files, unproven = _files(found["files"], found["hashes"])
    return Observed(
        engine=_engine(found),
        stopped=bool(found.get("stopped", "").strip()),
        containers=_by_name(_documents(found["containers"])),
        networks=_by_name(_documents(found["networks"])),
        volumes=_by_name(_documents(found["volumes"])),
        images=images,
        files=files,
        loaded=_loaded(found["loaded"]),
        pulled=pulled,
        adopted=frozenset(found["adopted"].split()),
        unproven=unproven,
        stale_folders=_stale_folders(found.get("stale", "")),
        secrets=_secrets(found.get("secrets", "")),
    )
