"""The power supply of one host: boots it, and boots it again when it reboots.

Run as `python -m lab.supervisor NAME` inside the lab's network namespace.
"""

import os
import subprocess
import sys
from functools import partial

from lab import cgroups
from lab.settings import BRIDGE, HOSTS, Host

# systemd-nspawn's exit status after a reboot inside, when no service manager would start it again.
REBOOT = 133

# nspawn leaves directories behind in /tmp and /run when it is killed: they die with its mounts.
PRIVATE = 'mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /run && exec "$@"'


def machine(host: Host) -> list[str]:
    """The command line that boots the host's disk once."""
    return [
        *("unshare", "--mount", "--propagation", "slave"),
        *("sh", "-c", PRIVATE, "sh"),
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        "--keep-unit",
        "--settings=no",
        f"--directory={host.root}",
        f"--machine={host.name}",
        f"--network-bridge={BRIDGE}",
        "--capability=all",
        "--system-call-filter=@keyring bpf",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=read-only",
    ]


def supply(host: Host) -> int:
    """Boot the host until it ends in anything but a reboot; return nspawn's last exit status."""
    group = f"{host.group}/machine"
    environment = {
        **os.environ,
        "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
        "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE": "1",
    }
    while True:
        cgroups.create(group)
        status = subprocess.run(
            machine(host),
            stdin=subprocess.DEVNULL,
            env=environment,
            preexec_fn=partial(cgroups.join, group),
        ).returncode
        cgroups.kill(group)
        cgroups.remove(group)
        print(f"{host.name}: systemd-nspawn ended with status {status}", flush=True)
        if status != REBOOT:
            return status


if __name__ == "__main__":
    sys.exit(supply(HOSTS[sys.argv[1]]))
