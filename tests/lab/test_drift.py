"""Whatever drifted is named, repaired, and nothing else is touched.

Cases that are about different things are made together; under ``make soak`` each on its own.
"""

import re
from collections.abc import Iterable, Iterator

import pytest

from stack.docker.observe import ASIDE_SUFFIX
from stack.pyinfra.inventory import targets
from tests.lab.conftest import ROOT, Lab
from tests.lab.data import Data
from tests.lab.deploys import verify
from tests.lab.drift_cases import (
    CONTAINERS,
    NETWORKS,
    SLOW_CONTAINERS,
    Case,
    cases,
    remade_containers,
    remade_networks,
    steps,
    together,
)
from tests.lab.machine_cases import machine_cases, operations

STACK = next(targets("lab", ROOT)).stack
DESIRED = STACK.desired
MACHINE = operations(STACK.site)
SINGLE = {case.name: case for case in (*cases(DESIRED), *machine_cases(STACK.site))}
FIELDS = [
    *(remade_containers(DESIRED, [case]) for case in (*CONTAINERS, *SLOW_CONTAINERS)),
    *(remade_networks(DESIRED, [case]) for case in NETWORKS),
]
# Those that need no container to be healthy yet: its first check comes after half a minute.
QUICK_CHECKS = "networks or ports or left_of"
NETWORK_CHECKS = f"neighbour or aliases or {QUICK_CHECKS}"
CHECKS = {
    **dict.fromkeys(("attachments", "networks"), NETWORK_CHECKS),
    **dict.fromkeys(("machine", "card"), f"test_gpu or test_machine or {QUICK_CHECKS}"),
}

# Nothing of these is in a batch: each restarts vLLM, which takes a minute.
SLOW = ("containers end with Docker",)
BATCHES: dict[str, tuple[str, ...]] = {
    "states": (
        "removed",
        "database removed",
        "stopped",
        "killed for good",
        "killed and brought back by Docker",
        "paused",
        "memory",
        "pids",
        "restart policy",
        "image deleted",
    ),
    "files and images": (
        "Prometheus: file edited",
        "PostgreSQL: settings edited and loaded",
        "Qdrant: file edited, not read",
        "Grafana: file with another owner",
        "Grafana: dashboard edited",
        "Grafana: dashboard deleted",
        "DCGM exporter: file deleted",
        "Project API: file edited, not read",
        "another image behind the tag, container made from it",
        "image of ours deleted",
        "secret deleted",
        "secret with another mode",
        "secret of a container deleted",
        "PostgreSQL: settings altered on the server",
        "PostgreSQL: setting of the database",
        "Qdrant: payload index deleted",
        "Grafana: password of the administrator",
    ),
    "interrupted replacements": (
        "set aside",
        "set aside and stopped",
        "set aside, new one created",
        "set aside, new one started",
        "set aside, new one wrong",
        "Prometheus: folder deleted",
        "PostgreSQL: restart-only settings edited and loaded",
        "Qdrant: file edited and read",
        "Grafana: folder of dashboards deleted",
        "daemon.json: a key of ours changed, a foreign one added",
        "Docker not started at boot",
    ),
    "attachments": (
        "addresses swapped",
        "wrong address",
        "alias missing",
        "further alias",
        "detached from one of two networks",
        "detached from its only network",
        "stray network",
        "another image behind the tag",
        "set aside, new one created without its second network",
        "PostgreSQL: file with another owner",
        "secret of a container readable by others",
        "PostgreSQL: restart-only settings altered on the server",
        "password changed in the database",
        "privilege revoked in the database",
    ),
    "networks": (
        "Prometheus: file deleted",
        "database paused",
        "network with another subnet, containers attached again",
        "network agent_default deleted",
    ),
    "strangers": (
        "container and volume not made by us",
        "volume with a foreign label",
        "Prometheus: a file that nobody asked for",
        "PostgreSQL: settings edited, loaded and put back",
        "network not made by us, a stranger in it",
        "an address of ours held by a stranger",
    ),
    "Docker": ("daemon.json: not JSON", "Docker stopped"),
    "machine": (
        "driver: a newer one installed by hand",
        "CUDA: upgraded unattended, its holds, pins and exceptions gone",
        "container toolkit: removed",
        "container toolkit: pins edited",
        "Docker: hold removed",
        "NVIDIA's repository: another one, of no key",
        "container toolkit's repository: another key",
        "nouveau: no longer kept away",
        "persistence: unit writable by all",
        "Docker: order of its start edited",
        "kernel setting changed",
    ),
    "card": (
        "persistence: mode off, its daemon running",
        "runtime: the mode in which daemon-reload takes the card",
        "card: description removed",
        "card: links removed",
        "card: lost by a container",
        "daemon.json: values of ours broken, a runtime of others",
    ),
}
# With the networks made again by hand.
DETACHED = (
    "Prometheus: file with another mode",
    "database stopped",
    "network mlopsnew deleted",
)


