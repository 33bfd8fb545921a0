"""The lab's signed apt repository: what roles install on a bare host, with every dependency."""

import os
import shutil
from pathlib import Path

from lab import base, cache
from lab.apt import Workspace
from lab.processes import run
from lab.settings import RELEASE
from lab.steps import step

PACKAGES = (
    "ca-certificates",
    "containerd",
    "curl",
    "docker.io",
    "iptables",
    "runc",
)
SIGNER = "Saiga lab <apt@saiga-lab>"


def inputs() -> str:
    """The cache key of the repository: this recipe, its packages and the base system under them."""
    return cache.key(Path(__file__).read_bytes(), base.inputs())


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
    pool = target / "pool"
    pool.mkdir(parents=True)
    with cache.scratch(directory / "scratch") as scratch:
        workspace = Workspace.create(scratch / "apt", base.dpkg_status(directory))
        for package in workspace.download(PACKAGES):
            shutil.copy(package, pool / package.name)
    _index(target)
    _sign(target, directory / "apt-key")


def _index(target: Path) -> None:
    distribution = target / "dists" / RELEASE
    binary = distribution / "main" / "binary-amd64"
    binary.mkdir(parents=True)
    packages = run(["env", "-C", target, "apt-ftparchive", "packages", "pool"])
    (binary / "Packages").write_text(packages)
    run(["gzip", "--keep", "--no-name", binary / "Packages"])
    fields = {
        "Origin": "Saiga lab",
        "Label": "Saiga lab",
        "Suite": RELEASE,
        "Codename": RELEASE,
        "Architectures": "amd64",
        "Components": "main",
    }
    options = [f"--option=APT::FTPArchive::Release::{name}={text}" for name, text in fields.items()]
    (distribution / "Release").write_text(
        run(["apt-ftparchive", *options, "release", distribution])
    )


def _sign(target: Path, home: Path) -> None:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    gpg: list[str | Path] = [
        "gpg",
        "--homedir",
        home,
        "--batch",
        "--yes",
        "--quiet",
        "--passphrase",
        "",
    ]
    try:
        if not run([*gpg, "--list-secret-keys", "--with-colons"]):
            run([*gpg, "--quick-generate-key", SIGNER, "ed25519", "sign", "never"])
        release = target / "dists" / RELEASE
        run([*gpg, "--clearsign", "--output", release / "InRelease", release / "Release"])
        (target / "lab.asc").write_text(run([*gpg, "--armor", "--export"]))
    finally:
        run(["gpgconf", "--homedir", home, "--kill", "all"], env={**os.environ, "LC_ALL": "C"})
