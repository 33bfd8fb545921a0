"""Observed machine: one shell script, one round trip, parsed once into plain values."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from stack import sections

MARK = "saiga-stack"
# Set while Docker's configuration is changed and the daemon has not taken it yet. A reboot, which
# clears /run, lets the daemon take it too.
DAEMON_PENDING = f"/run/{MARK}.daemon-pending"

# Where Docker looks for the certificate of a registry.
CERTIFICATES = "/etc/docker/certs.d"

# Every file of ours below /etc carries our mark in its name, or stands in a folder for such ones.
_FILES = " ".join(
    f"/etc/{pattern}"
    for pattern in (
        "docker/certs.d/*/ca.crt",
        f"apt/*/*{MARK}*",
        f"*/*{MARK}*.conf",
        f"profile.d/{MARK}*.sh",
        f"systemd/*/{MARK}*",
        f"systemd/*/*/{MARK}.conf",
        f"{MARK}/*.nft",
    )
)
_KEYS = f"/etc/apt/keyrings/{MARK}-*.asc"
TIME_SERVICES = ("systemd-timesyncd", "chrony", "chronyd", "ntp", "ntpsec", "openntpd")
# The firewall: the program, our table, the file that it is loaded from, and the unit that loads it.
NFT = "/usr/sbin/nft"
TABLE = "inet saiga_stack"
RULES = f"/etc/{MARK}/firewall.nft"
FIREWALL = f"{MARK}-firewall"
_UNITS = " ".join(
    ("docker", "nvidia-persistenced", "nvidia-cdi-refresh.path", FIREWALL, *TIME_SERVICES),
)
_GPU_QUERY = (
    "nvidia-smi --query-gpu=name,driver_version,memory.total,persistence_mode"
    " --format=csv,noheader,nounits"
)
MIB = 1024**2


@dataclass(frozen=True)
class Package:
    version: str
    held: bool


@dataclass(frozen=True)
class File:
    sha256: str
    mode: str


@dataclass(frozen=True)
class Unit:
    """``skipped`` says that a condition of the unit kept systemd from starting it."""

    exists: bool
    active: bool
    enabled: bool
    skipped: bool = False


@dataclass(frozen=True)
class Listener:
    """A socket that waits for others; ``address`` as the kernel shows it, such as ``*``."""

    protocol: str
    address: str
    port: int
    program: str = ""


@dataclass(frozen=True)
class Gpu:
    """A card as its driver sees it; ``memory`` in bytes."""

    name: str
    driver: str
    memory: int
    persistent: bool


@dataclass(frozen=True)
class Machine:
    """One host below its containers. Empty text means that there is none of it.

    ``system`` is ID and VERSION_ID of os-release in NVIDIA's spelling, such as ``debian12``;
    ``kernels`` are the installed ones, ``kernel`` the one that runs. ``cards`` are lspci's lines of
    NVIDIA's display controllers. ``loaded``, ``on_disk`` and ``user_space`` are versions of the
    NVIDIA module in the kernel, of its file, and of the library libnvidia-ml; ``on_disk_next`` is
    the file's for the newest kernel, which the next boot takes. ``smi`` is what nvidia-smi said
    instead of naming GPUs. ``gpu_in`` maps a running container to what its nvidia-smi says.
    ``unlinked_devices`` are those of the card without a link in /dev/char.
    ``keys`` maps an apt key file of ours to the fingerprints in it, ``sources`` a file of somebody
    else to its line that names a repository of ours. ``listeners`` are those that can be reached
    from outside; ``ssh_ports`` where the host is logged in to, the run itself included. ``rules``
    is our table in the kernel, ``rules_of_file`` what it would be loaded anew. Sizes are in bytes.
    """

    system: str = ""
    system_name: str = ""
    codename: str = ""
    architecture: str = ""
    kernel: str = ""
    kernels: tuple[str, ...] = ()
    boot_id: str = ""
    secure_boot: bool = False
    own_key_enrolled: bool = False
    cards: tuple[str, ...] = ()
    memory: int = 0
    swap: int = 0
    free_disk: int = 0
    packages: Mapping[str, Package] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, Unit] = field(default_factory=dict)
    has_lspci: bool = False
    nouveau: bool = False
    loaded: str = ""
    on_disk: str = ""
    on_disk_next: str = ""
    user_space: str = ""
    gpus: tuple[Gpu, ...] = ()
    smi: str = ""
    nvcc: str = ""
    cdi: bool = False
    unlinked_devices: tuple[str, ...] = ()
    runtime_mode: str = ""
    docker: str = ""
    daemon_config: str = ""
    daemon_pending: bool = False
    gpu_in: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    ssh_ports: tuple[int, ...] = ()
    rules: str = ""
    rules_of_file: str = ""

    def unit(self, name: str) -> Unit:
        return self.units.get(name, Unit(exists=False, active=False, enabled=False))

    @property
    def next_kernel(self) -> str:
        """The newest installed kernel, in the order in which boot loaders sort them."""
        return self.kernels[-1] if self.kernels else self.kernel

    def version(self, package: str) -> str:
        """The installed version of a package; empty when it is not installed."""
        return self.packages[package].version if package in self.packages else ""


def observation_script(
    repositories: Iterable[str],
    sysctls: Iterable[str],
    gpu: bool,
    gpu_containers: Iterable[str],
) -> str:
    """A POSIX shell script that prints everything :func:`parse` needs, in marked sections.

    ``repositories`` are URLs to look for in the apt sources of others. ``gpu_containers`` are asked
    for their GPU where they run; without ``gpu`` no GPU is looked for at all.
    """
    urls = " ".join(f"-e {shlex.quote(url)}" for url in repositories)
    names = shlex.join(sysctls)
    return "\n".join(
        [
            sections.BEGIN,
            "s system; (. /etc/os-release;"
            ' printf "%s\\n" "$ID$VERSION_ID" "$PRETTY_NAME" "$VERSION_CODENAME"); uname -m',
            "s kernel; uname -r; ls -v /boot/vmlinuz-* 2>/dev/null",
            "s boot; cat /proc/sys/kernel/random/boot_id",
            "s memory; grep -E '^(MemTotal|SwapTotal):' /proc/meminfo",
            's docker; readlink -f "$(command -v docker)"',
            "s daemon; cat /etc/docker/daemon.json 2>/dev/null; echo",
            f"s pending; ls {DAEMON_PENDING} 2>/dev/null",
            's disk; disk=$(sed -n \'s/.*"data-root": *"\\([^"]*\\)".*/\\1/p\''
            " /etc/docker/daemon.json 2>/dev/null);"
            ' for d in "${disk:-/var/lib/docker}" /var/lib; do'
            ' df --output=avail -B1 "$d" 2>/dev/null | tail -n 1; done',
            "s packages;"
            " dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\\n' 2>/dev/null",
            f's files; for f in {_FILES}; do if [ -f "$f" ]; then'
            ' echo "$(sha256sum <"$f" | cut -d" " -f1) $(stat -c 0%a "$f") $f"; fi; done',
            f"s keys; h=$(mktemp -d); for k in {_KEYS}; do"
            ' if [ -f "$k" ]; then echo "$k" $(gpg --homedir "$h" --batch --show-keys --with-colons'
            ' "$k" 2>/dev/null | awk -F: \'$1 == "pub" { p = 1 }'
            ' $1 == "fpr" && p { print $10; p = 0 }\'); fi; done; rm -rf "$h"',
            *(
                [
                    f"s sources; grep -rHF {urls} /etc/apt/sources.list /etc/apt/sources.list.d"
                    f" 2>/dev/null | grep -vE '{MARK}|^[^:]+:[[:space:]]*#'"
                ]
                if urls
                else []
            ),
            *([f"s sysctls; sysctl -e {names} 2>/dev/null"] if names else []),
            "s units; systemctl show --property=Id,LoadState,ActiveState,UnitFileState"
            f" --property=ConditionResult,ConditionTimestampMonotonic {_UNITS} 2>/dev/null",
            *_FIREWALL_LINES,
            *(_gpu_lines() if gpu else ()),
            *(_container_lines(gpu_containers) if gpu else ()),
            sections.END,
        ]
    )


# The port of the run's own connection stands in the environment of a process above: sudo drops it.
_FIREWALL_LINES = (
    "s listeners; ss -Hltunp 2>/dev/null",
    's ssh; p=$$; while [ "${p:-1}" -gt 1 ]; do'
    " c=$(tr '\\0' '\\n' <\"/proc/$p/environ\" | sed -n 's/^SSH_CONNECTION=.* //p');"
    ' [ -z "$c" ] || { echo "$c"; break; };'
    " p=$(sed -n 's/^PPid:[[:space:]]*//p' \"/proc/$p/status\"); done 2>/dev/null",
    "systemctl list-sockets --state=active --no-legend 'ssh*.socket' 2>/dev/null |"
    " sed -n 's/^[^ ]*:\\([0-9]*\\) .*/\\1/p'",
    f"s rules; {NFT} -s list table {TABLE} 2>/dev/null",
    f"s rules_of_file; if [ -f {RULES} ]; then unshare --net sh -c"
    f" '{NFT} -f {RULES} && {NFT} -s list table {TABLE}' 2>/dev/null; fi",
)


def _gpu_lines() -> Iterable[str]:
    return (
        "s secure; { mokutil --sb-state 2>/dev/null | grep -q 'SecureBoot enabled' ||"
        ' [ "$(od -An -t u1 -j 4 -N 1 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null |'
        " tr -d ' ')\" = 1 ]; } && echo enabled",
        "s enrolled; for k in /var/lib/dkms/mok.pub /var/lib/shim-signed/mok/MOK.der; do"
        ' [ -f "$k" ] && mokutil --test-key "$k" 2>/dev/null | grep "already enrolled"; done',
        "s lspci; command -v lspci",
        "s cards; if command -v lspci >/dev/null; then lspci -Dnn -d 10de: |"
        " grep -E '\\[03[0-9a-f]{2}\\]:'; else for d in /sys/bus/pci/devices/*; do"
        ' [ "$(cat "$d/vendor" 2>/dev/null)" = 0x10de ] && case $(cat "$d/class") in 0x03*)'
        ' echo "${d##*/} [10de:$(sed s/^0x// "$d/device")]" ;; esac; done; fi',
        "s nouveau; ls -d /sys/module/nouveau 2>/dev/null",
        "s loaded; cat /sys/module/nvidia/version 2>/dev/null",
        # Debian's packaging names the file nvidia-current.
        'module() { modinfo "$@" -F version nvidia 2>/dev/null ||'
        ' modinfo "$@" -F version nvidia-current 2>/dev/null; }; s on_disk; module',
        "s on_disk_next; next=$(ls -v /boot/vmlinuz-* 2>/dev/null | tail -n 1);"
        ' module ${next:+-k "${next#/boot/vmlinuz-}"}',
        's user_space; readlink -f "$(ldconfig -p | sed -n'
        " 's/.*libnvidia-ml\\.so\\.1 .*x86-64.* => //p' | head -n 1)\" |"
        " sed -n 's/.*libnvidia-ml\\.so\\.//p'",
        f"s smi; if command -v nvidia-smi >/dev/null; then {_GPU_QUERY} 2>&1; fi",
        "s nvcc; /usr/local/cuda-12.6/bin/nvcc --version 2>/dev/null |"
        " sed -n 's/.*release \\([0-9.]*\\).*/\\1/p'",
        "s links; for d in /dev/nvidia[0-9]* /dev/nvidiactl; do"
        ' [ ! -c $d ] || [ -e "/dev/char/$((0x$(stat -c %t $d))):$((0x$(stat -c %T $d)))" ] ||'
        ' echo "$d"; done',
        "s cdi; ls /var/run/cdi/nvidia.yaml /etc/cdi/nvidia.yaml 2>/dev/null",
        "s runtime; sed -n"
        " '/^\\[nvidia-container-runtime\\]/,/^\\[/s/^ *mode *= *\"\\(.*\\)\".*/\\1/p'"
        " /etc/nvidia-container-runtime/config.toml 2>/dev/null",
    )


def _container_lines(containers: Iterable[str]) -> Iterator[str]:
    """Docker is asked only while it runs, as its socket would start one that somebody stopped, and
    with the runtime, without which it cannot look into a container."""
    names = " ".join(f"-e {shlex.quote(name)}" for name in containers)
    if names:
        yield (
            "s gpu_in; if systemctl is-active --quiet docker 2>/dev/null &&"
            " command -v nvidia-container-runtime >/dev/null; then"
            f" for c in $(docker ps --format '{{{{.Names}}}}' | grep -xF {names}); do"
            ' echo "$c $(timeout 30 docker exec "$c" nvidia-smi -L 2>&1 | head -n 1)"; done; fi'
        )


def parse(output: str) -> Machine:
    """Parse the output of :func:`observation_script`; raises ValueError when it is cut short."""
    found = sections.split(output)

    def text(section: str) -> str:
        return found.get(section, "").strip()

    def lines(section: str) -> list[str]:
        return text(section).splitlines()

    system = [*lines("system"), "", "", "", ""]
    kernel, *kernels = [*lines("kernel")] or [""]
    memory = {line.partition(":")[0]: line.split()[1] for line in lines("memory")}
    gpus, smi = _gpus(lines("smi"))
    sockets = map(_listener, lines("listeners"))
    listeners = tuple(it for it in sockets if not it.address.startswith(_LOOPBACK))
    return Machine(
        system=system[0].replace(".", ""),
        system_name=system[1],
        codename=system[2],
        architecture=system[3],
        kernel=kernel,
        kernels=tuple(path.removeprefix("/boot/vmlinuz-") for path in kernels),
        boot_id=text("boot"),
        secure_boot=bool(text("secure")),
        own_key_enrolled=bool(text("enrolled")),
        cards=tuple(lines("cards")),
        memory=int(memory.get("MemTotal", "0")) * 1024,
        swap=int(memory.get("SwapTotal", "0")) * 1024,
        free_disk=int((lines("disk") or ["0"])[0]),
        packages=_packages(lines("packages")),
        files={
            path: File(sha256, mode)
            for sha256, mode, path in (line.split(" ", 2) for line in lines("files"))
        },
        keys={key: tuple(fingerprints) for key, *fingerprints in map(str.split, lines("keys"))},
        sources=dict(line.split(":", 1) for line in lines("sources")),
        sysctls=dict(line.split(" = ", 1) for line in lines("sysctls")),
        units=_units(found.get("units", "")),
        has_lspci=bool(text("lspci")),
        nouveau=bool(text("nouveau")),
        loaded=text("loaded"),
        on_disk=text("on_disk"),
        on_disk_next=text("on_disk_next"),
        user_space=text("user_space"),
        gpus=gpus,
        smi=smi,
        nvcc=text("nvcc"),
        cdi=bool(text("cdi")),
        unlinked_devices=tuple(lines("links")),
        runtime_mode=text("runtime"),
        docker=text("docker"),
        daemon_config=text("daemon"),
        daemon_pending=bool(text("pending")),
        gpu_in={name: said for name, _, said in (line.partition(" ") for line in lines("gpu_in"))},
        listeners=listeners,
        ssh_ports=_ssh_ports(listeners, lines("ssh")),
        rules=text("rules"),
        rules_of_file=text("rules_of_file"),
    )


_LOOPBACK = ("127.", "[::1]", "[::ffff:127.")
_SSH_SERVERS = ("sshd", "dropbear")


def _listener(line: str) -> Listener:
    protocol, _, _, _, local, *_ = line.split()
    address, _, port = local.rpartition(":")
    program = re.search(r'\(\("([^"]+)"', line)
    return Listener(protocol, address, int(port), program[1] if program else "")


def _ssh_ports(listeners: Iterable[Listener], also: Iterable[str]) -> tuple[int, ...]:
    servers = {it.port for it in listeners if it.program in _SSH_SERVERS and it.protocol == "tcp"}
    return tuple(sorted(servers | set(map(int, also))))


def _packages(lines: Iterable[str]) -> dict[str, Package]:
    packages = {}
    for line in lines:
        name, version, status = line.split(" ", 2)
        if status[1] == "i":
            packages[name] = Package(version, held=status[0] == "h")
    return packages


def _units(text: str) -> dict[str, Unit]:
    units = {}
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines())
        if values.get("LoadState") == "loaded":
            state = values["ActiveState"]
            units[values["Id"].removesuffix(".service")] = Unit(
                exists=True,
                active=state in ("active", "reloading"),
                enabled=values["UnitFileState"] in ("enabled", "alias"),
                skipped=values.get("ConditionResult") == "no"
                and values.get("ConditionTimestampMonotonic") != "0",
            )
    return units


def _gpus(lines: list[str]) -> tuple[tuple[Gpu, ...], str]:
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    if not rows or any(len(row) != 4 or not row[2].isdigit() for row in rows):
        return (), " ".join(lines)
    return tuple(Gpu(n, d, int(m) * MIB, p == "Enabled") for n, d, m, p in rows), ""