@pytest.fixture(scope="module")
def data(lab: Lab) -> Iterator[Data]:
    """Written to a lab that has just been deployed, and taken away in the end."""
    lab.deploy()
    written = Data(lab, "drift")
    written.write()
    yield written
    written.remove()


STATE = r"""
docker inspect --format '{{.Name}} {{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}
  {{json .HostConfig}} {{json .NetworkSettings.Networks}}' $(docker ps -aq) 2>&1
docker network ls --no-trunc; docker volume ls
docker images --no-trunc --digests --format '{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}}' | sort
dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n' | sha256sum
find /etc/apt /etc/systemd /etc/modprobe.d /etc/saiga-stack /etc/docker /var/lib/saiga-stack \
  /var/log/saiga-stack -type f \
  -printf '%p %i %m %U:%G %T@\n' | sort
systemctl is-active docker; systemctl is-enabled docker
"""


def state(lab: Lab) -> str:
    """All that a run could change, as text."""
    return lab.run(STATE, check=False)


def lives(lab: Lab) -> dict[str, tuple[str, str]]:
    """Container name to (id, start time); a container set aside under its own name."""
    template = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
    output = lab.run(f"docker ps -aq | xargs -r docker inspect --format '{template}'")
    rows = [line.lstrip("/").split() for line in output.splitlines()]
    rows.sort(key=lambda row: not row[0].endswith(ASIDE_SUFFIX))
    return {name.removesuffix(ASIDE_SUFFIX): (identity, start) for name, identity, start in rows}


def readable(plan: str) -> str:
    """A plan's text without what is another on every lab."""
    return re.sub(r"sha256:[0-9a-f]{64}(?=$| ->)", "<an image>", plan, flags=re.M)


def operations_of(names: list[str]) -> list[str]:
    """Names of operations; those of containers without the role's, which is another for each."""
    known = MACHINE.values()
    return sorted(name if name in known else name.rpartition(" | ")[2] for name in names)


def heads(texts: Iterable[str]) -> set[str]:
    """What is done to what: an earlier step may put a part right, or give another cause."""
    return {text.partition("\n")[0].partition(" (")[0] for text in texts}


def _operation(subject: str, text: str) -> str:
    """The name of the operation that looks after a step of the plan."""
    if subject in MACHINE:
        return MACHINE[subject]
    if "it has lost its GPU" in text:
        return "Containers see the GPU"
    others = {
        **dict.fromkeys(("settings", "database", "role"), "Settings, roles and schema"),
        "collection": "Collections",
        "administrator": "Administrator",
    }
    if subject.startswith("secret "):
        return "Files of the containers" if "/" in subject else "Generate what is missing"
    return others.get(subject.partition(" ")[0], f"{subject[0].upper()}{subject[1:]}")


def named_operations(case: Case) -> list[str]:
    return sorted({_operation(*step) for step in steps(case.plan)})


