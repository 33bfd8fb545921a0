"""A bare host: its disk, its boot, its end."""

import shutil
import subprocess
import sys
import uuid

from lab import aptrepo, base, cache, cgroups, netns, ssh
from lab.errors import LabError
from lab.processes import last_line, report, run, spawn, succeeds, wait_until
from lab.settings import (
    APT_URL,
    CACHE,
    CHECKOUT,
    CONTROLLER,
    FILES,
    HOSTS,
    LOG,
    NAME,
    PREFIX_LENGTH,
    RELEASE,
    Host,
)

ENABLED = ("systemd-networkd.service", "lab-cgroup-v1.service", "lab-gpu.service")
# What belongs to real hardware, and what would hold apt's lock at a moment of its own choosing.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dev-hugepages.mount",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-modules-load.service",
    "systemd-pstore.service",
)


def interface(host: Host) -> str:
    """The name that systemd-nspawn gives the host's interface on the bridge (15 bytes at most)."""
    return f"vb-{host.name}"[:15]


def is_running(host: Host) -> bool:
    """Whether the host is switched on: its boot loop and a machine in it are alive."""
    return bool(cgroups.pids(f"{host.group}/boot")) and bool(cgroups.pids(f"{host.group}/machine"))


def answers(host: Host) -> bool:
    """Whether the host lets the lab's key in by ssh."""
    return netns.exists() and succeeds(ssh.command(host, "true", options=ssh.AT_ONCE))


def system_state(host: Host) -> str:
    """What `systemctl is-system-running` says inside (running, degraded, ...)."""
    result = subprocess.run(
        ssh.command(host, "systemctl", "is-system-running"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return result.stdout.strip() or "unknown"


def ensure(host: Host) -> bool:
    """Give the host a disk, switch it on and wait until it is up; return whether it was needed."""
    disk_is_new = ensure_disk(host)
    ssh.authorize(host)
    ssh.remember(HOSTS.values())
    if not disk_is_new and is_running(host) and answers(host):
        return False
    if not (is_running(host) and netns.attach(interface(host))):
        switch_off(host)
        boot(host)
    wait_until_up(host)
    return True


def ensure_disk(host: Host) -> bool:
    """Unpack the base system as the host's disk unless it has one; return whether it was done."""
    if host.directory.is_dir():
        return False
    report(f"laying out the disk of {host.name}")
    new = host.directory.with_name(f"{host.name}.new")
    cache.remove(new)
    fresh = Host(new.name, host.address)
    fresh.root.mkdir(parents=True)
    base.unpack(CACHE, fresh.root)
    _furnish(host, fresh)
    new.rename(host.directory)
    return True


def boot(host: Host) -> None:
    """Switch the host on, detached; it goes on until it is powered off."""
    report(f"booting {host.name} at {host.address}")
    netns.remove_link(interface(host))
    supervisor = (sys.executable, "-m", "lab.supervisor", host.name)
    environment = ("env", f"--chdir={CHECKOUT}", f"SAIGA_LAB_NAME={NAME}")
    spawn(
        [*netns.enter(), *environment, *supervisor],
        group=f"{host.group}/boot",
        log=LOG / f"{host.name}.log",
    )


def wait_until_up(host: Host) -> None:
    """Wait until ssh answers and systemd has finished to boot.

    Raises LabError with the last line of its console when the host goes off instead.
    """
    wait_until(
        lambda: bool(cgroups.pids(f"{host.group}/machine")) or _is_off(host),
        f"{host.name} starts its machine",
        30,
    )
    wait_until(lambda: _is_off(host) or answers(host), f"{host.name} answers by ssh", 120)
    if _is_off(host):
        console = last_line(LOG / f"{host.name}.log")
        raise LabError(f"{host.name} went off while it booted: {console}")
    wait_until(
        lambda: system_state(host) in ("running", "degraded"),
        f"{host.name} has finished its boot",
        120,
    )


def switch_off(host: Host) -> None:
    """Cut the host's power: SIGKILL to everything in it at once, and wait for the end."""
    cgroups.kill(host.group)
    cgroups.remove(host.group)
    netns.remove_link(interface(host))


def discard(host: Host) -> None:
    """Cut the host's power and throw its disk away."""
    switch_off(host)
    cache.remove(host.directory)


def _is_off(host: Host) -> bool:
    return not cgroups.pids(host.group)


def _furnish(host: Host, disk: Host) -> None:
    root = disk.root
    shutil.copytree(FILES / "host", root, dirs_exist_ok=True)
    (root / "etc/hostname").write_text(f"{host.name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1\tlocalhost\n127.0.1.1\t{host.name}\n")
    # Without a name server Docker asks public ones, and a container waits 25 s for a wrong name.
    (root / "etc/resolv.conf").write_text(f"nameserver {CONTROLLER}\n")
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (root / "etc/systemd/network/10-lab.network").write_text(
        "[Match]\nName=host0\n\n"
        f"[Network]\nAddress={host.address}/{PREFIX_LENGTH}\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )
    keyring = root / "etc/apt/keyrings/lab.asc"
    keyring.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(aptrepo.public_key(CACHE), keyring)
    (root / "etc/apt/sources.list.d/lab.list").write_text(
        f"deb [signed-by=/etc/apt/keyrings/lab.asc] {APT_URL} {RELEASE} main\n"
    )
    ssh.new_key(root / ssh.HOST_KEY, host.name)
    systemctl = ["systemctl", f"--root={root}", "--quiet"]
    run([*systemctl, "enable", *ENABLED])
    run([*systemctl, "mask", *MASKED])
