"""What a site downloads from NVIDIA, Docker and Ubuntu, at the paths that their servers have.

Nothing here is the vendors': see README.md for what each stand-in does and does not prove.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab import cache, publish
from lab.steps import step
from lab.vendors import catalogue, deb


@dataclass(frozen=True)
class Vendor:
    """Who signs repositories: where its public key lies, and how its Release files name it.

    `flat` are paths of repositories without suites, `suites` are path, suite and component.
    """

    name: str
    keys: tuple[str, ...]
    origin: str
    label: str
    flat: tuple[str, ...] = ()
    suites: tuple[tuple[str, str, str], ...] = ()


CUDA = "nvidia/cuda/repos"
DISTRIBUTIONS = ("debian12", "ubuntu2204", "ubuntu2404")
VENDORS = (
    Vendor(
        name="cuda",
        keys=tuple(f"{CUDA}/{name}/x86_64/3bf863cc.pub" for name in DISTRIBUTIONS),
        origin="NVIDIA",
        label="NVIDIA CUDA",
        flat=tuple(f"{CUDA}/{name}/x86_64" for name in DISTRIBUTIONS),
    ),
    Vendor(
        name="libnvidia-container",
        keys=("nvidia/libnvidia-container/gpgkey",),
        origin="https://nvidia.github.io/libnvidia-container/stable/deb/amd64",
        label="NVIDIA CORPORATION <cudatools@nvidia.com>",
        flat=("nvidia/libnvidia-container/stable/deb/amd64",),
    ),
    Vendor(
        name="docker",
        keys=("docker/linux/debian/gpg", "docker/linux/ubuntu/gpg"),
        origin="Docker",
        label="Docker CE",
        suites=(
            ("docker/linux/debian", "bookworm", "stable"),
            ("docker/linux/ubuntu", "jammy", "stable"),
            ("docker/linux/ubuntu", "noble", "stable"),
        ),
    ),
    Vendor(
        name="ubuntu",
        keys=("ubuntu/archive.asc",),
        origin="Ubuntu",
        label="Ubuntu",
        suites=(("ubuntu", "jammy", "main"), ("ubuntu", "noble", "main")),
    ),
)


def inputs() -> str:
    """The cache key of the repositories: descriptions, programs, this code, the kernel."""
    files = sorted(path for path in catalogue.DIRECTORY.rglob("*") if path.is_file())
    code = [path for path in files if "__pycache__" not in path.parts]
    named = [str(path.relative_to(catalogue.DIRECTORY)) for path in code]
    sources = [path.read_bytes() for path in (*code, Path(publish.__file__))]
    return cache.key(*named, *sources, os.uname().release)


def path(directory: Path) -> Path:
    """The document root of the repositories in a cache directory."""
    return directory / "vendors"


def build(directory: Path) -> None:
    """Make the repositories in the cache directory unless they are there; about 20 seconds.

    `vendors/fingerprints.json` in it has the fingerprint of each vendor's key.
    """
    if not cache.is_fresh(path(directory), inputs()):
        with step("stand-ins for the repositories of NVIDIA, Docker and Ubuntu"):
            cache.build(path(directory), inputs(), partial(_make, directory))


def build_packages(repository: str, pool: Path) -> None:
    """Write every package of one repository into the directory `pool`."""
    pool.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(lambda package: deb.build(package, pool), catalogue.load()[repository]))


def _make(directory: Path, target: Path) -> None:
    fingerprints = {}
    for vendor in VENDORS:
        key = publish.Key(directory / "vendor-keys" / vendor.name, f"Saiga lab as {vendor.name}")
        _publish(vendor, target, key)
        fingerprints[vendor.name] = key.fingerprint()
        for name in vendor.keys:
            (target / name).write_text(key.public())
    (target / "fingerprints.json").write_text(json.dumps(fingerprints, indent=4) + "\n")


def _publish(vendor: Vendor, target: Path, key: publish.Key) -> None:
    fields = {"Origin": vendor.origin, "Label": vendor.label}
    for repository in vendor.flat:
        build_packages(repository, target / repository)
        publish.index_flat(target / repository, fields)
        key.sign(target / repository)
    for repository, suite, component in vendor.suites:
        root = target / repository
        build_packages(f"{repository}/{suite}", root / "pool" / suite / component)
        key.sign(publish.index_suite(root, suite, [component], fields))
