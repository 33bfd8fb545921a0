"""What the machine must have before the lab starts anything on it."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from lab import cgroups
from lab.cache import scratch
from lab.errors import LabError

GIB = 1024**3
MEMORY = 10 * GIB
# The images dominate: a filled cache leaves only the host's own disk to grow.
DISK_EMPTY_CACHE = 25 * GIB
DISK_FILLED_CACHE = 12 * GIB

TOOLS = (
    "apt-utils",
    "debian-archive-keyring",
    "dnsmasq-base",
    "docker-registry",
    "gnupg",
    "iproute2",
    "iptables",
    "mmdebstrap",
    "nftables",
    "nginx",
    "openssh-client",
    "systemd-container",
)

# Each runs in namespaces of its own, so that a probe changes nothing.
PROBES = {
    "process, mount, network and control group namespaces": (
        "unshare --pid --fork --mount --uts --ipc --cgroup true"
    ),
    "overlay mounts over {state}": (
        "mkdir {scratch}/lower {scratch}/upper {scratch}/work {scratch}/merged && "
        "mount -t overlay overlay -o "
        "lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work {scratch}/merged"
    ),
    "bridge interfaces": "ip link add name probe type bridge",
    "veth interfaces": "ip link add name probe type veth peer name probe-peer",
    "address translation rules of iptables": (
        "iptables --table nat --append POSTROUTING --source 172.22.0.0/16 --jump MASQUERADE"
    ),
    "filter rules of nftables that ask the routing": (
        "nft 'add table inet probe; add chain inet probe outside {{ type filter hook prerouting"
        " priority mangle; }}; add rule inet probe outside ct state new fib daddr type local drop'"
    ),
}


def check_root() -> None:
    """Refuse any user but root."""
    if os.geteuid() != 0:
        raise LabError(f"the lab must be run by root, not by the user with id {os.geteuid()}")


def check_machine() -> None:
    """Refuse a machine that is not a Debian 12 on x86_64."""
    if platform.machine() != "x86_64":
        raise LabError(f"the lab needs an x86_64 machine, this one is {platform.machine()}")
    release = platform.freedesktop_os_release()
    if (release.get("ID"), release.get("VERSION_ID")) != ("debian", "12"):
        name = release.get("PRETTY_NAME", "an unknown system")
        raise LabError(f"the lab needs Debian 12, this machine runs {name}")


def check_resources(cache: Path, state: Path) -> None:
    """Refuse a machine without the memory and the disk space that a running lab takes."""
    check_memory(Path("/proc/meminfo").read_text())
    filled = (cache / "base.tar").exists() and (cache / "registry").is_dir()
    wanted = {existing(cache): DISK_FILLED_CACHE if filled else DISK_EMPTY_CACHE}
    wanted.setdefault(existing(state), DISK_FILLED_CACHE)
    for directory, size in wanted.items():
        check_disk(directory, shutil.disk_usage(directory).free, size)


def check_memory(meminfo: str) -> None:
    """Refuse less than 10 GiB of available memory, by the text of /proc/meminfo."""
    fields = dict(line.split(":", 1) for line in meminfo.splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    if available < MEMORY:
        raise LabError(
            f"{available / GIB:.1f} GiB of memory are available, the lab needs {MEMORY // GIB} GiB"
        )


def check_disk(directory: Path, free: int, wanted: int) -> None:
    """Refuse less than `wanted` bytes free on the file system of `directory`."""
    if free < wanted:
        raise LabError(
            f"{free / GIB:.1f} GiB are free on the file system of {directory}, the lab needs "
            f"{wanted // GIB} GiB there"
        )


def check_kernel(state: Path) -> None:
    """Try out every feature of the kernel that Docker in a host needs; `state` must exist."""
    check_control_groups()
    with scratch(state / "probe") as directory:
        for feature, probe in PROBES.items():
            script = probe.format(scratch=directory)
            result = subprocess.run(
                ["unshare", "--mount", "--net", "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if result.returncode:
                why = (result.stderr.strip() or "no reason given").splitlines()[-1]
                raise LabError(f"{feature.format(state=state)} do not work here: {why}")


def check_control_groups() -> None:
    """Refuse a machine on which the lab cannot make control groups."""
    hierarchies = cgroups.hierarchies()
    if not hierarchies:
        raise LabError(
            "no control group hierarchy is mounted below /sys/fs/cgroup, v1 or v2 must be"
        )
    for hierarchy in hierarchies:
        if not os.access(hierarchy, os.W_OK):
            raise LabError(f"{hierarchy} is read-only, the lab must be able to make groups in it")


def existing(path: Path) -> Path:
    """The nearest directory on the way up from `path` that exists."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())
