"""PostgreSQL 15 with the site's settings, its roles and the agent's schema."""

from pyinfra.api import deploy

from roles.service import run
from stack.pyinfra.operations import postgres_roles
from stack.pyinfra.site import Stack
from stack.topology import POSTGRES_AGENT_EXPORTER, POSTGRES_PROJECT_API


@deploy("PostgreSQL")
def postgres(stack: Stack) -> None:
    """The server first, then what the Project API and the exporter find in it."""
    if settings := run(stack, "postgres"):
        postgres_roles(
            name="Roles and schema",
            stack=stack,
            container=settings.container,
            database=stack.site.postgres.database,
            passwords={
                "project_api": POSTGRES_PROJECT_API,
                "agent_exporter": POSTGRES_AGENT_EXPORTER,
            },
        )
