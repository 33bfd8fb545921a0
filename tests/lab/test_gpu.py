"""The machine below the containers: from bare to a GPU in a container, what upgrades, repositories
and registries do to it, and what is refused on a host that nothing was installed on."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.settings import CACHE, CONTROLLER
from stack.docker.daemon import PATH as DAEMON_JSON
from stack.gpu.packages import DISTRIBUTION_DOCKER, DISTRIBUTIONS, DRIVER
from stack.machine.repositories import repositories
from stack.site import ServicesSettings
from tests.lab.conftest import Lab
from tests.lab.deploys import audit, lab_command, reboot, until, variant, verify
from tests.lab.machine_cases import APT, NEWER, RUN_UNATTENDED, SELECTED, UPGRADE_UNATTENDED

LISTED = "dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'"
SHIMS = "/usr/local/sbin"
ALL = (SELECTED.driver, SELECTED.cuda_toolkit, SELECTED.container_toolkit, DISTRIBUTION_DOCKER)
OURS = [name for one in ALL for name in one.packages]


def packages(lab: Lab) -> dict[str, tuple[str, str]]:
    """Package name to (version, state), of all that dpkg knows."""
    rows = (line.split() for line in lab.run(LISTED).splitlines())
    return {name: (version, state) for name, version, state in rows}


def boot_id(lab: Lab) -> str:
    return lab.run("cat /proc/sys/kernel/random/boot_id")


@pytest.fixture(scope="module", autouse=True)
def deployed(lab: Lab) -> None:
    lab.deploy()


def boots(lab: Lab) -> list[str]:
    """The ids of all boots in the host's journal, the first one first."""
    return re.findall(r"\b[0-9a-f]{32}\b", lab.run("journalctl --list-boots --no-pager"))


def test_saiga_saw_the_gpu_after_one_reboot(lab: Lab) -> None:
    entries = audit(lab)
    subjects = [entry["subject"] for entry in entries]
    until_saiga = entries[: subjects.index("container saiga_saiga_1")]
    assert [entry["cause"] for entry in until_saiga if entry["action"] == "reboot"] == [
        "reboot needed because nouveau holds the card"
    ]
    assert lab.run("docker exec saiga_saiga_1 nvidia-smi -L").startswith("GPU 0: ")


def test_upgrades_leave_our_packages_alone(lab: Lab) -> None:
    """By hand and unattended, with newer versions of all of them at hand."""
    lab.run(UPGRADE_UNATTENDED)
    before = packages(lab)
    lab.run(f"{APT} --with-new-pkgs upgrade && {RUN_UNATTENDED}")
    after = packages(lab)
    assert {name: after[name] for name in OURS} == {name: before[name] for name in OURS}
    assert {state for _, state in (after[name] for name in OURS)} == {"hi"}
    assert "565.57.01" in lab.run("apt-cache madison nvidia-smi")


def test_a_repository_that_serves_another_key(lab: Lab, tmp_path: Path) -> None:
    nvidia = repositories(lab.target.stack.site, DISTRIBUTIONS["debian12"]).nvidia_cuda
    other = lab.target.stack.site.apt.docker.key
    kept, before = lab.run(f"cat {nvidia.key}"), packages(lab)

    run = lab.pyinfra("-y", inventory=variant(tmp_path, {"apt": {"nvidia_cuda": {"key": other}}}))

    assert run.status != 0
    assert (
        f"apt.nvidia_cuda.key: {nvidia.key_url} holds the key {nvidia.fingerprint}, not {other}"
        in run.text
    )
    assert (lab.run(f"cat {nvidia.key}"), packages(lab)) == (kept, before)
    assert lab.deploy().changed() == []


LOGIN_PORT = 5055
USER, PASSWORD, WRONG = "lab", "a lab password", "another password"
# Of bcrypt, the only kind that the registry takes.
HTPASSWD = f"{USER}:$2b$05$rzRFnZumaI1/8Hjwr3RMo.DwcaU7uyLZt0XExHSgXTKmiTplFZs.2\n"


@contextmanager
def registry_with_a_login(folder: Path) -> Iterator[str]:
    """The lab's images behind TLS of an authority of its own and a login; yields its name."""
    name, certificate = f"{CONTROLLER}:{LOGIN_PORT}", folder / "ca.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab"),
            *("-addext", f"subjectAltName=IP:{CONTROLLER}", "-days", "2"),
            *("-keyout", str(folder / "key.pem"), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "htpasswd").write_text(HTPASSWD)
    settings = {
        "version": "0.1",
        "storage": {
            "filesystem": {"rootdirectory": str(CACHE / "registry")},
            "maintenance": {"readonly": {"enabled": True}, "uploadpurging": {"enabled": False}},
        },
        "http": {
            "addr": name,
            "tls": {"certificate": str(certificate), "key": str(folder / "key.pem")},
        },
        "auth": {"htpasswd": {"realm": "lab", "path": str(folder / "htpasswd")}},
    }
    (folder / "registry.yml").write_text(yaml.safe_dump(settings))
    with (folder / "registry.log").open("w") as log:
        server = subprocess.Popen(
            ["docker-registry", "serve", str(folder / "registry.yml")], stdout=log, stderr=log
        )
    try:
        address = ["curl", "-s", "--cacert", str(certificate), f"https://{name}/v2/"]
        until(
            lambda: subprocess.run(address, capture_output=True).returncode == 0,
            (folder / "registry.log").read_text,
            30,
            lambda: server.poll() is None,
        )
        yield name
    finally:
        server.terminate()
        server.wait()


