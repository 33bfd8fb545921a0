"""One flat view of a container: field name to text, for the desired and for the live one.

Comparing two such views names exactly what drifted. A field that is absent has the default of the
image or the engine, and both sides leave it out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from stack.docker.spec import Container, HealthCheck, Mount

Json = dict[str, Any]
Fields = dict[str, str]

DEFAULT_SHM_SIZE = 64 * 1024**2
NANOSECONDS = 1_000_000_000
IN_PLACE = frozenset({"memory", "cpus", "pids", "restart"})

_SECRET_NAME = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
_ANONYMOUS_VOLUME = re.compile(r"[0-9a-f]{64}")


def differences(before: Fields, after: Fields) -> list[tuple[str, str, str]]:
    """Fields that differ, sorted by name, as (field, before, after); a missing side is ``-``."""
    return [
        (name, before.get(name, "-"), after.get(name, "-"))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def printable(field: str, value: str) -> str:
    """``value`` unless the field's name says that it may be a secret."""
    if field.startswith("environment.") and _SECRET_NAME.search(field) and value != "-":
        return value if value.startswith("/") else "(hidden)"
    return value


def size(value: int) -> str:
    """Bytes as Docker's command line writes them, in the largest unit that divides evenly."""
    for unit, factor in (("g", 1024**3), ("m", 1024**2), ("k", 1024)):
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def _words(value: Iterable[str] | None) -> str:
    return " ".join(repr(word) if " " in word or not word else word for word in value or ())


def _capabilities(names: Iterable[str] | None) -> str:
    return " ".join(sorted(name.upper().removeprefix("CAP_") for name in names or ()))


def _security(options: Iterable[str] | None) -> str:
    return " ".join(sorted(option.removesuffix(":true") for option in options or ()))


def _given_security(host: Json) -> list[str]:
    """Security options without the one that Docker adds by itself to a host's pid namespace."""
    options = host.get("SecurityOpt") or []
    return [o for o in options if o != "label=disable" or host.get("PidMode") != "host"]


def _environment(entries: Iterable[str] | None) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in entries or ())


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / NANOSECONDS:g}s"


def _health_text(test: list[str], interval: int, timeout: int, retries: int, start: int) -> str:
    return (
        f"{_words(test)} every {_seconds(interval)}, timeout {_seconds(timeout)},"
        f" retries {retries}, start period {_seconds(start)}"
    )


def _inspected_health(health: Json | None) -> str | None:
    if not health or not health.get("Test"):
        return None
    return _health_text(
        health["Test"],
        health.get("Interval", 0),
        health.get("Timeout", 0),
        health.get("Retries", 0),
        health.get("StartPeriod", 0),
    )


def _desired_health(health: HealthCheck) -> str:
    return _health_text(
        ["CMD-SHELL", health.command],
        health.interval * NANOSECONDS,
        health.timeout * NANOSECONDS,
        health.retries,
        health.start_period * NANOSECONDS,
    )


def _mount(kind: str, source: str, read_only: bool, propagation: str) -> str:
    text = f"{kind} {source} {'ro' if read_only else 'rw'}"
    return f"{text} {propagation}" if propagation not in ("", "rprivate") else text


def _desired_mount(mount: Mount) -> str:
    return _mount(mount.kind, mount.source, mount.read_only, mount.propagation)


def _inspected_mounts(document: Json, image_volumes: Iterable[str]) -> Fields:
    mounts = {}
    for mount in document.get("Mounts") or ():
        target = mount["Destination"]
        name = mount.get("Name", "")
        if mount["Type"] == "tmpfs":
            continue
        if target in image_volumes and _ANONYMOUS_VOLUME.fullmatch(name):
            mounts[f"mount {target}"] = "anonymous volume"
            continue
        source = name if mount["Type"] == "volume" else mount["Source"]
        mounts[f"mount {target}"] = _mount(
            mount["Type"], source, not mount["RW"], mount.get("Propagation", "")
        )
    return mounts


def _device_requests(requests: Iterable[Json] | None) -> str:
    texts = []
    for request in requests or ():
        if request.get("Count") == -1:
            texts.append("all")
        elif request.get("DeviceIDs"):
            texts.append("device=" + ",".join(request["DeviceIDs"]))
        else:
            texts.append(f"count={request.get('Count', 0)}")
    return " ".join(texts)


def _keep(fields: Mapping[str, str | None]) -> Fields:
    return {name: value for name, value in fields.items() if value}


