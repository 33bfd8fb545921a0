"""What a plan says about a recorded host that somebody has changed, on each recorded engine."""

from dataclasses import dataclass, replace

import pytest

from stack.docker.observe import ASIDE_SUFFIX, Engine, ObservedFile
from stack.docker.plan import Refusal, plan
from stack.docker.spec import CONTEXT_LABEL, FILES_LABEL, OWNER_LABEL, Desired
from tests.unit.docker import hosts
from tests.unit.docker.hosts import (
    ENGINES,
    Change,
    Host,
    both,
    config,
    environment,
    host_config,
    label,
    mount,
    secret_changed,
    state,
)
from tests.unit.docker.recording import APP, BUILT, DESIRED, FOLDER, PLAIN

MIB = 1024**2
CONF = f"{FOLDER}/everything/app.conf"
VIEW = f"{FOLDER}/everything/view.json"
RELOADS_CONF = f"{FOLDER}/reloads/app.conf"
STRAY = f"{FOLDER}/everything/more.conf"
LIVE = DESIRED.container("everything").files[1]
LIVE_SEEN = ObservedFile(LIVE.sha256, LIVE.mode, LIVE.owner, 0.0)
OTHER = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Case:
    name: str
    change: Change
    expected: str = ""
    adopt: bool = False


def differs(container: str, name: str, change: Change, *lines: str) -> Case:
    """A container that has to be replaced because of what ``lines`` say."""
    head = f"container {container}: replace the container (differs)"
    return Case(name, change, "\n    ".join((head, *lines)))


def updated(container: str, name: str, change: Change, *lines: str) -> Case:
    """A container that gets a field changed while it runs."""
    head = f"container {container}: update in place (differs)"
    return Case(name, change, "\n    ".join((head, *lines)))


def wanted(name: str, **values: object) -> Change:
    """The site wants something else of a container."""

    def change(desired: Desired) -> Desired:
        containers = (
            replace(container, **values) if container.name == name else container  # type: ignore[arg-type]
            for container in desired.containers
        )
        return replace(desired, containers=tuple(containers))

    return hosts.desired(change)


STATE = [
    Case("nothing", hosts.nothing),
    Case(
        "removed",
        hosts.gone("containers", "plain"),
        "container plain: create the container (not found)",
    ),
    Case(
        "stopped",
        state("plain", "exited", ExitCode=137),
        "container plain: start (exited, exit code 137)",
    ),
    Case(
        "created and never started",
        state("plain", "created", StartedAt="0001-01-01T00:00:00Z"),
        "container plain: start (created, exit code 0)",
    ),
    Case(
        "stopped by an error",
        state("reloads", "exited", ExitCode=1),
        "container reloads: start (exited, exit code 1)",
    ),
    Case("dead", state("plain", "dead"), "container plain: start (dead, exit code 0)"),
    Case("paused", state("plain", "paused"), "container plain: unpause (paused)"),
    Case(
        "restarting",
        state("plain", "restarting", Restarting=True),
        "container plain: restart (restarting in a loop)",
    ),
    Case(
        "not seen to work",
        hosts.gone("loaded", "plain"),
        "container plain: prove that it works (it has not been seen to work yet)",
    ),
    Case(
        "another container was seen to work under its name",
        lambda host: host.loaded.update(plain=("0" * 64, host.loaded["plain"][1])),
        "container plain: prove that it works (it has not been seen to work yet)",
    ),
    Case(
        "no part of the site any more",
        hosts.desired(
            lambda d: replace(d, containers=tuple(c for c in d.containers if c.name != "plain"))
        ),
        "leftovers: remove the container plain (made by this toolkit, but no part of the site any"
        " more)",
    ),
]

