"""Operations on the machine below the containers; what they do is planned by pure functions."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pyinfra import host, state
from pyinfra.api import Host, State, operation
from pyinfra.api.command import PyinfraCommand
from pyinfra.connectors.util import clear_askpass_cache

from stack.docker.daemon import DaemonConfigError, daemon_tasks
from stack.docker.daemon import settings as daemon_settings
from stack.gpu.driver import card_tasks, driver_mistake, lost_cards, reboot_cause
from stack.gpu.packages import DISTRIBUTIONS, Distribution, Selection, selection
from stack.machine.apt import contrib_tasks, package_tasks
from stack.machine.observe import DAEMON_PENDING, Machine
from stack.machine.repositories import Repositories, repositories
from stack.pyinfra import lock
from stack.pyinfra.facts import AptSources
from stack.pyinfra.observations import forget, machine
from stack.pyinfra.operations import can_be_asked
from stack.pyinfra.refuse import failed, refuse
from stack.pyinfra.remote import at_work
from stack.pyinfra.site import Stack
from stack.pyinfra.tasks import Commands, carry_out
from stack.tasks import Task

REBOOT_DEADLINE = 900
POLL_SECONDS = 2.0
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Sources:
    """The packages of the host's distribution, and where they come from."""

    distribution: Distribution
    packages: Selection
    repositories: Repositories


def sources_of(target: Host, stack: Stack) -> Sources:
    """What fits ``target``, which preflight has found to run a supported system."""
    distribution = DISTRIBUTIONS[machine(target, stack).system]
    nvidia = stack.site.nvidia
    return Sources(
        distribution,
        selection(distribution.name, nvidia.kernel_module, nvidia.components),
        repositories(stack.site, distribution),
    )


@operation()
def settle(stack: Stack, plan: Callable[[Machine], Iterable[Task]]) -> Commands:
    """
    Do what a plan says of the machine as it is now.

    + stack: what has to stand on the host
    + plan: the machine to the tasks that are left
    """
    tasks = tuple(plan(machine(host, stack)))
    if not tasks:
        host.noop("it is as it has to be")
        return
    yield from carry_out(*tasks)
    forget(host)


@operation()
def debian_contrib(stack: Stack, selected: Selection) -> Commands:
    """
    Debian's component contrib, which the driver's packages need, from where the host has main.

    + stack: what has to stand on the host
    + selected: its packages

    Asked for only while a package of the driver is missing.
    """
    if not any(package_tasks(machine(host, stack), selected.driver)):
        host.noop("the driver's packages are there")
        return
    sources = host.get_fact(AptSources)
    tasks = tuple(contrib_tasks(machine(host, stack), sources))
    if not tasks:
        host.noop("it is as it has to be")
        return
    yield from carry_out(*tasks)
    forget(host)


@operation()
def daemon_config(stack: Stack) -> Commands:
    """
    Merge our settings into Docker's daemon.json; a running daemon is reloaded or, for what needs
    it, restarted.

    + stack: what has to stand on the host

    Keys that are not ours stay as they are. Containers live through the restart.
    """
    found = machine(host, stack)
    try:
        tasks = daemon_tasks(
            found.daemon_config,
            daemon_settings(stack.site),
            DAEMON_PENDING,
            found.daemon_pending,
        )
    except DaemonConfigError as error:
        yield from refuse(str(error))
        return
    if not tasks:
        host.noop("daemon.json is as it has to be")
        return
    yield from carry_out(*tasks)
    forget(host)


class _Reboot(PyinfraCommand):
    """Reboots the host, waits for its next boot to finish, and takes the host's lock again."""

    def __repr__(self) -> str:
        return "reboot"

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        with at_work(host, "machine: reboot"):
            return self._execute(host, connector_arguments)

    def _execute(self, host: Host, connector_arguments: Any) -> bool:
        before = self._ask(host, BOOT_ID, connector_arguments)
        self._ask(host, "systemctl reboot", connector_arguments)
        # What holds sudo's password stood in the host's temporary folder.
        clear_askpass_cache(host)
        deadline = time.monotonic() + REBOOT_DEADLINE
        while (boot := self._boot_id(host, connector_arguments)) in ("", before):
            if time.monotonic() > deadline:
                return failed(host, f"the host did not come back within {REBOOT_DEADLINE} s")
            time.sleep(POLL_SECONDS)
        host.log(f"boot {boot}")
        self._ask(host, "systemctl is-system-running --wait", connector_arguments)
        if obstacle := lock.obstacle():
            return failed(host, obstacle)
        return True

    def _boot_id(self, host: Host, arguments: Any) -> str:
        """The id of the boot that answers on a new connection; empty while none does."""
        host.disconnect()
        host.connect(show_errors=False)
        return self._ask(host, BOOT_ID, arguments) if host.connected else ""

    @staticmethod
    def _ask(host: Host, command: str, arguments: Any) -> str:
        try:
            _, output = host.run_shell_command(command, **arguments)
        except (OSError, EOFError):
            return ""
        return str(output.stdout).strip()


@operation()
def reboot_for_driver(stack: Stack) -> Commands:
    """
    Reboot when the kernel holds another driver than the disk; the run goes on afterwards.

    + stack: what has to stand on the host
    """
    found = machine(host, stack)
    cause = reboot_cause(found)
    if not cause:
        host.noop("the kernel holds no other driver")
        return
    if state.is_executing and (mistake := driver_mistake(found, before_reboot=True)):
        yield from refuse(mistake)
        return
    yield from carry_out(Task("machine", "reboot", cause, ()))
    yield _Reboot()
    forget(host)


@operation()
def proven(stack: Stack, mistake: Callable[[Machine], str]) -> Commands:
    """
    Fail when something is still wrong with the machine after all has been done for it.

    + stack: what has to stand on the host
    + mistake: the machine to the sentence about what is wrong, empty when nothing is
    """
    if state.is_executing and (sentence := mistake(machine(host, stack))):
        yield from refuse(sentence)
        return
    host.noop("it works")


@operation()
def gpu_in_containers(stack: Stack) -> Commands:
    """
    Restart a container that has lost its GPU, and fail when it does not come back.

    + stack: what has to stand on the host

    One that is to be replaced is asked after that.
    """
    lost = lost_cards(machine(host, stack))
    tasks = tuple(
        card_tasks({name: said for name, said in lost.items() if can_be_asked(stack, name)})
    )
    if not tasks:
        host.noop("every container that has to sees the GPU")
        return
    yield from carry_out(*tasks)
    forget(host)
    still = lost_cards(machine(host, stack)) if state.is_executing else {}
    for name, said in still.items():
        yield from refuse(f"container {name} does not see the GPU: {said}")
