"""The driver as it is against the driver as it has to be: what to do, and why."""

from collections.abc import Iterator, Mapping

from stack.gpu.packages import CUDA, DRIVER, Selection
from stack.machine.apt import INSTALL
from stack.machine.files import HostFile
from stack.machine.observe import MARK, Machine
from stack.tasks import Task, changed

PERSISTENCED = "nvidia-persistenced"
_REFRESH_INITRAMFS = (
    "if command -v update-initramfs >/dev/null; then update-initramfs -u >/dev/null; fi"
)

NO_NOUVEAU = HostFile(
    f"/etc/modprobe.d/{MARK}-nouveau.conf",
    "blacklist nouveau\noptions nouveau modeset=0\n",
    _REFRESH_INITRAMFS,
)
# Ubuntu's unit has --no-persistence-mode and ends when no program uses the card.
PERSISTENCE = HostFile(
    f"/etc/systemd/system/{PERSISTENCED}.service.d/{MARK}.conf",
    "[Unit]\nStopWhenUnneeded=false\n\n[Service]\nExecStart=\n"
    f"ExecStart=/usr/bin/{PERSISTENCED} --user root --persistence-mode --verbose\n",
    "systemctl daemon-reload",
)
# Ubuntu's unit cannot be enabled: it has no [Install].
PERSISTENCE_AT_BOOT = HostFile(
    f"/etc/systemd/system/multi-user.target.d/{MARK}.conf",
    f"[Unit]\nWants={PERSISTENCED}.service\n",
    "systemctl daemon-reload",
)
# systemd finds the devices that a container may use by their links in /dev/char, which NVIDIA's
# module does not make: without them the next `systemctl daemon-reload` takes the GPU away from
# running containers (nvidia-container-toolkit issue 48).
LINKS = f"{MARK}-gpu-links.service"
GPU_LINKS = HostFile(
    f"/etc/systemd/system/{LINKS}",
    "[Unit]\nDescription=Links of the GPU's devices in /dev/char\n"
    f"After={PERSISTENCED}.service nvidia-cdi-refresh.service\n\n"
    "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
    "ExecStart=/usr/bin/nvidia-ctk system create-dev-char-symlinks --create-all\n",
    "systemctl daemon-reload",
)
# Containers that start with Docker need the card's devices, their links and their description.
DOCKER_AFTER_GPU = HostFile(
    f"/etc/systemd/system/docker.service.d/{MARK}.conf",
    f"[Unit]\nWants={LINKS}\nAfter={PERSISTENCED}.service nvidia-cdi-refresh.service {LINKS}\n",
    "systemctl daemon-reload",
)
CUDA_PATH = HostFile(
    f"/etc/profile.d/{MARK}-cuda.sh", f'export PATH="/usr/local/cuda-{CUDA}/bin:$PATH"\n'
)
CUDA_LIBRARIES = HostFile(
    f"/etc/ld.so.conf.d/{MARK}-cuda.conf", f"/usr/local/cuda-{CUDA}/lib64\n", "ldconfig"
)


def module_tasks(machine: Machine, selected: Selection) -> Iterator[Task]:
    """Build the module again when the packages are right and its file is not, as after a kernel
    that came without headers."""
    packages_right = all(
        machine.version(name) == version for name, version in selected.driver.packages.items()
    )
    before = {
        machine.kernel: machine.on_disk or "-",
        machine.next_kernel: machine.on_disk_next or "-",
    }
    changes = changed(before, dict.fromkeys(before, DRIVER))
    if packages_right and changes:
        reinstall = f"{INSTALL} --reinstall --allow-change-held-packages"
        yield Task(
            "module nvidia",
            "build",
            "not on the disk as it has to be",
            (f"{reinstall} {selected.kernel_package}",),
            changes,
        )


def reboot_cause(machine: Machine) -> str:
    """Why the kernel has to start anew for the driver; empty when it need not."""
    if machine.nouveau:
        return "reboot needed because nouveau holds the card"
    if machine.loaded and machine.loaded != DRIVER:
        return f"reboot needed because module {machine.loaded} is loaded, not {DRIVER}"
    return ""


