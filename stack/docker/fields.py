"""One flat view of a container: field name to text, for the desired and for the live one.

Comparing two such views names exactly what drifted. A field that is absent has the default of the
image or the engine, and both sides leave it out.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stack.docker.observe import Engine
from stack.docker.spec import DEFAULT_SHM_SIZE, Container, HealthCheck, Mount, PublishedPort

Json = dict[str, Any]
Fields = dict[str, str]

NANOSECONDS = 1_000_000_000

_NAMED = re.compile(r"(environment|label|log option)\.(?P<name>.*)")
_SECRET_NAME = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
_SECRET_OPTION = re.compile(
    r"(--?[\w-]*(?:pass|secret|token(?!s|i)|key|credential)[\w-]*(?<!file)[= ])\S+", re.IGNORECASE
)
_SECRET_IN_URL = re.compile(r"(://[^\s:/@]*:)[^\s@]+(?=@)")
_ANONYMOUS_VOLUME = re.compile(r"[0-9a-f]{64}")

# What an image may give a container that does not say it itself.
_FROM_IMAGE = re.compile(
    r"(environment|label)\..*|mount .*|entrypoint|command|user|working directory|stop signal"
    r"|exposed ports"
)
# Settings that no container of ours has, under the name in the inspect document. Each is empty,
# zero or null unless somebody gave it.
_NEVER_IN_CONFIG = {
    "Domainname": "domain name",
    "MacAddress": "mac address",
    "NetworkDisabled": "network disabled",
    "OpenStdin": "open stdin",
    "Tty": "terminal",
}
_NEVER_IN_HOST_CONFIG = {
    "Annotations": "annotations",
    "AutoRemove": "removed on exit",
    "BlkioDeviceReadBps": "device read rate",
    "BlkioDeviceReadIOps": "device reads",
    "BlkioDeviceWriteBps": "device write rate",
    "BlkioDeviceWriteIOps": "device writes",
    "BlkioWeight": "block io weight",
    "BlkioWeightDevice": "block io weight of devices",
    "Cgroup": "cgroup",
    "CgroupParent": "cgroup parent",
    "CpuPeriod": "cpu period",
    "CpuQuota": "cpu quota",
    "CpuRealtimePeriod": "cpu realtime period",
    "CpuRealtimeRuntime": "cpu realtime runtime",
    "CpuShares": "cpu shares",
    "CpusetCpus": "cpu set",
    "CpusetMems": "memory nodes",
    "DeviceCgroupRules": "device rules",
    "Dns": "dns",
    "DnsOptions": "dns options",
    "DnsSearch": "dns search",
    "GroupAdd": "groups",
    "Init": "init",
    "KernelMemory": "kernel memory",
    "KernelMemoryTCP": "kernel memory for tcp",
    "Links": "links",
    "MemoryReservation": "memory reservation",
    "OomKillDisable": "oom killer disabled",
    "OomScoreAdj": "oom score",
    "Privileged": "privileged",
    "PublishAllPorts": "all ports published",
    "StorageOpt": "storage options",
    "Sysctls": "sysctls",
    "UTSMode": "uts mode",
    "UsernsMode": "user namespace",
    "VolumeDriver": "volume driver",
    "VolumesFrom": "volumes from",
}
_SHARED_NETWORK = re.compile(r"host|none|bridge|container:.*")


def differences(before: Fields, after: Fields) -> list[tuple[str, str, str]]:
    """Fields that differ, sorted by name, as (field, before, after); a missing side is ``-``."""
    return [
        (name, before.get(name, "-"), after.get(name, "-"))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def printable(field: str, value: str) -> str:
    """``value`` on one line, without what may be a secret by the name it has there."""
    named = _NAMED.fullmatch(field)
    if value == "-":
        return value
    if named and _SECRET_NAME.search(named["name"]):
        is_path = value.startswith("/") and named["name"].upper().endswith("_FILE")
        return value if is_path else "(hidden)"
    text = _SECRET_IN_URL.sub(r"\1(hidden)", _SECRET_OPTION.sub(r"\1(hidden)", value))
    return text.replace("\n", "\\n")


def size(value: int) -> str:
    """Bytes as Docker's command line writes them, in the largest unit that divides evenly."""
    for unit, factor in (("g", 1024**3), ("m", 1024**2), ("k", 1024)):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def _words(value: Iterable[str] | None) -> str:
    return " ".join(word if word.split() == [word] else repr(word) for word in value or ())


