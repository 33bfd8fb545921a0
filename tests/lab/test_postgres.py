"""PostgreSQL under change: what it cannot do is refused while it serves, and no row is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import ROOT, Lab
from tests.lab.deploys import Deploy, until, variant

SERVED = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings"
VOLUME = "/var/lib/docker/volumes/postgres_data/_data"
IMPOSSIBLE: dict[str, tuple[dict[str, str], str]] = {
    "more memory than there is": (
        {"shared_buffers": "900GB"},
        "postgres.settings.shared_buffers: PostgreSQL would take 938634 MiB of shared memory, but"
        " services.postgres.memory is 2048 MiB; give it less of it, a quarter at most",
    ),
    "a name that there is not": (
        {"wrok_mem": "16MB"},
        "postgres.settings.wrok_mem: PostgreSQL refuses it: unrecognized configuration parameter"
        ' "wrok_mem" in file',
    ),
    "a unit that there is not": (
        {"work_mem": "16MBB"},
        "postgres.settings.work_mem: PostgreSQL refuses it: invalid value for parameter"
        ' "work_mem": "16MBB"; Valid units for this parameter are "B", "kB", "MB", "GB", and "TB".',
    ),
}
# Each acknowledged number of a client is on its standard output; it connects anew now and then, as
# it has to when the server goes away.
CLIENTS = (ROOT / "tests/lab/clients.py").read_text()


def refused(lab: Lab, folder: Path, data: dict[str, Any], sentence: str) -> None:
    """The deploy ends with the sentence; PostgreSQL serves as before."""
    lives, served = lab.lives(), lab.psql(SERVED)
    run = lab.pyinfra("-y", inventory=variant(folder, data))
    assert run.status != 0
    assert f"container ml_postgres: nothing was changed: {sentence}" in run.text
    assert "Traceback" not in run.text
    assert (lab.lives(), lab.psql(SERVED)) == (lives, served)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_an_impossible_value(lab: Lab, tmp_path: Path, name: str) -> None:
    settings, sentence = IMPOSSIBLE[name]
    refused(lab, tmp_path, {"postgres": {"settings": settings}}, sentence)


def test_a_cluster_of_another_version(lab: Lab, tmp_path: Path) -> None:
    lab.run(f"cp -a {VOLUME}/PG_VERSION /run/PG_VERSION; echo 14 >{VOLUME}/PG_VERSION")
    try:
        sentence = (
            "volume postgres_data holds a cluster of PostgreSQL 14, but services.postgres.image is"
            " PostgreSQL 15, which cannot read it: deploy an image of PostgreSQL 14, dump with"
            " pg_dumpall, remove the volume, deploy PostgreSQL 15 and restore the dump"
        )
        refused(lab, tmp_path, {"services": {"postgres": {"health_interval": 9}}}, sentence)
    finally:
        lab.run(f"mv /run/PG_VERSION {VOLUME}/PG_VERSION")


@pytest.fixture
def without_cluster(lab: Lab) -> Iterator[None]:
    """An empty volume of PostgreSQL; its data is back in the end."""
    lab.run(f"docker stop ml_postgres && cp -a {VOLUME} /var/lib/kept && docker rm ml_postgres")
    lab.run("docker volume rm postgres_data")
    yield
    lab.run("docker rm --force ml_postgres", check=False)
    lab.run(f"rm -rf {VOLUME} && mv /var/lib/kept {VOLUME}")
    lab.deploy()


def test_a_first_start_that_was_interrupted(
    lab: Lab, without_cluster: None, tmp_path: Path
) -> None:
    deploy = Deploy(tmp_path / "deploy.log")
    lab.run(
        f"timeout 120 sh -c 'until [ -s {VOLUME}/PG_VERSION ]; do sleep 0.02; done';"
        " docker kill ml_postgres"
    )
    deploy.kill()
    assert lab.run(f"ls {VOLUME}/saiga-stack.initialised", check=False) == ""
    run = lab.pyinfra("-y")
    assert run.status != 0
    sentence = (
        "volume postgres_data: PostgreSQL's first start was interrupted, and what it left never"
        " served; remove it with `docker rm --force ml_postgres; docker volume rm postgres_data`"
        " and deploy again"
    )
    assert sentence in run.text
    lab.run("docker rm --force ml_postgres; docker volume rm postgres_data")
    lab.deploy()
    assert lab.psql("SHOW data_checksums") == "on"
    assert lab.deploy().changed() == []


class Clients:
    """64 clients that write rows while the block runs, and connect anew as they have to."""

    WRITTEN = "wc -l </run/acknowledged"

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def __enter__(self) -> "Clients":
        lab = self._lab
        lab.run(f"docker exec -i project_api sh -c 'cat >/tmp/clients.py' <<'E'\n{CLIENTS}\nE")
        lab.psql("DELETE FROM agent.exchanges WHERE course = 'clients'", "ml_db")
        lab.run(
            "systemd-run --quiet --unit=clients sh -c"
            " 'docker exec project_api python3 /tmp/clients.py 64 >/run/acknowledged'"
        )
        self.write(500)
        return self

    def write(self, number: int) -> None:
        """Until so many more rows have been acknowledged."""
        goal = int(self._lab.run(self.WRITTEN)) + number
        until(
            lambda: int(self._lab.run(self.WRITTEN)) > goal,
            lambda: self._lab.run("systemctl status clients; tail -3 /run/acknowledged", False),
            120,
        )

    def __exit__(self, *_: object) -> None:
        lab = self._lab
        lab.run("docker exec project_api sh -c 'touch /tmp/stop'")
        until(lambda: lab.run("systemctl is-active clients", check=False) != "active", str, 60)
        lab.run("docker exec project_api rm -f /tmp/stop /tmp/clients.py")

    def assert_stored(self, least: int) -> None:
        """Every acknowledged row is there, ``least`` of them or more; they go."""
        acknowledged = self._lab.run("cat /run/acknowledged; rm /run/acknowledged").split()
        rows = "SELECT json_agg(question) FROM agent.exchanges WHERE course = 'clients'"
        stored = set(json.loads(self._lab.psql(rows, "ml_db")))
        assert len(acknowledged) == len(set(acknowledged)) >= least
        assert set(acknowledged) <= stored
        self._lab.psql("DELETE FROM agent.exchanges WHERE course = 'clients'", "ml_db")


def test_the_smallest_action_and_a_graceful_stop(lab: Lab, tmp_path: Path) -> None:
    """64 clients that write meanwhile lose no acknowledged row by the restart."""
    lives = lab.lives()
    inventory = variant(tmp_path / "reload", {"postgres": {"settings": {"work_mem": "24MB"}}})
    lab.deploy(inventory=inventory)
    assert lab.lives() == lives
    assert lab.psql("SHOW work_mem") == "24MB"

    data = {
        "postgres": {"settings": {"shared_buffers": "192MB"}, "extensions": ["pg_trgm"]},
    }
    with Clients(lab) as clients:
        lab.deploy(inventory=variant(tmp_path / "restart", data))
        clients.write(500)
    clients.assert_stored(1000)
    now = lab.lives()
    assert {name for name in now if now[name] != lives[name]} == {"ml_postgres"}
    assert now["ml_postgres"][0] == lives["ml_postgres"][0]
    assert [lab.psql(f"SHOW {name}") for name in ("work_mem", "shared_buffers")] == [
        "16MB",
        "192MB",
    ]
    assert lab.psql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'", "ml_db") == "1"
    log = lab.run("docker logs ml_postgres 2>&1")
    assert "database system is shut down" in log
    assert "was not properly shut down" not in log
    lab.deploy()
    assert lab.psql("SHOW shared_buffers") == "256MB"


@pytest.mark.soak
def test_64_clients_lose_no_acknowledged_row(lab: Lab, tmp_path: Path) -> None:
    """They write through a deploy that restarts PostgreSQL, and one that replaces its container."""
    lab.deploy()
    with Clients(lab) as clients:
        for name, data in {
            "restarted": {"postgres": {"settings": {"shared_buffers": "192MB"}}},
            "replaced": {"services": {"postgres": {"health_interval": 9}}},
        }.items():
            lab.deploy(inventory=variant(tmp_path / name, data))
            clients.write(500)
    clients.assert_stored(1500)
    lab.deploy()
