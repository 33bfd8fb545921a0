"""What compose and Ansible need on the lab host, from Debian through this machine's own apt."""

from pathlib import Path
from tempfile import TemporaryDirectory

from bench.host import BenchHost
from lab.apt import Workspace

COMPOSE_RELEASE = "trixie"
COMPOSE = "docker-compose"
ANSIBLE = ("python3", "python3-docker")


def install(host: BenchHost) -> list[str]:
    """Install what is missing; returns the names of the packages that were.

    Compose v2 comes from Debian 13, the rest from the host's own release.
    """
    with TemporaryDirectory() as scratch:
        workspace = Workspace.create(Path(scratch) / "apt", host.run("cat /var/lib/dpkg/status"))
        workspace.add_release(COMPOSE_RELEASE, [COMPOSE])
        packages = workspace.download([COMPOSE, *ANSIBLE])
        if packages:
            folder = "/var/tmp/saiga-bench"
            host.run(f"rm -rf {folder} && mkdir {folder}")
            for package in packages:
                host.put(package.read_bytes(), f"{folder}/{package.name}")
            host.run(
                "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends"
                f" {folder}/*.deb && rm -rf {folder}"
            )
    return [package.name.partition("_")[0] for package in packages]


def remove(host: BenchHost, names: list[str]) -> None:
    """Remove packages that `install` brought, with their configuration."""
    if names:
        host.run(f"dpkg --purge {' '.join(names)}")
