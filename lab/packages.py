"""Debian packages that the lab's tools need on the controller."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError

POLICY = Path("/usr/sbin/policy-rc.d")
NO_SERVICES = "#!/bin/sh\n# saiga-lab: packages installed for the lab start no service\nexit 101\n"


def ensure(*names: str) -> None:
    """Install those of the named Debian packages that are missing, starting none of their services.

    Nothing is run when all are installed. A `policy-rc.d` that the machine has stays in force.
    LabError with apt's last lines when the installation fails.
    """
    missing = [name for name in names if not installed(name)]
    if not missing:
        return
    with services_held():
        result = _apt("install", "--yes", "--no-install-recommends", *missing)
        if result.returncode:
            _apt("update")
            result = _apt("install", "--yes", "--no-install-recommends", *missing)
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-10:])
        raise LabError(f"apt-get install {' '.join(missing)} failed:\n{tail}")


def installed(name: str) -> bool:
    """True when dpkg has the package unpacked and configured."""
    query = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name],
        capture_output=True,
        text=True,
        check=False,
    )
    return query.returncode == 0 and query.stdout == "installed"


@contextmanager
def services_held(policy: Path = POLICY) -> Iterator[None]:
    """Keep package scripts from starting services, by a `policy-rc.d` that goes away afterwards."""
    # One left behind by an interrupted run is ours to replace and remove.
    ours = not policy.exists() or policy.read_text() == NO_SERVICES
    if ours:
        policy.write_text(NO_SERVICES)
        policy.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            policy.unlink()


def _apt(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "--option", "DPkg::Lock::Timeout=300", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        check=False,
    )


if __name__ == "__main__":
    ensure(*sys.argv[1:])