def test_a_registry_with_a_login_and_an_authority_of_its_own(lab: Lab, tmp_path: Path) -> None:
    site = lab.target.stack.site
    password = tmp_path / "password"
    config = "/root/.docker/config.json"
    with registry_with_a_login(tmp_path) as name:
        image = site.services.node_exporter.image.partition("/")[2]
        data = {
            "docker": {
                "registries": {
                    name: {
                        "user": USER,
                        "password": {"file": str(password)},
                        "ca": str(tmp_path / "ca.pem"),
                    }
                }
            },
            "services": {"node_exporter": {"image": f"{name}/{image}"}},
        }
        inventory = variant(tmp_path / "site", data)
        try:
            password.write_text(WRONG)
            refused = lab.pyinfra("-y", "-vvv", inventory=inventory)
            assert refused.status != 0
            assert "401 Unauthorized" in refused.text

            password.write_text(PASSWORD)
            said = lab.pyinfra("-y", "-vvv", inventory=inventory)
            assert said.status == 0, said.text
            assert lab.deploy(inventory=inventory).changed() == []

            lab.run(f'sed -i \'s/"auth": ".*"/"auth": "eDp5"/\' {config}')
            assert lab.drift(inventory=inventory) == (
                2,
                f"registry {name}: log in (not as {USER} with this password)",
            )
            again = lab.deploy(inventory=inventory)
            assert again.changed() == ["Docker | Logins at registries"]
            log = lab.run("cat /var/log/saiga-stack/audit.jsonl")
            for text in (refused.text, said.text, again.text, log):
                assert PASSWORD not in text
                assert WRONG not in text
        finally:
            lab.run(f"docker logout {name}; rm -r /etc/docker/certs.d", check=False)
            lab.deploy()


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
    reboot(lab)
    assert lab.run("cat /sys/module/nvidia/version") == NEWER.removesuffix("-1")
    logged = len(audit(lab))

    lab.deploy()

    reboots = [entry["cause"] for entry in audit(lab)[logged:] if entry["action"] == "reboot"]
    assert reboots == [f"reboot needed because module 565.57.01 is loaded, not {DRIVER}"]
    verify("test_gpu.py")


BARE = "10.77.0.11"
CARD = (
    "0000:01:00.0 VGA compatible controller [0300]: NVIDIA Corporation AD102 [GeForce RTX 4090]"
    " [10de:2684] (rev a1)"
)


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Iterator[Lab]:
    """A second host, on which nothing was ever installed."""
    lab_command("up", "lab2", "--fresh")
    assert lab.target.ssh
    yield Lab(replace(lab.target, address=BARE, ssh=(*lab.target.ssh[:-1], BARE)))
    lab_command("power-off", "lab2")


def only(*services: str, **data: Any) -> dict[str, Any]:
    """The second host's data, with nothing but some services."""
    others = set(ServicesSettings.model_fields) - set(services)
    switched_off = {name: {"enabled": False} for name in others}
    return {"ssh_hostname": BARE, "services": switched_off, **data}


def program(name: str, script: str) -> str:
    """A shell command that puts a program in front of the host's own."""
    path, text = f"{SHIMS}/{name}", shlex.quote(f"#!/bin/sh\n{script}\n")
    return f"printf %s {text} >{path} && chmod 755 {path}"


