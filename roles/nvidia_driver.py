"""NVIDIA's driver, at one version from the kernel to nvidia-smi."""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from stack.gpu.driver import (
    NO_NOUVEAU,
    PERSISTENCE,
    PERSISTENCE_AT_BOOT,
    driver_mistake,
    load_tasks,
    module_tasks,
    persistence_tasks,
)
from stack.machine.apt import package_tasks, repository_tasks
from stack.machine.files import file_tasks
from stack.pyinfra.machine import (
    debian_contrib,
    proven,
    reboot_for_driver,
    settle,
    sources_of,
)
from stack.pyinfra.site import Stack


@deploy("NVIDIA driver")
def nvidia_driver(stack: Stack) -> None:
    """Everything on the disk first, then at most one reboot, then proof."""
    if stack.site.gpu == "none":
        return
    sources = sources_of(host, stack)
    packages = sources.packages
    settle(
        name="Repository",
        stack=stack,
        plan=partial(repository_tasks, repository=sources.repositories.nvidia_cuda),
    )
    debian_contrib(name="Debian's contrib", stack=stack, selected=packages)
    files = (NO_NOUVEAU, PERSISTENCE, PERSISTENCE_AT_BOOT)
    settle(
        name="No nouveau; persistence mode",
        stack=stack,
        plan=partial(file_tasks, files=files),
    )
    settle(
        name="Install and hold", stack=stack, plan=partial(package_tasks, wanted=packages.driver)
    )
    settle(name="Kernel module", stack=stack, plan=partial(module_tasks, selected=packages))
    reboot_for_driver(name="Reboot when needed", stack=stack)
    settle(name="Load the module", stack=stack, plan=load_tasks)
    settle(name="Persistence mode", stack=stack, plan=persistence_tasks)
    proven(name="The driver works", stack=stack, mistake=driver_mistake)
