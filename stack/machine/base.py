"""What every host gets before anything is installed on it for our own sake."""

from collections.abc import Iterator

from stack.machine.apt import INSTALL, UPDATE, missing_tasks
from stack.machine.files import HostFile, file_tasks
from stack.machine.observe import MARK, TIME_SERVICES, Machine
from stack.site import Site
from stack.tasks import Task, changed

# curl asks the gates' questions; gpg looks at the vendors' keys.
TOOLS = ("ca-certificates", "curl", "gnupg")

# Beginnings of package names. A new user space beside the loaded module, or a restarted Docker, is
# an outage at an hour that nobody chose.
_LEFT_ALONE = (
    *("nvidia-", "libnvidia-", "libcuda", "libnvcuvid", "firmware-nvidia", "cuda-"),
    *("docker", "containerd", "runc"),
    *("linux-image", "linux-headers", "linux-modules", "linux-generic"),
)
UNATTENDED = HostFile(
    f"/etc/apt/apt.conf.d/60{MARK}",
    "Unattended-Upgrade::Package-Blacklist {\n"
    + "".join(f'    "{name}";\n' for name in _LEFT_ALONE)
    + "};\n",
)


def tool_tasks(machine: Machine, site: Site, headers: str) -> Iterator[Task]:
    """Programs that the deploy itself needs and, for a driver, the headers of the kernel that runs
    and (``headers``) of those to come."""
    names = [*TOOLS]
    if site.gpu == "nvidia":
        kernels = {machine.kernel, machine.next_kernel}
        names += [*(f"linux-headers-{kernel}" for kernel in kernels), headers]
        if not machine.has_lspci:
            names.append("pciutils")
    yield from missing_tasks(machine, names)


def clock_tasks(machine: Machine) -> Iterator[Task]:
    """Something sets the clock: TLS, apt and Prometheus go by it. A service that systemd skips, as
    in a container, leaves it to the machine around."""
    enabled = [name for name in TIME_SERVICES if machine.unit(name).enabled]
    if any(machine.unit(name).active or machine.unit(name).skipped for name in enabled):
        return
    if enabled:
        start = f"systemctl restart {enabled[0]}"
        yield Task(f"service {enabled[0]}", "start", "not running", (start,))
    else:
        yield Task(
            "service systemd-timesyncd",
            "install and start",
            "nothing sets the clock",
            (
                UPDATE,
                f"{INSTALL} systemd-timesyncd",
                "systemctl enable --now systemd-timesyncd",
            ),
        )


def journal_tasks(machine: Machine, site: Site) -> Iterator[Task]:
    """The journal is bounded."""
    yield from file_tasks(
        machine,
        (
            HostFile(
                f"/etc/systemd/journald.conf.d/{MARK}.conf",
                f"[Journal]\nSystemMaxUse={site.base.journal_size.upper()}\n",
                "systemctl restart systemd-journald",
            ),
        ),
    )


def sysctl_tasks(machine: Machine, site: Site) -> Iterator[Task]:
    """Kernel settings, for the next boot and now."""
    wanted = site.base.sysctls
    lines = "".join(f"{name} = {value}\n" for name, value in sorted(wanted.items()))
    yield from file_tasks(machine, (HostFile(f"/etc/sysctl.d/60-{MARK}.conf", lines),))
    live = {name: " ".join(machine.sysctls.get(name, "-").split()) for name in wanted}
    if changes := changed(live, wanted):
        settings = " ".join(f"{change.field}={change.after}" for change in changes)
        yield Task("sysctl", "set", "differs", (f"sysctl -q -w {settings}",), changes)
