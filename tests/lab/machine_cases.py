"""What drifts below the containers: packages, their pins and holds, files, units, the card's ways.

As drift_cases.py, whose `together` makes one case of several.
"""

from collections.abc import Iterator

from stack.docker.daemon import PATH as DAEMON_JSON
from stack.gpu.driver import (
    DOCKER_AFTER_GPU,
    GPU_LINKS,
    LINKS,
    NO_NOUVEAU,
    PERSISTENCE,
    PERSISTENCE_AT_BOOT,
)
from stack.gpu.packages import DISTRIBUTIONS, selection
from stack.machine.apt import PackageSet
from stack.machine.base import UNATTENDED
from stack.machine.files import HostFile
from stack.machine.repositories import repositories
from stack.site import Site
from tests.lab.drift_cases import Case, lines

SELECTED = selection("debian12")
NEWER = "565.57.01-1"
APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y"
# Of every origin: the defaults would pass over the vendors' by themselves.
UPGRADE_UNATTENDED = lines(
    "echo 'Unattended-Upgrade::Origins-Pattern { \"origin=*\"; };' >/run/unattended.conf",
    f"{APT} update && {APT} install unattended-upgrades",
)
RUN_UNATTENDED = "APT_CONFIG=/run/unattended.conf unattended-upgrade"
PERSISTENCED = "service nvidia-persistenced"
CDI = "/var/run/cdi/nvidia.yaml"
RUNTIME_CONFIG = "/etc/nvidia-container-runtime/config.toml"
KEEPALIVE = "net.ipv4.tcp_keepalive_time"
LOST = "Failed to initialize NVML: Unknown Error"

_DEBIAN = DISTRIBUTIONS["debian12"]


def operations(site: Site) -> dict[str, str]:
    """Subject of a plan to the operation that looks after it, in the order of a deploy."""
    sources = repositories(site, _DEBIAN)
    nvidia, toolkit = sources.nvidia_cuda, sources.nvidia_container_toolkit
    wanted = {
        "Base | Keep unattended upgrades from our packages": [UNATTENDED],
        "Base | Kernel settings": ["sysctl"],
        "NVIDIA driver | Repository": [nvidia.key, nvidia.source],
        "NVIDIA driver | No nouveau; persistence mode": [
            *(NO_NOUVEAU, PERSISTENCE, PERSISTENCE_AT_BOOT),
        ],
        "NVIDIA driver | Install and hold": [SELECTED.driver],
        "NVIDIA driver | Persistence mode": [PERSISTENCED],
        "CUDA toolkit | Install and hold": [SELECTED.cuda_toolkit],
        "NVIDIA container toolkit | Repository": [toolkit.key, toolkit.source],
        "NVIDIA container toolkit | Install and hold": [SELECTED.container_toolkit],
        "NVIDIA container toolkit | Docker starts after the GPU": [GPU_LINKS, DOCKER_AFTER_GPU],
        "NVIDIA container toolkit | Runtime, CDI and devices": [
            *(RUNTIME_CONFIG, CDI, f"service {LINKS.removesuffix('.service')}"),
        ],
        "Docker | Configure the daemon": [DAEMON_JSON],
        "Docker | Install and hold": ["packages docker"],
        "Docker | Run Docker": ["service docker"],
    }
    return {
        subject: operation
        for operation, things in wanted.items()
        for thing in things
        for subject in _subjects(thing)
    }


def _subjects(thing: str | HostFile | PackageSet) -> Iterator[str]:
    match thing:
        case PackageSet():
            yield from _subjects(thing.preferences_file)
            yield f"packages {thing.name}"
        case HostFile():
            yield f"file {thing.path}"
        case _:
            yield f"file {thing}" if thing.startswith("/") else thing


def _rewritten(file: HostFile, found: str, mode: str = "0644") -> str:
    """The plan for a file of ours that has other content (its hash) or another mode."""
    return lines(
        f"file {file.path}: write (differs)",
        f"    content: {found} -> {file.sha256[:12]}" if found else "",
        f"    mode: {mode} -> {file.mode}" if mode != file.mode else "",
    )