COMMAND = "-c 'exec /bin/sleep infinity'"
FIELDS = [
    differs(
        "everything",
        "command",
        config("everything", Cmd=["-c", "exec /bin/sleep 60"]),
        f"command: -c 'exec /bin/sleep 60' -> {COMMAND}",
    ),
    differs(
        "everything",
        "words of the command joined",
        config("everything", Cmd=["-c exec /bin/sleep infinity"]),
        f"command: '-c exec /bin/sleep infinity' -> {COMMAND}",
    ),
    differs(
        "defaults",
        "command given over that of the image",
        config("defaults", Cmd=["60"]),
        "command: 60 -> infinity",
    ),
    differs("plain", "no command", config("plain", Cmd=None), "command: - -> /bin/sleep infinity"),
    differs(
        "everything",
        "entrypoint",
        config("everything", Entrypoint=["/bin/dash"]),
        "entrypoint: /bin/dash -> /bin/sh",
    ),
    differs(
        "defaults",
        "entrypoint of the image taken away",
        config("defaults", Entrypoint=None),
        "entrypoint: - -> /bin/sleep",
    ),
    differs(
        "everything",
        "environment changed",
        environment("everything", "APP_MODE", "hand"),
        "environment.APP_MODE: hand -> site",
    ),
    differs(
        "everything",
        "environment removed",
        environment("everything", "APP_URL", None),
        "environment.APP_URL: - -> http://plain:8000",
    ),
    differs(
        "everything",
        "environment added",
        environment("everything", "DEBUG", "1"),
        "environment.DEBUG: 1 -> -",
    ),
    differs(
        "everything",
        "environment emptied",
        environment("everything", "APP_URL", ""),
        "environment.APP_URL: '' -> http://plain:8000",
    ),
    differs(
        "everything",
        "empty environment removed",
        environment("everything", "APP_NOTHING", None),
        "environment.APP_NOTHING: - -> ''",
    ),
    differs(
        "defaults",
        "environment of the image changed",
        environment("defaults", "APP_MODE", "hand"),
        "environment.APP_MODE: hand -> image",
    ),
    differs(
        "everything",
        "secret changed",
        environment("everything", "APP_PASSWORD", "letmein"),
        "environment.APP_PASSWORD: (hidden) -> (hidden)",
    ),
    differs(
        "everything",
        "secret that looks like a path",
        environment("everything", "APP_PASSWORD", "/8fkw"),
        "environment.APP_PASSWORD: (hidden) -> (hidden)",
    ),
    differs(
        "everything",
        "secret added",
        environment("everything", "HUB_TOKEN", "letmein"),
        "environment.HUB_TOKEN: (hidden) -> -",
    ),
    differs(
        "everything",
        "file of a secret",
        environment("everything", "APP_PASSWORD_FILE", "/etc/shadow"),
        "environment.APP_PASSWORD_FILE: /etc/shadow -> /run/secrets/app",
    ),
    differs(
        "everything",
        "password in an address",
        environment("everything", "APP_URL", "http://app:letmein@plain:8000"),
        "environment.APP_URL: http://app:(hidden)@plain:8000 -> http://plain:8000",
    ),
    differs(
        "plain",
        "password on the command line",
        config(
            "plain", Cmd=["serve", "--api-key", "letmein", "--db-password=x", "--ssl-keyfile=k"]
        ),
        "command: serve --api-key (hidden) --db-password=(hidden) --ssl-keyfile=k"
        " -> /bin/sleep infinity",
    ),
    differs(
        "everything",
        "environment of several lines",
        environment("everything", "APP_URL", "a\nb"),
        "environment.APP_URL: a\\nb -> http://plain:8000",
    ),
    differs(
        "everything",
        "label changed",
        label("containers", "everything", "site.owner", "hand"),
        "label.site.owner: hand -> recording",
    ),
    differs(
        "everything",
        "label removed",
        label("containers", "everything", "site.owner", None),
        "label.site.owner: - -> recording",
    ),
    differs(
        "plain",
        "label added",
        label("containers", "plain", "com.docker.compose.project", "hand"),
        "label.com.docker.compose.project: hand -> -",
    ),
    differs(
        "defaults",
        "label of the image changed",
        label("containers", "defaults", "app.version", "2"),
        "label.app.version: 2 -> 1",
    ),
    differs("everything", "user", config("everything", User="1:1"), "user: 1:1 -> 0:0"),
    differs("plain", "user given", config("plain", User="1:1"), "user: 1:1 -> -"),
    differs(
        "defaults", "no user of the image", config("defaults", User=""), "user: - -> 1000:1000"
    ),
    differs(
        "defaults",
        "working directory",
        config("defaults", WorkingDir="/"),
        "working directory: / -> /srv",
    ),
    differs(
        "defaults",
        "stop signal",
        config("defaults", StopSignal="SIGKILL"),
        "stop signal: SIGKILL -> SIGTERM",
    ),
    differs(
        "everything",
        "port bound to all addresses of IPv4",
        host_config(
            "everything",
            PortBindings={
                "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "18053"}],
                "8000/tcp": [
                    {"HostIp": "0.0.0.0", "HostPort": "18001"},
                    {"HostIp": "127.0.0.1", "HostPort": "18000"},
                ],
            },
        ),
        "port 53/udp: 0.0.0.0:18053 -> 127.0.0.1:18053",
    ),
    differs(
        "everything",
        "port bound to all addresses, removed, moved and added",
        both(
            config("everything", ExposedPorts={"53/tcp": {}, "8000/tcp": {}, "9000/tcp": {}}),
            host_config(
                "everything",
                PortBindings={
                    "53/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18053"}],
                    "8000/tcp": [
                        {"HostIp": "", "HostPort": "18001"},
                        {"HostIp": "127.0.0.1", "HostPort": "18009"},
                    ],
                },
            ),
        ),
        "port 53/tcp: 127.0.0.1:18053 -> -",
        "port 53/udp: - -> 127.0.0.1:18053",
        "port 8000/tcp: *:18001 127.0.0.1:18009 -> 0.0.0.0:18001 127.0.0.1:18000",
    ),
    differs(
        "plain",
        "port exposed",
        config("plain", ExposedPorts={"9001/tcp": {}}),
        "exposed ports: 9001/tcp -> -",
    ),
    differs(
        "everything",
        "mount to be written to",
        mount("everything", "/etc/app", RW=True),
        f"mount /etc/app: bind {FOLDER}/everything rw -> bind {FOLDER}/everything ro",
    ),
    differs(
        "everything",
        "mount of another folder",
        mount("everything", "/etc/app", Source="/etc"),
        f"mount /etc/app: bind /etc ro -> bind {FOLDER}/everything ro",
    ),
    differs(
        "everything",
        "mount that does not follow the host",
        mount("everything", "/host", Propagation="rprivate"),
        "mount /host: bind / ro -> bind / ro rslave",
    ),
    differs(
        "everything",
        "mount removed",
        mount("everything", "/host"),
        "mount /host: - -> bind / ro rslave",
    ),
    differs(
        "everything",
        "mount added",
        mount("everything", "/mnt", Type="bind", Source="/srv", RW=True, Propagation="rprivate"),
        "mount /mnt: bind /srv rw -> -",
    ),
    differs(
        "everything",
        "another volume",
        mount("everything", "/var/lib/app", Name="spare_data"),
        "mount /var/lib/app: volume spare_data rw -> volume everything_data rw",
    ),
    differs(
        "everything",
        "anonymous volume in place of a named one",
        mount("everything", "/var/lib/app", Name="0" * 64),
        "mount /var/lib/app: anonymous volume -> volume everything_data rw",
    ),
    differs(
        "defaults",
        "named volume in place of an anonymous one",
        mount("defaults", "/var/lib/app", Name="spare_data"),
        "mount /var/lib/app: volume spare_data rw -> anonymous volume",
    ),
    differs(
        "everything",
        "tmpfs with other options",
        host_config(
            "everything", Tmpfs={"/tmp": "size=1m", "/var/cache/app": "uid=1000,mode=0700"}
        ),
        "tmpfs /tmp: size=1m -> rw",
    ),
    differs(
        "everything",
        "tmpfs removed and added",
        host_config("everything", Tmpfs={"/var/cache/app": "uid=1000,mode=0700", "/run": ""}),
        "tmpfs /run: rw -> -",
        "tmpfs /tmp: - -> rw",
    ),
    differs(
        "everything",
        "health check",
        config(
            "everything",
            Healthcheck={
                "Test": ["CMD", "true"],
                "Interval": 1_500_000_000,
                "Timeout": 30_000_000_000,
                "StartInterval": 2_000_000_000,
            },
        ),
        "health check: CMD true every 1.5s, timeout 30s, retries 0, start period 0s, start interval"
        " 2s -> CMD-SHELL 'test -e /etc/app/app.conf' every 60s, timeout 7s, retries 2, start"
        " period 19s",
    ),
    differs(
        "defaults",
        "health check of the image switched off",
        config("defaults", Healthcheck={"Test": ["NONE"]}),
        "health check: none -> CMD-SHELL '/bin/sleep 0' every 90s, timeout 9s, retries 9, start"
        " period 19s",
    ),
    differs(
        "plain",
        "health check added",
        config("plain", Healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 10**9}),
        "health check: CMD-SHELL true every 1s, timeout 0s, retries 0, start period 0s -> -",
    ),
    updated(
        "everything",
        "memory",
        host_config("everything", Memory=32 * MIB, MemorySwap=32 * MIB),
        "memory: 32m -> 64m",
    ),
    updated(
        "everything",
        "no memory limit",
        host_config("everything", Memory=0, MemorySwap=0),
        "memory: - -> 64m",
    ),
    updated(
        "everything",
        "swap",
        host_config("everything", MemorySwap=128 * MIB),
        "memory and swap: 128m -> -",
    ),
    updated(
        "everything",
        "all swap",
        host_config("everything", MemorySwap=-1),
        "memory and swap: unlimited -> -",
    ),
    Case(
        "all swap where the kernel does not count it",
        both(
            host_config("everything", MemorySwap=-1),
            lambda host: setattr(host, "engine", Engine("1", "runc", "host", limits_swap=False)),
        ),
    ),
    differs(
        "plain",
        "memory limit nobody wants",
        host_config("plain", Memory=64 * MIB, MemorySwap=64 * MIB),
        "memory: 64m -> -",
    ),
    updated(
        "everything",
        "processors",
        host_config("everything", NanoCpus=1_250_000_000),
        "cpus: 1.25 -> 0.5",
    ),
    updated(
        "everything", "all processors", host_config("everything", NanoCpus=0), "cpus: - -> 0.5"
    ),
    differs(
        "plain",
        "limit of processors nobody wants",
        host_config("plain", NanoCpus=500_000_000),
        "cpus: 0.5 -> -",
    ),
    updated("everything", "processes", host_config("everything", PidsLimit=9), "pids: 9 -> 50"),
    updated(
        "everything", "all processes", host_config("everything", PidsLimit=None), "pids: - -> 50"
    ),
    updated(
        "plain",
        "limit of processes nobody wants",
        host_config("plain", PidsLimit=100),
        "pids: 100 -> -",
    ),
    Case("no limit of processes, said so", host_config("plain", PidsLimit=-1)),
    updated(
        "everything",
        "restart policy",
        host_config("everything", RestartPolicy={"Name": "always", "MaximumRetryCount": 0}),
        "restart: always -> unless-stopped",
    ),
    updated(
        "reloads",
        "number of restarts",
        host_config("reloads", RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 0}),
        "restart: on-failure -> on-failure:3",
    ),
    updated(
        "plain",
        "no restart policy",
        host_config("plain", RestartPolicy={"Name": "", "MaximumRetryCount": 0}),
        "restart: no -> always",
    ),
    updated(
        "everything",
        "several limits",
        host_config("everything", PidsLimit=9, NanoCpus=10**9, Memory=MIB, MemorySwap=2 * MIB),
        "cpus: 1 -> 0.5",
        "memory: 1m -> 64m",
        "memory and swap: 2m -> -",
        "pids: 9 -> 50",
    ),
    differs(
        "everything",
        "a limit and what only a new container can have",
        both(host_config("everything", PidsLimit=9), config("everything", User="1:1")),
        "pids: 9 -> 50",
        "user: 1:1 -> 0:0",
    ),
    differs(
        "everything",
        "shm size",
        host_config("everything", ShmSize=64 * MIB),
        "shm size: 64m -> 16m",
    ),
    differs("plain", "shm size given", host_config("plain", ShmSize=123), "shm size: 123 -> 64m"),
    differs(
        "everything",
        "ulimits",
        host_config(
            "everything",
            Ulimits=[
                {"Name": "core", "Soft": 0, "Hard": -1},
                {"Name": "nofile", "Soft": 2048, "Hard": 2048},
                {"Name": "stack", "Soft": 1, "Hard": 1},
            ],
        ),
        "ulimit.core: 0:-1 -> 0",
        "ulimit.nofile: 2048 -> 1024:2048",
        "ulimit.nproc: - -> 512",
        "ulimit.stack: 1 -> -",
    ),
    differs(
        "everything",
        "capabilities",
        host_config("everything", CapAdd=["CAP_CHOWN", "SYS_ADMIN"], CapDrop=None),
        "added capabilities: CHOWN SYS_ADMIN -> CHOWN NET_BIND_SERVICE",
        "dropped capabilities: - -> ALL",
    ),
    Case(
        "capabilities in the other notation",
        host_config("everything", CapAdd=["CAP_NET_BIND_SERVICE", "chown"], CapDrop=["all"]),
    ),
    differs(
        "everything",
        "security option removed",
        host_config("everything", SecurityOpt=["seccomp=unconfined"]),
        "security: seccomp=unconfined -> no-new-privileges seccomp=unconfined",
    ),
    differs(
        "plain",
        "security option added",
        host_config("plain", SecurityOpt=["seccomp=unconfined", "label=disable"]),
        "security: seccomp=unconfined -> -",
    ),
    Case(
        "security option in the other notation",
        host_config("everything", SecurityOpt=["no-new-privileges:true", "seccomp=unconfined"]),
    ),
    differs(
        "everything",
        "root file system to be written to",
        host_config("everything", ReadonlyRootfs=False),
        "read-only root: - -> yes",
    ),
    differs(
        "plain",
        "pid mode",
        host_config("plain", PidMode="", SecurityOpt=None),
        "pid mode: - -> host",
    ),
    differs("on_gpu", "no GPU", host_config("on_gpu", DeviceRequests=None), "gpus: - -> all"),
    differs(
        "on_gpu",
        "one GPU",
        host_config(
            "on_gpu",
            DeviceRequests=[
                {"Driver": "", "Count": 0, "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}
            ],
        ),
        'gpus: {{"Capabilities": [["gpu"]], "DeviceIDs": ["0"]}} -> all',
    ),
    differs(
        "defaults",
        "GPUs nobody wants",
        host_config(
            "defaults",
            DeviceRequests=[{"Driver": "", "Count": -1, "Capabilities": [["gpu"]], "Options": {}}],
        ),
        "gpus: all -> -",
    ),
    differs(
        "everything",
        "log driver",
        host_config("everything", LogConfig={"Type": "local", "Config": {"max-size": "1m"}}),
        "log driver: local -> json-file",
        "log option.max-file: - -> 2",
    ),
    differs(
        "everything",
        "log options",
        host_config(
            "everything",
            LogConfig={
                "Type": "json-file",
                "Config": {"max-size": "10m", "max-file": "2", "compress": "true"},
            },
        ),
        "log option.compress: true -> -",
        "log option.max-size: 10m -> 1m",
    ),
    differs(
        "everything", "stop timeout", config("everything", StopTimeout=10), "stop timeout: 10 -> 1"
    ),
    differs(
        "everything",
        "no stop timeout",
        config("everything", StopTimeout=None),
        "stop timeout: - -> 1",
    ),
    differs("plain", "killed at once", config("plain", StopTimeout=0), "stop timeout: 0 -> -"),
    differs(
        "everything",
        "hostname",
        config("everything", Hostname="hand"),
        "hostname: hand -> everything.example",
    ),
    differs("plain", "hostname given", config("plain", Hostname="hand"), "hostname: hand -> -"),
    differs(
        "everything",
        "extra hosts",
        host_config("everything", ExtraHosts=["registry.example:192.0.2.1"]),
        "extra hosts: registry.example:192.0.2.1"
        " -> gateway.example:host-gateway registry.example:10.91.0.1",
    ),
    differs(
        "plain", "another runtime", host_config("plain", Runtime="nvidia"), "runtime: nvidia -> -"
    ),
    differs(
        "plain", "no runtime for a card", wanted("plain", runtime="nvidia"), "runtime: - -> nvidia"
    ),
    Case(
        "the runtime for a card",
        both(wanted("plain", runtime="nvidia"), host_config("plain", Runtime="nvidia")),
    ),
    Case(
        "the runtime for a card, which is also the engine's default",
        both(
            wanted("plain", runtime="nvidia"),
            *(
                host_config(name, Runtime="nvidia")
                for name in ("everything", "reloads", "defaults", "plain", "on_gpu")
            ),
            lambda host: setattr(host, "engine", Engine("1", "nvidia", "host")),
        ),
    ),
    Case(
        "another runtime that is the engine's default",
        both(
            *(
                host_config(name, Runtime="nvidia")
                for name in ("everything", "reloads", "defaults", "plain", "on_gpu")
            ),
            lambda host: setattr(host, "engine", Engine("1", "nvidia", "host")),
        ),
    ),
    differs(
        "plain",
        "cgroup namespace",
        host_config("plain", CgroupnsMode="private"),
        "cgroup namespace: private -> -",
    ),
    differs(
        "plain",
        "network of another container",
        host_config("plain", NetworkMode="container:0123"),
        "network mode: container:0123 -> -",
    ),
    differs(
        "plain",
        "privileged, with a device and a lower oom score",
        host_config(
            "plain",
            Privileged=True,
            OomScoreAdj=-500,
            Devices=[
                {
                    "PathOnHost": "/dev/kvm",
                    "PathInContainer": "/dev/kvm",
                    "CgroupPermissions": "rw",
                }
            ],
        ),
        "devices: /dev/kvm:/dev/kvm:rw -> -",
        "oom score: -500 -> -",
        "privileged: yes -> -",
    ),
    differs(
        "plain",
        "settings that no recorded container has",
        both(
            config("plain", NetworkDisabled=True),
            host_config(
                "plain",
                Annotations={"a": "b"},
                BlkioDeviceReadBps=[{"Path": "/dev/sda", "Rate": 1}],
                BlkioDeviceReadIOps=[{"Path": "/dev/sda", "Rate": 2}],
                BlkioDeviceWriteBps=[{"Path": "/dev/sda", "Rate": 3}],
                BlkioDeviceWriteIOps=[{"Path": "/dev/sda", "Rate": 4}],
                BlkioWeight=300,
                BlkioWeightDevice=[{"Path": "/dev/sda", "Weight": 5}],
                Cgroup="/c",
                CpuRealtimePeriod=6,
                CpuRealtimeRuntime=7,
                KernelMemory=8,
                KernelMemoryTCP=9,
                StorageOpt={"size": "10G"},
                VolumeDriver="nfs",
            ),
        ),
        'annotations: {{"a": "b"}} -> -',
        "block io weight: 300 -> -",
        'block io weight of devices: [{{"Path": "/dev/sda", "Weight": 5}}] -> -',
        "cgroup: /c -> -",
        "cpu realtime period: 6 -> -",
        "cpu realtime runtime: 7 -> -",
        'device read rate: [{{"Path": "/dev/sda", "Rate": 1}}] -> -',
        'device reads: [{{"Path": "/dev/sda", "Rate": 2}}] -> -',
        'device write rate: [{{"Path": "/dev/sda", "Rate": 3}}] -> -',
        'device writes: [{{"Path": "/dev/sda", "Rate": 4}}] -> -',
        "kernel memory: 8 -> -",
        "kernel memory for tcp: 9 -> -",
        "network disabled: yes -> -",
        'storage options: {{"size": "10G"}} -> -',
        "volume driver: nfs -> -",
    ),
]

