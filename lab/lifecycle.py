"""The whole lab: up, down and what is there."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab import (
    aptrepo,
    base,
    cache,
    cgroups,
    host,
    images,
    lock,
    mounts,
    netns,
    packages,
    preflight,
    servers,
    ssh,
)
from lab.errors import LabError
from lab.processes import run
from lab.settings import (
    CACHE,
    COMMAND_GROUP,
    CONTROLLER,
    HOSTS,
    LOCK,
    NAME,
    PINS,
    STATE,
    Host,
)
from lab.vendors import repositories

LOCK_SECONDS = 2 * 60 * 60


@contextmanager
def exclusively() -> Iterator[None]:
    """Be the only command that changes this lab, and end what a killed one left running."""
    with lock.held(LOCK, "the lab", LOCK_SECONDS):
        cgroups.kill(COMMAND_GROUP)
        with cgroups.within(COMMAND_GROUP):
            yield


def up(hosts: Sequence[Host], *, fresh: bool = False) -> None:
    """Bring the lab up with `hosts`, repairing whatever is missing of it.

    `fresh` gives each of the hosts a new, bare disk. Raises LabError with one sentence otherwise.
    """
    preflight.check_machine()
    with exclusively():
        if not any(map(host.is_running, HOSTS.values())):
            preflight.check_resources(CACHE, STATE)
        packages.ensure(*preflight.TOOLS)
        STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not netns.is_up():
            preflight.check_kernel(STATE)
        _write_pins(build_cache())
        if fresh:
            for each in hosts:
                host.discard(each)
        ssh.ensure_identity()
        netns.ensure()
        for server in servers.SERVERS:
            server.ensure()
        for each in hosts:
            host.ensure(each)


def build_cache() -> dict[str, str]:
    """Build what the cache lacks or made from other inputs; up to half an hour when it is empty.

    Returns each image's pinned reference by name.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with lock.held(CACHE / "hosts.lock", "the cache", LOCK_SECONDS):
        base.build(CACHE)
        aptrepo.build(CACHE)
        repositories.build(CACHE)
    return images.build_all(CACHE)


def _write_pins(pins: dict[str, str]) -> None:
    """Tell the lab's site data which images are this checkout's."""
    new = PINS.with_suffix(".new")
    new.write_text(json.dumps(pins, indent=2) + "\n")
    new.replace(PINS)


def down() -> None:
    """Leave no process, mount, namespace or interface of the lab; the cache stays."""
    with exclusively():
        _down()


def clean() -> None:
    """`down`, and the cache emptied."""
    with exclusively():
        _down()
        images.clean(CACHE)
        cache.remove(CACHE)


def power_off(target: Host) -> None:
    """Cut one host's power; its disk stays."""
    with exclusively():
        host.switch_off(target)


def power_on(target: Host) -> None:
    """Boot a host that has a disk, and wait until it is up."""
    with exclusively():
        require_up()
        if not target.directory.is_dir():
            raise LabError(f"{target.name} has no disk: `python -m lab up {target.name}` makes one")
        host.ensure(target)


def require_up() -> None:
    """Refuse when the lab's network is not there."""
    if not netns.exists():
        raise LabError("the lab is not up: start it with `make up` or `python -m lab up`")


def status() -> tuple[list[str], bool]:
    """One line for each part of the lab, and whether all that it has is up."""
    parts = [(f"namespace {NAME}", netns.is_up())]
    for server in servers.SERVERS:
        parts.append((f"{server.name} {CONTROLLER}:{server.port}", server.is_up()))
    lines = [f"{name:<36} {'up' if is_up else 'down'}" for name, is_up in parts]
    disks = [each for each in HOSTS.values() if each.directory.is_dir()]
    for each in disks:
        running = host.is_running(each)
        state = host.system_state(each) if running and host.answers(each) else "no answer"
        shown = f"up ({state})" if running else "off"
        lines.append(f"{f'host {each.name} {each.address}':<36} {shown}")
        parts.append((each.name, running and state == "running"))
    return lines, bool(disks) and all(is_up for _, is_up in parts)


def _down() -> None:
    cgroups.kill(NAME)
    cgroups.remove(NAME)
    netns.delete()
    for mount in reversed(mounts.below(STATE)):
        run(["umount", "--lazy", mount])
    cache.remove(STATE)
