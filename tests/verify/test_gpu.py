"""Driver, CUDA, holds, persistence and the GPU in its containers, of a site that has a GPU."""

import json

import pytest
from testinfra.host import Host

from stack.docker.spec import Desired
from stack.gpu.packages import CUDA, DRIVER, selection
from stack.site import Site


@pytest.fixture(autouse=True)
def has_a_gpu(site: Site) -> None:
    if site.gpu == "none":
        pytest.skip("the site has no GPU")


def test_the_driver_is_one_version_from_the_kernel_to_nvidia_smi(host: Host) -> None:
    assert host.file("/sys/module/nvidia/version").content_string.strip() == DRIVER
    query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader"
    assert set(host.check_output(query).split()) == {DRIVER}
    assert not host.file("/sys/module/nouveau").exists


def test_persistence_mode(host: Host) -> None:
    assert host.service("nvidia-persistenced").is_running
    query = "nvidia-smi --query-gpu=persistence_mode --format=csv,noheader"
    assert set(host.check_output(query).split()) == {"Enabled"}


def test_cuda(host: Host) -> None:
    """By its name, as somebody who logs in calls it."""
    assert f"release {CUDA}" in host.check_output("bash -lc 'nvcc --version'")
    assert f"/usr/local/cuda-{CUDA}" in host.check_output("cat /etc/ld.so.conf.d/*.conf")


def test_packages_are_held_at_their_version(host: Host, site: Site) -> None:
    system = host.check_output('. /etc/os-release; echo "$ID$VERSION_ID"').replace(".", "")
    selected = selection(system, site.nvidia.kernel_module, site.nvidia.components)
    sets = (selected.driver, selected.cuda_toolkit, selected.container_toolkit)
    wanted = {name: version for one in sets for name, version in one.packages.items()}
    listed = host.check_output("dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n'")
    rows = (line.split() for line in listed.splitlines())
    held = {name: version for name, version, status in rows if status.startswith("hi")}
    assert {name: held.get(name) for name in wanted} == wanted


def test_containers_see_the_gpu(host: Host, desired: Desired) -> None:
    names = [container.name for container in desired.containers if container.runtime]
    assert names
    for name in names:
        assert host.check_output("docker exec %s nvidia-smi -L", name).startswith("GPU 0: ")


def test_the_runtime_is_known_to_the_engine(host: Host) -> None:
    runtimes = json.loads(host.check_output("docker info --format '{{json .Runtimes}}'"))
    assert "nvidia" in runtimes


def test_devices_are_linked_where_systemd_looks(host: Host) -> None:
    """Without the links a `systemctl daemon-reload` takes the GPU away from containers."""
    missing = host.check_output(
        "for d in /dev/nvidia[0-9]* /dev/nvidiactl; do"
        ' [ -e "/dev/char/$((0x$(stat -c %t $d))):$((0x$(stat -c %T $d)))" ] ||'
        ' echo "$d"; done'
    )
    assert missing == ""
