"""What is expensive to build, kept and rebuilt by the inputs it was made from."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def key(*inputs: str | bytes) -> str:
    """SHA-256 (hex) over the inputs in order; the boundaries between them count."""
    digest = hashlib.sha256()
    for item in inputs:
        data = item.encode() if isinstance(item, str) else item
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def is_fresh(path: Path, inputs: str) -> bool:
    """Whether `path` exists and was completely made from `inputs` (a `key`)."""
    stamp = _stamp(path)
    return path.exists() and stamp.is_file() and stamp.read_text() == inputs


def build(path: Path, inputs: str, make: Callable[[Path], None]) -> bool:
    """Make `path` unless it is fresh; return whether it was made.

    `make` gets a path beside it that does not exist yet; an interrupted build never looks complete.
    """
    if is_fresh(path, inputs):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    remove(new)
    make(new)
    _stamp(path).unlink(missing_ok=True)
    remove(path)
    new.rename(path)
    _stamp(path).write_text(inputs)
    return True


def remove(path: Path) -> None:
    """Remove a file, a link or a whole directory; nothing happens where there is none.

    A directory is renamed first: nobody meets one that is half removed.
    """
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    grave = path.with_name(f".{path.name}.removed")
    if grave.exists():
        shutil.rmtree(grave)
    if path.exists():
        path.rename(grave)
        shutil.rmtree(grave)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """The empty directory `path` for the length of the block, over what a killed process left."""
    remove(path)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        remove(path)


def _stamp(path: Path) -> Path:
    return path.with_name(path.name + ".key")
