"""A model of an engine: what it shows of a desired state that our command lines have made.

It reads the command lines as Docker's own program does. ``test_engine`` holds it against the
recordings; properties of the planner can then be tested over any desired state.
"""

import argparse
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from stack.docker import commands
from stack.docker.observe import Engine, Observed, ObservedFile
from stack.docker.spec import Desired

Json = dict[str, Any]

NANOSECONDS = 1_000_000_000
STARTED = "2025-01-01T00:00:00.123456789Z"
REPEATED = (
    *("add-host", "cap-add", "cap-drop", "env", "label", "log-opt", "mount", "network-alias"),
    *("publish", "security-opt", "tmpfs", "ulimit"),
)
SINGLE = (
    *("cpus", "entrypoint", "gpus", "health-cmd", "health-interval", "health-retries"),
    *("health-start-period", "health-timeout", "hostname", "ip", "ipc", "log-driver", "memory"),
    *("memory-swap", "name", "network", "pid", "pids-limit", "restart", "runtime"),
    *("shm-size", "stop-timeout", "user"),
)


def identity(*words: str) -> str:
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name in REPEATED:
        parser.add_argument(f"--{name}", action="append", default=[])
    for name in SINGLE:
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("image")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _network_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name in ("driver", "gateway", "ip", "ip-range", "subnet"):
        parser.add_argument(f"--{name}", default="")
    for name in ("alias", "label", "opt"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("names", nargs="+")
    return parser


_CREATE, _NETWORK = _create_parser(), _network_parser()


def _pairs(entries: Iterable[str], separator: str = "=") -> dict[str, str]:
    return dict(entry.partition(separator)[::2] for entry in entries)


def _duration(text: str) -> int:
    return int(text.removesuffix("s") or 0) * NANOSECONDS


def _health(options: argparse.Namespace, image: Json) -> Json | None:
    inherited: Json = image.get("Healthcheck") or {}
    given = {
        "Test": ["CMD-SHELL", options.health_cmd] if options.health_cmd else None,
        "Interval": _duration(options.health_interval),
        "Timeout": _duration(options.health_timeout),
        "StartPeriod": _duration(options.health_start_period),
        "Retries": int(options.health_retries or 0),
    }
    return {**inherited, **{key: value for key, value in given.items() if value}} or None


def _ports(publish: Iterable[str]) -> dict[str, list[Json]]:
    bindings: dict[str, list[Json]] = {}
    for text in publish:
        address, published, inside = text.rsplit(":", 2)
        bindings.setdefault(inside, []).append({"HostIp": address, "HostPort": published})
    return bindings


def _mounts(options: argparse.Namespace, image: Json) -> list[Json]:
    mounts: list[Json] = []
    for text in options.mount:
        parts = _pairs(text.split(","))
        found: Json = {
            "Type": parts["type"],
            "Source": parts["source"],
            "Destination": parts["target"],
            "RW": "readonly" not in parts,
        }
        if parts["type"] == "volume":
            found |= {"Name": parts["source"], "Source": "/somewhere", "Propagation": ""}
        else:
            found["Propagation"] = parts.get("bind-propagation", "rprivate")
        mounts.append(found)
    taken = {found["Destination"] for found in mounts} | _pairs(options.tmpfs, ":").keys()
    for target in (image.get("Volumes") or {}).keys() - taken:
        anonymous = identity(options.name, target)
        mounts.append(
            {"Type": "volume", "Name": anonymous, "Source": "/", "Destination": target, "RW": True}
        )
    return mounts


def _ulimits(entries: Iterable[str]) -> list[Json]:
    limits = []
    for name, text in _pairs(entries).items():
        soft, _, hard = text.partition(":")
        limits.append({"Name": name, "Soft": int(soft), "Hard": int(hard or soft)})
    return limits


def _capabilities(names: list[str], is_modern: bool) -> list[str] | None:
    if is_modern:
        return [name if name == "ALL" else f"CAP_{name}" for name in names]
    return names or None


def _host_config(options: argparse.Namespace, is_modern: bool) -> Json:
    policy, _, count = options.restart.partition(":")
    security = list(options.security_opt)
    if options.pid == "host" and not any(option.startswith("label") for option in security):
        security.append("label=disable")
    gpus = {"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    nothing: Any = [] if is_modern else None
    return {
        "NetworkMode": options.network,
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": int(count or 0)},
        "PortBindings": _ports(options.publish),
        "Tmpfs": _pairs(options.tmpfs, ":"),
        "Memory": int(options.memory or 0),
        "MemorySwap": int(options.memory_swap or 0),
        "MemorySwappiness": None,
        "NanoCpus": round(float(options.cpus or 0) * NANOSECONDS),
        "PidsLimit": int(options.pids_limit) if options.pids_limit else None,
        "ShmSize": int(options.shm_size),
        "Ulimits": _ulimits(options.ulimit) or nothing,
        "CapAdd": _capabilities(options.cap_add, is_modern),
        "CapDrop": _capabilities(options.cap_drop, is_modern),
        "SecurityOpt": security or None,
        "ReadonlyRootfs": options.read_only,
        "Privileged": False,
        "PidMode": options.pid,
        "IpcMode": options.ipc,
        "CgroupnsMode": "private" if is_modern else "host",
        "Runtime": options.runtime or "runc",
        "DeviceRequests": [gpus] if options.gpus == "all" else None,
        "Devices": nothing,
        "LogConfig": {"Type": options.log_driver, "Config": _pairs(options.log_opt)},
        "ExtraHosts": options.add_host or None,
        "MaskedPaths": ["/proc/kcore"],
    }


def _config(options: argparse.Namespace, image: Json, given_id: str) -> Json:
    arguments = options.arguments or None
    if not arguments and not options.entrypoint:
        arguments = image.get("Cmd")
    environment = _pairs(image.get("Env") or ()) | _pairs(options.env)
    config = {
        "Hostname": options.hostname or given_id[:12],
        "User": options.user or image.get("User", ""),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Cmd": arguments,
        "Entrypoint": [options.entrypoint] if options.entrypoint else image.get("Entrypoint"),
        "Image": options.image,
        "ExposedPorts": {port: {} for port in _ports(options.publish)}
        | (image.get("ExposedPorts") or {}),
        "Labels": (image.get("Labels") or {}) | _pairs(options.label),
        "WorkingDir": image.get("WorkingDir", ""),
        "Healthcheck": _health(options, image),
    }
    if image.get("StopSignal"):
        config["StopSignal"] = image["StopSignal"]
    if options.stop_timeout:
        config["StopTimeout"] = int(options.stop_timeout)
    return config


def _endpoint(
    network: str, address: str, aliases: list[str], own: list[str], is_modern: bool
) -> Json:
    given = aliases if is_modern else [*aliases, *own]
    return {
        "IPAMConfig": {"IPv4Address": address},
        "IPAddress": address,
        "Aliases": given or None,
        "NetworkID": identity("network", network),
        "Links": None,
        "DriverOpts": None,
    }


def container(argvs: list[list[str]], images: Mapping[str, Json], is_modern: bool) -> Json:
    """The inspect document of a container made by ``docker create`` and ``network connect``."""
    create, *connects = argvs
    assert create[:2] == ["docker", "create"]
    options = _CREATE.parse_args(create[2:])
    image = images[options.image]
    given_id = identity("container", options.name)
    own = [given_id[:12], *filter(None, (options.hostname,))]
    endpoints = {
        options.network: _endpoint(
            options.network, options.ip, options.network_alias, own, is_modern
        )
    }
    for argv in connects:
        assert argv[:3] == ["docker", "network", "connect"]
        connect = _NETWORK.parse_args(argv[3:])
        network, name = connect.names
        assert name == options.name
        endpoints[network] = _endpoint(network, connect.ip, connect.alias, own, is_modern)
    return {
        "Id": given_id,
        "Name": f"/{options.name}",
        "Image": image["Id"],
        "State": {
            "Status": "running",
            "Running": True,
            "Paused": False,
            "ExitCode": 0,
            "StartedAt": STARTED,
        },
        "Config": _config(options, image["Config"], given_id),
        "HostConfig": _host_config(options, is_modern),
        "Mounts": _mounts(options, image["Config"]),
        "NetworkSettings": {"Networks": endpoints},
    }


def network(argv: list[str]) -> Json:
    """The inspect document of a network made by ``docker network create``."""
    assert argv[:3] == ["docker", "network", "create"]
    options = _NETWORK.parse_args(argv[3:])
    pool = {"Subnet": options.subnet, "Gateway": options.gateway, "IPRange": options.ip_range}
    return {
        "Name": options.names[0],
        "Id": identity("network", options.names[0]),
        "Driver": options.driver,
        "IPAM": {"Driver": "default", "Options": {}, "Config": [pool]},
        "Internal": False,
        "Options": _pairs(options.opt),
        "Labels": _pairs(options.label),
    }


def volume(argv: list[str]) -> Json:
    """The inspect document of a volume made by ``docker volume create``."""
    assert argv[:3] == ["docker", "volume", "create"]
    options = _NETWORK.parse_args(argv[3:])
    return {"Name": options.names[0], "Driver": "local", "Labels": _pairs(options.label)}


def perfect(desired: Desired, images: Mapping[str, Json], *, is_modern: bool) -> Observed:
    """The host after everything of ``desired`` was made, started and loaded."""
    documents = [
        container(commands.create_container(wanted), images, is_modern)
        for wanted in desired.containers
    ]
    by_name = {document["Name"].lstrip("/"): document for document in documents}
    return Observed(
        engine=Engine("1", "runc", "private" if is_modern else "host"),
        containers=by_name,
        networks={n.name: network(commands.create_network(n)) for n in desired.networks},
        volumes={v.name: volume(commands.create_volume(v.name)) for v in desired.volumes},
        images=images,
        files={
            file.path: ObservedFile(file.sha256, file.mode, file.owner, 0.0)
            for wanted in desired.containers
            for file in wanted.files
        },
        loaded={
            wanted.name: (by_name[wanted.name]["Id"], wanted.files_hash)
            for wanted in desired.containers
        },
        pulled={reference: image["Id"] for reference, image in images.items()},
    )
