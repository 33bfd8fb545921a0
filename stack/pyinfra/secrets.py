"""Operations on secrets. Supplied values travel on standard input, which nothing shows or logs."""

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api import StringCommand, operation

from stack import secret_tasks
from stack.pyinfra.facts import ScriptFact
from stack.pyinfra.observations import forget, observation
from stack.pyinfra.remote import operation_arguments
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.secret_sources import supplied
from stack.secret_tasks import Observed, secret_files
from stack.secrets import SECRETS, Secret
from stack.tasks import Task


class SecretsObservation(ScriptFact[Observed]):
    """Mode, owner and agreement of every file that holds a secret; never its content."""

    @staticmethod
    def default() -> Observed:
        return Observed()

    def process(self, output: list[str]) -> Observed:
        return secret_tasks.parse(output)


def _observe(stack: Stack) -> Observed:
    def script() -> str:
        return secret_tasks.observation_script(SECRETS, secret_files(stack.desired))

    found: Observed = observation(host, SecretsObservation, script)
    return found


@operation()
def secret_values(stack: Stack) -> Commands:
    """
    Give every secret a value: the site's own, or one born on the host that is never changed.

    + stack: what has to stand on the host; ``rotate`` names the secrets that get a new value

    A lost file gets its value back from a container that still has it.
    """
    observed, own = _observe(stack), supplied(stack.site)
    tasks = (
        *secret_tasks.values(SECRETS, observed, stack.desired, frozenset(own), stack.rotate),
        *(
            _supply(secret, own[secret.name])
            for secret in SECRETS
            if secret.name in own and not _holds(secret, own[secret.name])
        ),
    )
    if tasks:
        yield from carry_out(*tasks)
        forget(host)


def _holds(secret: Secret, value: SecretStr) -> bool:
    """Whether the host's file, readable by root only, has exactly this value."""
    compare = (
        f'[ "$(stat -c %a:%u {secret.path} 2>/dev/null)" = 400:0 ] &&'
        f" tr -d '\\n' | cmp -s - {secret.path}"
    )
    arguments = operation_arguments(host) | {"_stdin": value.get_secret_value()}
    same, _ = host.run_shell_command(StringCommand(compare), **arguments)
    return bool(same)


def _supply(secret: Secret, value: SecretStr) -> Task:
    write = secret_tasks.install_command(secret, "tr -d '\\n'")
    command = StringCommand(write, _stdin=value.get_secret_value())
    return Task(f"secret {secret.name}", "write", "the site supplies another", (command,))


@operation()
def secret_files_of_containers(stack: Stack) -> Commands:
    """
    Give every container the files it reads secrets from, readable by its user only.

    + stack: what has to stand on the host
    """
    yield from carry_out(*secret_tasks.files(secret_files(stack.desired), _observe(stack)))
