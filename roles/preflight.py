"""Refuse before anything is changed."""

from pyinfra import host
from pyinfra.api import DeployError, deploy

from stack.docker.plan import Refusal
from stack.pyinfra.operations import current_plan
from stack.pyinfra.site import Stack


@deploy("Preflight")
def preflight(stack: Stack) -> None:
    """Stop when the host holds something under our names or addresses that is not ours."""
    try:
        current_plan(host, stack)
    except Refusal as refusal:
        raise DeployError(f"{host.name}: {refusal}") from None
