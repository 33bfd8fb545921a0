"""The observation: its script on the machine that runs the tests, and its parser."""

import os
import subprocess
from pathlib import Path

import pytest

from stack.machine.observe import (
    MIB,
    Gpu,
    Listener,
    Machine,
    Package,
    Unit,
    observation_script,
    parse,
)

OUTPUT = """\
=== saiga-stack system
debian12
Debian GNU/Linux 12 (bookworm)
bookworm
x86_64
=== saiga-stack kernel
6.1.0-28-amd64
/boot/vmlinuz-6.1.0-28-amd64
/boot/vmlinuz-6.1.0-30-amd64
=== saiga-stack boot
7e1f
=== saiga-stack memory
MemTotal:       131072000 kB
SwapTotal:             0 kB
=== saiga-stack disk
1000000
2000000
=== saiga-stack packages
bash 5.2.15-2+b7 ii 
docker-ce 5:28.5.2-1~debian.12~bookworm hi 
removed 1.0 rc 
=== saiga-stack files
0123 0644 /etc/sysctl.d/60-saiga-stack.conf
=== saiga-stack keys
/etc/apt/keyrings/saiga-stack-docker.asc AAAA BBBB
/etc/apt/keyrings/saiga-stack-nvidia-cuda.asc
=== saiga-stack sources
/etc/apt/sources.list.d/docker.list:deb https://download.docker.com/linux/debian bookworm stable
=== saiga-stack sysctls
vm.swappiness = 60
=== saiga-stack units
Id=docker.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
ConditionResult=yes
ConditionTimestampMonotonic=17

Id=systemd-timesyncd.service
LoadState=loaded
ActiveState=inactive
UnitFileState=enabled
ConditionResult=no
ConditionTimestampMonotonic=12

Id=nvidia-persistenced.service
LoadState=loaded
ActiveState=inactive
UnitFileState=static
ConditionResult=no
ConditionTimestampMonotonic=0

Id=ntp.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
=== saiga-stack listeners
udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=9,fd=13))
udp UNCONN 0 0 0.0.0.0:51820 0.0.0.0:*
tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=7,fd=3))
tcp LISTEN 0 128 127.0.0.1:2223 0.0.0.0:* users:(("sshd",pid=8,fd=3))
tcp LISTEN 0 128 [::1]:6010 [::]:* users:(("node",pid=8,fd=9))
tcp LISTEN 0 128 *:8888 *:* users:(("jupyter-lab",pid=8,fd=9),("jupyter-lab",pid=9,fd=9))
=== saiga-stack ssh
2222
22
=== saiga-stack rules
table inet saiga_stack {
	chain outside {
	}
}
=== saiga-stack cards
0000:01:00.0 VGA compatible controller [0300]: NVIDIA Corporation AD102 [10de:2684]
=== saiga-stack loaded
560.35.03
=== saiga-stack smi
NVIDIA GeForce RTX 4090, 560.35.03, 24564, Enabled
=== saiga-stack gpu_in
saiga_saiga_1 GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)
dcgm-exporter Failed to initialize NVML: Unknown Error
=== saiga-stack end
"""


def test_parse() -> None:
    machine = parse(OUTPUT)
    assert (machine.system, machine.codename, machine.architecture) == (
        "debian12",
        "bookworm",
        "x86_64",
    )
    assert machine.kernels == ("6.1.0-28-amd64", "6.1.0-30-amd64")
    assert machine.memory == 131072000 * 1024
    assert machine.free_disk == 1000000
    assert machine.packages == {
        "bash": Package("5.2.15-2+b7", held=False),
        "docker-ce": Package("5:28.5.2-1~debian.12~bookworm", held=True),
    }
    assert machine.keys["/etc/apt/keyrings/saiga-stack-docker.asc"] == ("AAAA", "BBBB")
    assert machine.keys["/etc/apt/keyrings/saiga-stack-nvidia-cuda.asc"] == ()
    assert machine.sources == {
        "/etc/apt/sources.list.d/docker.list": (
            "deb https://download.docker.com/linux/debian bookworm stable"
        )
    }
    assert machine.unit("docker") == Unit(exists=True, active=True, enabled=True)
    assert machine.unit("nvidia-persistenced") == Unit(exists=True, active=False, enabled=False)
    assert machine.unit("systemd-timesyncd") == Unit(True, False, True, skipped=True)
    assert machine.unit("ntp") == Unit(exists=False, active=False, enabled=False)
    assert machine.gpus == (Gpu("NVIDIA GeForce RTX 4090", "560.35.03", 24564 * MIB, True),)
    assert machine.gpu_in["dcgm-exporter"] == "Failed to initialize NVML: Unknown Error"
    assert machine.sysctls == {"vm.swappiness": "60"}
    assert machine.listeners == (
        Listener("udp", "0.0.0.0", 51820),
        Listener("tcp", "0.0.0.0", 22, "sshd"),
        Listener("tcp", "*", 8888, "jupyter-lab"),
    )
    assert machine.ssh_ports == (22, 2222)
    assert machine.rules == "table inet saiga_stack {\n\tchain outside {\n\t}\n}"
    assert machine.rules_of_file == ""


