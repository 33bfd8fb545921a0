"""What every other role needs on the host."""

from pyinfra.api import deploy

from stack.pyinfra.operations import packages


@deploy("Base")
def base() -> None:
    """curl asks the gates' questions; certificates let it and Docker trust registries."""
    packages(name="Install curl and certificates", names=("ca-certificates", "curl"))
