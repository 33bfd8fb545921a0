"""Debian's docker-registry over a directory: where images are pushed to and pulled from."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from lab.errors import LabError
from lab.processes import last_line, wait_until
from lab.steps import DIES_WITH_US

START_SECONDS = 20.0


def config(storage: Path, address: str) -> str:
    """Configuration of a registry without TLS over `storage`, listening on `address`."""
    return f"""\
version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {storage}
http:
  addr: {address}
"""


def environment() -> dict[str, str]:
    """This process's environment less REGISTRY_*, which the registry would read over its file."""
    return {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}


def holds(storage: Path, repository: str, digest: str) -> bool:
    """Whether the storage has a manifest of `repository` with this `sha256:...` digest."""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return False
    name = digest.removeprefix("sha256:")
    root = storage / "docker/registry/v2"
    link = root / "repositories" / repository / "_manifests/revisions/sha256" / name / "link"
    return link.is_file() and (root / "blobs/sha256" / name[:2] / name / "data").is_file()


@contextmanager
def serve(storage: Path, work: Path) -> Iterator[str]:
    """Serve `storage` on a free loopback port until the block ends; yields `127.0.0.1:PORT`.

    Configuration and log go to the folder `work`. LabError when it does not answer within 20 s.
    """
    storage.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings, log = work / "registry.yml", work / "registry.log"
    settings.write_text(config(storage, address))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*DIES_WITH_US, "docker-registry", "serve", settings],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
        )

    def answers() -> bool:
        if process.poll() is not None:
            raise LabError(f"docker-registry on {address} ended: {last_line(log)}")
        try:
            with urlopen(f"http://{address}/v2/", timeout=1):
                return True
        except OSError:
            return False

    try:
        wait_until(answers, f"docker-registry answers on {address}", START_SECONDS)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