def load_tasks(machine: Machine) -> Iterator[Task]:
    """Load the module where nothing stands in its way."""
    if not machine.loaded and not machine.nouveau:
        yield Task("module nvidia", "load", "not loaded", ("modprobe nvidia",))


def persistence_tasks(machine: Machine) -> Iterator[Task]:
    """The daemon that keeps the driver initialised while no program uses the card."""
    subject = f"service {PERSISTENCED}"
    if not machine.unit(PERSISTENCED).active:
        yield Task(subject, "start", "not running", (f"systemctl restart {PERSISTENCED}",))
    elif machine.gpus and not all(gpu.persistent for gpu in machine.gpus):
        yield Task(
            subject,
            "restart",
            "persistence mode is off",
            (f"systemctl restart {PERSISTENCED}",),
            changed({"persistence mode": "off"}, {"persistence mode": "on"}),
        )


def runtime_tasks(machine: Machine) -> Iterator[Task]:
    """The runtime describes the card to each container by itself (mode auto is jit-cdi from 1.18
    on), and the card's CDI description is there for whoever asks for it by name."""
    if machine.runtime_mode != "auto":
        yield Task(
            "file /etc/nvidia-container-runtime/config.toml",
            "set the mode",
            "differs",
            ("nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto",),
            changed({"mode": machine.runtime_mode or "-"}, {"mode": "auto"}),
        )
    refresh = "systemctl enable --now nvidia-cdi-refresh.path nvidia-cdi-refresh.service"
    if not machine.cdi:
        refresh += " && systemctl restart nvidia-cdi-refresh.service"
    if not machine.cdi or not machine.unit("nvidia-cdi-refresh.path").enabled:
        cause = "not kept up to date" if machine.cdi else "not found"
        yield Task("file /var/run/cdi/nvidia.yaml", "describe the GPU", cause, (refresh,))
    if machine.unlinked_devices:
        devices = " ".join(machine.unlinked_devices)
        yield Task(
            f"service {LINKS.removesuffix('.service')}",
            "start",
            f"no link in /dev/char: {devices}",
            (f"systemctl restart {LINKS}",),
        )


def lost_cards(machine: Machine) -> dict[str, str]:
    """Containers that have to see the card and do not, with what their nvidia-smi says instead."""
    return {name: said for name, said in machine.gpu_in.items() if not said.startswith("GPU ")}


def card_tasks(lost: Mapping[str, str]) -> Iterator[Task]:
    """A container that has lost the card gets it back at its next start; ``lost`` as above."""
    for name, said in lost.items():
        yield Task(
            f"container {name}",
            "restart",
            "it has lost its GPU",
            (f"docker restart {name} >/dev/null",),
            changed({"nvidia-smi": said}, {"nvidia-smi": "GPU 0"}),
        )


def toolkit_mistake(machine: Machine) -> str:
    """What nvcc says wrong; empty when it is the right one."""
    if machine.nvcc == CUDA:
        return ""
    return f"nvcc is of release {machine.nvcc or '(none)'}, not {CUDA}: /usr/local/cuda-{CUDA}"


def driver_mistake(machine: Machine, before_reboot: bool = False) -> str:
    """What is still wrong once all has been done; empty when the driver works.

    Before a reboot only what it will find on the disk is looked at.
    """
    found = {
        "loaded module": machine.loaded,
        f"module for kernel {machine.kernel}": machine.on_disk,
        f"module for kernel {machine.next_kernel}": machine.on_disk_next,
        "user space": machine.user_space,
    }
    if before_reboot:
        del found["loaded module"]
    wrong = [f"{name} {value or 'missing'}" for name, value in found.items() if value != DRIVER]
    if wrong:
        return (
            f"the driver is not {DRIVER} throughout: {', '.join(wrong)};"
            " `dkms status` and `journalctl -k -g nvidia` on the host say more"
        )
    if not before_reboot and not machine.gpus:
        return f"nvidia-smi names no GPU: {machine.smi or 'it says nothing'}"
    return ""
