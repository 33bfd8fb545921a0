"""The model's files: which there are, how each is proven, and where they lie on the host.

A manifest has one line for each file: SHA-256 (hex), size in bytes, path. Its own SHA-256 is the
revision of a mirror or a directory; the Hub's revision is a commit.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

MODELS_DIR = "/var/lib/saiga-stack/models"
MANIFEST = "MANIFEST"
LINE = re.compile(r"([0-9a-f]{64}) (\d+) (\S.*)")
# What a model's repository holds besides the model.
NOT_SERVED = re.compile(r"\.gitattributes|README\.md|.*\.(md|png|jpg|gguf|onnx|bin\.index\.json)")


class ModelError(ValueError):
    """The model's files are not what they have to be; one sentence."""


@dataclass(frozen=True)
class ModelFile:
    """One file. ``digest`` is its SHA-256, or its SHA-1 as a git blob: the Hub has either."""

    path: str
    size: int
    digest: str

    @property
    def has_sha256(self) -> bool:
        return len(self.digest) == 64

    @property
    def sum_command(self) -> str:
        """A shell command that prints the digest of its standard input."""
        if self.has_sha256:
            return "sha256sum"
        return f"{{ printf 'blob {self.size}\\0'; cat; }} | sha1sum"


@dataclass(frozen=True)
class Model:
    """Where the files come from and where they lie. ``kind`` is hub, mirror or directory."""

    name: str
    kind: str
    source: str
    revision: str

    @property
    def folder(self) -> str:
        """Parent of every revision on the host."""
        return f"{MODELS_DIR}/{self.name.rpartition('/')[2]}"

    @property
    def path(self) -> str:
        """Complete files only ever lie here."""
        return f"{self.folder}/{self.revision[:40]}"

    @property
    def partial(self) -> str:
        return f"{self.path}.partial"

    @property
    def needs_commit(self) -> bool:
        """Whether the revision is the beginning of a commit: the Hub takes whole ones only."""
        return self.kind == "hub" and len(self.revision) < 40

    @property
    def commits_url(self) -> str:
        return f"{self.source}/api/models/{self.name}/commits/main"

    def at_commit(self, commits: str) -> "Model":
        """The model at the one commit of the Hub's list that begins with the revision."""
        try:
            names = {str(entry["id"]) for entry in json.loads(commits)}
        except (ValueError, KeyError, TypeError):
            names = set()
        found = [name for name in names if name.startswith(self.revision)]
        if len(found) != 1:
            raise ModelError(
                f"saiga.source.revision: {'more than one' if found else 'no'} commit of"
                f" {self.commits_url} begins with {self.revision}; state all forty digits"
            )
        return replace(self, revision=found[0])

    @property
    def listing_url(self) -> str:
        """What names the files: the Hub's tree at the revision, or the mirror's manifest."""
        if self.kind == "hub":
            return f"{self.source}/api/models/{self.name}/tree/{self.revision}?recursive=true"
        return f"{self.source}/{MANIFEST}"

    def url(self, file: ModelFile) -> str:
        if self.kind == "hub":
            return f"{self.source}/{self.name}/resolve/{self.revision}/{file.path}"
        return f"{self.source}/{file.path}"

    def files(self, listing: str) -> list[ModelFile]:
        """The files that ``listing`` names; raises ModelError when it is not the revision's."""
        if self.kind == "hub":
            return _hub_files(self, listing)
        # On its way through a shell a text may lose its last line break.
        found = hashlib.sha256(f"{listing.rstrip()}\n".encode()).hexdigest()
        if found != self.revision:
            raise ModelError(
                f"saiga.source.revision: {self.revision[:12]}... is not that of {MANIFEST} at"
                f" {self.source}, which is {found}"
            )
        return parse_manifest(listing)


def _hub_files(model: Model, listing: str) -> list[ModelFile]:
    try:
        entries = json.loads(listing)
        files = [
            ModelFile(
                entry["path"],
                int(entry["size"]),
                entry["lfs"]["oid"].removeprefix("sha256:") if entry.get("lfs") else entry["oid"],
            )
            for entry in entries
            if entry["type"] == "file" and not NOT_SERVED.fullmatch(entry["path"])
        ]
    except (ValueError, KeyError, TypeError):
        files = []
    if not files:
        raise ModelError(f"{model.listing_url} names no files: is saiga.source.revision a commit?")
    return [_safe(file) for file in files]


def _safe(file: ModelFile) -> ModelFile:
    if file.path.startswith("/") or ".." in file.path.split("/") or "\n" in file.path:
        raise ModelError(f"{file.path!r} is no path inside a model")
    return file


def parse_manifest(text: str) -> list[ModelFile]:
    """The files of a manifest; raises ModelError with the first line that is none."""
    files = []
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        if not match:
            raise ModelError(f"{MANIFEST}: {line!r} is not a SHA-256, a size and a path")
        files.append(_safe(ModelFile(match[3], int(match[2]), match[1])))
    if not files:
        raise ModelError(f"{MANIFEST} names no files")
    return files


def manifest_of(directory: Path, say: Callable[[str], object] = lambda _: None) -> str:
    """The manifest of the files below ``directory``; ``say`` hears of each before it is read.

    Hidden files are no part of it: downloads leave their notes there.
    """
    lines = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and name != MANIFEST and not f"/{name}".count("/."):
            say(f"reading {name} ({gigabytes(path.stat().st_size)})")
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{digest} {path.stat().st_size} {name}\n")
    return "".join(lines)


def state_script(model: Model) -> str:
    """Prints ``wrong PATH`` for each delivered file of another size, ``complete`` when all are
    there, and ``other REVISION`` for what lies beside; see :func:`parse_state`."""
    return (
        f"cd {shlex.quote(model.path)} 2>/dev/null && [ -f {MANIFEST} ] && {{"
        f" while read -r digest size path; do"
        ' [ "$(stat -c %s "$path" 2>/dev/null)" = "$size" ] || echo "wrong $path";'
        f" done <{MANIFEST}; echo complete; }};"
        f" for other in {shlex.quote(model.folder)}/*; do"
        f" case $other in '{model.path}'|'{model.partial}'|*'/*') ;;"
        ' *) echo "other ${other##*/}" ;; esac; done; true'
    )


def damaged_script(model: Model) -> str:
    """Prints what sha256sum says about each delivered file that is not the manifest's: it reads
    them all."""
    return (
        f"cd {shlex.quote(model.path)} &&"
        f" sed -E 's/^(\\S+) [0-9]+ /\\1  /' {MANIFEST} | sha256sum --check --quiet 2>&1 || true"
    )


@dataclass(frozen=True)
class State:
    """Whether the revision has been delivered, which of its files are wrong, what lies beside."""

    complete: bool = False
    wrong: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def parse_state(output: Iterable[str]) -> State:
    rows = [line.partition(" ") for line in output if line]
    return State(
        complete=any(kind == "complete" for kind, _, _ in rows),
        wrong=tuple(name for kind, _, name in rows if kind == "wrong"),
        others=tuple(name for kind, _, name in rows if kind == "other"),
    )


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def missing(files: Iterable[ModelFile], sizes: dict[str, int]) -> Iterator[tuple[ModelFile, int]]:
    """Each file that is not whole, with the bytes of it that are there already."""
    for file in files:
        if sizes.get(file.path) != file.size:
            yield file, min(sizes.get(f"{file.path}.part", 0), file.size)
