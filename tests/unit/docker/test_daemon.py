"""daemon.json: what is merged, and how a daemon takes it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from stack.docker.daemon import DaemonConfigError, daemon_tasks, merged, service_tasks, settings
from stack.machine.observe import Machine, Unit
from stack.site import Site, load

PENDING = "/run/pending"


def text_of(present: dict[str, Any]) -> str:
    return json.dumps(present)


@pytest.fixture
def ours(site: Site) -> dict[str, Any]:
    return settings(site)


def only_task(text: str, ours: dict[str, Any], is_pending: bool = False) -> Any:
    (task,) = daemon_tasks(text, ours, PENDING, is_pending)
    return task


def test_nothing_to_do(ours: dict[str, Any]) -> None:
    assert daemon_tasks(text_of(ours), ours, PENDING, False) == []


def test_a_bare_host(ours: dict[str, Any]) -> None:
    task = only_task("", ours)
    assert (task.subject, task.action, task.cause) == (
        "file /etc/docker/daemon.json",
        "write",
        "not found",
    )


def test_foreign_keys_stay(ours: dict[str, Any]) -> None:
    present = {
        "data-root": "/srv/docker",
        "log-opts": {"compress": "true"},
        "runtimes": {"kata": {"path": "/opt/kata"}},
        "features": {"containerd-snapshotter": True},
    }
    result = merged(present, ours)
    assert result["data-root"] == "/srv/docker"
    assert result["log-opts"] == {"compress": "true", "max-size": "100m", "max-file": "3"}
    assert result["runtimes"].keys() == {"kata", "nvidia"}
    assert result["features"] == {"containerd-snapshotter": True, "cdi": True}
    assert merged(result, ours) == result


@pytest.mark.parametrize(
    ("key", "broken"), [("log-opts", "broken"), ("live-restore", "yes"), ("runtimes", [])]
)
def test_a_broken_value_of_ours_is_repaired(ours: dict[str, Any], key: str, broken: Any) -> None:
    task = only_task(text_of({**ours, key: broken}), ours)
    assert [change.field for change in task.changes] == [key]
    assert task.cause == "differs"


@pytest.mark.parametrize(
    ("key", "restarts"),
    [
        ("registry-mirrors", False),
        ("insecure-registries", False),
        ("runtimes", False),
        ("live-restore", False),
        ("log-opts", True),
        ("default-address-pools", True),
    ],
)
def test_the_daemon_is_restarted_only_when_a_reload_is_not_enough(
    ours: dict[str, Any], key: str, restarts: bool
) -> None:
    present = {name: value for name, value in ours.items() if name != key}
    _, take = only_task(text_of(present), ours).commands
    assert ("systemctl restart docker" in take) is restarts
    assert "systemctl reload docker" in take


def test_the_engine_validates_before_the_file_is_replaced(ours: dict[str, Any]) -> None:
    write, _ = only_task("", ours).commands
    assert write.index("dockerd --validate") < write.index("mv /etc/docker/daemon.json.new")


def test_a_run_cut_short_is_finished(ours: dict[str, Any]) -> None:
    task = only_task(text_of(ours), ours, is_pending=True)
    assert task.action == "load"
    assert "systemctl restart docker" in task.commands[0]
    assert f"rm -f {PENDING}" in task.commands[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "/etc/docker/daemon.json is not JSON (Expecting property name"),
        ("[]", "/etc/docker/daemon.json holds no JSON object; correct or remove it"),
    ],
)
def test_what_cannot_be_merged_with_is_refused(
    ours: dict[str, Any], text: str, message: str
) -> None:
    with pytest.raises(DaemonConfigError) as caught:
        daemon_tasks(text, ours, PENDING, False)
    assert str(caught.value).startswith(message)


def test_a_site_without_a_gpu_leaves_runtimes_alone(defaults: dict[str, Any]) -> None:
    site = load(defaults, {"gpu": "none", "services": {"dcgm_exporter": {"enabled": False}}})
    assert not settings(site).keys() & {"runtimes", "features"}


def test_docker_runs_and_starts_at_boot() -> None:
    unit = Unit(exists=True, active=True, enabled=True)
    assert not list(service_tasks(Machine(units={"docker": unit})))
    stopped = replace(unit, active=False, enabled=False)
    assert [task.action for task in service_tasks(Machine(units={"docker": stopped}))] == [
        "start",
        "enable",
    ]
