"""`systemctl daemon-reload` where systemd guards the containers' devices, as it does on most hosts.

The lab host's engine uses cgroupfs, with which no container loses anything. So a second engine runs
beside it, with nothing in common but the card, the toolkit and the links of the deploy.
"""

from collections.abc import Iterator

import pytest

from tests.lab.conftest import Lab

UNIT = "reload-probe"
SOCKET = f"unix:///run/{UNIT}.sock"
DOCKER = f"docker --host {SOCKET}"
ENGINE = (
    f"dockerd --host {SOCKET} --pidfile /run/{UNIT}.pid"
    f" --config-file /run/{UNIT}.json"
    f" --data-root /var/lib/{UNIT} --exec-root /run/{UNIT} --containerd-namespace {UNIT}"
    " --exec-opt native.cgroupdriver=systemd --bridge none --iptables=false"
    " --add-runtime nvidia=nvidia-container-runtime --insecure-registry 10.77.0.1:5000"
)
LOST = "Failed to initialize NVML: Unknown Error\nstatus 255"


@pytest.fixture
def engine(lab: Lab) -> Iterator[None]:
    lab.run(f"echo '{{}}' >/run/{UNIT}.json")
    lab.run(f"systemd-run --quiet --collect --unit {UNIT} --property KillMode=mixed {ENGINE}")
    lab.run(f"timeout 60 sh -c 'until {DOCKER} version; do sleep 0.2; done' >/dev/null 2>&1")
    yield
    lab.run(f"{DOCKER} rm --force $({DOCKER} ps --all --quiet)", check=False)
    lab.run(f"systemctl stop {UNIT} && rm -rf /var/lib/{UNIT} /run/{UNIT}*")


def test_the_runtime_keeps_the_card_that_the_hook_loses(lab: Lab, engine: None) -> None:
    image = lab.target.stack.site.python_image

    def start(name: str, option: str) -> None:
        lab.run(
            f"{DOCKER} run --detach --name {name} --network none {option} --entrypoint sleep"
            f" {image} 600"
        )

    def card(name: str) -> str:
        return lab.run(f"{DOCKER} exec {name} nvidia-smi -L; s=$?; [ $s = 0 ] || echo status $s")

    start("hook", "--gpus all")
    start("runtime", "--runtime nvidia --env NVIDIA_VISIBLE_DEVICES=all")
    assert card("hook").startswith("GPU 0: ")
    assert card("runtime").startswith("GPU 0: ")

    lab.run("systemctl daemon-reload")

    assert card("hook") == LOST
    assert card("runtime").startswith("GPU 0: ")
