"""What the operator's commands do on a host beyond a deploy, under the same lock."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from pyinfra import config
from pyinfra.api import DeployError
from pyinfra.context import ctx_host

from stack.docker.history import noted
from stack.docker.plan import Action, Refusal
from stack.docker.spec import Container, Desired
from stack.pyinfra import lock
from stack.pyinfra.facts import FormerContainer
from stack.pyinfra.operations import converge, current_plan, remove_all
from stack.pyinfra.site import stack_of

LOCAL_IMAGES = "saiga-stack/"


def roll_back(service: str) -> Callable[[], None]:
    """Returns a service to the image and the configuration it had before its last change.

    Raises DeployError when there is no such state, or nothing to return to any more.
    """

    def work() -> None:
        host = ctx_host.get()
        stack = stack_of(host)
        name = getattr(stack.site.services, service).container
        former = _former(name, host.get_fact(FormerContainer, container=name))
        _check_networks(former, stack.desired)
        containers = tuple(former if c.name == name else c for c in stack.desired.containers)
        if former not in containers:
            raise DeployError(f"services.{service} is switched off: there is nothing to roll back")
        then = replace(stack, desired=replace(stack.desired, containers=containers))
        subject = f"container {name}"
        try:
            steps = current_plan(host, then).about(subject).steps
        except Refusal as refusal:
            raise DeployError(str(refusal)) from None
        for step in steps:
            if step.action is Action.PULL and step.target.startswith(LOCAL_IMAGES):
                raise DeployError(
                    f"{name}: its image {step.target} is gone from the host, and the source it was"
                    " built from is another one now; check out that source and deploy it"
                )
        with_lock(lambda: converge(name=subject.capitalize(), stack=then, subject=subject))

    return work


def remove(volumes: tuple[str, ...]) -> Callable[[], None]:
    """Takes every container and network of the site off the host, and the named volumes."""

    def work() -> None:
        stack = stack_of(ctx_host.get())
        with_lock(lambda: remove_all(name="Remove", stack=stack, volumes=volumes))

    return work


def with_lock(operations: Callable[[], object]) -> None:
    """Call operations between taking the host's lock and giving it back, as deploy.py does."""
    lock.acquire(name="Lock the host")
    config.SHELL = lock.SHELL
    operations()
    lock.release(name="Unlock the host")


def _former(name: str, note: str) -> Container:
    if not note:
        raise DeployError(f"{name}: no earlier image or configuration is known on the host")
    try:
        return noted(note)
    except ValueError as error:
        raise DeployError(f"{name}: {error}") from None


def _check_networks(former: Container, desired: Desired) -> None:
    subnets = {network.name: ip_network(network.subnet) for network in desired.networks}
    for attachment in former.attachments:
        subnet = subnets.get(attachment.network)
        if subnet is None or ip_address(attachment.address) not in subnet:
            raise DeployError(
                f"{former.name}: before its last change it had {attachment.address} in"
                f" {attachment.network}, which the site does not have any more"
            )