def expected_operations(case: Case) -> list[str]:
    loud = (step for step in steps(case.plan) if step[0] not in case.quiet)
    return sorted({_operation(*step) for step in loud})


def refuse(lab: Lab, case: Case) -> None:
    """Dry run and deploy both name what is in the way, and leave everything as it is."""
    before = state(lab)
    for option in ("--dry", "-y"):
        run = lab.pyinfra(option)
        assert run.status != 0, run.text
        for line in case.refusal.splitlines():
            assert line in run.text
    run = lab.stack("drift", "lab")
    assert run.status == 1, run.text
    assert all(line in run.text for line in case.refusal.splitlines()), run.text
    assert state(lab) == before


def repair(lab: Lab, case: Case, data: Data) -> None:
    """Make a drift by hand; see it named, repaired, and nothing else touched."""
    written, intact = data.read(), lives(lab)
    try:
        lab.run(f"set -e\n{case.script}")
        if case.refusal:
            refuse(lab, case)
            lab.run(case.resolve)

        before = state(lab)
        rehearsal = lab.pyinfra("--dry", "--json", *case.options)
        assert rehearsal.status == 0, rehearsal.text
        assert readable(rehearsal.plan()) == case.plan
        assert operations_of(rehearsal.planned()) == named_operations(case)
        assert lab.drift(*case.options) == (2 if case.plan else 0, rehearsal.plan())
        assert state(lab) == before

        # While Docker is stopped nothing can be seen; what ran before goes on.
        old, done = lives(lab) or intact, len(lab.audited())
        run = lab.deploy(*case.options)
        assert heads(lab.audited()[done:]) <= heads(text for _, text in steps(case.plan))
        assert operations_of(run.changed()) == expected_operations(case)
        new = lives(lab)
        assert {name for name in new if new[name] != old.get(name)} == case.replaces | case.restarts
        for name in case.restarts:
            assert new[name][0] == old[name][0], f"{name} was replaced"
        for name in case.replaces:
            assert name not in old or new[name][0] != old[name][0], f"{name} was only restarted"

        again = lab.deploy()
        assert again.changed() == []
        assert lives(lab) == new
        lab.run(f"set -e\n{case.check}")
        assert data.read() == written
    except BaseException:
        lab.pyinfra("-y", *case.options)
        raise
    finally:
        lab.run(case.cleanup, check=False)


def test_every_case_is_in_one_batch_or_too_slow_for_it() -> None:
    named = [name for batch in (*BATCHES.values(), DETACHED) for name in batch]
    assert sorted([*named, *SLOW]) == sorted(SINGLE)


@pytest.mark.parametrize("batch", BATCHES)
def test_drift(lab: Lab, data: Data, batch: str) -> None:
    repair(lab, together(DESIRED, [SINGLE[name] for name in BATCHES[batch]], MACHINE), data)
    verify(only=CHECKS.get(batch, QUICK_CHECKS))


def test_every_field_of_containers(lab: Lab, data: Data) -> None:
    repair(lab, remade_containers(DESIRED, CONTAINERS), data)
    verify(only=QUICK_CHECKS)


def test_every_field_of_networks(lab: Lab, data: Data) -> None:
    cases = [SINGLE[name] for name in DETACHED]
    attached = [case for case in NETWORKS if case.subject == "agent_default"]
    repair(lab, together(DESIRED, [*cases, remade_networks(DESIRED, attached)], MACHINE), data)
    verify()


@pytest.mark.soak
@pytest.mark.parametrize("case", SINGLE.values(), ids=lambda case: case.name)
def test_alone(lab: Lab, data: Data, case: Case) -> None:
    repair(lab, case, data)
    verify()


@pytest.mark.soak
@pytest.mark.parametrize("case", FIELDS, ids=lambda case: case.name)
def test_a_field_alone(lab: Lab, data: Data, case: Case) -> None:
    repair(lab, case, data)
    verify("test_containers.py", "test_ports.py")
