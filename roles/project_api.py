"""Project API."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.site import Stack


@deploy("Project API")
def project_api(stack: Stack) -> None:
    """Search, answer, store; starts once PostgreSQL, Qdrant and Saiga answer."""
    run(stack, "project_api")
