"""Which packages a host gets, by distribution: exact names and versions, as the vendors have them.

Names of the driver 560.35.03: the vendors' repositories for Ubuntu 22.04, 24.04 and Debian 12. The
metapackages (nvidia-open, cuda-drivers, cuda) ask for a least version only and are never used: they
bring whatever is newest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stack.machine.apt import PackageSet

DRIVER = "560.35.03"
CUDA = "12.6"
_TOOLKIT = "12.6.2-1"
# What the toolkit asks for by least versions, and the next release has newer ones of.
_CUDA = {
    **dict.fromkeys(
        (
            "cuda-compiler-12-6",
            "cuda-libraries-12-6",
            "cuda-libraries-dev-12-6",
            "cuda-toolkit-12-6",
            "cuda-tools-12-6",
        ),
        _TOOLKIT,
    ),
    "cuda-nvcc-12-6": "12.6.77-1",
    "cuda-nvrtc-12-6": "12.6.77-1",
    "cuda-nvrtc-dev-12-6": "12.6.77-1",
    "libcublas-12-6": "12.6.3.3-1",
    "libcublas-dev-12-6": "12.6.3.3-1",
    "libnvjitlink-12-6": "12.6.77-1",
    "libnvjitlink-dev-12-6": "12.6.77-1",
}
# Components of CUDA 12.6 Update 2 with a version of their own, from its release notes.
_COMPONENTS = {
    "cuda-*-12-6": "12.6.77-1",
    "libcublas-12-6 libcublas-dev-12-6": "12.6.3.3-1",
    "libnvjitlink-12-6 libnvjitlink-dev-12-6": "12.6.77-1",
}
_CONTAINER_TOOLKIT = "1.20.0-1"
_ENGINE = {
    "docker-ce": "5:28.5.2-1",
    "docker-ce-cli": "5:28.5.2-1",
    "containerd.io": "1.7.29-1",
    "docker-buildx-plugin": "0.29.1-1",
}

KernelModule = Literal["open", "proprietary"]
Components = Literal["compute", "desktop"]


@dataclass(frozen=True)
class Distribution:
    """A supported operating system. ``name`` as in Machine.system, which is NVIDIA's spelling."""

    name: str
    title: str
    family: Literal["debian", "ubuntu"]
    codename: str
    docker_suffix: str
    headers: str


DISTRIBUTIONS = {
    distribution.name: distribution
    for distribution in (
        Distribution(
            "ubuntu2204",
            "Ubuntu 22.04",
            "ubuntu",
            "jammy",
            "~ubuntu.22.04~jammy",
            "linux-headers-generic",
        ),
        Distribution(
            "ubuntu2404",
            "Ubuntu 24.04",
            "ubuntu",
            "noble",
            "~ubuntu.24.04~noble",
            "linux-headers-generic",
        ),
        Distribution(
            "debian12",
            "Debian 12",
            "debian",
            "bookworm",
            "~debian.12~bookworm",
            "linux-headers-amd64",
        ),
    )
}

_VERSION = {"debian": f"{DRIVER}-1", "ubuntu": f"{DRIVER}-0ubuntu1"}
_KERNEL = {
    ("debian", "open"): ("nvidia-kernel-open-dkms",),
    ("debian", "proprietary"): ("nvidia-kernel-dkms",),
    ("ubuntu", "open"): ("nvidia-dkms-560-open", "nvidia-kernel-source-560-open"),
    ("ubuntu", "proprietary"): ("nvidia-dkms-560", "nvidia-kernel-source-560"),
}
_COMPUTE = {
    "debian": (
        "firmware-nvidia-gsp",
        "libcuda1",
        "libnvidia-cfg1",
        "libnvidia-ml1",
        "libnvidia-ptxjitcompiler1",
        "nvidia-alternative",
        "nvidia-kernel-support",
        "nvidia-modprobe",
        "nvidia-persistenced",
        "nvidia-smi",
    ),
    "ubuntu": (
        "libnvidia-cfg1-560",
        "libnvidia-compute-560",
        "nvidia-compute-utils-560",
        f"nvidia-firmware-560-{DRIVER}",
        "nvidia-kernel-common-560",
        "nvidia-utils-560",
    ),
}
_DESKTOP = {
    ("debian", "open"): (
        "nvidia-driver",
        "nvidia-driver-bin",
        "nvidia-driver-libs",
        "nvidia-vdpau-driver",
        "xserver-xorg-video-nvidia",
    ),
    ("ubuntu", "open"): (
        "libnvidia-common-560",
        "libnvidia-decode-560",
        "libnvidia-encode-560",
        "libnvidia-extra-560",
        "libnvidia-fbc1-560",
        "libnvidia-gl-560",
        "nvidia-driver-560-open",
        "xserver-xorg-video-nvidia-560",
    ),
}
_DESKTOP["debian", "proprietary"] = _DESKTOP["debian", "open"]
_DESKTOP["ubuntu", "proprietary"] = tuple(
    name.replace("nvidia-driver-560-open", "nvidia-driver-560")
    for name in _DESKTOP["ubuntu", "open"]
)
_DRIVER_NAMES = "*nvidia* cuda-drivers* libcuda1 libnvcuvid1 libxnvctrl*"


@dataclass(frozen=True)
class Selection:
    """The package sets of a distribution; ``kernel_package`` is the one that builds the module."""

    driver: PackageSet
    cuda_toolkit: PackageSet
    container_toolkit: PackageSet
    docker: PackageSet
    kernel_package: str


def selection(
    distribution: str, kernel_module: KernelModule = "open", components: Components = "compute"
) -> Selection:
    """What a host of ``distribution`` (a key of DISTRIBUTIONS) gets."""
    found = DISTRIBUTIONS[distribution]
    family = found.family
    names = (*_KERNEL[family, kernel_module], *_COMPUTE[family])
    if components == "desktop":
        names += _DESKTOP[family, kernel_module]
    container_toolkit = (
        "libnvidia-container-tools",
        "libnvidia-container1",
        "nvidia-container-toolkit",
        "nvidia-container-toolkit-base",
    )
    return Selection(
        driver=_pinned("nvidia-driver", dict.fromkeys(names, _VERSION[family]), _DRIVER_NAMES),
        cuda_toolkit=PackageSet(
            "cuda-toolkit",
            _CUDA,
            _preferences({"cuda-*-12-6": _TOOLKIT}) + "\n" + _preferences(_COMPONENTS),
        ),
        container_toolkit=_pinned(
            "nvidia-container-toolkit", dict.fromkeys(container_toolkit, _CONTAINER_TOOLKIT)
        ),
        docker=_pinned(
            "docker",
            {name: version + found.docker_suffix for name, version in _ENGINE.items()},
        ),
        kernel_package=_KERNEL[family, kernel_module][0],
    )


# The engine of Debian and Ubuntu. The distribution chooses its version; a deploy holds it.
DISTRIBUTION_DOCKER = PackageSet("docker", {"containerd": "", "docker.io": "", "runc": ""})


def _pinned(name: str, packages: Mapping[str, str], patterns: str = "") -> PackageSet:
    pins = dict.fromkeys((patterns,), next(iter(packages.values()))) if patterns else packages
    return PackageSet(name, packages, _preferences(pins))


def _preferences(pins: Mapping[str, str]) -> str:
    """A file of /etc/apt/preferences.d; above 1000 apt goes back to an older version too."""
    return "\n".join(
        f"Package: {names}\nPin: version {version}\nPin-Priority: 1001\n"
        for names, version in pins.items()
    )