def _setting(value: object) -> str:
    """The value of a setting that is not empty, as text."""
    if value is True:
        return "yes"
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return _words(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _settings(document: Json, names: Mapping[str, str]) -> Fields:
    return {name: _setting(document[key]) for key, name in names.items() if document.get(key)}


def _capabilities(names: Iterable[str] | None) -> str:
    return " ".join(sorted(name.upper().removeprefix("CAP_") for name in names or ()))


def _security(options: Iterable[str] | None, pid_mode: str) -> str:
    """Security options without the one that Docker itself adds to a host's pid namespace."""
    given = (re.sub("[:=]true$", "", option) for option in options or ())
    return " ".join(sorted(o for o in given if o != "label=disable" or pid_mode != "host"))


def _environment(entries: Iterable[str] | None) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in entries or ())


def _named(kind: str, values: Mapping[str, str]) -> Fields:
    """Values that may be empty and are not unset then."""
    return {f"{kind}.{name}": value or "''" for name, value in values.items()}


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS:g}s"


def _health_text(health: Json | None) -> str | None:
    if not health or not health.get("Test"):
        return None
    if health["Test"] == ["NONE"]:
        return "none"
    text = (
        f"{_words(health['Test'])} every {_seconds(health.get('Interval', 0))},"
        f" timeout {_seconds(health.get('Timeout', 0))}, retries {health.get('Retries', 0)},"
        f" start period {_seconds(health.get('StartPeriod', 0))}"
    )
    start_interval = health.get("StartInterval", 0)
    return f"{text}, start interval {_seconds(start_interval)}" if start_interval else text


def _desired_health(health: HealthCheck | None, image_health: Json | None) -> str | None:
    """An engine takes from the image what the container leaves at zero."""
    if health is None:
        return _health_text(image_health)
    given = {
        "Test": ["CMD-SHELL", health.command],
        "Interval": health.interval * NANOSECONDS,
        "Timeout": health.timeout * NANOSECONDS,
        "Retries": health.retries,
        "StartPeriod": health.start_period * NANOSECONDS,
    }
    return _health_text({**(image_health or {}), **{k: v for k, v in given.items() if v}})


def _ports(bindings: Iterable[tuple[str, str]]) -> Fields:
    """``bindings`` are pairs of a port and where it is published."""
    ports: dict[str, list[str]] = {}
    for port, published in bindings:
        ports.setdefault(f"port {port}", []).append(published)
    return {port: " ".join(sorted(published)) for port, published in ports.items()}


def _desired_ports(ports: Iterable[PublishedPort]) -> Fields:
    return _ports((f"{p.inside}/{p.protocol}", f"{p.bind}:{p.published}") for p in ports)


def _inspected_ports(bindings: Mapping[str, list[Json] | None]) -> Fields:
    """Without an address a port is published on all, those of IPv6 included."""
    return _ports(
        (port, f"{entry.get('HostIp') or '*'}:{entry['HostPort']}")
        for port, entries in bindings.items()
        for entry in entries or ()
    )


def _limit(soft: str, hard: str) -> str:
    return soft if soft == hard else f"{soft}:{hard}"


def _desired_ulimits(ulimits: Mapping[str, str]) -> Fields:
    parts = {name: text.partition(":") for name, text in ulimits.items()}
    return {f"ulimit.{name}": _limit(soft, hard or soft) for name, (soft, _, hard) in parts.items()}


def _mount(kind: str, source: str, read_only: bool, propagation: str) -> str:
    text = f"{kind} {source} {'ro' if read_only else 'rw'}"
    return f"{text} {propagation}" if propagation not in ("", "rprivate") else text


def _desired_mount(mount: Mount) -> str:
    return _mount(mount.kind, mount.source, mount.read_only, mount.propagation)


def _mount_options(host: Json) -> dict[str, str]:
    """Target to the options of its mount that nothing else shows."""
    options: dict[str, str] = {}
    for mount in host.get("Mounts") or ():
        given = {**(mount.get("BindOptions") or {}), **(mount.get("VolumeOptions") or {})}
        given.pop("Propagation", None)
        if given := {name: value for name, value in given.items() if value}:
            options[mount["Target"]] = f" {json.dumps(given, sort_keys=True)}"
    return options