IMAGES = [
    Case(
        "another image behind the tag of one of ours",
        both(hosts.image(BUILT, Id=OTHER), lambda h: h.pulled.update({BUILT: "sha256:built"})),
        f"container on_gpu: build the image {BUILT} (another image stands behind it)\n"
        f"    image id: {OTHER} -> sha256:built\n"
        "container on_gpu: replace the container (differs)\n"
        "    image id: {built} -> sha256:built",
    ),
    Case(
        "another image behind the same tag",
        hosts.image(PLAIN, Id=OTHER),
        "container plain: pull the image recording/plain:1 (another image stands behind it)\n"
        f"    image id: {OTHER} -> {{plain}}",
    ),
    Case(
        "another image behind the same tag, and the container made from it",
        both(hosts.image(PLAIN, Id=OTHER), lambda h: h.containers["plain"].update(Image=OTHER)),
        "container plain: pull the image recording/plain:1 (another image stands behind it)\n"
        f"    image id: {OTHER} -> {{plain}}\n"
        "container plain: replace the container (differs)\n"
        f"    image id: {OTHER} -> {{plain}}",
    ),
    Case(
        "another image behind the same tag, of which no pull is noted",
        both(hosts.image(PLAIN, Id=OTHER), hosts.gone("pulled", PLAIN)),
        f"container plain: replace the container (differs)\n    image id: {{plain}} -> {OTHER}",
    ),
    Case(
        "image removed",
        hosts.gone("images", PLAIN),
        "container plain: pull the image recording/plain:1 (not found)",
    ),
    Case(
        "image removed, of which no pull is noted",
        both(hosts.gone("images", PLAIN), hosts.gone("pulled", PLAIN)),
        "container plain: pull the image recording/plain:1 (not found)",
    ),
    Case(
        "image removed and settings changed that no image gives",
        both(
            hosts.gone("images", APP),
            environment("everything", "APP_MODE", "hand"),
            environment("everything", "PERHAPS", "of the image"),
            host_config("defaults", Privileged=True),
            host_config("reloads", PidsLimit=9),
        ),
        "container everything: pull the image recording/app:1 (not found)\n"
        "container everything: replace the container (differs)\n"
        "    environment.APP_MODE: hand -> site\n"
        "container reloads: pull the image recording/app:1 (not found)\n"
        "container reloads: update in place (differs)\n"
        "    pids: 9 -> -\n"
        "container defaults: pull the image recording/app:1 (not found)\n"
        "container defaults: replace the container (differs)\n"
        "    privileged: yes -> -",
    ),
    Case(
        "the site wants another image",
        wanted("plain", image="recording/plain:2"),
        "container plain: pull the image recording/plain:2 (not found)\n"
        "container plain: replace the container (differs)\n"
        "    image: recording/plain:1 -> recording/plain:2",
    ),
    Case(
        "the site wants another image, by digest",
        wanted("plain", image=f"recording/plain@{OTHER}"),
        f"container plain: pull the image recording/plain@{OTHER} (not found)\n"
        "container plain: replace the container (differs)\n"
        f"    image: recording/plain:1 -> recording/plain@{OTHER}",
    ),
    Case(
        "the site wants another image that is there",
        wanted("plain", image=APP, command=("/bin/sleep", "1")),
        "container plain: replace the container (differs)\n"
        "    command: /bin/sleep infinity -> /bin/sleep 1\n"
        "    entrypoint: - -> /bin/sleep\n"
        "    environment.APP_EMPTY: - -> ''\n"
        "    environment.APP_MODE: - -> image\n"
        "    environment.PATH: - -> /bin\n"
        "    health check: - -> CMD-SHELL '/bin/sleep 0' every 90s, timeout 9s, retries 9, start"
        " period 19s\n"
        "    image: recording/plain:1 -> recording/app:1\n"
        "    image id: {plain} -> {app}\n"
        "    label.app.version: - -> 1\n"
        "    mount /var/cache/app: - -> anonymous volume\n"
        "    mount /var/lib/app: - -> anonymous volume\n"
        "    stop signal: - -> SIGTERM\n"
        "    user: - -> 1000:1000\n"
        "    working directory: - -> /srv",
    ),
    Case(
        "image of ours removed",
        hosts.gone("images", BUILT),
        f"container on_gpu: build the image {BUILT} (not found)",
    ),
    Case(
        "image of ours not made from our source",
        label("images", BUILT, CONTEXT_LABEL, "fedcba9876543210"),
        f"container on_gpu: build the image {BUILT} (not built from our source)\n"
        "    context: fedcba9876543210 -> 0123456789abcdef\n"
        "container on_gpu: replace the container (differs)\n"
        "    label.saiga-stack.context: 0123456789abcdef -> fedcba9876543210",
    ),
    Case(
        "image of ours without a mark",
        both(
            label("images", BUILT, CONTEXT_LABEL, None),
            label("containers", "on_gpu", CONTEXT_LABEL, None),
        ),
        f"container on_gpu: build the image {BUILT} (not built from our source)\n"
        "    context: - -> 0123456789abcdef",
    ),
]

