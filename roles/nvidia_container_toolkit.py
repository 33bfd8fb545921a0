"""What brings the GPU into containers."""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from stack.gpu.driver import DOCKER_AFTER_GPU, GPU_LINKS, runtime_tasks
from stack.machine.apt import package_tasks, repository_tasks
from stack.machine.files import file_tasks
from stack.pyinfra.machine import settle, sources_of
from stack.pyinfra.site import Stack


@deploy("NVIDIA container toolkit")
def nvidia_container_toolkit(stack: Stack) -> None:
    """Before Docker, whose configuration names the runtime."""
    if stack.site.gpu == "none":
        return
    sources = sources_of(host, stack)
    settle(
        name="Repository",
        stack=stack,
        plan=partial(repository_tasks, repository=sources.repositories.nvidia_container_toolkit),
    )
    wanted = sources.packages.container_toolkit
    settle(name="Install and hold", stack=stack, plan=partial(package_tasks, wanted=wanted))
    settle(
        name="Docker starts after the GPU",
        stack=stack,
        plan=partial(file_tasks, files=(GPU_LINKS, DOCKER_AFTER_GPU)),
    )
    settle(name="Runtime, CDI and devices", stack=stack, plan=runtime_tasks)
