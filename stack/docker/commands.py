"""Docker command lines for desired containers, networks and volumes, as argument vectors."""

from collections.abc import Iterator

from stack.docker.spec import (
    CONTEXT_LABEL,
    DEFAULT_SHM_SIZE,
    OWNER_LABEL,
    OWNER_VALUE,
    Attachment,
    Container,
    Mount,
    Network,
)

Argv = list[str]


def create_network(network: Network) -> Argv:
    options = [f"--opt={name}={value}" for name, value in sorted(network.options.items())]
    return [
        "docker",
        "network",
        "create",
        f"--driver={network.driver}",
        f"--subnet={network.subnet}",
        f"--gateway={network.gateway}",
        f"--ip-range={network.dynamic_range}",
        f"--label={OWNER_LABEL}={OWNER_VALUE}",
        *options,
        network.name,
    ]


def create_volume(name: str) -> Argv:
    return ["docker", "volume", "create", f"--label={OWNER_LABEL}={OWNER_VALUE}", name]


def connect(container: str, attachment: Attachment) -> Argv:
    aliases = [f"--alias={alias}" for alias in attachment.aliases]
    return [
        *("docker", "network", "connect", f"--ip={attachment.address}", *aliases),
        *(attachment.network, container),
    ]


def disconnect(container: str, network: str) -> Argv:
    return ["docker", "network", "disconnect", "--force", network, container]


def build(container: Container, archive: str) -> Argv:
    """Build the image from a tar archive on the host; nothing is pulled and no network is used."""
    assert container.build is not None
    return [
        *("sh", "-c", 'docker build --quiet --network=none "$@" - <"$0"', archive),
        f"--build-arg=PYTHON_IMAGE={container.build.base_image}",
        f"--label={CONTEXT_LABEL}={container.build.context}",
        f"--tag={container.image}",
    ]


def _mount(mount: Mount) -> str:
    parts = [f"type={mount.kind}", f"source={mount.source}", f"target={mount.target}"]
    if mount.read_only:
        parts.append("readonly")
    if mount.propagation:
        parts.append(f"bind-propagation={mount.propagation}")
    return ",".join(parts)


def _options(container: Container) -> Iterator[str]:
    first = container.attachments[0]
    yield f"--name={container.name}"
    yield f"--network={first.network}"
    yield f"--ip={first.address}"
    yield from (f"--network-alias={alias}" for alias in first.aliases)
    yield f"--restart={container.restart}"
    for name, value in sorted(container.all_labels.items()):
        yield f"--label={name}={value}"
    for name, value in container.environment.items():
        yield f"--env={name}={value}"
    for port in container.ports:
        yield f"--publish={port.bind}:{port.published}:{port.inside}/{port.protocol}"
    for mount in container.mounts:
        yield f"--mount={_mount(mount)}"
    for path, options in container.tmpfs.items():
        yield f"--tmpfs={path}:{options}" if options else f"--tmpfs={path}"
    if container.health:
        yield f"--health-cmd={container.health.command}"
        yield f"--health-interval={container.health.interval}s"
        yield f"--health-timeout={container.health.timeout}s"
        yield f"--health-retries={container.health.retries}"
        yield f"--health-start-period={container.health.start_period}s"
    if container.memory:
        yield f"--memory={container.memory}"
        yield f"--memory-swap={container.memory}"
    if container.cpus:
        yield f"--cpus={container.cpus:g}"
    if container.pids:
        yield f"--pids-limit={container.pids}"
    # Given even where they are Docker's defaults: a daemon's own settings may move those.
    yield f"--shm-size={container.shm_size or DEFAULT_SHM_SIZE}"
    yield "--ipc=private"
    for name, limit in container.ulimits.items():
        yield f"--ulimit={name}={limit}"
    yield from (f"--cap-add={name}" for name in container.cap_add)
    yield from (f"--cap-drop={name}" for name in container.cap_drop)
    yield from (f"--security-opt={option}" for option in container.security)
    if container.read_only:
        yield "--read-only"
    if container.pid_mode:
        yield f"--pid={container.pid_mode}"
    if container.runtime:
        yield f"--runtime={container.runtime}"
    if container.gpus:
        yield f"--gpus={container.gpus}"
    yield f"--log-driver={container.log.driver}"
    for name, value in sorted(container.log.options.items()):
        yield f"--log-opt={name}={value}"
    if container.stop_timeout is not None:
        yield f"--stop-timeout={container.stop_timeout}"
    if container.hostname:
        yield f"--hostname={container.hostname}"
    yield from (f"--add-host={entry}" for entry in container.extra_hosts)
    if container.user:
        yield f"--user={container.user}"
    if container.entrypoint:
        yield f"--entrypoint={container.entrypoint[0]}"


def create_container(container: Container) -> list[Argv]:
    """Create the container with all its networks; it is not started."""
    create = ["docker", "create", *_options(container), container.image, *container.arguments]
    rest = [connect(container.name, attachment) for attachment in container.attachments[1:]]
    return [create, *rest]


def update(container: Container, fields: set[str]) -> Argv:
    """Change limits and restart policy of the live container; ``fields`` are plan field names."""
    options = []
    if fields & {"memory", "memory and swap"}:
        options += [f"--memory={container.memory}", f"--memory-swap={container.memory}"]
    if "cpus" in fields:
        options.append(f"--cpus={container.cpus:g}")
    if "pids" in fields:
        options.append(f"--pids-limit={container.pids or -1}")
    if "restart" in fields:
        options.append(f"--restart={container.restart}")
    return ["docker", "update", *options, container.name]
