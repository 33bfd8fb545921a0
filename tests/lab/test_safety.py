"""However a deploy ends, the next one repairs what it left, and no data is lost.

The seed of the random moments is printed; SAIGA_SOAK_SEED sets it, SAIGA_SOAK_KILLS their number.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.merging import merge
from tests.lab.conftest import Lab
from tests.lab.data import Data
from tests.lab.deploys import Deploy, held, lab_command, serves, until, variant, verify

REBUILT = "webbot2"


def interval(service: str) -> dict[str, Any]:
    """Another health check: the container has to be replaced."""
    return {"services": {service: {"health_interval": 7}}}


# Where the deploy is killed: in front of this command, during this change of the site.
POINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "the old one is renamed": ("docker create --name=qdrant_new *", interval("qdrant")),
    "the old one is stopped": ("docker start ml_postgres", interval("postgres")),
    "the new one is started": ("docker inspect * agent_exporter", interval("agent_exporter")),
    "a file is being written": (
        "chown 0:0 /etc/saiga-stack/prometheus/prometheus.yml.new",
        {"prometheus": {"scrape_interval": 6}},
    ),
    "a network is removed": (
        "docker network create * agent_default",
        {"networks": {"agent_default": {"dynamic_range": "172.20.64.0/18"}}},
    ),
}
FURTHER_POINTS: dict[str, tuple[str, dict[str, Any]]] = {
    "the new one is made": ("docker stop grafana_new.saiga-stack-old", interval("grafana")),
    "the gate is passed": ("docker rm --force webbot2.saiga-stack-old", interval("webbot2")),
    "a file is written, not loaded": (
        "docker exec ml_postgres psql * pg_reload_conf*",
        {"postgres": {"settings": {"work_mem": "24MB"}}},
    ),
}

SEVERAL: dict[str, Any] = merge(
    *(interval(name) for name in ("postgres", "qdrant", "webbot2", "agent_exporter", "grafana")),
    {"services": {"node_exporter": {"memory": "100m"}, "grafana": {"memory": "400m"}}},
    {"prometheus": {"scrape_interval": 6, "retention_time": "8d"}},
    {"postgres": {"settings": {"work_mem": "24MB"}}},
    {"networks": {"agent_default": {"dynamic_range": "172.20.64.0/18"}}},
)


class Site:
    """The lab's site as the tests have changed it until now, one change after the other."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._data: dict[str, Any] = {}
        self._deploys = 0
        self.inventory = variant(folder, {})

    def change(self, data: dict[str, Any]) -> None:
        self._data = merge(self._data, data)
        self.inventory = variant(self._folder, self._data)

    def start(self) -> Deploy:
        self._deploys += 1
        return Deploy(self._folder / f"deploy-{self._deploys}.log", self.inventory)

    def converges(self) -> None:
        """The next deploy succeeds, a further one changes nothing, every service does its work."""
        self._lab.deploy(inventory=self.inventory)
        assert self._lab.deploy(inventory=self.inventory).changed() == []
        serves(self._lab)


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lab.deploy()
    yield Site(lab, tmp_path_factory.mktemp("site"))
    lab.deploy()
    verify()


@pytest.fixture
def data(lab: Lab, site: Site) -> Iterator[None]:
    """Rows and points written before the test are there after it."""
    data = Data(lab, "safety")
    data.write()
    written = data.read()
    yield
    assert data.read() == written
    data.remove()


@pytest.mark.parametrize(
    "point", [*POINTS, *(pytest.param(point, marks=pytest.mark.soak) for point in FURTHER_POINTS)]
)
def test_killed_when(lab: Lab, site: Site, data: None, point: str) -> None:
    command, change = {**POINTS, **FURTHER_POINTS}[point]
    site.change(change)
    with held(lab, site.start, command) as (deploy, hold):
        deploy.kill()
        hold.end_command()
    site.converges()