def _edited(name: str, file: HostFile) -> Case:
    """A line of a comment at the end of a file of ours."""
    by_hand = HostFile(file.path, f"{file.content}# by hand\n")
    return Case(
        name,
        f"echo '# by hand' >>{file.path}",
        _rewritten(file, by_hand.sha256[:12]),
        check=f"! grep -q 'by hand' {file.path}",
    )


def _emptied(file: HostFile) -> str:
    return _rewritten(file, HostFile(file.path, "").sha256[:12])


def _installed(wanted: PackageSet, found: dict[str, str]) -> str:
    """The plan for packages of a set that have other versions; an empty one is missing."""
    return lines(
        f"packages {wanted.name}: install and hold (differs)",
        *(
            f"    {name}: {found[name] or '-'} -> {wanted.packages[name]}"
            for name in sorted(wanted.packages)
            if name in found
        ),
    )


def _is(wanted: PackageSet) -> str:
    """A check: every package of the set has its version and is held."""
    return lines(
        *(
            f"test \"$(dpkg-query -W -f '${{Version}} ${{db:Status-Abbrev}}' {name})\""
            f" = '{version} hi '"
            for name, version in wanted.packages.items()
        )
    )


def machine_cases(site: Site) -> Iterator[Case]:
    """Every drift that needs no reboot: the module in the kernel is still the wanted one."""
    yield from _packages()
    yield from _sources(site)
    yield from _files()
    yield from _card()


def _packages() -> Iterator[Case]:
    driver, cuda, toolkit = SELECTED.driver, SELECTED.cuda_toolkit, SELECTED.container_toolkit
    newer = " ".join(f"{name}={NEWER}" for name in driver.packages)
    yield Case(
        "driver: a newer one installed by hand",
        f"{APT} -o Dir::Etc::PreferencesParts=/nowhere install --allow-change-held-packages"
        f" --allow-downgrades {newer}",
        _installed(driver, dict.fromkeys(driver.packages, NEWER)),
        check=_is(driver),
    )
    # First with our exceptions alone, holds and pins gone, then without them too.
    newest = {"12.6.2-1": "12.6.3-1", "12.6.77-1": "12.6.85-1", "12.6.3.3-1": "12.6.4.1-1"}
    before = {name: newest[version] for name, version in cuda.packages.items()}
    yield Case(
        "CUDA: upgraded unattended, its holds, pins and exceptions gone",
        lines(
            UPGRADE_UNATTENDED,
            f"apt-mark unhold {' '.join(cuda.packages)} && : >{cuda.preferences_file.path}",
            RUN_UNATTENDED,
            f"dpkg-query -W cuda-nvcc-12-6 | grep {cuda.packages['cuda-nvcc-12-6']}",
            f": >{UNATTENDED.path}",
            RUN_UNATTENDED,
        ),
        lines(
            _emptied(UNATTENDED),
            _emptied(cuda.preferences_file),
            _installed(cuda, before),
        ),
        check=_is(cuda),
    )
    gone = ("nvidia-container-toolkit", "nvidia-container-toolkit-base")
    yield Case(
        "container toolkit: removed",
        f"{APT} remove --allow-change-held-packages {' '.join(gone)}",
        lines(
            _installed(toolkit, dict.fromkeys(gone, "")),
            f"file {CDI}: describe the GPU (not kept up to date)",
        ),
        quiet=frozenset({f"file {CDI}"}),
        check=_is(toolkit),
    )
    yield _edited("container toolkit: pins edited", toolkit.preferences_file)
    yield Case(
        "Docker: hold removed",
        "apt-mark unhold docker.io",
        "packages docker: hold (not held)",
        check="apt-mark showhold | grep -x docker.io",
    )


