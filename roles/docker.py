"""Docker Engine, configured and installed."""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from stack.docker.daemon import service_tasks
from stack.docker.registries import authorities
from stack.gpu.packages import DISTRIBUTION_DOCKER
from stack.machine.apt import package_tasks, repository_tasks
from stack.machine.files import file_tasks
from stack.pyinfra.machine import daemon_config, settle, sources_of
from stack.pyinfra.registries import registry_logins
from stack.pyinfra.site import Stack


@deploy("Docker")
def docker(stack: Stack) -> None:
    """The configuration comes first, so that the engine's first start has it already."""
    daemon_config(name="Configure the daemon", stack=stack)
    engine = DISTRIBUTION_DOCKER
    if stack.site.docker.source == "docker":
        sources = sources_of(host, stack)
        engine = sources.packages.docker
        settle(
            name="Repository",
            stack=stack,
            plan=partial(repository_tasks, repository=sources.repositories.docker),
        )
    settle(name="Install and hold", stack=stack, plan=partial(package_tasks, wanted=engine))
    settle(name="Run Docker", stack=stack, plan=service_tasks)
    if stack.site.docker.registries:
        certificates = tuple(authorities(stack.site))
        settle(
            name="Certificates of registries",
            stack=stack,
            plan=partial(file_tasks, files=certificates),
        )
        registry_logins(name="Logins at registries", stack=stack)