def test_killed_while_an_image_is_built(lab: Lab, site: Site, data: None) -> None:
    image = lab.desired.container(REBUILT).image
    lab.run(f"docker rm --force {REBUILT}; docker image rm {image}; docker image prune --force")
    deploy = site.start()
    building = "docker ps --no-trunc --format '{{.Command}}' | grep -q 'pip install' && echo yes"
    until(
        lambda: lab.run(building, check=False) == "yes",
        lambda: deploy.text,
        300,
        lambda: deploy.runs(),
    )
    deploy.kill()
    # The build goes on without it; the next deploy waits for its end.
    site.converges()
    assert lab.run("docker ps -aq --filter status=exited --filter status=created") == ""
    assert lab.run("ls /var/lib/saiga-stack/*.tar", check=False) == ""


def test_docker_restarts_while_a_gate_is_waited_for(lab: Lab, site: Site, data: None) -> None:
    site.change({"services": {"grafana": {"health_interval": 8}}})
    with held(lab, site.start, "docker inspect * grafana_new") as (deploy, hold):
        lab.run("systemctl stop docker.socket docker")
        hold.release()
        lab.run("systemctl start docker")
        run = deploy.wait()
    assert run.status == 0, run.text
    site.converges()


def test_docker_is_killed_while_a_container_is_replaced(lab: Lab, site: Site, data: None) -> None:
    site.change({"services": {"qdrant": {"health_interval": 8}}})
    old = lab.lives()["qdrant_new"][0][:12]
    with held(lab, site.start, "docker start qdrant_new") as (deploy, hold):
        lab.run("systemctl kill --signal=KILL docker")
        hold.release()
        run = deploy.wait()
    if run.status:
        assert f"the old one, {old}, is back: it lists its collections" in run.text
        assert lab.lives()["qdrant_new"][0].startswith(old)
    site.converges()


def test_the_power_fails_while_a_container_is_replaced(lab: Lab, site: Site, data: None) -> None:
    site.change({"services": {"qdrant": {"health_interval": 9}}})
    with held(lab, site.start, "docker inspect * qdrant_new") as (deploy, _):
        lab_command("power-off", "lab")
        deploy.kill()
        lab_command("power-on", "lab")
        assert lab.run("ls /run/saiga-stack.lock", check=False) == ""
    site.converges()


def moments(lab: Lab, site: Site, number: int) -> Iterator[Deploy]:
    """Deploys of another site each time, that change several services, at a random moment."""
    seed = int(os.environ.get("SAIGA_SOAK_SEED", random.randrange(10**6)))
    print(f"SAIGA_SOAK_SEED={seed}")
    chance = random.Random(seed)
    inventories = [variant(site._folder / name, data) for name, data in (("a", {}), ("b", SEVERAL))]
    durations = []
    for inventory in reversed(inventories):
        started = time.monotonic()
        lab.deploy(inventory=inventory)
        durations.append(time.monotonic() - started)
    for turn in range(number):
        site.inventory = inventories[(turn + 1) % 2]
        moment = chance.uniform(0, durations[turn % 2])
        deploy = site.start()
        try:
            deploy.wait_at_most(moment)
            last = [line.strip() for line in deploy.text.splitlines() if line.strip()][-1:]
            print(f"{turn + 1}: after {moment:.1f} s, at {''.join(last)[:100]}", flush=True)
            yield deploy
        finally:
            if deploy.runs():
                deploy.kill()


@pytest.mark.soak
def test_random_kills(lab: Lab, site: Site, data: None) -> None:
    for deploy in moments(lab, site, int(os.environ.get("SAIGA_SOAK_KILLS", 30))):
        deploy.kill()
        site.converges()
        verify(inventory=site.inventory)


@pytest.mark.soak
def test_random_power_failures(lab: Lab, site: Site, data: None) -> None:
    for deploy in moments(lab, site, 5):
        lab_command("power-off", "lab")
        deploy.kill()
        lab_command("power-on", "lab")
        site.converges()
        verify(inventory=site.inventory)
