"""Apt on the controller with lists and state of its own: no lock shared, no machine changed.

The machine's own sources and options stay in force, whichever mirror they name.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.processes import run
from lab.settings import RELEASE

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Workspace:
    """A directory in which apt resolves and downloads for a system described by a dpkg status."""

    directory: Path

    @classmethod
    def create(cls, directory: Path, dpkg_status: str = "") -> "Workspace":
        """Lay the directory out and download the package lists."""
        workspace = cls(directory)
        for name in ("lists/partial", "archives/partial"):
            (directory / name).mkdir(parents=True)
        (directory / "status").write_text(dpkg_status)
        (directory / "apt.conf").write_text(
            f'Dir::State::lists "{directory}/lists";\n'
            f'Dir::State::status "{directory}/status";\n'
            f'Dir::Cache::archives "{directory}/archives";\n'
            'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
            'APT::Install-Recommends "false";\nAPT::Install-Suggests "false";\n'
            'APT::Sandbox::User "root";\nAPT::Update::Post-Invoke-Success "";\n'
        )
        workspace._apt_get("update", "--quiet")
        return workspace

    def debian_sources(self) -> list[str]:
        """The machine's sources of this Debian release, as one-line entries for sources.list."""
        entries = self._apt_get(
            "indextargets",
            "--format",
            "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
            "Identifier: Packages",
        )
        sources = []
        for entry in entries.splitlines():
            origin, uri, release, component = entry.split("|")
            suites = (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")
            if origin == "Debian" and release in suites and component == "main":
                sources.append(f"deb [signed-by={KEYRING}] {uri} {release} {component}")
        if not sources:
            raise LabError(
                f"apt on this machine has no source of Debian {RELEASE} main: add one to "
                "/etc/apt/sources.list"
            )
        return sources

    def add_release(self, release: str, packages: Sequence[str]) -> None:
        """Take `packages`, and nothing else, from another Debian release on the same mirror."""
        sources = self.debian_sources()
        main = f" {RELEASE} main"
        sources += [
            source.removesuffix(main) + f" {release} main"
            for source in sources
            if source.endswith(main)
        ]
        self._use_sources(
            sources,
            f"Package: *\nPin: release n={release}\nPin-Priority: -1\n\n"
            f"Package: {' '.join(packages)}\nPin: release n={release}\nPin-Priority: 990\n",
        )

    def add_contrib(self) -> None:
        """Take packages from Debian's contrib too, on the same mirror."""
        self._use_sources([f"{source} contrib" for source in self.debian_sources()])

    def _use_sources(self, sources: Sequence[str], preferences: str = "") -> None:
        (self.directory / "sources.list").write_text("\n".join([*sources, ""]))
        (self.directory / "preferences").write_text(preferences)
        with (self.directory / "apt.conf").open("a") as configuration:
            configuration.write(
                f'Dir::Etc::sourcelist "{self.directory}/sources.list";\n'
                'Dir::Etc::sourceparts "/dev/null";\n'
                f'Dir::Etc::preferences "{self.directory}/preferences";\n'
            )
        self._apt_get("update", "--quiet")

    def download(self, packages: Sequence[str]) -> list[Path]:
        """Download `packages` and every dependency that the described system lacks."""
        self._apt_get("install", "--yes", "--download-only", *packages)
        return sorted((self.directory / "archives").glob("*.deb"))

    def _apt_get(self, *arguments: str) -> str:
        environment = {
            **os.environ,
            "APT_CONFIG": str(self.directory / "apt.conf"),
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C",
        }
        return run(["apt-get", *arguments], env=environment)
