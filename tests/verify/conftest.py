"""Verification of a deployed site. It reads the same data as the deploy and changes nothing but one
row: the question it asks is stored like any other."""

import json
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from pyinfra.api import DeployError
from testinfra.host import Host

from stack.docker.spec import Desired
from stack.pyinfra.inventory import Target, targets
from stack.site import ServiceSettings, Site, SiteError
from stack.topology import address

ROOT = Path(__file__).resolve().parents[2]
HEALTH_DEADLINE = 180


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--site", default="lab", help="a group of the inventory")
    parser.addoption("--inventory", type=Path, default=ROOT / "inventory.py", help="its file")


def pytest_configure(config: pytest.Config) -> None:
    try:
        _targets(config)
    except (SiteError, DeployError) as error:
        pytest.exit(str(error), returncode=4)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        found = _targets(metafunc.config)
        metafunc.parametrize(
            "target", found, ids=[target.name for target in found], scope="session"
        )
    for name in ("container_name", "attachment", "setting"):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, sorted(_cases(metafunc.config)[name]))


def _targets(config: pytest.Config) -> list[Target]:
    return [*targets(config.getoption("site"), ROOT, config.getoption("inventory"))]


def _cases(config: pytest.Config) -> dict[str, set[Any]]:
    cases: dict[str, set[Any]] = {"container_name": set(), "attachment": set(), "setting": set()}
    for target in _targets(config):
        cases["setting"] |= set(target.stack.site.postgres.settings)
        for container in target.stack.desired.containers:
            cases["container_name"].add(container.name)
            cases["attachment"] |= {(container.name, a.network) for a in container.attachments}
    return cases


@pytest.fixture(scope="session")
def site(target: Target) -> Site:
    return target.stack.site


@pytest.fixture(scope="session")
def desired(target: Target) -> Desired:
    return target.stack.desired


@pytest.fixture(scope="session")
def host(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Host:
    if target.ssh is None:
        return testinfra.get_host("local://", sudo=target.sudo)
    return testinfra.get_host(
        f"ssh://{target.address}",
        sudo=target.sudo,
        ssh_extra_args=shlex.join(target.ssh[1:-1]),
        controlpath=str(tmp_path_factory.mktemp("ssh") / "%%C"),
    )


def _inspect(host: Host, names: list[str]) -> dict[str, Any]:
    documents = json.loads(host.check_output("docker inspect " + " ".join(names)))
    return {document["Name"].lstrip("/"): document for document in documents}


@pytest.fixture(scope="session")
def live(host: Host, desired: Desired) -> dict[str, Any]:
    """Every container's inspect document, once all are healthy or the deadline has passed.

    A container turns unhealthy for a moment when what it needs was replaced just before.
    """
    names = [container.name for container in desired.containers]
    deadline = time.monotonic() + HEALTH_DEADLINE
    while True:
        documents = _inspect(host, names)
        states = [document["State"].get("Health", {}) for document in documents.values()]
        healthy = all(state.get("Status") == "healthy" for state in states)
        if healthy or time.monotonic() > deadline:
            return documents
        time.sleep(1)


@pytest.fixture(scope="session")
def published(target: Target) -> Iterator[Callable[[str, str], str]]:
    """``http://address:port`` at which a service answers here, as it does on the host itself: its
    published port or, when it publishes none, its address. Skips what the site does not run."""
    tunnels: dict[tuple[str, str], tuple[subprocess.Popen[bytes], str]] = {}

    def url(service: str, port: str = "http") -> str:
        settings = running(target.stack.site, service)
        there = _on_host(settings, port)
        if target.ssh is None:
            return f"http://{there}"
        if (service, port) not in tunnels:
            tunnels[service, port] = _tunnel(target.ssh, there)
        return tunnels[service, port][1]

    yield url
    for process, _ in tunnels.values():
        process.terminate()
        process.wait(timeout=10)


def running(site: Site, service: str) -> ServiceSettings:
    """The settings of a service; skips the test when the site does not run it."""
    settings: ServiceSettings = getattr(site.services, service)
    if not settings.enabled:
        pytest.skip(f"the site runs no {service}")
    return settings


def _on_host(settings: ServiceSettings, port: str) -> str:
    published, bind = settings.ports[port].published, str(settings.ports[port].bind)
    if published is None:
        return address(settings, port)
    return f"{'127.0.0.1' if bind == '0.0.0.0' else bind}:{published}"


def _tunnel(ssh: tuple[str, ...], there: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        local = free.getsockname()[1]
    forward = ("-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{local}:{there}")
    process = subprocess.Popen([ssh[0], *forward, *ssh[1:]], stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ssh ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", local)) == 0:
                return process, f"http://127.0.0.1:{local}"
        time.sleep(0.05)
    process.terminate()
    raise TimeoutError(f"no tunnel to {there} within 20 s")
