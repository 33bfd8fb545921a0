"""The operator's commands on a deployed host: what they say, and that it is so."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import ROOT, Lab
from tests.lab.data import Data
from tests.lab.deploys import variant

SCRAPE = "cat /etc/saiga-stack/prometheus/prometheus.yml | grep -m1 scrape_interval"


@pytest.fixture(scope="module", autouse=True)
def deployed(lab: Lab) -> Iterator[None]:
    lab.deploy()
    yield
    lab.deploy()


def test_a_host_as_its_site_says(lab: Lab) -> None:
    for words in (("plan", "lab"), ("drift", "lab"), ("status", "lab"), ("doctor", "lab")):
        run = lab.stack(*words)
        assert run.status == 0, run.text
        assert "\x1b" not in run.text
    assert lab.drift() == (0, "")


def test_drift_has_its_exit_status_and_reports(lab: Lab, tmp_path: Path) -> None:
    lab.run("docker update --memory=300m --memory-swap=300m webbot2 >/dev/null")
    try:
        expected = "container webbot2: update in place (differs)\n    memory: 300m -> 512m"
        assert lab.drift() == (2, expected)
        planned = lab.stack("plan", "lab", "--json")
        assert (planned.status, planned.result and planned.result["outcome"]) == (0, "drift")
        report = tmp_path / "drift.md"
        assert lab.stack("drift", "lab", "--format=markdown", f"--output={report}").status == 2
        row = "| container webbot2 | update in place | differs | memory | 300m | 512m |"
        assert row in report.read_text().splitlines()
    finally:
        run = lab.stack("deploy", "lab", "--yes")
    assert run.status == 0, run.text
    assert lab.drift() == (0, "")


def test_a_host_that_cannot_be_reached(lab: Lab, tmp_path: Path) -> None:
    run = lab.stack("drift", "lab", inventory=variant(tmp_path, {"ssh_port": 23}))
    assert run.status == 1
    assert "cannot be reached" in run.text
    assert "Traceback" not in run.text


def test_status_and_logs(lab: Lab) -> None:
    (host,) = json.loads(json.dumps(lab.stack("status", "lab", "--json").result))
    names = [container["name"] for container in host["containers"]]
    assert names == [container.name for container in lab.desired.containers]
    assert host["healthy"] and host["deploys"]
    (gpu,) = host["gpus"]
    assert gpu.startswith("0, NVIDIA GeForce RTX 4090, 560.35.03, ")
    assert "Running on http" in lab.stack("logs", "lab", "webbot2").text
    assert lab.stack("logs", "lab", "webbot").status == 1
    assert lab.stack("logs", "lab", "webbot2", "--since=1m; touch /run/typed").status != 0
    lab.run("test ! -e /run/typed")


def test_status_is_watched_until_it_is_interrupted() -> None:
    # What a shell starts in the background is deaf to the signal, and so is all that it starts.
    hearing = ["env", "--default-signal=INT", ROOT / "bin/stack", "status", "lab", "--watch"]
    watch = subprocess.Popen(hearing, stdout=subprocess.PIPE, text=True)
    assert watch.stdout
    tables = (line for line in watch.stdout if line.startswith("lab: Docker "))
    assert next(tables) == next(tables)
    watch.send_signal(signal.SIGINT)
    rest, _ = watch.communicate(timeout=60)
    assert (watch.returncode, "\x1b" in rest) == (0, False)


def test_doctor_names_what_is_in_the_way(lab: Lab, tmp_path: Path) -> None:
    listener = "systemd-socket-activate --listen=127.0.0.1:3999 /bin/true"
    lab.run(f"systemd-run --quiet --unit=stranger {listener}; ip route add 172.22.9.0/24 dev host0")
    try:
        data = {"services": {"grafana": {"ports": {"http": {"published": 3999}}}}}
        run = lab.stack("doctor", "lab", inventory=variant(tmp_path, data))
        assert run.status == 1
        assert "port 3999 of grafana_new is taken by systemd-socket-" in run.text
        clash = "172.22.0.0/16 clashes with the host's route to 172.22.9.0/24 by host0"
        assert f"networks.mlopsnew.subnet: {clash}" in run.text
    finally:
        lab.run("systemctl stop stranger; ip route del 172.22.9.0/24 dev host0")


def test_rollback_returns_to_the_image_and_the_configuration(lab: Lab, tmp_path: Path) -> None:
    changed = variant(tmp_path, {"prometheus": {"scrape_interval": 7}})
    before = lab.run(SCRAPE)
    lab.deploy(inventory=changed)
    assert "7s" in lab.run(SCRAPE)

    refused = lab.stack("rollback", "lab", "prometheus", inventory=changed)
    assert (refused.status, "--yes goes on without" in refused.text) == (1, True)
    assert "7s" in lab.run(SCRAPE)

    back = lab.stack("rollback", "lab", "prometheus", "--yes", inventory=changed)
    assert back.status == 0, back.text
    assert lab.run(SCRAPE) == before
    status, plan = lab.drift(inventory=changed)
    assert (status, "prometheus.yml" in plan) == (2, True)

    forward = lab.stack("rollback", "lab", "prometheus", "--yes", inventory=changed)
    assert forward.status == 0, forward.text
    assert lab.drift(inventory=changed) == (0, "")


def test_rollback_replaces_the_container(lab: Lab, tmp_path: Path) -> None:
    changed = variant(tmp_path, {"services": {"webbot2": {"health_interval": 9}}})
    lab.deploy(inventory=changed)
    other = lab.lives()["webbot2"]
    back = lab.stack("rollback", "lab", "webbot2", "--yes", inventory=changed)
    assert back.status == 0, back.text
    assert lab.lives()["webbot2"] != other
    assert lab.drift() == (0, "")


def test_what_cannot_be_removed_is_not(lab: Lab) -> None:
    lives = lab.lives()
    for words, sentence in (
        ((), "nobody is there to ask; --confirm lab removes this"),
        (("--confirm=lap",), "lap is not lab; nothing was removed"),
        (("--data=photos",), "volume photos is none of the site's"),
    ):
        run = lab.stack("remove", "lab", *words)
        assert (run.status, sentence in run.text) == (1, True), run.text
    assert lab.lives() == lives


@pytest.mark.soak
def test_remove_keeps_the_data_that_is_not_named(lab: Lab) -> None:
    data = Data(lab, "remove")
    data.write()
    written = data.read()
    run = lab.stack("remove", "lab", "--confirm=lab", "--data=grafana_data_new")
    assert run.status == 0, run.text
    label = "--filter label=saiga-stack.managed=yes"
    assert lab.run(f"docker ps -aq {label}; docker network ls -q {label}") == ""
    volumes = lab.run("docker volume ls -q").splitlines()
    assert "postgres_data" in volumes
    assert "grafana_data_new" not in volumes
    again = lab.stack("remove", "lab", "--confirm=lab")
    assert (again.status, "there is nothing to remove" in again.text) == (0, True), again.text
    lab.deploy()
    assert data.read() == written
    data.remove()