NETWORKS = [
    Case(
        "address",
        hosts.attached("plain", "front", "10.91.0.55"),
        "container plain: connect front (differs)\n    network: 10.91.0.55 -> 10.91.0.5",
    ),
    Case(
        "address chosen by the engine",
        hosts.attached("plain", "front", IPAddress="10.91.0.130"),
        "container plain: connect front (differs)\n    network: 10.91.0.130 -> 10.91.0.5",
    ),
    Case(
        "addresses swapped",
        both(
            hosts.attached("plain", "front", "10.91.0.4"),
            hosts.attached("defaults", "front", "10.91.0.5"),
        ),
        "network front: release an address defaults (it holds 10.91.0.5, the address of plain)\n"
        "network front: release an address plain (it holds 10.91.0.4, the address of defaults)\n"
        "container defaults: connect front (differs)\n"
        "    network: 10.91.0.5 -> 10.91.0.4\n"
        "container plain: connect front (differs)\n"
        "    network: 10.91.0.4 -> 10.91.0.5",
    ),
    Case(
        "alias missing",
        hosts.endpoint("everything", "front", Aliases=["web"]),
        "container everything: connect front (differs)\n"
        "    network: 10.91.0.2 as web -> 10.91.0.2 as web www",
    ),
    Case(
        "alias added",
        hosts.endpoint("plain", "front", Aliases=["web"]),
        "container plain: connect front (differs)\n    network: 10.91.0.5 as web -> 10.91.0.5",
    ),
    Case(
        "detached from one network",
        hosts.detached("everything", "back"),
        "container everything: connect back (not attached)\n    network: - -> 10.92.0.2 as app",
    ),
    Case(
        "detached from all",
        lambda host: host.containers["plain"]["NetworkSettings"].update(Networks=None),
        "container plain: connect front (not attached)\n    network: - -> 10.91.0.5",
    ),
    Case(
        "attached to another network of ours",
        hosts.attached("plain", "back", "10.92.0.50"),
        "container plain: disconnect back (not a network of this container)\n"
        "    network: 10.92.0.50 -> -",
    ),
    Case(
        "attached to Docker's own network",
        hosts.attached("plain", "bridge", IPAddress="172.17.0.2"),
        "container plain: disconnect bridge (not a network of this container)\n"
        "    network: 172.17.0.2 -> -",
    ),
    Case(
        "attached with a link and as the first gateway",
        hosts.endpoint("plain", "front", Links=["defaults:old"], GwPriority=1),
        "container plain: connect front (differs)\n"
        '    network: 10.91.0.5 with links ["defaults:old"] with priority 1 -> 10.91.0.5',
    ),
    Case(
        "attached to a network that was made again",
        hosts.endpoint("plain", "front", NetworkID="6" * 64),
        "container plain: connect front (differs)\n"
        "    network: 10.91.0.5 in a network that is gone -> 10.91.0.5",
    ),
    Case(
        "network removed, its containers detached",
        both(
            hosts.gone("networks", "back"),
            hosts.detached("everything", "back"),
            hosts.detached("reloads", "back"),
            hosts.detached("on_gpu", "back"),
        ),
        "network back: create the network (not found)\n"
        "container everything: connect back (not attached)\n"
        "    network: - -> 10.92.0.2 as app\n"
        "container reloads: connect back (not attached)\n"
        "    network: - -> 10.92.0.3\n"
        "container on_gpu: connect back (not attached)\n"
        "    network: - -> 10.92.0.6",
    ),
    Case(
        "network removed, a stopped container still attached",
        both(
            hosts.gone("networks", "back"),
            hosts.detached("everything", "back"),
            hosts.detached("on_gpu", "back"),
            state("reloads", "exited", ExitCode=0),
        ),
        "network back: create the network (not found)\n"
        "container everything: connect back (not attached)\n"
        "    network: - -> 10.92.0.2 as app\n"
        "container reloads: connect back (differs)\n"
        "    network: 10.92.0.3 in a network that is gone -> 10.92.0.3\n"
        "container reloads: start (exited, exit code 0)\n"
        "container on_gpu: connect back (not attached)\n"
        "    network: - -> 10.92.0.6",
    ),
    Case(
        "subnet, gateway and range",
        hosts.pool("front", Subnet="10.93.0.0/24", Gateway="10.93.0.1", IPRange="10.93.0.128/25"),
        "network front: recreate the network (differs)\n"
        "    dynamic range: 10.93.0.128/25 -> 10.91.0.128/25\n"
        "    gateway: 10.93.0.1 -> 10.91.0.1\n"
        "    subnet: 10.93.0.0/24 -> 10.91.0.0/24",
    ),
    Case(
        "gateway",
        hosts.pool("front", Gateway="10.91.0.254"),
        "network front: recreate the network (differs)\n    gateway: 10.91.0.254 -> 10.91.0.1",
    ),
    Case(
        "no range of its own for the engine's choice",
        lambda host: host.networks["front"]["IPAM"]["Config"][0].pop("IPRange"),
        "network front: recreate the network (differs)\n    dynamic range: - -> 10.91.0.128/25",
    ),
    Case(
        "second subnet",
        lambda host: host.networks["back"]["IPAM"]["Config"].append(
            {"Subnet": "fd00::/64", "Gateway": "fd00::1"}
        ),
        "network back: recreate the network (differs)\n"
        "    dynamic range: 10.92.0.128/25 - -> 10.92.0.128/25\n"
        "    gateway: 10.92.0.1 fd00::1 -> 10.92.0.1\n"
        "    subnet: 10.92.0.0/24 fd00::/64 -> 10.92.0.0/24",
    ),
    Case(
        "reserved address",
        hosts.pool("front", AuxiliaryAddresses={"router": "10.91.0.9"}),
        "network front: recreate the network (differs)\n"
        "    reserved address.router: 10.91.0.9 -> -",
    ),
    Case(
        "driver",
        hosts.network("front", Driver="macvlan"),
        "network front: recreate the network (differs)\n    driver: macvlan -> bridge",
    ),
    Case(
        "options",
        hosts.network("front", Options={"com.docker.network.bridge.name": "br9"}),
        "network front: recreate the network (differs)\n"
        "    option.com.docker.network.bridge.name: br9 -> -\n"
        "    option.com.docker.network.driver.mtu: - -> 1400",
    ),
    Case(
        "option given where none is wanted",
        hosts.network("back", Options={"com.docker.network.bridge.enable_icc": "false"}),
        "network back: recreate the network (differs)\n"
        "    option.com.docker.network.bridge.enable_icc: false -> -",
    ),
    Case(
        "internal, attachable, with IPv6",
        hosts.network("front", Internal=True, Attachable=True, EnableIPv6=True),
        "network front: recreate the network (differs)\n"
        "    attachable: yes -> -\n"
        "    internal: yes -> -\n"
        "    ipv6: yes -> -",
    ),
    Case(
        "without IPv4",
        hosts.network("front", EnableIPv4=False),
        "network front: recreate the network (differs)\n    ipv4: no -> -",
    ),
    Case(
        "a stranger on Docker's own network",
        both(hosts.stranger(), hosts.attached("stranger", "bridge", IPAddress="172.17.0.2")),
    ),
    Case(
        "a stranger on a network that stays, at an address of its own",
        both(hosts.stranger(), hosts.attached("stranger", "front", IPAddress="10.91.0.130")),
    ),
]

