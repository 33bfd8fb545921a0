"""A container is replaced for good or not at all."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Lab, Run
from tests.lab.deploys import variant

LAST_WORDS = "these were my last words"
BAD_IMAGE, IDLE_IMAGE = "replacing/ends-at-once:1", "replacing/does-nothing:1"
STRANGERS_PORT = 8099
STRANGER = (
    "systemd-run --quiet --unit=stranger"
    f" --socket-property=ListenStream=127.0.0.1:{STRANGERS_PORT} true"
)


@pytest.fixture(scope="module")
def images(lab: Lab) -> Iterator[None]:
    """Two bad images on the host and a stranger at a port; the site as it has to be, in the end."""
    lab.deploy()
    base = lab.desired.container("grafana_new").image
    programs = {
        BAD_IMAGE: f'["sh", "-c", "echo {LAST_WORDS}; exit 3"]',
        IDLE_IMAGE: '["sleep", "infinity"]',
    }
    for image, program in programs.items():
        dockerfile = f"FROM {base}\\nENTRYPOINT {program}\\n"
        lab.run(f"printf '{dockerfile}' | docker build --quiet --tag={image} -")
    lab.run(STRANGER)
    yield
    lab.run("systemctl stop stranger.socket", check=False)
    lab.deploy()
    lab.run(f"docker image rm {BAD_IMAGE} {IDLE_IMAGE}")


def fail(lab: Lab, folder: Path, data: Mapping[str, Any]) -> Run:
    """A deploy that must fail and leave the containers that were there."""
    before = lab.lives()
    run = lab.pyinfra("-y", inventory=variant(folder, data))
    assert run.status != 0, run.text
    assert "Traceback" not in run.text
    after = lab.lives()
    assert {name: identity for name, (identity, _) in after.items()} == {
        name: identity for name, (identity, _) in before.items()
    }
    assert lab.run("docker ps -aq --filter name=saiga-stack-old") == ""
    return run


def assert_given_back(lab: Lab, run: Run, name: str, lives: dict[str, tuple[str, str]]) -> None:
    """``name`` serves again, nothing else was restarted, and the operator was told all of it."""
    now = lab.lives()
    assert {other for other in now if now[other] != lives[other]} == {name}
    gate = lab.desired.container(name).gate
    assert gate
    lab.run(gate.command)
    old = now[name][0][:12]
    assert f"the old one, {old}, is back: it {gate.title}\n" in run.text
    new = re.search(rf"container {name}: the new one, ([0-9a-f]{{12}}), was taken back", run.text)
    assert new, run.text
    assert new[1] != old
    for title in ("its state", "its health log", "its last log lines"):
        assert f"    [lab] --- {title}\n" in run.text


def test_an_image_whose_program_ends_at_once(lab: Lab, images: None, tmp_path: Path) -> None:
    lives = lab.lives()
    run = fail(lab, tmp_path, {"services": {"grafana": {"image": BAD_IMAGE}}})
    assert_given_back(lab, run, "grafana_new", lives)
    assert "exit code 3" in run.text
    assert f"    [lab] {LAST_WORDS}\n" in run.text


def test_a_bad_command_and_the_file_changed_with_it(lab: Lab, images: None, tmp_path: Path) -> None:
    lives = lab.lives()
    data = {"prometheus": {"retention_time": "300y", "scrape_interval": 7}}
    run = fail(lab, tmp_path, data)
    assert_given_back(lab, run, "prometheus_new", lives)
    assert "write a file /etc/saiga-stack/prometheus/prometheus.yml" in run.text
    assert "exit code 2" in run.text


def test_a_gate_that_does_not_pass(lab: Lab, images: None, tmp_path: Path) -> None:
    lives = lab.lives()
    run = fail(lab, tmp_path, {"services": {"dcgm_exporter": {"image": IDLE_IMAGE}}})
    assert_given_back(lab, run, "dcgm-exporter", lives)
    assert re.search(r"it is running, but after \d+ s not yet one that shows the GPU", run.text)
    assert re.search(r"waiting until dcgm-exporter shows the GPU: \d+ s of 60 s", run.text)


def test_a_port_that_a_stranger_holds(lab: Lab, images: None, tmp_path: Path) -> None:
    lives = lab.lives()
    ports = {"http": {"published": STRANGERS_PORT, "bind": "127.0.0.1"}}
    run = fail(lab, tmp_path, {"services": {"webbot2": {"ports": ports}}})
    assert_given_back(lab, run, "webbot2", lives)
    assert f"{STRANGERS_PORT}" in run.text and "address already in use" in run.text


def test_an_image_that_cannot_be_pulled(lab: Lab, images: None, tmp_path: Path) -> None:
    lives = lab.lives()
    image = "10.77.0.1:5000/saiga-lab/there-is-no-such-image:1"
    run = fail(lab, tmp_path, {"services": {"qdrant": {"image": image}}})
    assert lab.lives() == lives
    assert f"container qdrant_new: pull the image {image} (not found)" in run.text
    assert "container qdrant_new: could not pull the image: " in run.text


def test_a_setting_that_postgresql_does_not_take(lab: Lab, images: None, tmp_path: Path) -> None:
    lives = lab.lives()
    run = fail(lab, tmp_path, {"postgres": {"settings": {"work_mem": "plenty"}}})
    assert lab.lives() == lives
    sentence = (
        "container ml_postgres: nothing was changed: postgres.settings.work_mem: PostgreSQL refuses"
        ' it: invalid value for parameter "work_mem": "plenty"'
    )
    assert sentence in run.text
    assert lab.run("docker exec ml_postgres psql -U postgres -qtAc 'SHOW work_mem'") == "16MB"


def test_nothing_of_the_failures_is_left(lab: Lab, images: None) -> None:
    assert lab.deploy().changed() == []


def test_once_the_cause_is_gone_a_deploy_converges(lab: Lab, images: None, tmp_path: Path) -> None:
    lab.run("systemctl stop stranger.socket")
    lab.run(f"docker tag {lab.desired.container('grafana_new').image} {BAD_IMAGE}")
    ports = {"http": {"published": STRANGERS_PORT, "bind": "127.0.0.1"}}
    services = {"grafana": {"image": BAD_IMAGE}, "webbot2": {"ports": ports}}
    inventory = variant(tmp_path, {"services": services})
    changed = lab.deploy(inventory=inventory).changed()
    assert changed == [
        "Firewall | Rules",
        "WebBot2 | Container webbot2",
        "Grafana | Container grafana_new",
    ]
    lab.run(f"curl -sf http://127.0.0.1:{STRANGERS_PORT}/health")
