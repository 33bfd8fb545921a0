"""Refuse before anything is changed."""

from pyinfra import host, logger
from pyinfra.api import DeployError, deploy

from stack.docker.plan import Refusal
from stack.machine.checks import refusals, remarks
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
        current_plan(host, stack)
    except Refusal as refusal:
        mistakes.append(str(refusal))
    if mistakes:
        raise DeployError(f"{host.name}: " + "\n".join(mistakes))
    for remark in remarks(stack.site, below):
        host.log_styled(remark, fg="yellow", log_func=logger.warning)