LEFT = "made by this toolkit, but no part of the site any more"
NETWORKS += [
    Case(
        "a network under another name",
        hosts.renamed_network("back", "rear"),
        f"leftovers: remove the network back ({LEFT})\n"
        "network rear: create the network (not found)\n"
        "container everything: connect rear (not attached)\n"
        "    network: - -> 10.92.0.2 as app\n"
        "container reloads: connect rear (not attached)\n"
        "    network: - -> 10.92.0.3\n"
        "container on_gpu: connect rear (not attached)\n"
        "    network: - -> 10.92.0.6",
    ),
    Case(
        "a network that the site no longer has stays while others use it",
        both(
            hosts.strange_network("10.99.0.0/24"),
            label("networks", "theirs", OWNER_LABEL, "yes"),
            hosts.stranger(),
            hosts.attached("stranger", "theirs", "10.99.0.9"),
        ),
    ),
]

VOLUMES = [
    Case(
        "volume removed",
        hosts.gone("volumes", "spare_data"),
        "volume spare_data: create the volume (not found)",
    ),
    Case(
        "volume of another that was adopted",
        both(
            label("volumes", "spare_data", OWNER_LABEL, None),
            lambda host: host.adopted.add("spare_data"),
        ),
    ),
]

FILES = [
    Case(
        "file removed",
        hosts.gone("files", CONF),
        f"container everything: write a file {CONF} (not found)",
    ),
    Case(
        "file edited after the container started",
        hosts.edited(CONF, 5, "everything"),
        f"container everything: write a file {CONF} (differs)\n"
        "    content: 000000000000 -> 0a775022744f",
    ),
    Case(
        "file edited before the container started",
        hosts.edited(CONF, -5, "everything"),
        f"container everything: write a file {CONF} (differs)\n"
        "    content: 000000000000 -> 0a775022744f\n"
        "container everything: restart (it started after the file was changed by hand)",
    ),
    Case(
        "file edited before the container was stopped",
        both(hosts.edited(CONF, -5, "everything"), state("everything", "exited", ExitCode=0)),
        f"container everything: write a file {CONF} (differs)\n"
        "    content: 000000000000 -> 0a775022744f\n"
        "container everything: start (exited, exit code 0)",
    ),
    Case(
        "mode and owner of a file",
        hosts.file(CONF, mode="0666", owner="1000:1000"),
        f"container everything: write a file {CONF} (differs)\n"
        "    mode: 0666 -> 0644\n"
        "    owner: 1000:1000 -> 0:0",
    ),
    Case(
        "file that the service reads again by itself",
        hosts.edited(VIEW, -5, "everything"),
        f"container everything: write a file {VIEW} (differs)\n"
        "    content: 000000000000 -> ca3d163bab05",
    ),
    Case(
        "file that the service reads again by itself, removed",
        hosts.gone("files", VIEW),
        f"container everything: write a file {VIEW} (not found)",
    ),
    Case(
        "file of a service that reloads",
        hosts.edited(RELOADS_CONF, 5, "reloads"),
        f"container reloads: write a file {RELOADS_CONF} (differs)\n"
        "    content: 000000000000 -> 3d56d498bb9b\n"
        "container reloads: reload (files were written)",
    ),
    Case(
        "mode of a file of a service that reloads",
        hosts.file(RELOADS_CONF, mode="0600"),
        f"container reloads: write a file {RELOADS_CONF} (differs)\n    mode: 0600 -> 0644",
    ),
    Case(
        "file removed of a service that reloads",
        hosts.gone("files", RELOADS_CONF),
        f"container reloads: write a file {RELOADS_CONF} (not found)\n"
        "container reloads: reload (files were written)",
    ),
    Case(
        "folder removed, of a service that reloads",
        both(
            hosts.gone("files", RELOADS_CONF),
            lambda h: h.stale_folders.update(reloads=("/srv/a", "/srv/b")),
        ),
        f"container reloads: write a file {RELOADS_CONF} (not found)\n"
        "container reloads: restart (it has a deleted folder mounted: /srv/a, /srv/b)",
    ),
    Case(
        "folder replaced by another",
        lambda h: h.stale_folders.update(everything=("/srv/a",)),
        "container everything: restart (it has a deleted folder mounted: /srv/a)",
    ),
    Case(
        "not known what the service loaded",
        hosts.gone("loaded", "reloads"),
        "container reloads: reload (it has not loaded its files)\n    loaded files: - -> {loaded}",
    ),
    Case(
        "the service loaded something older",
        lambda h: h.loaded.update(reloads=(h.containers["reloads"]["Id"], "0" * 16)),
        "container reloads: reload (it has not loaded its files)\n"
        "    loaded files: 0000000000000000 -> {loaded}",
    ),
    Case(
        "another container loaded them",
        lambda h: h.loaded.update(reloads=("0" * 64, h.loaded["reloads"][1])),
        "container reloads: reload (it has not loaded its files)\n    loaded files: - -> {loaded}",
    ),
    Case(
        "not known what a stopped service loaded",
        both(hosts.gone("loaded", "reloads"), state("reloads", "exited", ExitCode=0)),
        "container reloads: start (exited, exit code 0)",
    ),
    Case(
        "not known what a paused service loaded",
        both(hosts.gone("loaded", "reloads"), state("reloads", "paused")),
        "container reloads: unpause (paused)\n"
        "container reloads: reload (it has not loaded its files)\n"
        "    loaded files: - -> {loaded}",
    ),
    differs(
        "everything",
        "container made from other files",
        label("containers", "everything", FILES_LABEL, "0" * 16),
        "label.saiga-stack.files: 0000000000000000 -> {files}",
    ),
    Case(
        "a change of a file was cut off",
        lambda host: host.unproven.add(CONF),
        "container everything: restart (a change of its files was interrupted)",
    ),
    Case(
        "a file that nobody asked for, read at the start",
        hosts.stray(STRAY, CONF, -5, "everything"),
        f"container everything: set a file aside {STRAY} (no file of the site)\n"
        "container everything: restart (it started after the file was changed by hand)",
    ),
    Case(
        "a file that nobody asked for, put there later",
        hosts.stray(STRAY, CONF, 5, "everything"),
        f"container everything: set a file aside {STRAY} (no file of the site)",
    ),
    Case(
        "a file that nobody asked for, of a service that reloads",
        hosts.stray(f"{FOLDER}/reloads/more.conf", CONF, 5, "reloads"),
        f"container reloads: set a file aside {FOLDER}/reloads/more.conf (no file of the site)\n"
        "container reloads: reload (files were written)",
    ),
    Case(
        "a file that nobody asked for where nothing is read at the start",
        both(
            wanted("everything", files=(replace(LIVE, path=f"{FOLDER}/live/view.json"),)),
            hosts.gone("files", CONF),
            hosts.gone("files", VIEW),
            lambda host: host.files.update({f"{FOLDER}/live/view.json": LIVE_SEEN}),
            hosts.stray(f"{FOLDER}/live/more.json", f"{FOLDER}/live/view.json", -5, "everything"),
            label("containers", "everything", FILES_LABEL, None),
        ),
        "container everything: set a file aside /srv/recording/live/more.json"
        " (no file of the site)",
    ),
    Case(
        "a secret changed after the start of the one that reads it then",
        secret_changed(1),
        "container plain: restart (it started before key was changed)",
    ),
    Case("a secret changed before the start", secret_changed(-1), ""),
    Case("a secret that is read whenever it is used", secret_changed(1, at_start=False), ""),
    Case(
        "a secret changed while the container is stopped",
        both(secret_changed(1), state("plain", "exited", ExitCode=0)),
        "container plain: start (exited, exit code 0)",
    ),
    Case(
        "a secret changed while the container is paused",
        both(secret_changed(1), state("plain", "paused")),
        "container plain: unpause (paused)\n"
        "container plain: restart (it started before key was changed)",
    ),
]