def _inspected_mounts(document: Json) -> Fields:
    options = _mount_options(document["HostConfig"])
    mounts = {}
    for mount in document.get("Mounts") or ():
        target = mount["Destination"]
        name = mount.get("Name", "")
        if mount["Type"] == "tmpfs":
            continue
        if _ANONYMOUS_VOLUME.fullmatch(name):
            mounts[f"mount {target}"] = "anonymous volume"
            continue
        source = name if mount["Type"] == "volume" else mount["Source"]
        text = _mount(mount["Type"], source, not mount["RW"], mount.get("Propagation", ""))
        mounts[f"mount {target}"] = text + options.get(target, "")
    return mounts


def _inspected_tmpfs(host: Json) -> Iterator[tuple[str, str]]:
    for path, options in (host.get("Tmpfs") or {}).items():
        yield f"tmpfs {path}", options or "rw"
    for mount in host.get("Mounts") or ():
        if mount["Type"] == "tmpfs":
            options = mount.get("TmpfsOptions") or {}
            parts = (
                "ro" if mount.get("ReadOnly") else "",
                f"size={size(options['SizeBytes'])}" if options.get("SizeBytes") else "",
                f"mode={options['Mode']:04o}" if options.get("Mode") else "",
            )
            yield f"tmpfs {mount['Target']}", ",".join(filter(None, parts)) or "rw"


def _devices(devices: Iterable[Json] | None) -> str:
    keys = ("PathOnHost", "PathInContainer", "CgroupPermissions")
    return " ".join(":".join(device[key] for key in keys) for device in devices or ())


def _device_requests(requests: Iterable[Json] | None) -> str:
    """``all`` for all GPUs; anything else as it was asked for."""
    every_gpu = {"Count": -1, "Capabilities": [["gpu"]]}
    given = ({key: value for key, value in r.items() if value} for r in requests or ())
    return " ".join("all" if r == every_gpu else json.dumps(r, sort_keys=True) for r in given)


def _keep(fields: Mapping[str, str | None]) -> Fields:
    return {name: value for name, value in fields.items() if value}


def desired_fields(container: Container, image: Json | None) -> Fields:
    """What a live container made from ``container`` has to show.

    ``image`` is the inspect document of its image, or None while that is not on the host.
    """
    config: Json = (image or {}).get("Config") or {}
    entrypoint, command = container.entrypoint or (), container.arguments
    volumes = config.get("Volumes") or {}
    mounts = {f"mount {target}": "anonymous volume" for target in volumes}
    mounts |= {f"mount {mount.target}": _desired_mount(mount) for mount in container.mounts}
    for target in container.tmpfs:
        mounts.pop(f"mount {target}", None)
    return _keep(
        {
            "image": container.image,
            "image id": image["Id"] if image else "(not on the host yet)",
            "entrypoint": _words(entrypoint[:1] or config.get("Entrypoint")),
            "command": _words(command if entrypoint or command else config.get("Cmd")),
            **_named("environment", {**_environment(config.get("Env")), **container.environment}),
            **_named("label", {**(config.get("Labels") or {}), **container.all_labels}),
            "user": container.user or config.get("User"),
            "working directory": config.get("WorkingDir"),
            "stop signal": config.get("StopSignal"),
            "restart": container.restart,
            **_desired_ports(container.ports),
            **mounts,
            **{f"tmpfs {path}": options or "rw" for path, options in container.tmpfs.items()},
            "health check": _desired_health(container.health, config.get("Healthcheck")),
            "memory": size(container.memory) if container.memory else None,
            "cpus": f"{container.cpus:g}" if container.cpus else None,
            "pids": str(container.pids) if container.pids else None,
            "shm size": size(container.shm_size or DEFAULT_SHM_SIZE),
            **_desired_ulimits(container.ulimits),
            "added capabilities": _capabilities(container.cap_add),
            "dropped capabilities": _capabilities(container.cap_drop),
            "security": _security(container.security, container.pid_mode),
            "read-only root": "yes" if container.read_only else None,
            "pid mode": container.pid_mode,
            "runtime": container.runtime,
            "gpus": container.gpus,
            "log driver": container.log.driver,
            **_named("log option", container.log.options),
            "stop timeout": _number(container.stop_timeout),
            "hostname": container.hostname,
            "extra hosts": " ".join(sorted(container.extra_hosts)),
        }
    )


def without_image(before: Fields, after: Fields) -> tuple[Fields, Fields]:
    """Both views without what cannot be compared while the defaults of the image are unknown."""
    before = {k: v for k, v in before.items() if k in after or not _FROM_IMAGE.fullmatch(k)}
    merged = {"health check"}
    return (
        {name: value for name, value in before.items() if name not in merged},
        {name: value for name, value in after.items() if name not in merged},
    )


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)


