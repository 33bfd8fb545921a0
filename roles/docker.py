"""Docker Engine, configured and installed."""

from pyinfra.api import deploy

from stack.pyinfra.operations import daemon_config, packages, run_docker
from stack.pyinfra.site import Stack


@deploy("Docker")
def docker(stack: Stack) -> None:
    """The configuration comes first, so that the engine's first start has it already."""
    daemon_config(name="Configure the daemon", settings=stack.site.docker)
    packages(name="Install Docker", names=("docker.io",))
    run_docker(name="Run Docker")
