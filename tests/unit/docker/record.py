"""Record what an engine shows of the desired state in :mod:`tests.unit.docker.recording`.

    python -m tests.unit.docker.record ssh root@HOST

makes that state on a Docker host, writes the output of the observation to ``recorded/ENGINE.txt``
and removes the state again; nothing else may be on the host. The words are a command that runs
``sh`` there, which gets its script on standard input. The host has no GPU, so its engine needs a
program on its PATH that stands for NVIDIA's hook before it starts:
``ln -s /bin/true /usr/local/bin/nvidia-container-runtime-hook``.

Another engine than the host's own, which is stopped for it, runs from a root of its own::

    mmdebstrap --include=docker.io,docker-cli,iptables trixie /opt/trixie
    systemd-run --unit=engine -p RootDirectory=/opt/trixie -p BindPaths="/proc /sys /dev /run" \\
        -p Delegate=yes /usr/sbin/dockerd
    python -m tests.unit.docker.record ssh root@HOST nsenter -t PID_OF_DOCKERD -m
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from stack.docker import commands
from stack.docker.observe import IMAGES_DIR, LOADED_DIR, image_record, observation_script, parse
from tests.unit.docker.recording import (
    APP,
    APP_CONFIG,
    BUILT,
    DESIRED,
    FOLDER,
    HAND_MADE,
    PLAIN,
    PLAIN_CONFIG,
)

RECORDED = Path(__file__).parent / "recorded"
PROGRAMS = "/bin/sh /bin/sleep /bin/test"
ARCHIVE = f"{FOLDER}/build.tar"
# An engine in a root of its own is no service that the host's systemd knows.
RUNNING = "systemctl() { :; }"


def _images() -> Iterator[str]:
    """A handful of the host's own programs as an image, and one with a configuration on top."""
    libraries = f"$(ldd {PROGRAMS} | grep -o '/lib[^ ]*' | sort -u)"
    change = shlex.quote(f"--change={PLAIN_CONFIG}")
    yield f"tar -chPf - {PROGRAMS} {libraries} | docker import {change} - {PLAIN}"
    dockerfile = shlex.quote("\n".join((f"FROM {PLAIN}", *APP_CONFIG)))
    yield f"echo {dockerfile} | docker build --quiet --tag={APP} -"
    for reference in (PLAIN, APP):
        note = shlex.quote(image_record(reference))
        yield f"docker image inspect --format '{{{{.Id}}}}' {reference} >{note}"


def _make() -> Iterator[str]:
    yield f"mkdir -p {FOLDER} {IMAGES_DIR} {LOADED_DIR}"
    yield from _images()
    yield f"printf 'ARG PYTHON_IMAGE\\nFROM ${{PYTHON_IMAGE}}\\n' >{FOLDER}/Dockerfile"
    yield f"tar -C {FOLDER} -cf {ARCHIVE} Dockerfile"
    for network in DESIRED.networks:
        yield shlex.join(commands.create_network(network))
    for volume in DESIRED.volumes:
        yield shlex.join(commands.create_volume(volume.name))
    for container in DESIRED.containers:
        if container.build:
            yield shlex.join(commands.build(container, ARCHIVE))
        for file in container.files:
            path = shlex.quote(file.path)
            yield f"mkdir -p {shlex.quote(file.path.rpartition('/')[0])}"
            yield f"printf %s {shlex.quote(file.content)} >{path}"
            yield f"chmod {file.mode} {path}; chown {file.owner} {path}"
        yield from map(shlex.join, commands.create_container(container))
        yield f"docker start {container.name}"
        identity = f"$(docker inspect --format '{{{{.Id}}}}' {container.name})"
        yield f'echo "{identity} {container.files_hash}" >{LOADED_DIR}/{container.name}'
    for name, options in HAND_MADE.items():
        yield shlex.join(("docker", "create", f"--name={name}", *options, PLAIN))


def _remove() -> Iterator[str]:
    for name in HAND_MADE:
        yield f"docker rm --force --volumes {name}"
    for container in DESIRED.containers:
        yield f"docker rm --force --volumes {container.name}"
        yield f"rm -f {LOADED_DIR}/{container.name}"
    for network in DESIRED.networks:
        yield f"docker network rm {network.name}"
    for volume in DESIRED.volumes:
        yield f"docker volume rm {volume.name}"
    yield f"docker image rm {BUILT} {APP} {PLAIN}"
    yield f"rm -rf {FOLDER} {image_record(APP)} {image_record(PLAIN)}"


def _run(host: Sequence[str], script: str) -> str:
    done = subprocess.run([*host, "sh"], input=script, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"the host could not do it: exit status {done.returncode}")
    return done.stdout


def record(host: Sequence[str]) -> Path:
    """Make the state, observe it, remove it; returns the file that holds the observation."""
    remove = "{ " + "; ".join(_remove()) + "; } >/dev/null 2>&1 || true\n"
    try:
        _run(host, remove + "set -eu\n" + "\n".join(_make()))
        observation = _run(host, f"{RUNNING}\n{observation_script(DESIRED)}")
    finally:
        _run(host, remove)
    engine = parse(observation).engine
    assert engine, "Docker does not answer on the host"
    version = re.split(r"[^0-9.]", engine.version)[0]
    path = RECORDED / f"{version}.txt"
    path.write_text(observation)
    return path


if __name__ == "__main__":
    print(record(sys.argv[1:]))