@pytest.mark.parametrize(
    "said",
    [
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 565.57",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "No devices were found",
    ],
)
def test_what_nvidia_smi_says_instead_is_kept(said: str) -> None:
    row = "NVIDIA GeForce RTX 4090, 560.35.03, 24564, Enabled"
    machine = parse(OUTPUT.replace(row, said))
    assert machine.gpus == ()
    assert machine.smi == said.replace("\n", " ")


def test_output_cut_short() -> None:
    with pytest.raises(ValueError, match="incomplete"):
        parse(OUTPUT.partition("=== saiga-stack end")[0])


def run(script: str, path: str = os.environ["PATH"]) -> Machine:
    done = subprocess.run(
        ["/bin/sh"], input=script, env={"PATH": path}, text=True, capture_output=True, check=True
    )
    assert done.stderr == ""
    return parse(done.stdout)


def test_the_script_runs_without_a_word_of_complaint() -> None:
    machine = run(observation_script(["https://x.example"], ["vm.swappiness"], True, ["saiga"]))
    assert machine.architecture == os.uname().machine
    assert machine.kernel == os.uname().release
    assert machine.memory > 0
    assert machine.free_disk > 0
    assert machine.sysctls["vm.swappiness"].isdigit()


def test_the_port_of_the_runs_own_connection_is_found_behind_sudo() -> None:
    script = observation_script([], [], False, [])
    login = {"PATH": os.environ["PATH"], "SSH_CONNECTION": "192.0.2.9 50000 192.0.2.7 2222"}
    below = 'env -u SSH_CONNECTION sh -c "$0"; true'
    done = subprocess.run(["sh", "-c", below, script], env=login, text=True, capture_output=True)
    assert done.stderr == ""
    assert 2222 in parse(done.stdout).ssh_ports


def test_a_site_without_a_gpu_looks_for_none() -> None:
    assert "nvidia" not in observation_script([], [], False, []).replace(
        "nvidia-persistenced", ""
    ).replace("nvidia-cdi-refresh", "")


def test_a_section_begins_a_line_of_its_own_after_a_file_without_a_last_newline() -> None:
    script = observation_script([], [], False, [])
    assert "cat /etc/docker/daemon.json 2>/dev/null; echo\n" in script


def test_programs_of_the_host_are_asked(tmp_path: Path) -> None:
    answers = {
        "lspci": (
            "echo '0000:01:00.0 VGA compatible controller [0300]: NVIDIA [10de:2684] (rev a1)';"
            " echo '0000:01:00.1 Audio device [0403]: NVIDIA [10de:22ba] (rev a1)'"
        ),
        "mokutil": "echo 'SecureBoot enabled'",
        "modinfo": 'case "$*" in "-F version nvidia-current"|"-k "*" -F version nvidia-current")'
        " echo 560.35.03 ;; *) exit 1 ;; esac",
        "nvidia-smi": "echo 'NVIDIA GeForce RTX 4090, 560.35.03, 24564, Disabled'",
    }
    for name, answer in answers.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{answer}\n")
        program.chmod(0o755)
    machine = run(observation_script([], [], True, []), f"{tmp_path}:{os.environ['PATH']}")
    assert [card.split()[0] for card in machine.cards] == ["0000:01:00.0"]
    assert machine.secure_boot
    assert machine.on_disk == machine.on_disk_next == "560.35.03"
    assert not machine.gpus[0].persistent
