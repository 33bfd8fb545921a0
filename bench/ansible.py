"""The desired state as an Ansible playbook, run as Ansible comes or with what suits it best."""

from pathlib import Path
from typing import Any

from bench.compose import health_check
from stack.docker.spec import (
    OWNER_LABEL,
    OWNER_VALUE,
    Attachment,
    Container,
    Desired,
    Mount,
    Network,
)

Json = dict[str, Any]


def playbook(desired: Desired, tuned: bool) -> list[Json]:
    """One play: a task for each network, then one for each container, every option compared.

    What no container of the lab's site has is left out. A tuned one gathers no facts of the host.
    """
    tasks = [
        *(_network(network) for network in desired.networks),
        *(_container(container) for container in desired.containers),
    ]
    facts = {"gather_facts": False} if tuned else {}
    return [{"name": "Containers", "hosts": "all", **facts, "tasks": tasks}]


def configuration(inventory: Path, ssh_config: Path, tuned: bool) -> str:
    """An ansible.cfg with what reaches the host.

    A tuned one also keeps one connection open between runs and puts no files on the host.
    """
    lines = [
        "[defaults]",
        f"inventory = {inventory}",
        "[ssh_connection]",
        f"ssh_common_args = -F {ssh_config}",
    ]
    if tuned:
        lines += ["pipelining = true", "ssh_args = -o ControlMaster=auto -o ControlPersist=15m"]
    return "\n".join(lines) + "\n"


def inventory(host: str, tuned: bool) -> str:
    """An inventory of one host; naming its Python saves the search for it in every run."""
    return host + (" ansible_python_interpreter=/usr/bin/python3" if tuned else "") + "\n"


def _network(network: Network) -> Json:
    options = {
        "name": network.name,
        "driver": network.driver,
        "driver_options": dict(network.options),
        "ipam_config": [
            {
                "subnet": network.subnet,
                "gateway": network.gateway,
                "iprange": network.dynamic_range,
            }
        ],
        "labels": {OWNER_LABEL: OWNER_VALUE},
    }
    return {"name": f"Network {network.name}", "community.docker.docker_network": options}


def _container(container: Container) -> Json:
    options = {
        "name": container.name,
        "image": _image(container.image),
        "pull": "never",
        "comparisons": _comparisons(container),
        "entrypoint": container.entrypoint and container.entrypoint[:1],
        "command": container.arguments or None,
        "env": dict(container.environment),
        "labels": container.all_labels,
        "user": container.user,
        "restart_policy": container.restart,
        "networks": [_attachment(attachment) for attachment in container.attachments],
        "published_ports": [
            f"{port.bind}:{port.published}:{port.inside}/{port.protocol}"
            for port in container.ports
        ],
        "mounts": [_mount(mount) for mount in container.mounts],
        "tmpfs": [":".join(filter(None, entry)) for entry in container.tmpfs.items()],
        "healthcheck": health_check(container.health) if container.health else None,
        "memory": _bytes(container.memory),
        "memory_swap": _bytes(container.memory),
        "cpus": container.cpus,
        "pids_limit": container.pids,
        "shm_size": _bytes(container.shm_size),
        "cap_drop": container.cap_drop,
        "security_opts": container.security,
        "read_only": container.read_only,
        "pid_mode": container.pid_mode,
        "runtime": container.runtime,
        "log_driver": container.log.driver,
        "log_options": dict(container.log.options),
        "stop_timeout": container.stop_timeout,
    }
    given = {name: _plain(value) for name, value in options.items() if value}
    return {"name": f"Container {container.name}", "community.docker.docker_container": given}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _comparisons(container: Container) -> Json:
    """Strict, but for a security option that Docker itself adds to a host's pid namespace."""
    given = {"security_opts": "allow_more_present"} if container.pid_mode else {}
    return {"*": "strict", **given}


def _image(reference: str) -> str:
    """The same image by its digest alone, if it has one: the module takes no tag beside it."""
    name, at, digest = reference.partition("@")
    return f"{name.rpartition(':')[0]}@{digest}" if at else reference


def _bytes(size: int | None) -> str | None:
    return f"{size}B" if size else None


def _attachment(attachment: Attachment) -> Json:
    return {
        "name": attachment.network,
        "ipv4_address": attachment.address,
        "aliases": list(attachment.aliases),
    }


def _mount(mount: Mount) -> Json:
    entry: Json = {
        "type": mount.kind,
        "source": mount.source,
        "target": mount.target,
        "read_only": mount.read_only,
    }
    if mount.propagation:
        entry["propagation"] = mount.propagation
    return entry
