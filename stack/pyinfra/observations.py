"""What a run knows of its hosts: one remote command for all of it, and one more after each change.

An observation holds for its phase of the run. One made while a run was prepared that asks nobody
(``-y``) holds on into its execution, unless somebody else had the host's lock since.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from pyinfra import state
from pyinfra.api import Host
from pyinfra.api.state import StateStage

from stack.docker.observe import Observed, observation_script
from stack.machine import observe
from stack.machine.observe import Machine
from stack.pyinfra.facts import HostObservation, MachineObservation, ScriptFact, Several
from stack.pyinfra.site import Stack

# Preparing a run of many hosts may take longer; then they are observed anew.
KEPT_SECONDS = 10.0


@dataclass(frozen=True)
class _Answer:
    """What a host said, and when it was asked, on this process's monotonic clock."""

    value: Any
    stage: StateStage
    asked: float


_known: WeakKeyDictionary[Host, dict[type[ScriptFact[Any]], _Answer]] = WeakKeyDictionary()


def observed(target: Host, stack: Stack) -> Observed:
    """Containers, networks, volumes, images and the files of containers."""
    found: Observed = observation(
        target, HostObservation, lambda: observation_script(stack.desired)
    )
    return found


def machine(target: Host, stack: Stack) -> Machine:
    """What is below the containers."""
    found: Machine = observation(target, MachineObservation, lambda: machine_script(stack))
    return found


def machine_and_containers(target: Host, stack: Stack) -> tuple[Machine, Observed]:
    """Both of the above by one remote command, for whoever asks for one of them later too."""
    scripts: dict[type[ScriptFact[Any]], str] = {
        MachineObservation: machine_script(stack),
        HostObservation: observation_script(stack.desired),
    }
    asked = time.monotonic()
    answers = target.get_fact(Several, scripts=tuple(scripts.values()))
    for fact, lines in zip(scripts, answers, strict=True):
        value = fact().process(lines)
        _known.setdefault(target, {})[fact] = _Answer(value, state.current_stage, asked)
    return machine(target, stack), observed(target, stack)


def forget(target: Host) -> None:
    """Observe ``target`` again before the next plan: something changed it."""
    _known.pop(target, None)


def forget_before(target: Host, seconds: float) -> None:
    """Forget what ``target`` was asked before somebody else last changed it, ``seconds`` ago."""
    changed = time.monotonic() - seconds
    answers = _known.get(target, {})
    _known[target] = {fact: answer for fact, answer in answers.items() if answer.asked > changed}


def observation(target: Host, fact: type[ScriptFact[Any]], script: Callable[[], str]) -> Any:
    """What the fact says of ``target`` now, asked for at most once until :func:`forget`."""
    answers = _known.setdefault(target, {})
    if fact not in answers or not _holds(answers[fact]):
        asked = time.monotonic()
        value = target.get_fact(fact, script=script())
        answers[fact] = _Answer(value, state.current_stage, asked)
    return answers[fact].value


def _holds(answer: _Answer) -> bool:
    if answer.stage == state.current_stage:
        return True
    asks_nobody = not state.should_check_for_changes()
    return asks_nobody and time.monotonic() - answer.asked < KEPT_SECONDS


def machine_script(stack: Stack) -> str:
    """What is below the containers, for :func:`stack.machine.observe.parse`."""
    apt, on_gpu = stack.site.apt, [c.name for c in stack.desired.containers if c.runtime]
    urls = [apt.docker.url] if stack.site.docker.source == "docker" else []
    if stack.site.gpu == "nvidia":
        urls += [apt.nvidia_cuda.url, apt.nvidia_container_toolkit.url]
    return observe.observation_script(
        urls, stack.site.base.sysctls, stack.site.gpu == "nvidia", on_gpu
    )
