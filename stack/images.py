"""Our own images: content-addressed, so that unchanged source is never built again."""

import hashlib
import io
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from stack.docker.spec import Build
from stack.wheels import wheels_for

_IGNORED = {"__pycache__", "wheels", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def context_files(folder: Path) -> Iterator[Path]:
    """The files that a build of ``folder`` reads, sorted; caches and wheels are passed over."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not _IGNORED & set(parts):
            yield path


def context_hash(folder: Path, base_image: str) -> str:
    """Twelve hex digits over names, modes and content of the files and the base image."""
    digest = hashlib.sha256(base_image.encode())
    for path in context_files(folder):
        executable = bool(path.stat().st_mode & stat.S_IXUSR)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder)}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()[:12]


def build_of(service: str, root: Path, base_image: str) -> Build:
    """What builds the image of ``services/<service>`` under ``root``."""
    folder = root / "services" / service
    return Build(str(folder), context_hash(folder, base_image), base_image)


def archive(build: Build) -> bytes:
    """The build context as a tar archive: the service's files and, under wheels/, its wheels.

    Raises WheelsError when the wheels are neither cached nor to be downloaded.
    """
    folder = Path(build.folder)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in context_files(folder):
            tar.add(path, str(path.relative_to(folder)), filter=_anonymous)
        for wheel in sorted(wheels_for(folder / "requirements.txt").glob("*.whl")):
            tar.add(wheel, f"wheels/{wheel.name}", filter=_anonymous)
    return buffer.getvalue()


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    return entry
