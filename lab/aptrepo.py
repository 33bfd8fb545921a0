"""The lab's signed apt repository: what roles install on a bare host, with every dependency."""

import shutil
from pathlib import Path

from lab import base, cache, publish
from lab.apt import Workspace
from lab.processes import run
from lab.settings import RELEASE
from lab.steps import step
from lab.vendors import catalogue, repositories

PACKAGES = (
    "build-essential",
    "ca-certificates",
    "containerd",
    "curl",
    "dkms",
    "docker.io",
    "gnupg",
    "iptables",
    "mokutil",
    "nftables",
    "pciutils",
    "runc",
    "sudo",
    "systemd-timesyncd",
    "unattended-upgrades",
)
# Debian's own, which NVIDIA's packages for Debian lean on.
CONTRIB = (
    "glx-alternative-nvidia",
    "nvidia-installer-cleanup",
    "nvidia-kernel-common",
    "nvidia-support",
)
# Built by us: headers of the machine's own kernel.
HEADERS = "debian"
SIGNER = "Saiga lab <apt@saiga-lab>"


def inputs() -> str:
    """The cache key of the repository: this recipe, our packages and the base system under them."""
    ours = repr(catalogue.load()[HEADERS])
    return cache.key(Path(__file__).read_bytes(), ours, base.inputs())


def path(directory: Path) -> Path:
    """The document root of the repository in a cache directory."""
    return directory / "apt"


def public_key(directory: Path) -> Path:
    """The armoured public key that signs the repository."""
    return path(directory) / "lab.asc"


def build(directory: Path) -> None:
    """Make the repository in the cache directory unless it is there; the base system must be."""
    if not cache.is_fresh(path(directory), inputs()):
        with step(f"apt repository with {', '.join(PACKAGES)}"):
            cache.build(path(directory), inputs(), lambda target: _make(directory, target))


def _make(directory: Path, target: Path) -> None:
    pool = target / "pool" / RELEASE
    with cache.scratch(directory / "scratch") as scratch:
        workspace = Workspace.create(scratch / "apt", base.dpkg_status(directory))
        workspace.add_contrib()
        for package in workspace.download([*PACKAGES, *CONTRIB]):
            section = run(["dpkg-deb", "--field", package, "Section"])
            component = pool / ("contrib" if section.startswith("contrib/") else "main")
            component.mkdir(parents=True, exist_ok=True)
            shutil.copy(package, component / package.name)
    repositories.build_packages(HEADERS, pool / "main")
    fields = {"Origin": "Saiga lab", "Label": "Saiga lab"}
    key = publish.Key(directory / "apt-key", SIGNER)
    key.sign(publish.index_suite(target, RELEASE, ["main", "contrib"], fields))
    (target / "lab.asc").write_text(key.public())
