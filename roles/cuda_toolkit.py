"""The CUDA toolkit 12.6, without the driver that its metapackages would bring."""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from stack.gpu.driver import CUDA_LIBRARIES, CUDA_PATH, toolkit_mistake
from stack.machine.apt import package_tasks
from stack.machine.files import file_tasks
from stack.pyinfra.machine import proven, settle, sources_of
from stack.pyinfra.site import Stack


@deploy("CUDA toolkit")
def cuda_toolkit(stack: Stack) -> None:
    """From the repository that the driver comes from."""
    if stack.site.gpu == "none":
        return
    wanted = sources_of(host, stack).packages.cuda_toolkit
    settle(name="Install and hold", stack=stack, plan=partial(package_tasks, wanted=wanted))
    settle(
        name="Paths",
        stack=stack,
        plan=partial(file_tasks, files=(CUDA_PATH, CUDA_LIBRARIES)),
    )
    proven(name="nvcc works", stack=stack, mistake=toolkit_mistake)