def desired_fields(container: Container, image: Json | None) -> Fields:
    """What a live container made from ``container`` has to show.

    ``image`` is the inspect document of its image, or None while that is not on the host.
    """
    config: Json = (image or {}).get("Config") or {}
    entrypoint = container.entrypoint or config.get("Entrypoint")
    command = container.command
    if command is None and not container.entrypoint:
        command = config.get("Cmd")
    environment = {**_environment(config.get("Env")), **container.environment}
    labels = {**(config.get("Labels") or {}), **container.all_labels}
    volumes = config.get("Volumes") or {}
    mounts = {f"mount {target}": "anonymous volume" for target in volumes}
    mounts |= {f"mount {mount.target}": _desired_mount(mount) for mount in container.mounts}
    for target in container.tmpfs:
        mounts.pop(f"mount {target}", None)
    health = (
        _desired_health(container.health)
        if container.health
        else _inspected_health(config.get("Healthcheck"))
    )
    return _keep(
        {
            "image": container.image,
            "image id": image["Id"] if image else "(not on the host yet)",
            "entrypoint": _words(entrypoint),
            "command": _words(command),
            **{f"environment.{name}": f"{value}" for name, value in environment.items()},
            **{f"label.{name}": value for name, value in labels.items()},
            "user": container.user if container.user is not None else config.get("User"),
            "working directory": config.get("WorkingDir"),
            "stop signal": config.get("StopSignal"),
            "restart": container.restart,
            **{
                f"port {port.inside}/{port.protocol}": f"{port.bind}:{port.published}"
                for port in container.ports
            },
            **mounts,
            **{f"tmpfs {path}": options or "rw" for path, options in container.tmpfs.items()},
            "health check": health,
            "memory": size(container.memory) if container.memory else None,
            "cpus": f"{container.cpus:g}" if container.cpus else None,
            "pids": str(container.pids) if container.pids else None,
            "shm size": size(container.shm_size or DEFAULT_SHM_SIZE),
            **{f"ulimit.{name}": value for name, value in container.ulimits.items()},
            "added capabilities": _capabilities(container.cap_add),
            "dropped capabilities": _capabilities(container.cap_drop),
            "security": _security(container.security),
            "read-only root": "yes" if container.read_only else None,
            "pid mode": container.pid_mode,
            "gpus": container.gpus,
            "log driver": container.log.driver,
            **{f"log option.{name}": value for name, value in container.log.options.items()},
            "stop timeout": str(container.stop_timeout) if container.stop_timeout else None,
            "hostname": container.hostname,
            "extra hosts": " ".join(sorted(container.extra_hosts)),
        }
    )


def _swap(host: Json) -> str | None:
    memory, swap = host.get("Memory") or 0, host.get("MemorySwap") or 0
    return None if not memory or swap in (memory, -1, 0) else size(swap)


def _host_mode(value: str | None, *defaults: str) -> str | None:
    return None if value in (None, "", *defaults) else value


def _restart(policy: Json | None) -> str | None:
    name = (policy or {}).get("Name")
    if name == "on-failure" and (policy or {}).get("MaximumRetryCount"):
        return f"on-failure:{(policy or {})['MaximumRetryCount']}"
    return name or "no"


def observed_fields(document: Json, image: Json | None) -> Fields:
    """The same view of a live container's inspect document. ``image`` as in desired_fields."""
    config, host = document["Config"], document["HostConfig"]
    volumes = ((image or {}).get("Config") or {}).get("Volumes") or {}
    pids = host.get("PidsLimit") or 0
    hostname = config.get("Hostname", "")
    return _keep(
        {
            "image": config["Image"],
            "image id": document["Image"],
            "entrypoint": _words(config.get("Entrypoint")),
            "command": _words(config.get("Cmd")),
            **{
                f"environment.{name}": value
                for name, value in _environment(config.get("Env")).items()
            },
            **{f"label.{name}": value for name, value in (config.get("Labels") or {}).items()},
            "user": config.get("User"),
            "working directory": config.get("WorkingDir"),
            "stop signal": config.get("StopSignal"),
            "restart": _restart(host.get("RestartPolicy")),
            **{
                f"port {port}": " ".join(
                    f"{binding.get('HostIp') or '0.0.0.0'}:{binding['HostPort']}"
                    for binding in bindings or ()
                )
                for port, bindings in (host.get("PortBindings") or {}).items()
            },
            **_inspected_mounts(document, volumes),
            **{
                f"tmpfs {path}": options or "rw"
                for path, options in (host.get("Tmpfs") or {}).items()
            },
            "health check": _inspected_health(config.get("Healthcheck")),
            "memory": size(host.get("Memory") or 0) if host.get("Memory") else None,
            "memory and swap": _swap(host),
            "cpus": f"{host['NanoCpus'] / NANOSECONDS:g}" if host.get("NanoCpus") else None,
            "cpu set": host.get("CpusetCpus"),
            "pids": str(pids) if pids > 0 else None,
            "shm size": size(host.get("ShmSize") or DEFAULT_SHM_SIZE),
            **{
                f"ulimit.{limit['Name']}": (
                    f"{limit['Soft']}"
                    if limit["Soft"] == limit["Hard"]
                    else f"{limit['Soft']}:{limit['Hard']}"
                )
                for limit in host.get("Ulimits") or ()
            },
            "added capabilities": _capabilities(host.get("CapAdd")),
            "dropped capabilities": _capabilities(host.get("CapDrop")),
            "security": _security(_given_security(host)),
            "read-only root": "yes" if host.get("ReadonlyRootfs") else None,
            "privileged": "yes" if host.get("Privileged") else None,
            "pid mode": host.get("PidMode"),
            "ipc mode": _host_mode(host.get("IpcMode"), "private", "shareable"),
            "gpus": _device_requests(host.get("DeviceRequests")),
            "devices": " ".join(device["PathOnHost"] for device in host.get("Devices") or ()),
            "runtime": _host_mode(host.get("Runtime"), "runc"),
            "dns": " ".join(host.get("Dns") or ()),
            "log driver": host["LogConfig"]["Type"],
            **{
                f"log option.{name}": value
                for name, value in (host["LogConfig"].get("Config") or {}).items()
            },
            "stop timeout": str(config["StopTimeout"]) if config.get("StopTimeout") else None,
            "hostname": hostname if hostname != document["Id"][:12] else None,
            "extra hosts": " ".join(sorted(host.get("ExtraHosts") or ())),
        }
    )
