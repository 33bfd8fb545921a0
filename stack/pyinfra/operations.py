"""Operations on what the toolkit owns. Each observes, plans, and yields only what has to change."""

from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host, state
from pyinfra.api import Host, State, operation
from pyinfra.api.command import PyinfraCommand

from stack.docker.apply import ApplyError, RemoteError, apply
from stack.docker.observe import Observed
from stack.docker.plan import Action, Plan, Refusal, plan
from stack.docker.removal import removal
from stack.docker.spec import Container
from stack.images import archive
from stack.pyinfra.observations import forget
from stack.pyinfra.observations import observed as observed_on
from stack.pyinfra.planned import announce
from stack.pyinfra.refuse import failed, refuse
from stack.pyinfra.remote import PyinfraRemote
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.tasks import Task
from stack.wheels import WheelsError

_plans: WeakKeyDictionary[Host, tuple[Observed, Plan]] = WeakKeyDictionary()


def _context(container: Container) -> bytes:
    assert container.build is not None
    try:
        return archive(container.build)
    except WheelsError as error:
        raise RemoteError(str(error)) from None


def current_plan(target: Host, stack: Stack) -> Plan:
    """What would change on ``target`` now. Raises Refusal as plan() does."""
    observed = observed_on(target, stack)
    known = _plans.get(target)
    if known is None or known[0] is not observed:
        known = (observed, plan(stack.desired, observed, stack.adopt))
        _plans[target] = known
    return known[1]


# Steps through which a container works on as it is.
_HARMLESS = frozenset(
    {Action.WRITE, Action.SET_FILE_ASIDE, Action.RELOAD, Action.UPDATE, Action.PROVE}
)


def can_be_asked(stack: Stack, container: str) -> bool:
    """Whether ``container`` is the one it has to be: what another one holds says nothing."""
    if state.is_executing:
        return True
    steps = current_plan(host, stack).about(f"container {container}").steps
    if {step.action for step in steps} <= _HARMLESS:
        return True
    host.noop(f"{container} is asked for what it holds once it is as it has to be")
    return False


def silent(container: str) -> Commands:
    """What to do about a container that gave no answer: while it is planned it may still start."""
    if state.is_executing:
        yield from refuse(f"container {container} does not answer questions any more")
    host.noop(f"{container} is asked for what it holds once it answers")


class Converge(PyinfraCommand):
    """Carry out the steps of one subject; fails with the step's own sentence."""

    def __init__(self, stack: Stack, subject: str, steps: Plan) -> None:
        super().__init__()
        self.stack, self.subject, self.steps = stack, subject, steps

    def __repr__(self) -> str:
        return str(self.steps)

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        desired = self.stack.desired

        def observe() -> Observed:
            observed = observed_on(host, self.stack)
            forget(host)
            return observed

        remote = PyinfraRemote(host, dict(connector_arguments), observe, _context)
        try:
            apply(remote, desired, self.subject, self.stack.adopt)
        except (ApplyError, RemoteError, Refusal) as error:
            return failed(host, str(error))
        finally:
            forget(host)
        return True


@operation()
def converge(stack: Stack, subject: str) -> Commands:
    """
    Bring one network, volume or container to its desired state.

    + stack: what has to stand on the host
    + subject: ``container NAME``, ``network NAME`` or ``volume NAME``

    Shows the plan while changes are detected and refuses, before anything is changed, to touch what
    is not ours.
    """
    if observed_on(host, stack).stopped:
        if state.is_executing:
            yield from refuse("Docker does not run on the host: systemctl status docker says why")
        host.noop(f"{subject} is compared once Docker runs")
        return
    try:
        steps = current_plan(host, stack).about(subject)
    except Refusal as error:
        yield from refuse(str(error))
        return
    if not steps:
        host.noop(f"{subject} is as it has to be")
        return
    if not state.is_executing:
        announce(steps.steps)
    yield Converge(stack, subject, steps)


@operation()
def remove_all(stack: Stack, volumes: tuple[str, ...]) -> Commands:
    """
    Remove every container and network of ours, and the named volumes.

    + stack: what stands on the host
    + volumes: names of volumes of the site whose data goes too; all others stay
    """
    observed = observed_on(host, stack)
    try:
        removals = removal(stack.desired, observed, volumes)
    except Refusal as error:
        yield from refuse(str(error))
        return
    yield from carry_out(
        *(
            Task(entry.subject, "remove", "its removal was asked for", (entry.command,))
            for entry in removals
        )
    )
