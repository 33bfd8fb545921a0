"""The base system of a bare host: Debian 12 with systemd and sshd, and nothing of ours."""

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from lab import cache
from lab.apt import Workspace
from lab.processes import run
from lab.settings import RELEASE
from lab.steps import step

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "openssh-server",
    "iproute2",
    "kmod",
    "procps",
)


def inputs() -> str:
    """The cache key of the base system: this recipe."""
    return cache.key(Path(__file__).read_bytes())


def path(directory: Path) -> Path:
    """The tarball of the base system in a cache directory."""
    return directory / "base.tar"


def build(directory: Path) -> None:
    """Make the tarball in the cache directory unless it is there; about 30 seconds."""
    if not cache.is_fresh(path(directory), inputs()):
        with step("base system of a host"):
            cache.build(path(directory), inputs(), _make)


def dpkg_status(directory: Path) -> str:
    """What dpkg knows to be installed in the base system."""
    with tarfile.open(path(directory)) as archive:
        member = archive.extractfile("./var/lib/dpkg/status")
        assert member is not None
        return member.read().decode()


def unpack(directory: Path, target: Path) -> None:
    """Unpack the tarball of a cache directory into the empty directory `target`."""
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--preserve-permissions"]
    run(["tar", *options, "--directory", target, "--extract", "--file", path(directory)])


def _make(target: Path) -> None:
    with cache.scratch(target.with_name("scratch")) as scratch:
        sources = Workspace.create(scratch / "apt").debian_sources()
        _bootstrap(target, sources, scratch)


def _bootstrap(target: Path, sources: Sequence[str], scratch: Path) -> None:
    run(
        [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--format=tar",
            "--variant=minbase",
            "--aptopt=APT::Install-Recommends false",
            f"--include={','.join(PACKAGES)}",
            '--customize-hook=rm "$1"/etc/ssh/ssh_host_*',
            '--customize-hook=rm "$1"/etc/apt/sources.list "$1"/etc/apt/apt.conf.d/99mmdebstrap',
            RELEASE,
            target,
            *sources,
        ],
        env={**os.environ, "TMPDIR": str(scratch)},
    )