def _swap(host: Json, engine: Engine) -> str | None:
    """Memory and swap together where a container may swap at all; ours may not."""
    memory, both = host.get("Memory") or 0, host.get("MemorySwap") or 0
    if both in (memory, 0) or (both == -1 and not engine.limits_swap):
        return None
    return "unlimited" if both == -1 else size(both)


def _host_mode(value: str | None, *defaults: str) -> str | None:
    return None if value in (None, "", *defaults) else value


def _restart(policy: Json | None) -> str | None:
    name = (policy or {}).get("Name")
    if name == "on-failure" and (policy or {}).get("MaximumRetryCount"):
        return f"on-failure:{(policy or {})['MaximumRetryCount']}"
    return name or "no"


def _network_mode(host: Json) -> str | None:
    """What takes the place of networks of the container's own."""
    mode: str = host.get("NetworkMode") or ""
    if mode == "default":
        return "bridge"
    return mode if _SHARED_NETWORK.fullmatch(mode) else None


def _exposed_ports(config: Json, host: Json, image_config: Json) -> str:
    """Ports that are neither published nor exposed by the image."""
    known = (host.get("PortBindings") or {}).keys() | (image_config.get("ExposedPorts") or {})
    return " ".join(sorted((config.get("ExposedPorts") or {}).keys() - known))


def observed_fields(document: Json, image: Json | None, engine: Engine) -> Fields:
    """The same view of a live container's inspect document. ``image`` as in desired_fields."""
    config, host = document["Config"], document["HostConfig"]
    image_config: Json = (image or {}).get("Config") or {}
    pids = host.get("PidsLimit") or 0
    swappiness = host.get("MemorySwappiness")
    hostname = config.get("Hostname", "")
    return _keep(
        {
            "image": config["Image"],
            "image id": document["Image"],
            "entrypoint": _words(config.get("Entrypoint")),
            "command": _words(config.get("Cmd")),
            **_named("environment", _environment(config.get("Env"))),
            **_named("label", config.get("Labels") or {}),
            "user": config.get("User"),
            "working directory": config.get("WorkingDir"),
            "stop signal": config.get("StopSignal"),
            "restart": _restart(host.get("RestartPolicy")),
            **_inspected_ports(host.get("PortBindings") or {}),
            "exposed ports": _exposed_ports(config, host, image_config),
            **_inspected_mounts(document),
            **dict(_inspected_tmpfs(host)),
            "health check": _health_text(config.get("Healthcheck")),
            "memory": size(host.get("Memory") or 0) if host.get("Memory") else None,
            "memory and swap": _swap(host, engine),
            "swappiness": None if swappiness in (None, -1) else str(swappiness),
            "cpus": f"{host['NanoCpus'] / NANOSECONDS:g}" if host.get("NanoCpus") else None,
            "pids": str(pids) if pids > 0 else None,
            "shm size": size(host.get("ShmSize") or DEFAULT_SHM_SIZE),
            **{
                f"ulimit.{limit['Name']}": _limit(str(limit["Soft"]), str(limit["Hard"]))
                for limit in host.get("Ulimits") or ()
            },
            "added capabilities": _capabilities(host.get("CapAdd")),
            "dropped capabilities": _capabilities(host.get("CapDrop")),
            "security": _security(host.get("SecurityOpt"), host.get("PidMode", "")),
            "system paths": "unconfined" if host.get("MaskedPaths") == [] else None,
            "read-only root": "yes" if host.get("ReadonlyRootfs") else None,
            "pid mode": host.get("PidMode"),
            "ipc mode": _host_mode(host.get("IpcMode"), "private"),
            "network mode": _network_mode(host),
            "cgroup namespace": _host_mode(host.get("CgroupnsMode"), engine.cgroup_namespace),
            "runtime": _host_mode(host.get("Runtime"), engine.runtime),
            "devices": _devices(host.get("Devices")),
            "gpus": _device_requests(host.get("DeviceRequests")),
            "log driver": host["LogConfig"]["Type"],
            **_named("log option", host["LogConfig"].get("Config") or {}),
            "stop timeout": _number(config.get("StopTimeout")),
            "hostname": hostname if hostname != document["Id"][:12] else None,
            "extra hosts": " ".join(sorted(host.get("ExtraHosts") or ())),
            **_settings(config, _NEVER_IN_CONFIG),
            **_settings(host, _NEVER_IN_HOST_CONFIG),
        }
    )