KERNEL = program("uname", '[ "$1" = -r ] && echo 6.14.0-24-generic || exec /usr/bin/uname "$@"')
SMALL_DISK = "mkdir -p /var/lib/docker && mount -t tmpfs -o size=16g tmpfs /var/lib/docker"
OTHER_SYSTEM = "sed -i.kept 's/^VERSION_ID=.*/VERSION_ID=\"11\"/' /usr/lib/os-release"
AS_IT_WAS = (
    f"rm -f {SHIMS}/uname {SHIMS}/mokutil {SHIMS}/lspci; umount -q /var/lib/docker;"
    " if [ -e /usr/lib/os-release.kept ]; then"
    " mv /usr/lib/os-release.kept /usr/lib/os-release; fi"
)
# Name to the site's data, what the host is made to be, and the one sentence.
REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "kernel": (
        {"nvidia": {"kernel_limit": "6.12"}},
        KERNEL,
        "lab: nvidia.kernel_limit: the host runs kernel 6.14.0-24-generic, and driver 560.35.03"
        " does not compile on 6.12 or newer; boot and keep an older one, such as"
        " linux-image-generic of Ubuntu 24.04 instead of its HWE kernel",
    ),
    "Secure Boot": (
        {},
        program("mokutil", 'echo "SecureBoot enabled"'),
        "lab: Secure Boot is on, so the kernel would refuse the driver's module, which is built on"
        " the host; switch Secure Boot off in the firmware, or enrol the host's own key"
        " (update-secureboot-policy --new-key on Ubuntu, dkms generate_mok on Debian; then"
        " mokutil --import KEY and confirm it on the console at the next boot)",
    ),
    "no GPU": (
        {},
        program("lspci", ""),
        "lab: gpu: nvidia, but the host has no NVIDIA card (lspci -d 10de: shows none); look at the"
        " machine, or let gpu be none",
    ),
    "a card too small": (
        {"saiga": {"weights": "40g"}},
        "",
        "lab: saiga.max_model_len: 2048 tokens of /models/smollm2-135m-instruct need 41.7 GiB on"
        f" the card, and {CARD} gives 21.6 GiB (90% of 24.0 GiB); lower max_model_len, or use a"
        " larger card",
    ),
    "disk": (
        {"base": {"free_disk": "60g"}},
        SMALL_DISK,
        "lab: base.free_disk: 60g must be free for Docker's data, and the host has 16.0 GiB",
    ),
    "image too new": (
        {"services": {"saiga": {"image": "vllm/vllm-openai:v0.11.0"}}},
        "",
        "the data of lab is wrong:\nservices.saiga.image: vllm/vllm-openai:v0.11.0 is made for CUDA"
        " 12.8, which needs driver 570.26 or newer; the driver here is 560.35.03 (CUDA 12.6), whose"
        " newest image is vllm/vllm-openai:v0.8.5.post1",
    ),
    "unsupported system": (
        {},
        OTHER_SYSTEM,
        "lab: the host runs Debian GNU/Linux 12 (bookworm) on x86_64; supported on x86_64 are"
        " Ubuntu 22.04, Ubuntu 24.04, Debian 12",
    ),
}
WHOLE_STATE = f"""
{LISTED}
find /boot /etc /opt /root /usr /var/cache/apt /var/lib/apt /var/lib/dpkg /var/lib/saiga-stack \\
    /var/log/saiga-stack /run/saiga-stack* -xdev -printf '%p %i %m %u %T@\\n' 2>&1
systemctl list-units --all --plain --no-legend | awk '{{ print $1, $2, $3 }}' |
    grep -vE 'ssh@|session-|user'
cat /proc/sys/kernel/random/boot_id
"""


@pytest.mark.parametrize("name", REFUSALS)
def test_refused_in_one_sentence_on_a_bare_host(bare: Lab, tmp_path: Path, name: str) -> None:
    data, make_so, sentence = REFUSALS[name]
    bare.run(make_so)
    try:
        before = bare.run(WHOLE_STATE)
        run = bare.pyinfra("-y", inventory=variant(tmp_path, {"ssh_hostname": BARE, **data}))
        doctor = bare.stack("doctor", "lab", "--json", inventory=str(tmp_path / "inventory.py"))
        after = bare.run(WHOLE_STATE)
    finally:
        bare.run(AS_IT_WAS)
    assert run.status != 0
    assert doctor.status == 1
    if doctor.result:
        (host,) = doctor.result
        errors = [said["sentence"] for said in host["findings"] if said["level"] == "error"]
        assert errors == [sentence.removeprefix("lab: ")]
    else:
        assert sentence in doctor.text
    assert run.text.rpartition("pyinfra error in ")[2].partition(": ")[2].strip() == sentence
    assert after == before


def test_a_site_without_a_gpu_gets_nothing_of_nvidia(bare: Lab, tmp_path: Path) -> None:
    inventory = variant(tmp_path, only("node_exporter", gpu="none"))
    run = bare.deploy(inventory=inventory)
    assert "Host exporters | Container node-exporter" in run.changed()
    assert bare.deploy(inventory=inventory).changed() == []
    state = packages(bare)
    assert not [name for name in state if "nvidia" in name or name.startswith("cuda")]
    assert state["docker.io"][1] == "hi"
    assert "nvidia" not in bare.run(f"cat {DAEMON_JSON}")


def test_one_reboot_from_a_bare_host_to_a_gpu_in_a_container(bare: Lab, tmp_path: Path) -> None:
    lab_command("up", "lab2", "--fresh")
    inventory = variant(tmp_path, only("node_exporter", "dcgm_exporter"))
    first = boots(bare)
    assert len(first) == 1

    run = bare.deploy(inventory=inventory)

    assert run.text.count("reboot needed because nouveau holds the card") == 1
    assert "NVIDIA driver | Reboot when needed" in run.changed()
    assert boots(bare) == [*first, boot_id(bare).replace("-", "")]
    reboots = [entry["cause"] for entry in audit(bare) if entry["action"] == "reboot"]
    assert reboots == ["reboot needed because nouveau holds the card"]
    assert bare.run("docker exec dcgm-exporter nvidia-smi -L").startswith("GPU 0: ")
    assert bare.deploy(inventory=inventory).changed() == []
    assert len(boots(bare)) == 2
