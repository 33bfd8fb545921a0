"""The vendors' repositories of a site, for its distribution."""

from dataclasses import dataclass

from stack.gpu.packages import Distribution
from stack.machine.apt import Repository
from stack.site import Site


@dataclass(frozen=True)
class Repositories:
    nvidia_cuda: Repository
    nvidia_container_toolkit: Repository
    docker: Repository


def repositories(site: Site, distribution: Distribution) -> Repositories:
    """Paths below each URL are the vendors' own, so that a mirror is a copy of their tree."""
    apt = site.apt
    cuda = f"{apt.nvidia_cuda.url}/{distribution.name}/x86_64"
    docker = f"{apt.docker.url}/{distribution.family}"
    return Repositories(
        nvidia_cuda=Repository(
            "nvidia-cuda",
            f"{cuda}/",
            "/",
            f"{cuda}/3bf863cc.pub",
            apt.nvidia_cuda.key,
            "apt.nvidia_cuda.key",
        ),
        nvidia_container_toolkit=Repository(
            "nvidia-container-toolkit",
            f"{apt.nvidia_container_toolkit.url}/stable/deb/amd64",
            "/",
            f"{apt.nvidia_container_toolkit.url}/gpgkey",
            apt.nvidia_container_toolkit.key,
            "apt.nvidia_container_toolkit.key",
        ),
        docker=Repository(
            "docker",
            docker,
            f"{distribution.codename} stable",
            f"{docker}/gpg",
            apt.docker.key,
            "apt.docker.key",
        ),
    )
