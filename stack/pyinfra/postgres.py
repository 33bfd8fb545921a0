"""The operation on what stands inside PostgreSQL."""

from dataclasses import replace

from pyinfra import host, state
from pyinfra.api import operation

from stack import postgres
from stack.postgres import READER, Observed, Wanted
from stack.pyinfra.facts import ScriptFact
from stack.pyinfra.operations import can_be_asked, current_plan, silent
from stack.pyinfra.refuse import refuse
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.secrets import POSTGRES_AGENT_EXPORTER, POSTGRES_PROJECT_API, POSTGRES_SUPERUSER


class PostgresObservation(ScriptFact[Observed | None]):
    """What stands in the server; None while it does not answer."""

    def process(self, output: list[str]) -> Observed | None:
        return postgres.parse(output)


def _wanted(stack: Stack) -> Wanted:
    settings = stack.site.postgres
    return Wanted(
        container=stack.site.services.postgres.container,
        database=settings.database,
        settings=settings.settings,
        extensions=tuple(settings.extensions),
        passwords={
            postgres.SUPERUSER: POSTGRES_SUPERUSER,
            postgres.OWNER: POSTGRES_PROJECT_API,
            READER: POSTGRES_AGENT_EXPORTER,
        },
    )


@operation()
def postgres_contents(stack: Stack) -> Commands:
    """
    Settings that something else than the files gave, the database, its roles with their passwords
    and privileges, the schema and the extensions.

    + stack: what has to stand on the host

    What the site does not name stays as it is.
    """
    wanted = _wanted(stack)
    if not can_be_asked(stack, wanted.container):
        return
    script = postgres.observation_script(wanted)
    observed = host.get_fact(PostgresObservation, script=script)
    if observed is None:
        yield from silent(wanted.container)
        return
    if sentence := postgres.refusal(wanted, observed):
        yield from refuse(sentence)
        return
    if not state.is_executing and current_plan(host, stack).about(f"container {wanted.container}"):
        # They are compared once the container has loaded its files.
        observed = replace(observed, shown={})
    container = stack.desired.container(wanted.container)
    assert container.reload and container.gate
    gate = container.gate.command
    tasks = tuple(postgres.tasks(wanted, observed, container.reload, gate))
    yield from carry_out(*tasks)
    if tasks and state.is_executing:
        observed = host.get_fact(PostgresObservation, script=script)
        sentence = postgres.unproven(wanted, observed) if observed else None
        if sentence:
            yield from refuse(sentence)
