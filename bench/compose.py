"""The desired state as a compose file."""

from typing import Any

from stack.docker.spec import (
    OWNER_LABEL,
    OWNER_VALUE,
    Attachment,
    Container,
    Desired,
    HealthCheck,
    Mount,
    Network,
)

Json = dict[str, Any]


def compose_file(desired: Desired) -> Json:
    """Services, networks and, as external ones, volumes; every ``$`` is escaped.

    What no container of the lab's site has is left out.
    """
    document = {
        "name": "saiga",
        "services": {container.name: _service(container) for container in desired.containers},
        "networks": {network.name: _network(network) for network in desired.networks},
        "volumes": {
            volume.name: {"name": volume.name, "external": True} for volume in desired.volumes
        },
    }
    escaped: Json = _escaped(document)
    return escaped


def _escaped(value: Any) -> Any:
    match value:
        case str():
            return value.replace("$", "$$")
        case dict():
            return {key: _escaped(item) for key, item in value.items()}
        case list() | tuple():
            return [_escaped(item) for item in value]
    return value


def _network(network: Network) -> Json:
    pool = {
        "subnet": network.subnet,
        "gateway": network.gateway,
        "ip_range": network.dynamic_range,
    }
    return {
        "name": network.name,
        "driver": network.driver,
        "driver_opts": dict(network.options),
        "ipam": {"config": [pool]},
        "labels": {OWNER_LABEL: OWNER_VALUE},
    }


def _service(container: Container) -> Json:
    options = {
        "container_name": container.name,
        "image": container.image,
        "pull_policy": "never",
        "entrypoint": container.entrypoint and container.entrypoint[:1],
        "command": container.arguments or None,
        "environment": container.environment,
        "labels": container.all_labels,
        "user": container.user,
        "restart": container.restart,
        "networks": {a.network: _attachment(a) for a in container.attachments},
        "ports": [
            {
                "target": port.inside,
                "published": str(port.published),
                "host_ip": port.bind,
                "protocol": port.protocol,
            }
            for port in container.ports
        ],
        "volumes": [_mount(mount) for mount in container.mounts],
        "tmpfs": [":".join(filter(None, entry)) for entry in container.tmpfs.items()],
        "healthcheck": health_check(container.health) if container.health else None,
        "mem_limit": container.memory,
        "memswap_limit": container.memory,
        "cpus": container.cpus,
        "pids_limit": container.pids,
        "shm_size": container.shm_size,
        "cap_drop": container.cap_drop,
        "security_opt": container.security,
        "read_only": container.read_only,
        "pid": container.pid_mode,
        "runtime": container.runtime,
        "logging": {"driver": container.log.driver, "options": dict(container.log.options)},
        "stop_grace_period": f"{container.stop_timeout}s" if container.stop_timeout else None,
    }
    return {name: value for name, value in options.items() if value}


def _attachment(attachment: Attachment) -> Json:
    return {"ipv4_address": attachment.address, "aliases": list(attachment.aliases)}


def _mount(mount: Mount) -> Json:
    entry: Json = {
        "type": mount.kind,
        "source": mount.source,
        "target": mount.target,
        "read_only": mount.read_only,
    }
    if mount.kind == "bind":
        entry["bind"] = {"create_host_path": False}
        if mount.propagation:
            entry["bind"]["propagation"] = mount.propagation
    return entry


def health_check(health: HealthCheck) -> Json:
    """A health check in the words that compose and Ansible share."""
    return {
        "test": ["CMD-SHELL", health.command],
        "interval": f"{health.interval}s",
        "timeout": f"{health.timeout}s",
        "retries": health.retries,
        "start_period": f"{health.start_period}s",
    }
