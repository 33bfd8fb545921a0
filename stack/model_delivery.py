"""Brings a model's files to the host: resumable, proven, and served only once all are there."""

import shlex
from pathlib import Path
from typing import Protocol

from stack.docker.apply import RemoteError
from stack.model import MANIFEST, Model, ModelError, ModelFile, State, gigabytes, missing

CHUNK = 32 * 1024**2
SLICE_SECONDS = 20
# Slices in a row that may bring nothing before the source counts as gone.
IDLE_SLICES = 3
# What is left free on the disk on top of the files.
MARGIN = 0.05


class Host(Protocol):
    """What a delivery needs of a host; see :class:`stack.docker.apply.Remote`."""

    def run(self, script: str) -> str: ...
    def put(self, content: bytes, path: str) -> None: ...
    def say(self, text: str) -> None: ...


class Delivery:
    """One model on its way to one host."""

    def __init__(self, host: Host, model: Model) -> None:
        self._host = host
        self._model = model
        self._source = model

    def bring(self, state: State) -> None:
        """Fetch what is not there. Raises ModelError; what was fetched stays for the next try."""
        model = self._model
        place = model.path if state.complete else model.partial
        if model.needs_commit:
            self._source = model.at_commit(self._text(model.commits_url))
        files = self._source.files(self._listing())
        self._host.run(f"mkdir -p {shlex.quote(place)}")
        todo = list(missing(files, self._sizes(place)))
        self._check_disk(sum(file.size - there for file, there in todo))
        for number, (file, there) in enumerate(todo, 1):
            self._host.say(f"    {file.path} ({number} of {len(todo)}, {gigabytes(file.size)})")
            self._fetch(file, place, there)
        self._finish(files, place)

    def _listing(self) -> str:
        model = self._model
        if model.kind == "directory":
            path = Path(model.source).expanduser() / MANIFEST
            try:
                return path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise ModelError(
                    f"saiga.source.path: {path} cannot be read ({error}); make it with"
                    f" python -m stack model {model.source}"
                ) from None
        return self._text(self._source.listing_url)

    def _text(self, url: str) -> str:
        try:
            return self._host.run(f"curl -sSfL -m 60 {shlex.quote(url)}")
        except RemoteError as error:
            raise ModelError(f"the host cannot reach {url}: {error}") from None

    def _sizes(self, place: str) -> dict[str, int]:
        found = self._host.run(f"cd {shlex.quote(place)} && find . -type f -printf '%s %P\\n'")
        rows = (line.split(" ", 1) for line in found.splitlines())
        return {path: int(size) for size, path in rows}

    def _check_disk(self, needed: int) -> None:
        free = int(self._host.run(f"df -B1 --output=avail {self._model.folder} | tail -1"))
        if needed * (1 + MARGIN) > free:
            raise ModelError(
                f"saiga.source: the model needs {gigabytes(needed * (1 + MARGIN))} in"
                f" {self._model.folder}, which has {gigabytes(free)} free; make room there"
            )

    def _fetch(self, file: ModelFile, place: str, there: int) -> None:
        path = f"{place}/{file.path}"
        part = shlex.quote(f"{path}.part")
        self._host.run(f"mkdir -p {shlex.quote(path.rpartition('/')[0])}")
        send = self._upload if self._model.kind == "directory" else self._download
        send(file, f"{path}.part", there)
        found = self._host.run(f"stat -c %s {part}; {{ {file.sum_command}; }} <{part}").split()
        size, digest = int(found[0]), found[1]
        if size != file.size:
            self._host.run(f"rm -f {part}")
            raise ModelError(
                f"{self._where(file)} has {size} bytes, but the manifest says {file.size}"
            )
        if digest != file.digest:
            self._host.run(f"rm -f {part}")
            raise ModelError(
                f"{self._where(file)} is damaged: its digest is {digest[:12]}..., but the manifest"
                f" says {file.digest[:12]}..."
            )
        self._host.run(f"chmod 0644 {part} && mv {part} {shlex.quote(path)}")

    def _where(self, file: ModelFile) -> str:
        if self._model.kind == "directory":
            return f"{self._model.source}/{file.path}"
        return self._source.url(file)

    def _download(self, file: ModelFile, part: str, there: int) -> None:
        """In slices of time, each going on where the last one ended."""
        url, idle = self._source.url(file), 0
        script = (
            f"curl -sSfL --connect-timeout 10 --max-time {SLICE_SECONDS} -C - -o"
            f" {shlex.quote(part)} {shlex.quote(url)} 2>&1; status=$?;"
            f" echo; stat -c %s {shlex.quote(part)} 2>/dev/null || echo 0; echo $status"
        )
        self._host.run(f"touch {shlex.quote(part)}")
        while there < file.size:
            *words, size, status = self._host.run(script).splitlines()
            if status == "33":  # The server cannot go on in the middle.
                self._host.run(f": >{shlex.quote(part)}")
            idle = idle + 1 if int(size) <= there else 0
            there = int(size)
            if status == "0":
                return
            if idle >= IDLE_SLICES or status not in ("28", "18", "33", "56"):
                reason = " ".join(" ".join(words).split()) or f"curl ended with {status}"
                raise ModelError(
                    f"the host could not fetch {url}: {reason};"
                    f" {gigabytes(there)} of {gigabytes(file.size)} are there for the next try"
                )
            self._host.say(f"    {file.path}: {gigabytes(there)} of {gigabytes(file.size)}")

    def _upload(self, file: ModelFile, part: str, there: int) -> None:
        source = Path(self._model.source).expanduser() / file.path
        try:
            with source.open("rb") as content:
                content.seek(there)
                self._host.run(f"touch {shlex.quote(part)}")
                for chunk in iter(lambda: content.read(CHUNK), b""):
                    self._host.put(chunk, f"{part}.chunk")
                    chunk_path = shlex.quote(f"{part}.chunk")
                    self._host.run(f"cat {chunk_path} >>{shlex.quote(part)} && rm {chunk_path}")
                    there += len(chunk)
                    if there < file.size:
                        progress = f"{gigabytes(there)} of {gigabytes(file.size)}"
                        self._host.say(f"    {file.path}: {progress}")
        except OSError as error:
            raise ModelError(f"saiga.source.path: {source} cannot be read: {error}") from None

    def _finish(self, files: list[ModelFile], place: str) -> None:
        """The manifest is written last, over what lies there, and then the folder gets its name.

        It has a SHA-256 for every file: ours, of what was proven, where the Hub has none.
        """
        quoted = shlex.quote(place)
        digests = {file.path: file.digest for file in files}
        if blobs := [file.path for file in files if not file.has_sha256]:
            names = " ".join(map(shlex.quote, blobs))
            sums = self._host.run(f"cd {quoted} && sha256sum -- {names}").splitlines()
            digests |= {path: line[:64] for path, line in zip(blobs, sums, strict=True)}
        lines = "".join(f"{digests[file.path]} {file.size} {file.path}\n" for file in files)
        self._host.put(lines.encode(), f"{place}/{MANIFEST}.new")
        done = (
            f"cd {quoted} && chmod 0644 {MANIFEST}.new && mv {MANIFEST}.new {MANIFEST} && sync -f ."
        )
        if place != self._model.path:
            done += f" && cd / && mv {quoted} {shlex.quote(self._model.path)}"
        self._host.run(f"{done} && chmod -R a+rX {shlex.quote(self._model.path)}")


def remove_command(model: Model, revision: str) -> str:
    """Removes another revision of the model."""
    return f"rm -rf {shlex.quote(f'{model.folder}/{revision}')}"
