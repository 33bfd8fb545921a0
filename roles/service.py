"""What the roles of single services share."""

from stack.pyinfra.operations import converge
from stack.pyinfra.site import Stack
from stack.site import ServiceSettings


def run(stack: Stack, service: str) -> ServiceSettings | None:
    """Run the container of ``service``; its settings, or None when the site switches it off."""
    settings: ServiceSettings = getattr(stack.site.services, service)
    if not settings.enabled:
        return None
    subject = f"container {settings.container}"
    converge(name=f"Container {settings.container}", stack=stack, subject=subject)
    return settings
