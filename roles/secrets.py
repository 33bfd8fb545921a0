"""Secrets, born on the host and never leaving it."""

from pyinfra.api import deploy

from stack.pyinfra import operations
from stack.pyinfra.site import Stack
from stack.topology import SECRETS


@deploy("Secrets")
def secrets(stack: Stack) -> None:
    """A random value for each at first need, for root and the one container it is for."""
    operations.secrets(name="Generate what is missing", stack=stack, wanted=SECRETS)
