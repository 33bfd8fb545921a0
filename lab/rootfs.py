"""The file trees that images are made from: Debian root filesystems and Python packages."""

import compileall
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from py_compile import PycInvalidationMode

from lab import cache
from lab.errors import LabError
from lab.settings import RELEASE
from lab.steps import run_logged

PYTHON = (3, 11)


def debian(packages: Sequence[str], hooks: Path, out: Path, log: Path) -> None:
    """Write a minimal Debian 12 with `packages` to the tar file `out`.

    The machine's apt sources are used. `hooks` may be a folder of mmdebstrap hook scripts.
    LabError when mmdebstrap fails.
    """
    run_logged(
        [
            "mmdebstrap",
            "--format=tar",
            "--variant=minbase",
            f"--include={','.join(packages)}",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            *([f"--hook-dir={hooks}"] if hooks.is_dir() else []),
            '--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname"',
            RELEASE,
            out,
        ],
        log,
    )


def python_tree(requirements: Path, strip: Sequence[str], out: Path, log: Path) -> None:
    """Install hash-pinned requirements into the folder `out`, less what the globs in `strip` match.

    Only wheels are taken, exactly those listed. The bytecode is of the unchecked kind: nothing
    edits the tree, and containers cannot write to it. LabError under any Python but Debian 12's,
    when a glob matches nothing, or when pip fails.
    """
    if sys.version_info[:2] != PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        raise LabError(f"Python {found} runs this; packages for Debian 12 need Python 3.11")
    run_logged(
        [
            *(sys.executable, "-m", "pip", "install", "--no-input", "--progress-bar=off"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile"),
            *("--target", out, "--requirement", requirements),
        ],
        log,
    )
    for pattern in strip:
        matches = list(out.glob(pattern))
        if not matches:
            raise LabError(f"strip: {pattern} matches nothing that {requirements} installs")
        for path in matches:
            cache.remove(path)
    compileall.compile_dir(
        out,
        maxlevels=100,
        quiet=2,
        workers=os.cpu_count() or 1,
        stripdir=str(out),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
