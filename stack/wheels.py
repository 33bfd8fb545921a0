"""Wheels of our images, resolved on the controller: an image build needs no network."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON_VERSION = "3.11"
PLATFORMS = ("manylinux_2_36_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "any")


class WheelsError(RuntimeError):
    """The wheels of a service could not be downloaded."""


def cache_dir() -> Path:
    """Where wheels are kept: ``$SAIGA_STACK_CACHE`` or ``~/.cache/saiga-stack``."""
    default = Path.home() / ".cache" / "saiga-stack"
    return Path(os.environ.get("SAIGA_STACK_CACHE", default)) / "wheels"


def wheels_for(requirements: Path) -> Path:
    """A folder with the wheel of every line of a hash-pinned requirements file.

    Downloads with pip, configured as on this machine, unless the folder is complete already.
    Raises WheelsError with pip's last line.
    """
    folder = _folder(requirements)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _download(requirements, folder)
    return folder


def cached(requirements: Path) -> bool:
    """Whether :func:`wheels_for` has nothing to download."""
    return _folder(requirements).is_dir()


def _folder(requirements: Path) -> Path:
    return cache_dir() / hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]


def _download(requirements: Path, folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    platforms = [argument for name in PLATFORMS for argument in ("--platform", name)]
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--require-hashes", "--only-binary", ":all:", "--implementation", "cp"),
            *("--python-version", PYTHON_VERSION, *platforms),
            *("--requirement", str(requirements), "--dest", str(partial)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise WheelsError(f"the wheels of {requirements} could not be downloaded: {last}")
    partial.rename(folder)