ASIDE = [
    Case(
        "replacement cut off before the new container",
        hosts.aside("plain", replaced=False),
        "container plain: return the container set aside (a replacement was interrupted)",
    ),
    Case(
        "replacement cut off before the new container, the old one stopped",
        both(state("plain", "exited", ExitCode=0), hosts.aside("plain", replaced=False)),
        "container plain: return the container set aside (a replacement was interrupted)\n"
        "container plain: start (exited, exit code 0)",
    ),
    Case(
        "replacement cut off before the new container, which is still wanted",
        both(config("plain", User="1:1"), hosts.aside("plain", replaced=False)),
        "container plain: return the container set aside (a replacement was interrupted)\n"
        "container plain: replace the container (differs)\n"
        "    user: 1:1 -> -",
    ),
    Case(
        "replacement cut off before the new container had proven itself",
        hosts.aside("plain", replaced=True),
        "container plain: finish the replacement (a replacement was interrupted)",
    ),
    Case(
        "replacement cut off before the new container was attached and started",
        both(
            hosts.aside("everything", replaced=True),
            hosts.detached("everything", "back"),
            state("everything", "created"),
        ),
        "container everything: connect back (not attached)\n"
        "    network: - -> 10.92.0.2 as app\n"
        "container everything: finish the replacement (a replacement was interrupted)",
    ),
    Case(
        "replacement cut off, and the new container is not what is wanted",
        both(hosts.aside("plain", replaced=True), config("plain", User="1:1")),
        "container plain: replace the container (differs)\n    user: 1:1 -> -",
    ),
    Case(
        "an adoption that was cut off",
        both(
            label("containers", "plain", OWNER_LABEL, None),
            hosts.aside("plain", replaced=False),
            lambda host: host.adopted.add(host.containers[f"plain{ASIDE_SUFFIX}"]["Id"]),
        ),
        "container plain: return the container set aside (a replacement was interrupted)\n"
        "container plain: replace the container (differs)\n"
        "    label.saiga-stack.managed: - -> yes",
    ),
]

