"""Operations on secrets. Supplied values travel on standard input, which nothing shows or logs."""

from typing import Any

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS

from stack import secret_tasks
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.secret_sources import supplied
from stack.secret_tasks import Observed, secret_files
from stack.secrets import SECRETS, SECRETS_DIR, Secret
from stack.tasks import Task


class SecretsObservation(FactBase[Observed]):
    """Mode, owner and agreement of every file that holds a secret; never its content."""

    def command(self, script: str) -> str:
        return script

    @staticmethod
    def default() -> Observed:
        return Observed()

    def process(self, output: list[str]) -> Observed:
        return secret_tasks.parse(output)


def _observe(stack: Stack) -> Observed:
    script = secret_tasks.observation_script(SECRETS, secret_files(stack.desired))
    return host.get_fact(SecretsObservation, script=script)


@operation()
def secret_values(stack: Stack) -> Commands:
    """
    Give every secret a value: the site's own, or one born on the host that is never changed.

    + stack: what has to stand on the host; ``rotate`` names the secrets that get a new value

    A lost file gets its value back from a container that still has it.
    """
    observed, own = _observe(stack), supplied(stack.site)
    yield from carry_out(
        *secret_tasks.values(SECRETS, observed, stack.desired, frozenset(own), stack.rotate),
        *(
            _supply(secret, own[secret.name])
            for secret in SECRETS
            if secret.name in own and not _holds(secret, own[secret.name])
        ),
    )


def _holds(secret: Secret, value: SecretStr) -> bool:
    """Whether the host's file, readable by root only, has exactly this value."""
    given: Any = host.current_op_global_arguments or {}
    arguments = {key: given[key] for key in CONNECTOR_ARGUMENT_KEYS if key in given}
    compare = (
        f'[ "$(stat -c %a:%u {secret.path} 2>/dev/null)" = 400:0 ] &&'
        f" tr -d '\\n' | cmp -s - {secret.path}"
    )
    arguments["_stdin"] = value.get_secret_value()
    same, _ = host.run_shell_command(StringCommand(compare), **arguments)
    return bool(same)


def _supply(secret: Secret, value: SecretStr) -> Task:
    new = f"{secret.path}.new"
    write = (
        f"install -d -m 0700 -o 0 -g 0 {SECRETS_DIR} && umask 077 && tr -d '\\n' > {new} &&"
        f" chown 0:0 {new} && chmod 0400 {new} && mv {new} {secret.path}"
    )
    command = StringCommand(write, _stdin=value.get_secret_value())
    return Task(f"secret {secret.name}", "write", "the site supplies another", (command,))


@operation()
def secret_files_of_containers(stack: Stack) -> Commands:
    """
    Give every container the files it reads secrets from, readable by its user only.

    + stack: what has to stand on the host
    """
    yield from carry_out(*secret_tasks.files(secret_files(stack.desired), _observe(stack)))
