"""The machine below the containers: broken by hand in many ways, repaired by one deploy each; and
what is refused on a host that nothing was installed on."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stack.docker.daemon import PATH as DAEMON_JSON
from stack.gpu.driver import DOCKER_AFTER_GPU, NO_NOUVEAU, PERSISTENCE
from stack.gpu.packages import DISTRIBUTIONS, DRIVER, selection
from stack.machine.base import UNATTENDED
from stack.machine.repositories import repositories
from stack.site import ServicesSettings
from tests.lab.conftest import Lab
from tests.lab.deploys import audit, lab_command, variant, verify

SELECTED = selection("debian12")
NEWER = "565.57.01-1"
LISTED = "dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'"
APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y"
SHIMS = "/usr/local/sbin"


def packages(lab: Lab) -> dict[str, tuple[str, str]]:
    """Package name to (version, state), of all that dpkg knows."""
    rows = (line.split() for line in lab.run(LISTED).splitlines())
    return {name: (version, state) for name, version, state in rows}


def boot_id(lab: Lab) -> str:
    return lab.run("cat /proc/sys/kernel/random/boot_id")


@pytest.fixture(scope="module", autouse=True)
def deployed(lab: Lab) -> None:
    lab.deploy()


def test_the_first_deploy_took_one_reboot(lab: Lab) -> None:
    causes = [entry["cause"] for entry in audit(lab) if entry["action"] == "reboot"]
    assert causes[0] == "reboot needed because nouveau holds the card"
    assert causes.count(causes[0]) == 1


def test_an_upgrade_of_everything_leaves_our_packages_alone(lab: Lab) -> None:
    """apt as unattended-upgrades calls it, with newer versions of all of them at hand."""
    before = packages(lab)
    lab.run(f"{APT} update && {APT} --with-new-pkgs upgrade")
    after = packages(lab)
    ours = [name for one in (SELECTED.driver, SELECTED.container_toolkit) for name in one.packages]
    assert {name: after[name] for name in ours} == {name: before[name] for name in ours}
    names = lab.run("apt-config dump Unattended-Upgrade::Package-Blacklist")
    for name in ("nvidia-", "libnvidia-", "docker", "linux-image"):
        assert f'"{name}"' in names


def test_packages_files_and_units_are_repaired(lab: Lab) -> None:
    """Without a reboot: the module in the kernel is still the wanted one."""
    nvidia = repositories(lab.target.stack.site, DISTRIBUTIONS["debian12"]).nvidia_cuda
    newer = " ".join(f"{name}={NEWER}" for name in SELECTED.driver.packages)
    lab.run(
        f"echo 'Package: *' >{SELECTED.driver.preferences_file.path}; "
        f"{APT} update && {APT} install --allow-change-held-packages --allow-downgrades {newer}"
        f" && {APT} remove --allow-change-held-packages nvidia-container-toolkit"
        " nvidia-container-toolkit-base"
    )
    lab.run(
        "apt-mark unhold docker.io cuda-toolkit-12-6 && systemctl stop nvidia-persistenced &&"
        f" rm {NO_NOUVEAU.path} && chmod 0666 {PERSISTENCE.path} &&"
        f" echo '# by hand' >>{DOCKER_AFTER_GPU.path} && echo >{UNATTENDED.path}"
    )
    lab.run(
        f"echo 'deb [trusted=yes] http://192.0.2.1/ ./' >{nvidia.source.path} &&"
        f" cp /etc/apt/keyrings/lab.asc {nvidia.key}"
    )
    boot, lives = boot_id(lab), lab.lives()

    run = lab.deploy()

    assert boot_id(lab) == boot
    assert lab.lives() == lives
    assert "NVIDIA driver | Install and hold" in run.changed()
    assert "NVIDIA driver | Reboot when needed" not in run.changed()
    state = packages(lab)
    for wanted in (SELECTED.driver, SELECTED.cuda_toolkit, SELECTED.container_toolkit):
        for name, version in wanted.packages.items():
            assert state[name] == (version, "hi")
    assert state["docker.io"][1] == "hi"
    assert lab.deploy().changed() == []
    verify("test_gpu.py")


def test_daemon_json_keeps_what_others_wrote(lab: Lab) -> None:
    before = lab.run(f"cat {DAEMON_JSON}")
    present = json.loads(before)
    broken = {
        **present,
        "max-concurrent-downloads": 4,
        "runtimes": {**present["runtimes"], "other": {"path": "/usr/bin/runc"}},
        "log-opts": "broken",
        "live-restore": "yes",
    }
    lab.run(f"printf %s {shlex.quote(json.dumps(broken))} >{DAEMON_JSON}")
    lives = lab.lives()

    run = lab.deploy()

    assert run.changed() == ["Docker | Configure the daemon"]
    assert lab.lives() == lives
    assert json.loads(lab.run(f"cat {DAEMON_JSON}")) == {
        **present,
        "max-concurrent-downloads": 4,
        "runtimes": {**present["runtimes"], "other": {"path": "/usr/bin/runc"}},
    }
    assert "other" in lab.run("docker info --format '{{json .Runtimes}}'")
    lab.run(f"printf '%s\\n' {shlex.quote(before)} >{DAEMON_JSON} && systemctl reload docker")
    assert lab.deploy().changed() == []


def test_what_docker_would_not_take_is_never_in_its_place(lab: Lab) -> None:
    """A key that Docker does not know, beside one of ours that has to be corrected."""
    before = lab.run(f"cat {DAEMON_JSON}")
    broken = json.dumps({**json.loads(before), "log-opts": {}, "no-such-key": True})
    lab.run(f"printf %s {shlex.quote(broken)} >{DAEMON_JSON}")
    lives = lab.lives()

    run = lab.pyinfra("-y")

    assert run.status != 0
    assert "the following directives don't match any configuration option: no-such-key" in run.text
    assert lab.run(f"cat {DAEMON_JSON}") == broken
    assert lab.lives() == lives
    lab.run(f"printf '%s\\n' {shlex.quote(before)} >{DAEMON_JSON}")
    assert lab.deploy().changed() == []


@pytest.mark.soak
def test_another_module_in_the_kernel_costs_one_reboot(lab: Lab) -> None:
    newer = " ".join(f"{name}={NEWER}" for name in SELECTED.driver.packages)
    unpinned = f"{APT} -o Dir::Etc::PreferencesParts=/nowhere install"
    lab.run(f"{unpinned} --allow-change-held-packages --allow-downgrades {newer}")
    lab.run("systemctl reboot", check=False)
    lab_command("up")
    assert lab.run("cat /sys/module/nvidia/version") == NEWER.removesuffix("-1")
    logged = len(audit(lab))

    lab.deploy()

    reboots = [entry["cause"] for entry in audit(lab)[logged:] if entry["action"] == "reboot"]
    assert reboots == [f"reboot needed because module 565.57.01 is loaded, not {DRIVER}"]
    verify("test_gpu.py")


BARE = "10.77.0.11"


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Iterator[Lab]:
    """A second host, on which nothing was ever installed."""
    lab_command("up", "lab2", "--fresh")
    assert lab.target.ssh
    yield Lab(replace(lab.target, address=BARE, ssh=(*lab.target.ssh[:-1], BARE)))
    lab_command("power-off", "lab2")


REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "kernel": (
        {"nvidia": {"kernel_limit": "6.1"}},
        "",
        "driver 560.35.03 does not compile on 6.1 or newer",
    ),
    "Secure Boot": (
        {},
        f"{SHIMS}/mokutil 'SecureBoot enabled'",
        "Secure Boot is on, so the kernel",
    ),
    "no GPU": ({}, f"{SHIMS}/lspci ''", "gpu: nvidia, but the host has no NVIDIA card"),
    "a card too small": (
        {"saiga": {"weights": "40g"}},
        "",
        "saiga.max_model_len: 2048 tokens of /models/smollm2-135m-instruct need 41.7 GiB",
    ),
    "disk": ({"base": {"free_disk": "90000g"}}, "", "base.free_disk: 90000g must be free"),
    "image too new": (
        {"services": {"saiga": {"image": "vllm/vllm-openai:v0.11.0"}}},
        "",
        "services.saiga.image: vllm/vllm-openai:v0.11.0 is made for CUDA 12.8",
    ),
    "unsupported system": ({}, "os-release", "supported on x86_64 are Ubuntu 22.04"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_on_a_bare_host(bare: Lab, tmp_path: Path, name: str) -> None:
    data, shim, sentence = REFUSALS[name]
    before = packages(bare)
    with_host: Mapping[str, Any] = {"ssh_hostname": BARE, **data}
    if shim == "os-release":
        bare.run("sed -i.kept 's/^VERSION_ID=.*/VERSION_ID=\"11\"/' /usr/lib/os-release")
    elif shim:
        path, answer = shlex.split(shim)
        bare.run(f"printf '#!/bin/sh\\necho \"%s\"\\n' '{answer}' >{path} && chmod 755 {path}")
    try:
        run = bare.pyinfra("-y", inventory=variant(tmp_path, with_host))
    finally:
        bare.run(
            f"rm -f {SHIMS}/mokutil {SHIMS}/lspci; if [ -e /usr/lib/os-release.kept ]; then"
            " mv /usr/lib/os-release.kept /usr/lib/os-release; fi"
        )
    assert run.status != 0
    assert "Traceback" not in run.text
    assert sentence in run.text
    assert packages(bare) == before
    assert bare.run("ls /var/log/saiga-stack /run/saiga-stack.lock 2>/dev/null", check=False) == ""


def test_a_site_without_a_gpu_gets_nothing_of_nvidia(bare: Lab, tmp_path: Path) -> None:
    others = set(ServicesSettings.model_fields) - {"node_exporter"}
    site = {
        "ssh_hostname": BARE,
        "gpu": "none",
        "services": {name: {"enabled": False} for name in others},
    }
    inventory = variant(tmp_path, site)
    run = bare.deploy(inventory=inventory)
    assert "Host exporters | Container node-exporter" in run.changed()
    assert bare.deploy(inventory=inventory).changed() == []
    state = packages(bare)
    assert not [name for name in state if "nvidia" in name or name.startswith("cuda")]
    assert state["docker.io"][1] == "hi"
    assert "nvidia" not in bare.run(f"cat {DAEMON_JSON}")