SEVERAL = [
    Case(
        "a bare host",
        lambda host: [
            getattr(host, kind).clear()
            for kind in ("containers", "networks", "volumes", "images", "files", "loaded", "pulled")
        ],
        "network front: create the network (not found)\n"
        "network back: create the network (not found)\n"
        "volume everything_data: create the volume (not found)\n"
        "volume shared_data: create the volume (not found)\n"
        "volume spare_data: create the volume (not found)\n"
        f"container everything: pull the image {APP} (not found)\n"
        f"container everything: write a file {CONF} (not found)\n"
        f"container everything: write a file {VIEW} (not found)\n"
        "container everything: create the container (not found)\n"
        f"container reloads: pull the image {APP} (not found)\n"
        f"container reloads: write a file {RELOADS_CONF} (not found)\n"
        "container reloads: create the container (not found)\n"
        f"container defaults: pull the image {APP} (not found)\n"
        "container defaults: create the container (not found)\n"
        f"container plain: pull the image {PLAIN} (not found)\n"
        "container plain: create the container (not found)\n"
        f"container on_gpu: build the image {BUILT} (not found)\n"
        "container on_gpu: create the container (not found)",
    ),
    Case(
        "all that can be put right without a restart",
        both(
            host_config("everything", PidsLimit=9, NanoCpus=10**9),
            hosts.attached("everything", "bridge", IPAddress="172.17.0.2"),
            hosts.detached("everything", "back"),
            hosts.edited(VIEW, 5, "everything"),
            state("everything", "paused"),
        ),
        f"container everything: write a file {VIEW} (differs)\n"
        "    content: 000000000000 -> ca3d163bab05\n"
        "container everything: update in place (differs)\n"
        "    cpus: 1 -> 0.5\n"
        "    pids: 9 -> 50\n"
        "container everything: disconnect bridge (not a network of this container)\n"
        "    network: 172.17.0.2 -> -\n"
        "container everything: connect back (not attached)\n"
        "    network: - -> 10.92.0.2 as app\n"
        "container everything: unpause (paused)",
    ),
    Case(
        "what a replacement puts right is not said twice",
        both(
            config("everything", User="1:1"),
            hosts.detached("everything", "back"),
            state("everything", "exited", ExitCode=1),
        ),
        "container everything: replace the container (differs)\n    user: 1:1 -> 0:0",
    ),
    Case(
        "leftovers, networks, volumes and containers, in this order",
        both(
            state("on_gpu", "exited", ExitCode=1),
            hosts.gone("containers", "defaults"),
            hosts.edited(RELOADS_CONF, 5, "reloads"),
            hosts.gone("volumes", "spare_data"),
            hosts.pool("back", Gateway="10.92.0.254"),
            hosts.stranger("once_ours"),
            label("containers", "once_ours", OWNER_LABEL, "yes"),
            hosts.attached("once_ours", "back", "10.92.0.9"),
        ),
        "leftovers: remove the container once_ours (made by this toolkit, but no part of the site"
        " any more)\n"
        "network back: recreate the network (differs)\n"
        "    gateway: 10.92.0.254 -> 10.92.0.1\n"
        "volume spare_data: create the volume (not found)\n"
        f"container reloads: write a file {RELOADS_CONF} (differs)\n"
        "    content: 000000000000 -> 3d56d498bb9b\n"
        "container reloads: reload (files were written)\n"
        "container defaults: create the container (not found)\n"
        "container on_gpu: start (exited, exit code 1)",
    ),
]

