"""Apt repositories over directories of packages: their indices and their signatures."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.processes import run


@dataclass(frozen=True)
class Key:
    """A key without a passphrase that signs repositories, born in `home` at its first use."""

    home: Path
    owner: str

    def sign(self, directory: Path) -> None:
        """Write InRelease beside the Release file in `directory`."""
        release = directory / "Release"
        self._gpg("--clearsign", "--output", directory / "InRelease", release)

    def public(self) -> str:
        """The armoured public key."""
        return self._gpg("--armor", "--export")

    def fingerprint(self) -> str:
        """The 40 hexadecimal digits that a site pins."""
        listed = self._gpg("--list-keys", "--with-colons").splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def _gpg(self, *arguments: str | Path) -> str:
        gpg: list[str | Path] = ["gpg", "--homedir", self.home]
        gpg += ["--batch", "--yes", "--quiet", "--passphrase", ""]
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            if not run([*gpg, "--list-secret-keys", "--with-colons"]):
                run([*gpg, "--quick-generate-key", self.owner, "ed25519", "sign", "never"])
            return run([*gpg, *arguments])
        finally:
            end: list[str | Path] = ["gpgconf", "--homedir", self.home, "--kill", "all"]
            run(end, env={**os.environ, "LC_ALL": "C"})


def index_flat(directory: Path, fields: Mapping[str, str]) -> None:
    """Index the packages in `directory` itself, as `deb URL /` reads them."""
    _write_packages(directory, directory, ".")
    _write_release(directory, fields)


def index_suite(
    root: Path, suite: str, components: Iterable[str], fields: Mapping[str, str]
) -> Path:
    """Index `pool/<suite>/<component>` below `root`, as `deb URL suite components` reads them.

    Returns the directory of the Release file.
    """
    distribution = root / "dists" / suite
    for component in components:
        binary = distribution / component / "binary-amd64"
        binary.mkdir(parents=True)
        _write_packages(binary, root, f"pool/{suite}/{component}")
    names = {"Suite": suite, "Codename": suite, "Components": " ".join(components)}
    _write_release(distribution, {**fields, **names, "Architectures": "amd64"})
    return distribution


def _write_packages(directory: Path, root: Path, pool: str) -> None:
    listed = run(["env", "-C", root, "apt-ftparchive", "packages", pool])
    (directory / "Packages").write_text(listed)
    run(["gzip", "--keep", "--no-name", directory / "Packages"])


def _write_release(directory: Path, fields: Mapping[str, str]) -> None:
    options = [f"--option=APT::FTPArchive::Release::{name}={text}" for name, text in fields.items()]
    release = run(["apt-ftparchive", *options, "release", directory])
    (directory / "Release").write_text(release)
