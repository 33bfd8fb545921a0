"""Refuse before anything is changed."""

from pyinfra import host
from pyinfra.api import DeployError, deploy

from stack.docker.daemon import DaemonConfigError, parse
from stack.docker.plan import Refusal
from stack.machine.checks import refusals
from stack.pyinfra.observations import machine_and_containers
from stack.pyinfra.operations import current_plan
from stack.pyinfra.site import Stack


@deploy("Preflight")
def preflight(stack: Stack) -> None:
    """Stop when the machine cannot carry the site, or holds something of others in our place."""
    below, containers = machine_and_containers(host, stack)
    image_is_there = stack.site.services.saiga.image in containers.images
    mistakes = list(refusals(stack.site, below, image_is_there))
    try:
        parse(below.daemon_config)
        current_plan(host, stack)
    except (DaemonConfigError, Refusal) as refusal:
        mistakes.append(str(refusal))
    if mistakes:
        raise DeployError(f"{host.name}: " + "\n".join(mistakes))
