"""What a run knows of its hosts: each part one remote command per phase of the run, and one more
after each change of ours."""

from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import state
from pyinfra.api import Host
from pyinfra.api.state import StateStage

from stack.docker.observe import Observed, observation_script
from stack.machine import observe
from stack.machine.observe import Machine
from stack.pyinfra.facts import HostObservation, MachineObservation, ScriptFact
from stack.pyinfra.site import Stack

_known: WeakKeyDictionary[Host, dict[type[ScriptFact[Any]], tuple[StateStage, Any]]] = (
    WeakKeyDictionary()
)


def observed(target: Host, stack: Stack) -> Observed:
    """Containers, networks, volumes, images and the files of containers."""
    found: Observed = observation(target, HostObservation, observation_script(stack.desired))
    return found


def machine(target: Host, stack: Stack) -> Machine:
    """What is below the containers."""
    apt, on_gpu = stack.site.apt, [c.name for c in stack.desired.containers if c.runtime]
    urls = [apt.docker.url] if stack.site.docker.source == "docker" else []
    if stack.site.gpu == "nvidia":
        urls += [apt.nvidia_cuda.url, apt.nvidia_container_toolkit.url]
    script = observe.observation_script(
        urls, stack.site.base.sysctls, stack.site.gpu == "nvidia", on_gpu
    )
    found: Machine = observation(target, MachineObservation, script)
    return found


def forget(target: Host) -> None:
    """Observe ``target`` again before the next plan: something changed it."""
    _known.pop(target, None)


def observation(target: Host, fact: type[ScriptFact[Any]], script: str) -> Any:
    """What the fact says of ``target`` now, asked for once in a phase until :func:`forget`."""
    answers = _known.setdefault(target, {})
    stage = state.current_stage
    if fact not in answers or answers[fact][0] != stage:
        answers[fact] = (stage, target.get_fact(fact, script=script))
    return answers[fact][1]
