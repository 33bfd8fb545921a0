"""The driver as it is against the driver as it has to be."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from stack.gpu.driver import (
    card_tasks,
    driver_mistake,
    load_tasks,
    lost_cards,
    module_tasks,
    persistence_tasks,
    reboot_cause,
    runtime_tasks,
    toolkit_mistake,
)
from stack.gpu.packages import DISTRIBUTIONS, selection
from stack.machine.apt import package_tasks
from stack.machine.observe import Gpu, Machine, Package, Unit
from stack.site import Site
from stack.tasks import Task
from tests.unit.machine.hosts import BARE, MIB, SELECTED, deployed

PLANS: tuple[Callable[[Machine], Iterable[Task]], ...] = (
    partial(package_tasks, wanted=SELECTED.driver),
    partial(module_tasks, selected=SELECTED),
    load_tasks,
    lost_cards,
    persistence_tasks,
    partial(package_tasks, wanted=SELECTED.container_toolkit),
    runtime_tasks,
)


def planned(machine: Machine) -> list[str]:
    """What is left to do, with the reboot where it stands."""
    tasks = [str(task) for plan in PLANS for task in plan(machine)]
    cause = reboot_cause(machine)
    return [*tasks, *([cause] if cause else [])]


def without(machine: Machine, name: str) -> dict[str, Package]:
    return {key: value for key, value in machine.packages.items() if key != name}


def test_nothing_is_left_to_do(site: Site) -> None:
    machine = deployed(site)
    assert planned(machine) == []
    assert driver_mistake(machine) == ""
    assert toolkit_mistake(machine) == ""


def test_bare(site: Site) -> None:
    text = "\n".join(planned(BARE))
    assert "packages nvidia-driver: install and hold (not found)" in text
    assert "reboot needed because nouveau holds the card" in text


def test_a_newer_driver_by_hand(site: Site) -> None:
    machine = deployed(site)
    newer = Package("565.57.01-1", held=False)
    machine = replace(
        machine,
        packages={**machine.packages, "libcuda1": newer, "nvidia-smi": newer},
        on_disk="565.57.01",
        on_disk_next="565.57.01",
        user_space="565.57.01",
        gpus=(),
        smi="Failed to initialize NVML: Driver/library version mismatch",
    )
    assert planned(machine) == [
        "packages nvidia-driver: install and hold (differs)\n"
        "    libcuda1: 565.57.01-1 -> 560.35.03-1\n"
        "    nvidia-smi: 565.57.01-1 -> 560.35.03-1"
    ], "the module in the kernel is still the right one: no reboot"


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "another module loaded": (
        {"loaded": "565.57.01"},
        ["reboot needed because module 565.57.01 is loaded, not 560.35.03"],
    ),
    "nouveau loaded": (
        {"loaded": "", "nouveau": True},
        ["reboot needed because nouveau holds the card"],
    ),
    "no module loaded": ({"loaded": ""}, ["module nvidia: load (not loaded)"]),
    "no module for the kernel of the next boot": (
        {"on_disk_next": "", "kernels": ("6.1.0-28-amd64", "6.1.0-30-amd64")},
        [
            "module nvidia: build (not on the disk as it has to be)\n"
            "    6.1.0-30-amd64: - -> 560.35.03"
        ],
    ),
    "persistence mode off": (
        {"gpus": (Gpu("NVIDIA GeForce RTX 4090", "560.35.03", 24564 * MIB, persistent=False),)},
        [
            "service nvidia-persistenced: restart (persistence mode is off)\n"
            "    persistence mode: off -> on"
        ],
    ),
    "persistence daemon stopped": (
        {"units": {"nvidia-cdi-refresh.path": Unit(True, True, True)}},
        ["service nvidia-persistenced: start (not running)"],
    ),
    "the runtime in another mode": (
        {"runtime_mode": "legacy"},
        [
            "file /etc/nvidia-container-runtime/config.toml: set the mode (differs)\n"
            "    mode: legacy -> auto"
        ],
    ),
    "no description of the card": (
        {"cdi": False},
        ["file /var/run/cdi/nvidia.yaml: describe the GPU (not found)"],
    ),
    "devices that systemd does not find": (
        {"unlinked_devices": ("/dev/nvidia0",)},
        ["service saiga-stack-gpu-links: start (no link in /dev/char: /dev/nvidia0)"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_drift(site: Site, name: str) -> None:
    values, expected = CASES[name]
    assert planned(replace(deployed(site), **values)) == expected


def test_a_hold_removed(site: Site) -> None:
    machine = deployed(site)
    loose = Package("560.35.03-1", held=False)
    (task,) = package_tasks(
        replace(machine, packages={**machine.packages, "nvidia-smi": loose}), SELECTED.driver
    )
    assert str(task) == "packages nvidia-driver: hold (not held)"
    assert task.commands == ("apt-mark hold nvidia-smi >/dev/null",)


def test_the_preferences_edited(site: Site) -> None:
    machine = deployed(site)
    path = SELECTED.driver.preferences_file.path
    edited = replace(machine.files[path], sha256="0" * 64)
    (task,) = package_tasks(
        replace(machine, files={**machine.files, path: edited}), SELECTED.driver
    )
    assert task.subject == f"file {path}"


def test_toolkit_removed(site: Site) -> None:
    machine = deployed(site)
    machine = replace(machine, packages=without(machine, "nvidia-container-toolkit"))
    (task,) = package_tasks(machine, SELECTED.container_toolkit)
    assert str(task) == (
        "packages nvidia-container-toolkit: install and hold (differs)\n"
        "    nvidia-container-toolkit: - -> 1.20.0-1"
    )


def test_a_set_is_held_again_when_its_installation_fails(site: Site) -> None:
    (_, install) = next(
        task for task in package_tasks(BARE, SELECTED.container_toolkit) if "packages" in str(task)
    ).commands
    unhold, _, rest = install.partition(";")
    assert unhold.startswith("apt-mark unhold")
    assert rest.rstrip().endswith(
        "apt-mark hold "
        + unhold.split(">")[0].removeprefix("apt-mark unhold ")
        + ">/dev/null; exit $status"
    )


def test_a_container_that_lost_its_card(site: Site) -> None:
    machine = replace(
        deployed(site),
        gpu_in={
            "saiga_saiga_1": "GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)",
            "dcgm-exporter": "Failed to initialize NVML: Unknown Error",
        },
    )
    (task,) = card_tasks(lost_cards(machine))
    assert str(task) == (
        "container dcgm-exporter: restart (it has lost its GPU)\n"
        "    nvidia-smi: Failed to initialize NVML: Unknown Error -> GPU 0"
    )
    assert task.commands == ("docker restart dcgm-exporter >/dev/null",)


@pytest.mark.parametrize(
    ("values", "mistake"),
    [
        ({"loaded": ""}, "loaded module missing"),
        ({"on_disk_next": "565.57.01"}, "module for kernel 6.1.0-28-amd64 565.57.01"),
        ({"user_space": "565.57.01"}, "user space 565.57.01"),
        ({"gpus": (), "smi": "No devices were found"}, "No devices were found"),
    ],
)
def test_what_is_still_wrong_is_named(site: Site, values: dict[str, Any], mistake: str) -> None:
    assert mistake in driver_mistake(replace(deployed(site), **values))


def test_before_a_reboot_only_the_disk_counts(site: Site) -> None:
    waiting = replace(deployed(site), loaded="", nouveau=True, gpus=(), smi="couldn't communicate")
    assert driver_mistake(waiting, before_reboot=True) == ""
    assert driver_mistake(replace(waiting, on_disk_next=""), before_reboot=True)


def test_nvcc_of_another_release(site: Site) -> None:
    assert toolkit_mistake(replace(deployed(site), nvcc="12.8")) == (
        "nvcc is of release 12.8, not 12.6: /usr/local/cuda-12.6"
    )


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("components", ["compute", "desktop"])
@pytest.mark.parametrize("kernel_module", ["open", "proprietary"])
def test_every_package_is_pinned_exactly(
    distribution: str, kernel_module: Any, components: Any
) -> None:
    selected = selection(distribution, kernel_module, components)
    version = "560.35.03-1" if distribution == "debian12" else "560.35.03-0ubuntu1"
    assert set(selected.driver.packages.values()) == {version}
    assert f"Pin: version {version}\n" in selected.driver.preferences
    assert selected.kernel_package in selected.driver.packages
    assert ("open" in selected.kernel_package) == (kernel_module == "open")
    sets = (selected.driver, selected.cuda_toolkit, selected.container_toolkit, selected.docker)
    names = {name for wanted in sets for name in wanted.packages}
    assert not names & {"cuda", "cuda-12-6", "cuda-drivers", "nvidia-open", "nvidia-open-560"}
    assert all(version for wanted in sets for version in wanted.packages.values())
