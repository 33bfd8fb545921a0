"""Machines for tests: a bare one, one as a deploy leaves it, and the output that shows one."""

import json
from dataclasses import replace

from stack.docker.daemon import settings
from stack.gpu.driver import (
    CUDA_LIBRARIES,
    CUDA_PATH,
    DOCKER_AFTER_GPU,
    GPU_LINKS,
    NO_NOUVEAU,
    PERSISTENCE,
    PERSISTENCE_AT_BOOT,
)
from stack.gpu.packages import DRIVER, Selection, selection
from stack.machine.files import HostFile
from stack.machine.observe import File, Gpu, Machine, Package, Unit
from stack.site import Site

MIB, GIB = 1024**2, 1024**3
CARD = "0000:01:00.0 VGA compatible controller [0300]: NVIDIA AD102 [GeForce RTX 4090] [10de:2684]"
SELECTED: Selection = selection("debian12")
RUNS = Unit(exists=True, active=True, enabled=True)

BARE = Machine(
    system="debian12",
    system_name="Debian GNU/Linux 12 (bookworm)",
    codename="bookworm",
    architecture="x86_64",
    kernel="6.1.0-28-amd64",
    kernels=("6.1.0-28-amd64",),
    cards=(CARD,),
    memory=128 * GIB,
    free_disk=1400 * GIB,
    nouveau=True,
    has_lspci=True,
)


def on_host(*files: HostFile) -> dict[str, File]:
    return {file.path: File(file.sha256, file.mode) for file in files}


def deployed(site: Site) -> Machine:
    """As a deploy leaves it."""
    sets = (SELECTED.driver, SELECTED.cuda_toolkit, SELECTED.container_toolkit)
    return replace(
        BARE,
        nouveau=False,
        packages={
            name: Package(version, held=True)
            for wanted in sets
            for name, version in wanted.packages.items()
        },
        files=on_host(
            *(wanted.preferences_file for wanted in sets),
            *(NO_NOUVEAU, PERSISTENCE, PERSISTENCE_AT_BOOT, CUDA_PATH, CUDA_LIBRARIES),
            *(DOCKER_AFTER_GPU, GPU_LINKS),
        ),
        units={name: RUNS for name in ("docker", "nvidia-persistenced", "nvidia-cdi-refresh.path")},
        loaded=DRIVER,
        on_disk=DRIVER,
        on_disk_next=DRIVER,
        user_space=DRIVER,
        gpus=(Gpu("NVIDIA GeForce RTX 4090", DRIVER, 24564 * MIB, persistent=True),),
        nvcc="12.6",
        cdi=True,
        runtime_mode="auto",
        docker="/usr/bin/docker",
        daemon_config=json.dumps(settings(site)),
    )