def _sources(site: Site) -> Iterator[Case]:
    found = repositories(site, _DEBIAN)
    nvidia, toolkit = found.nvidia_cuda, found.nvidia_container_toolkit
    other = HostFile(nvidia.source.path, "deb [trusted=yes] http://192.0.2.1/ ./\n")
    yield Case(
        "NVIDIA's repository: another one, of no key",
        f"printf %s '{other.content}' >{other.path}",
        _rewritten(nvidia.source, other.sha256[:12]),
        check=f"grep -qF {nvidia.url} {nvidia.source.path}",
    )
    yield Case(
        "container toolkit's repository: another key",
        f"curl -fsS -o {toolkit.key} {found.docker.key_url}",
        lines(
            f"file {toolkit.key}: take the key (another key)",
            f"    key: {found.docker.fingerprint} -> {toolkit.fingerprint}",
        ),
    )


def _files() -> Iterator[Case]:
    yield Case(
        "nouveau: no longer kept away",
        f"rm {NO_NOUVEAU.path}",
        f"file {NO_NOUVEAU.path}: write (not found)",
        check=f"modprobe --showconfig | grep -x 'blacklist nouveau'; test -e {NO_NOUVEAU.path}",
    )
    yield Case(
        "persistence: unit writable by all",
        f"chmod 0666 {PERSISTENCE.path}",
        _rewritten(PERSISTENCE, "", "0666"),
    )
    yield _edited("Docker: order of its start edited", DOCKER_AFTER_GPU)
    yield Case(
        "kernel setting changed",
        f"sysctl -w {KEEPALIVE}=7200",
        lines("sysctl: set (differs)", f"    {KEEPALIVE}: 7200 -> 600"),
        check=f"sysctl -n {KEEPALIVE} | grep -x 600",
    )


def _card() -> Iterator[Case]:
    yield Case(
        "persistence: mode off, its daemon running",
        "nvidia-smi -pm 0",
        lines(
            f"{PERSISTENCED}: restart (persistence mode is off)",
            "    persistence mode: off -> on",
        ),
        check="nvidia-smi --query-gpu=persistence_mode --format=csv,noheader | grep -x Enabled",
    )
    yield Case(
        "runtime: the mode in which daemon-reload takes the card",
        "nvidia-ctk config --in-place --set nvidia-container-runtime.mode=legacy",
        lines(f"file {RUNTIME_CONFIG}: set the mode (differs)", "    mode: legacy -> auto"),
    )
    yield Case(
        "card: description removed",
        f"rm {CDI}",
        f"file {CDI}: describe the GPU (not found)",
        check=f"test -s {CDI}",
    )
    yield Case(
        "card: links removed",
        "rm /dev/char/195:*",
        f"service {LINKS.removesuffix('.service')}: start"
        " (no link in /dev/char: /dev/nvidia0 /dev/nvidiactl)",
        check="test -e /dev/char/195:255",
    )
    yield Case(
        "card: lost by a container",
        "rm /proc/$(docker inspect --format '{{.State.Pid}}' dcgm-exporter)/root/dev/nvidiactl",
        lines(
            "container dcgm-exporter: restart (it has lost its GPU)",
            f"    nvidia-smi: {LOST} -> GPU 0",
        ),
        restarts=frozenset({"dcgm-exporter"}),
        check="docker exec dcgm-exporter nvidia-smi -L | grep '^GPU 0: '",
    )
    yield Case(
        "daemon.json: values of ours broken, a runtime of others",
        lines(
            f"""sed -i -e 's/"live-restore": true/"live-restore": "yes"/'"""
            """ -e '/"log-opts": {/,/}/c "log-opts": "broken",'"""
            f""" -e 's|"runtimes": {{|&"other": {{"path": "/usr/bin/runc"}},|' {DAEMON_JSON}""",
        ),
        lines(
            f"file {DAEMON_JSON}: write (differs)",
            '    live-restore: "yes" -> true',
            '    log-opts: "broken" -> {"max-size": "100m", "max-file": "3"}',
        ),
        check="docker info --format '{{json .Runtimes}}' | grep '\"other\"'",
        cleanup=lines(
            f"""sed -i '/"other": {{/,/}},/d' {DAEMON_JSON}""",
            "systemctl reload docker",
        ),
    )
