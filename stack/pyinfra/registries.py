"""Logins at registries. Passwords travel on standard input, which nothing shows or logs."""

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api import StringCommand, operation

from stack.docker.registries import log_in, logged_in
from stack.pyinfra.remote import operation_arguments
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.secret_sources import registry_password
from stack.tasks import Task


@operation()
def registry_logins(stack: Stack) -> Commands:
    """
    Log the host's root in to the registries that ask for it.

    + stack: what has to stand on the host
    """
    for name, registry in stack.site.docker.registries.items():
        if registry.user:
            password = registry_password(stack.site, name)
            if not _has(name, registry.user, password):
                yield from carry_out(_log_in(name, registry.user, password))


def _has(registry: str, user: str, password: SecretStr) -> bool:
    given = operation_arguments(host) | {"_stdin": f"{user}:{password.get_secret_value()}"}
    same, _ = host.run_shell_command(StringCommand(logged_in(registry)), **given)
    return bool(same)


def _log_in(registry: str, user: str, password: SecretStr) -> Task:
    command = StringCommand(log_in(registry, user), _stdin=password.get_secret_value())
    return Task(f"registry {registry}", "log in", f"not as {user} with this password", (command,))
