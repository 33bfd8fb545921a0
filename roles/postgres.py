"""PostgreSQL 15 with the site's settings, its roles and the agent's schema."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.postgres import postgres_contents
from stack.pyinfra.site import Stack


@deploy("PostgreSQL")
def postgres(stack: Stack) -> None:
    """The server first, then what the Project API and the exporter find in it."""
    if run(stack, "postgres"):
        postgres_contents(name="Settings, roles and schema", stack=stack)
