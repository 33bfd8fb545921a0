"""Secrets, born on the host unless the site supplies them."""

from pyinfra import host
from pyinfra.api import DeployError, deploy

from stack.pyinfra.secrets import secret_files_of_containers, secret_values
from stack.pyinfra.site import Stack
from stack.secret_sources import supplied
from stack.site import SiteError


@deploy("Secrets")
def secrets(stack: Stack) -> None:
    """A random value for each at first need, and for each container the ones it reads."""
    try:
        supplied(stack.site)
    except SiteError as error:
        raise DeployError(f"the data of {host.name} is wrong:\n{error}") from None
    secret_values(name="Generate what is missing", stack=stack)
    secret_files_of_containers(name="Files of the containers", stack=stack)
