"""Operations on what the toolkit owns. Each observes, plans, and yields only what has to change."""

import json
from io import StringIO
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import host, logger, state
from pyinfra.api import FileUploadCommand, Host, State, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.api.state import StateStage
from pyinfra.facts.deb import DebPackages
from pyinfra.operations import apt, systemd

from stack.docker.apply import ApplyError, RemoteError, apply
from stack.docker.fields import differences
from stack.docker.observe import Observed, observation_script
from stack.docker.plan import Action, Change, Plan, Refusal, plan
from stack.docker.spec import OWNER_LABEL, Container, Desired
from stack.images import archive
from stack.pyinfra.facts import DaemonConfig, HostObservation
from stack.pyinfra.refuse import refuse
from stack.pyinfra.remote import PyinfraRemote
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.site import DockerSettings
from stack.tasks import Task
from stack.wheels import WheelsError

_observations: WeakKeyDictionary[Host, tuple[StateStage, Observed]] = WeakKeyDictionary()
_plans: WeakKeyDictionary[Host, tuple[Observed, Plan]] = WeakKeyDictionary()


def _observe(target: Host, desired: Desired) -> Observed:
    """One remote command per phase of a run, and one more after each change of ours."""
    stage = state.current_stage
    known = _observations.get(target)
    if known is None or known[0] != stage:
        known = (stage, target.get_fact(HostObservation, script=observation_script(desired)))
        _observations[target] = known
    return known[1]


def forget(target: Host) -> None:
    """Observe ``target`` again before the next plan: something changed it."""
    _observations.pop(target, None)


def _context(container: Container) -> bytes:
    assert container.build is not None
    try:
        return archive(container.build)
    except WheelsError as error:
        raise RemoteError(str(error)) from None


def current_plan(target: Host, stack: Stack) -> Plan:
    """What would change on ``target`` now. Raises Refusal as plan() does."""
    observed = _observe(target, stack.desired)
    known = _plans.get(target)
    if known is None or known[0] is not observed:
        known = (observed, plan(stack.desired, observed, stack.adopt))
        _plans[target] = known
    return known[1]


# Steps through which a container works on as it is.
_HARMLESS = frozenset({Action.WRITE, Action.RELOAD, Action.UPDATE})


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
            observed = _observe(host, desired)
            forget(host)
            return observed

        remote = PyinfraRemote(host, dict(connector_arguments), observe, _context)
        try:
            apply(remote, desired, self.subject, self.stack.adopt)
        except (ApplyError, RemoteError, Refusal) as error:
            for line in str(error).splitlines():
                host.log_styled(line, fg="red", log_func=logger.error)
            return False
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
    if _observe(host, stack.desired).stopped:
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
        for line in str(steps).splitlines():
            host.log(line)
    yield Converge(stack, subject, steps)


@operation()
def packages(names: tuple[str, ...]) -> Commands:
    """
    Install missing packages; the package lists are brought up to date only when one is missing.

    + names: Debian packages
    """
    installed = host.get_fact(DebPackages)
    if missing := sorted(set(names) - installed.keys()):
        install = apt.packages._inner(packages=list(names), no_recommends=True)
        commands = (*apt.update._inner(), *install)
        yield from carry_out(
            Task(f"packages {' '.join(missing)}", "install", "not found", commands)
        )


# Engines before 23.0 check the health of containers that lived through a restart of the engine
# only after these have been paused for a moment (moby issue 41871).
_RESUME_HEALTH_CHECKS = (
    "case $(docker version --format '{{.Server.Version}}') in 1[0-9].*|20.*)"
    f" for id in $(docker ps -q --filter status=running --filter label={OWNER_LABEL});"
    " do docker pause $id && docker unpause $id; done >/dev/null ;; esac"
)


@operation()
def run_docker() -> Commands:
    """
    Run Docker, now and after each boot.
    """
    start = tuple(systemd.service._inner(service="docker", running=True))
    enable = tuple(systemd.service._inner(service="docker", running=None, enabled=True))
    tasks = []
    if start:
        commands = (*start, _RESUME_HEALTH_CHECKS)
        tasks.append(Task("service docker", "start", "not running", commands))
    if enable:
        tasks.append(Task("service docker", "enable", "does not start at boot", enable))
    yield from carry_out(*tasks)


_RESTART_DOCKER = (
    "systemctl reload docker &&"
    " timeout 20 sh -c 'until docker info --format {{.LiveRestoreEnabled}} | grep -q true;"
    " do sleep 0.2; done'; systemctl restart docker &&"
    f" {_RESUME_HEALTH_CHECKS}"
)


@operation()
def daemon_config(settings: DockerSettings) -> Commands:
    """
    Merge our settings into Docker's daemon.json and restart a running daemon when they changed.

    + settings: the site's

    Keys that are not ours stay as they are. Containers live through the restart: Docker is told
    so (live-restore) before it ends.
    """
    try:
        present = json.loads(host.get_fact(DaemonConfig))
    except json.JSONDecodeError as error:
        yield from refuse(f"/etc/docker/daemon.json is not JSON ({error}); correct or remove it")
        return
    wanted = {
        **(present or {}),
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {
            "max-size": settings.log_max_size,
            "max-file": str(settings.log_max_file),
        },
        "default-address-pools": [{"base": str(settings.address_pool), "size": 24}],
        "insecure-registries": settings.insecure_registries,
        "registry-mirrors": settings.registry_mirrors,
    }
    if wanted == present:
        host.noop("daemon.json is as it has to be")
        return
    text = json.dumps(wanted, indent=4) + "\n"
    commands = (
        "mkdir -p /etc/docker",
        FileUploadCommand(StringIO(text), "/etc/docker/daemon.json.new"),
        "chmod 0644 /etc/docker/daemon.json.new &&"
        " mv /etc/docker/daemon.json.new /etc/docker/daemon.json &&"
        f" if systemctl is-active --quiet docker; then {_RESTART_DOCKER}; fi",
    )
    before = {key: json.dumps(value) for key, value in (present or {}).items()}
    after = {key: json.dumps(value) for key, value in wanted.items()}
    changes = tuple(Change(*change) for change in differences(before, after))
    cause = "not found" if present is None else "differs"
    yield from carry_out(Task("file /etc/docker/daemon.json", "write", cause, commands, changes))
    forget(host)
