"""When a host is asked again, and when what it said still holds."""

from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.state import StateStage

from stack.pyinfra import observations
from stack.pyinfra.facts import ScriptFact, Several
from stack.pyinfra.observations import forget, forget_before, observation


class Clock:
    """A run whose stage and time the test sets."""

    def __init__(self, asks: bool) -> None:
        self.current_stage = StateStage.Prepare
        self.now = 1000.0
        self._asks = asks

    def should_check_for_changes(self) -> bool:
        return self._asks

    def monotonic(self) -> float:
        return self.now


class Host:
    def __init__(self) -> None:
        self.asked = 0

    def get_fact(self, fact: type[ScriptFact[Any]], script: str) -> int:
        self.asked += 1
        return self.asked


def run_of(monkeypatch: pytest.MonkeyPatch, asks: bool) -> Clock:
    clock = Clock(asks)
    monkeypatch.setattr(observations, "state", clock)
    monkeypatch.setattr(observations, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def ask(host: Host) -> int:
    return int(observation(host, ScriptFact, lambda: "true"))  # type: ignore[arg-type]


def test_a_run_that_asks_observes_again_before_it_changes_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, host = run_of(monkeypatch, asks=True), Host()
    assert [ask(host), ask(host)] == [1, 1]
    clock.current_stage = StateStage.Execute
    assert [ask(host), ask(host)] == [2, 2]


def test_a_run_that_asks_nobody_goes_on_with_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, host = run_of(monkeypatch, asks=False), Host()
    assert ask(host) == 1
    clock.current_stage = StateStage.Execute
    clock.now += 5
    assert ask(host) == 1
    forget(host)  # type: ignore[arg-type]
    assert ask(host) == 2
    clock.now += 3600
    assert ask(host) == 2, "a phase observes once"


def test_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, host = run_of(monkeypatch, asks=False), Host()
    assert ask(host) == 1
    clock.current_stage = StateStage.Execute
    clock.now += 11
    assert ask(host) == 2


@pytest.mark.parametrize(("ago", "answer"), [(60.0, 1), (0.5, 2), (-0.02, 2)])
def test_not_past_another_deploy(monkeypatch: pytest.MonkeyPatch, ago: float, answer: int) -> None:
    clock, host = run_of(monkeypatch, asks=False), Host()
    assert ask(host) == 1
    clock.current_stage = StateStage.Execute
    clock.now += 1
    forget_before(host, ago)  # type: ignore[arg-type]
    assert ask(host) == answer


def test_the_answers_of_several_scripts() -> None:
    command = Several().command(("echo one; x=1", 'echo "two$x"', "true"))
    assert command.count("(\n") == 3, "each has variables of its own"
    end = "=== saiga-stack script"
    assert Several().process(["one", end, "two", "three", end, end]) == [
        ["one"],
        ["two", "three"],
        [],
    ]
