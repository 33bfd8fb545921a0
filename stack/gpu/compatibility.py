"""What runs on what: image on driver, driver on kernel, model on card; the tables say by whom."""

import re

from stack.gpu.packages import CUDA, DRIVER

Version = tuple[int, ...]

# CUDA release to the least driver: table 3 of the CUDA 13.0 release notes (Linux x86_64).
DRIVER_OF_CUDA = {
    "12.4": "550.54.14",
    "12.5": "555.42.02",
    "12.6": "560.28.03",
    "12.8": "570.26",
    "12.9": "575.51.03",
    "13.0": "580.65.06",
}

# First vLLM release to the CUDA of its official image: ARG CUDA_VERSION in docker/Dockerfile of
# the source of each release; for 0.20.0 its release notes ("CUDA 13.0 default", vllm pull request
# 39878). A tag such as v0.22.0-cu129 says it itself.
CUDA_OF_VLLM = (("0.6.0", "12.4"), ("0.9.0", "12.8"), ("0.11.2", "12.9"), ("0.20.0", "13.0"))
NEWEST_VLLM = "v0.8.5.post1"

# What a release of Docker Engine and all later ones make of a container's wish for a card. The
# runtime (`--runtime=nvidia`), which this toolkit uses, is the same in all of them. Sources: moby's
# cmd/dockerd/daemon.go (cdiEnabled) at v27.5.1 and v28.3.0, its daemon/devices_nvidia_linux.go at
# v29.2.0, and container-device-interface issue 84 for 25.0.
GPU_OF_ENGINE = (
    ("20.10", "--gpus is a hook behind the engine's back, and there is no CDI"),
    ("25.0", "--gpus is a hook behind the engine's back, and CDI is switched on by features.cdi"),
    ("28.3", "--gpus is a hook behind the engine's back, and CDI is on"),
    ("29.2", "--gpus is CDI, and nothing looks at NVIDIA_REQUIRE_CUDA"),
)
# The release that the seed's documents ask for.
WANTED_ENGINE = "24"

# PCI device of NVIDIA to the memory of its card in MiB, as nvidia-smi gives it. Devices: the table
# in the README of open-gpu-kernel-modules 560.35.03.
CARDS = {
    "2204": ("GeForce RTX 3090", 24576),
    "2203": ("GeForce RTX 3090 Ti", 24564),
    "2206": ("GeForce RTX 3080", 10240),
    "2484": ("GeForce RTX 3070", 8192),
    "2503": ("GeForce RTX 3060", 12288),
    "2504": ("GeForce RTX 3060", 12288),
    "2684": ("GeForce RTX 4090", 24564),
    "2685": ("GeForce RTX 4090 D", 24564),
    "2702": ("GeForce RTX 4080 SUPER", 16376),
    "2704": ("GeForce RTX 4080", 16376),
    "2782": ("GeForce RTX 4070 Ti", 12282),
    "2786": ("GeForce RTX 4070", 12282),
    "2882": ("GeForce RTX 4060", 8188),
    "2235": ("A40", 46068),
    "2236": ("A10", 23028),
    "26b1": ("RTX 6000 Ada Generation", 49140),
    "26b5": ("L40", 46068),
    "26b9": ("L40S", 46068),
    "27b8": ("L4", 23034),
}

_VLLM = re.compile(r"(?:^|/)vllm-openai:v(\d+\.\d+\.\d+)[^@-]*(?:-cu(\d+)(\d))?")
_DEVICE = re.compile(r"\[10de:([0-9a-f]{4})\]")


def version(text: str) -> Version:
    """``6.14.0-24-generic`` as (6, 14, 0): the numbers in front, for comparing."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def cuda_of_image(image: str) -> str:
    """The CUDA release of an official vLLM image; empty for any other image."""
    match = _VLLM.search(image)
    if not match:
        return ""
    if match[2]:
        return f"{match[2]}.{match[3]}"
    tag = version(match[1])
    return next((cuda for first, cuda in reversed(CUDA_OF_VLLM) if tag >= version(first)), "")


def image_mistake(image: str) -> str:
    """Why the driver of this toolkit cannot run ``image``; empty when nothing is known against it.

    GeForce cards have no forward compatibility, and the container runtime in the modes used here
    does not look at NVIDIA_REQUIRE_CUDA, so that nothing else would say it before torch does.
    """
    cuda = cuda_of_image(image)
    if not cuda or version(cuda) <= version(CUDA):
        return ""
    needed = f"driver {DRIVER_OF_CUDA[cuda]} or newer" if cuda in DRIVER_OF_CUDA else "a newer one"
    return (
        f"{image} is made for CUDA {cuda}, which needs {needed}; the driver here is {DRIVER}"
        f" (CUDA {CUDA}), whose newest image is vllm/vllm-openai:{NEWEST_VLLM}"
    )


def image_remark(image: str) -> str:
    """What nobody looks at before ``image`` runs; empty for an image of the table."""
    if cuda_of_image(image):
        return ""
    return f"nothing is known of the CUDA in {image}; the driver here runs images up to CUDA {CUDA}"


def engine_mistake(engine: str) -> str:
    """Why nothing runs on this version of Docker Engine; empty when something does."""
    oldest = GPU_OF_ENGINE[0][0]
    if version(engine) >= version(oldest):
        return ""
    return f"Docker {engine} is older than {oldest}, the oldest on which this toolkit runs"


def engine_remark(engine: str) -> str:
    """How containers get a card on this version of Docker Engine, where it is an old one."""
    if version(engine) >= version(WANTED_ENGINE):
        return ""
    says = next(
        says for first, says in reversed(GPU_OF_ENGINE) if version(engine) >= version(first)
    )
    return (
        f"Docker {engine} is older than {WANTED_ENGINE}: {says}; containers of this toolkit get the"
        " card by the runtime nvidia, which is the same on it"
    )


def memory_of_card(card: str) -> int:
    """Bytes of a card from its line of lspci; 0 when the table does not have it."""
    match = _DEVICE.search(card)
    return CARDS[match[1]][1] * 1024**2 if match and match[1] in CARDS else 0