BY_HAND = both(
    label("containers", "plain", OWNER_LABEL, None),
    label("networks", "back", OWNER_LABEL, None),
    label("volumes", "spare_data", OWNER_LABEL, None),
)
ADOPTED = [
    Case("nothing to take over", hosts.nothing, adopt=True),
    Case(
        "container, network and volume of another",
        BY_HAND,
        "network back: recreate the network (differs)\n"
        "    owner label: - -> yes\n"
        "volume spare_data: adopt the volume (exists without our label; its data is kept)\n"
        "container plain: replace the container (differs)\n"
        "    label.saiga-stack.managed: - -> yes",
        adopt=True,
    ),
]

TAKE_OVER = "remove or rename it, or take it over with --data adopt=yes"
REFUSED = [
    Case(
        "container, network and volume of another",
        BY_HAND,
        f"container plain exists but was not made by this toolkit; {TAKE_OVER}\n"
        f"network back exists but was not made by this toolkit; {TAKE_OVER}\n"
        f"volume spare_data exists but was not made by this toolkit; {TAKE_OVER}",
    ),
    Case(
        "owner's label with another value",
        label("containers", "plain", OWNER_LABEL, "no"),
        f"container plain exists but was not made by this toolkit; {TAKE_OVER}",
    ),
    Case(
        "container without any label",
        config("plain", Labels=None),
        f"container plain exists but was not made by this toolkit; {TAKE_OVER}",
    ),
    Case(
        "volume without any label",
        lambda host: host.volumes["spare_data"].update(Labels=None),
        f"volume spare_data exists but was not made by this toolkit; {TAKE_OVER}",
    ),
    Case(
        "a stranger on a network that has to be recreated",
        both(
            hosts.stranger(),
            hosts.attached("stranger", "front", IPAddress="10.91.0.130"),
            hosts.pool("front", Gateway="10.91.0.254"),
        ),
        "network front has to be recreated, but container stranger, which is not ours, is attached"
        " to it; disconnect stranger first",
    ),
    Case(
        "a stranger on a network that has to be recreated, which adopting does not change",
        both(
            hosts.stranger(),
            hosts.attached("stranger", "back", IPAddress="10.92.0.130"),
            label("networks", "back", OWNER_LABEL, None),
        ),
        "network back has to be recreated, but container stranger, which is not ours, is attached"
        " to it; disconnect stranger first",
        adopt=True,
    ),
    Case(
        "a stranger at an address of ours",
        both(hosts.stranger(), hosts.attached("stranger", "front", "10.91.0.4")),
        "container stranger, which is not ours, holds 10.91.0.4 in front, the address of defaults;"
        " disconnect stranger first",
    ),
    Case(
        "a stranger that was given an address of ours",
        both(hosts.stranger(), hosts.attached("stranger", "front", IPAddress="10.91.0.4")),
        "container stranger, which is not ours, holds 10.91.0.4 in front, the address of defaults;"
        " disconnect stranger first",
    ),
    Case(
        "a stranger's network over the addresses of one that has to be made",
        both(hosts.gone("networks", "back"), hosts.strange_network("10.92.0.128/25")),
        "network back needs 10.92.0.0/24, but network theirs, which is not ours, has"
        " 10.92.0.128/25; remove theirs or choose another subnet",
    ),
    Case(
        "a stranger's network over the addresses of one that has to be recreated",
        both(hosts.pool("back", Subnet="10.93.0.0/24"), hosts.strange_network("10.92.0.0/16")),
        "network back needs 10.92.0.0/24, but network theirs, which is not ours, has"
        " 10.92.0.0/16; remove theirs or choose another subnet",
    ),
    Case(
        "a container of another under the name of one set aside, which adopting does not change",
        hosts.stranger(f"plain{ASIDE_SUFFIX}"),
        f"container plain{ASIDE_SUFFIX} was not made by this toolkit, but has the name under which"
        " it sets a container aside; remove or rename it",
        adopt=True,
    ),
    Case(
        "a network that the site no longer has, in the way, with a stranger",
        both(
            hosts.renamed_network("back", "rear"),
            hosts.stranger(),
            hosts.attached("stranger", "back", "10.92.0.9"),
        ),
        "network rear needs 10.92.0.0/24, but network back, which the site no longer has, has"
        " 10.92.0.0/24 and container stranger, which is not ours, attached; disconnect stranger"
        " first",
    ),
    Case(
        "a network of another driver over our addresses",
        both(
            hosts.gone("networks", "back"),
            hosts.strange_network("10.92.0.0/16"),
            hosts.network("theirs", Driver="macvlan"),
        ),
        "network back needs 10.92.0.0/24, but network theirs, which is not ours, has"
        " 10.92.0.0/16; remove theirs or choose another subnet",
    ),
    Case(
        "several obstacles",
        both(
            hosts.stranger("anna"),
            hosts.stranger("boris"),
            hosts.attached("anna", "front", "10.91.0.4"),
            hosts.attached("boris", "back", "10.92.0.3"),
            label("networks", "front", OWNER_LABEL, None),
        ),
        f"network front exists but was not made by this toolkit; {TAKE_OVER}\n"
        "network front has to be recreated, but container anna, which is not ours, is attached to"
        " it; disconnect anna first\n"
        "container boris, which is not ours, holds 10.92.0.3 in back, the address of reloads;"
        " disconnect boris first",
    ),
]

CASES = {
    f"{group}: {case.name}": case
    for group, cases in {
        "state": STATE,
        "fields": FIELDS,
        "images": IMAGES,
        "networks": NETWORKS,
        "volumes": VOLUMES,
        "files": FILES,
        "aside": ASIDE,
        "several": SEVERAL,
        "adopted": ADOPTED,
    }.items()
    for case in cases
}


def expected(case: Case, engine: str) -> str:
    """The text of a case with what each recording has its own values of."""
    host = Host(engine)
    values = {
        "app": host.images[APP]["Id"],
        "plain": host.images[PLAIN]["Id"],
        "built": host.images[BUILT]["Id"],
        "loaded": host.desired.container("reloads").files_hash,
        "files": host.desired.container("everything").files_hash,
    }
    return case.expected.format(**values)


def planned(case: Case, engine: str) -> str:
    host = Host(engine)
    case.change(host)
    return str(plan(host.desired, host.observed, case.adopt))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_plan(name: str, engine: str) -> None:
    assert planned(CASES[name], engine) == expected(CASES[name], engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refusal(case: Case, engine: str) -> None:
    with pytest.raises(Refusal) as refusal:
        planned(case, engine)
    assert str(refusal.value) == expected(case, engine)


def test_every_case_has_a_name_of_its_own() -> None:
    groups: tuple[list[Case], ...] = (
        *(STATE, FIELDS, IMAGES, NETWORKS, VOLUMES, FILES, ASIDE, SEVERAL, ADOPTED),
    )
    assert len(CASES) == sum(map(len, groups))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_steps_of_one_subject_stand_apart(engine: str) -> None:
    host = Host(engine)
    both(state("plain", "exited", ExitCode=1), hosts.gone("containers", "defaults"))(host)
    steps = plan(host.desired, host.observed)
    assert str(steps.about("container plain")) == "container plain: start (exited, exit code 1)"
    assert not steps.about("container everything")
    assert bool(steps)
