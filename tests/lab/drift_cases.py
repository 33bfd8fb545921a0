"""What drifts on a host by hand, and what the toolkit has to say and to do about it.

A case is a shell script and the exact text of the plan it leads to. Several cases make one when
they are about different subjects, or when each makes the same container or network differ in
another field.
"""

import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from stack.docker import commands
from stack.docker.observe import ADOPTED_DIR, ASIDE_SUFFIX
from stack.docker.plan import Action
from stack.docker.spec import (
    OWNER_LABEL,
    ConfigFile,
    Container,
    Desired,
    HealthCheck,
    LogConfig,
    Mount,
    Network,
    PublishedPort,
)
from stack.secrets import QDRANT_API_KEY, curl

# In the order in which a plan has them for one container.
ACTIONS = (*(action for action in Action if action is not Action.FINISH), Action.FINISH)

Spec = TypeVar("Spec", Container, Network)


@dataclass(frozen=True)
class Case:
    """One drift. ``script`` makes it, as root on the host.

    ``plan`` is what a dry run shows. ``replaces`` and ``restarts`` name the containers that have
    another id, or the same id and another start time, afterwards; ``quiet`` the subjects of the
    plan that an earlier step puts right on its way.

    With a ``refusal`` the run is refused with these lines at first; ``resolve`` on the host and
    ``options`` of pyinfra are what the operator does about it. ``check`` must succeed on the host
    after the repair; ``cleanup`` removes what is not the toolkit's.
    """

    name: str
    script: str
    plan: str = ""
    replaces: frozenset[str] = frozenset()
    restarts: frozenset[str] = frozenset()
    quiet: frozenset[str] = frozenset()
    refusal: str = ""
    resolve: str = ""
    options: tuple[str, ...] = ()
    check: str = ""
    cleanup: str = ""


@dataclass(frozen=True)
class Remade(Generic[Spec]):
    """A container or network made again by hand with our labels and something different.

    ``options`` are further options of ``docker create`` that the desired state has no word for;
    ``shows`` are the lines of the plan about what differs; ``starts`` says that it also runs.
    """

    name: str
    subject: str
    alter: Callable[[Spec], Spec]
    shows: tuple[str, ...]
    options: tuple[str, ...] = ()
    starts: bool = True
    cleanup: str = ""


def lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def steps(plan: str) -> Iterator[tuple[str, str]]:
    """Subject and text of each step of a plan's text."""
    step: list[str] = []
    for line in plan.splitlines():
        if step and not line.startswith("    "):
            yield step[0].partition(": ")[0], "\n".join(step)
            step = []
        step.append(line)
    if step:
        yield step[0].partition(": ")[0], "\n".join(step)


def _subjects(case: Case) -> frozenset[str]:
    return frozenset(subject for subject, _ in steps(case.plan))


def together(desired: Desired, cases: Iterable[Case], first: Iterable[str] = ()) -> Case:
    """One case out of several: their plans in the order in which a plan stands.

    ``first`` are subjects of the machine in that order.
    """
    cases = list(cases)
    order = [
        *first,
        "secret",
        "leftovers",
        *(f"network {network.name}" for network in desired.networks),
        *(f"volume {volume.name}" for volume in desired.volumes),
        *("container ml_postgres", "settings", "role", "database", "schema", "extension"),
        *("container qdrant_new", "collection"),
        *(f"container {container.name}" for container in desired.containers[2:]),
        "administrator",
    ]

    def place(step: tuple[str, str]) -> tuple[int, int]:
        subject, text = step
        rest = text.removeprefix(f"{subject}: ")
        action = next((n for n, action in enumerate(ACTIONS) if rest.startswith(action)), 0)
        return order.index(subject if subject in order else subject.partition(" ")[0]), action

    found = sorted((step for case in cases for step in steps(case.plan)), key=place)
    return Case(
        name=", ".join(case.name for case in cases),
        script=lines(*(case.script for case in cases)),
        plan=lines(*(text for _, text in found)),
        replaces=frozenset().union(*(case.replaces for case in cases)),
        restarts=frozenset().union(*(case.restarts for case in cases)),
        quiet=frozenset().union(*(case.quiet for case in cases))
        - frozenset().union(*(_subjects(case) - case.quiet for case in cases)),
        refusal=lines(*(case.refusal for case in cases)),
        resolve=lines(*(case.resolve for case in cases)),
        options=next((case.options for case in cases if case.options), ()),
        check=lines(*(case.check for case in cases)),
        cleanup=lines(*(case.cleanup for case in cases)),
    )


def shell(*argvs: list[str]) -> str:
    return "\n".join(shlex.join(argv) for argv in argvs)


def create(container: Container, options: Iterable[str] = ()) -> str:
    """The command line an operator would type, with further options of ``docker create``."""
    first, *rest = commands.create_container(container)
    return shell([*first[:2], *options, *first[2:]], *rest)


def connects(desired: Desired, network: str) -> str:
    """The plan for every container that is detached from ``network``."""
    return lines(
        *(
            lines(
                f"container {container.name}: connect {network} (not attached)",
                f"    network: - -> {' as '.join([attachment.address, *attachment.aliases])}",
            )
            for container in desired.containers
            for attachment in container.attachments
            if attachment.network == network
        )
    )


def detach(desired: Desired, network: str) -> str:
    return shell(
        *(
            commands.disconnect(container.name, network)
            for container in desired.containers
            if network in {attachment.network for attachment in container.attachments}
        )
    )


def remade_containers(desired: Desired, cases: Iterable[Remade[Container]]) -> Case:
    """Containers made again by hand, each with all the differences that ``cases`` have for it."""
    cases = list(cases)
    scripts, plans, names = [], [], []
    for container in desired.containers:
        about = [case for case in cases if case.subject == container.name]
        if not about:
            continue
        spec = container
        for case in about:
            spec = case.alter(spec)
        scripts.append(f"docker rm --force {container.name}")
        scripts.append(create(spec, [option for case in about for option in case.options]))
        if all(case.starts for case in about):
            scripts.append(f"docker start {container.name}")
        shows = [f"    {line}" for case in about for line in case.shows]
        shows.sort(key=lambda line: line.partition(": ")[0])
        plans.append(f"container {container.name}: replace the container (differs)")
        plans += shows
        names.append(container.name)
    return Case(
        name=", ".join(case.name for case in cases),
        script=lines(*scripts),
        plan=lines(*plans),
        replaces=frozenset(names),
        cleanup=lines(*(case.cleanup for case in cases)),
    )


def remade_networks(desired: Desired, cases: Iterable[Remade[Network]]) -> Case:
    """Networks made again by hand; their containers are left detached."""
    cases = list(cases)
    scripts, plans = [], []
    for network in desired.networks:
        about = [case for case in cases if case.subject == network.name]
        if not about:
            continue
        spec = network
        for case in about:
            spec = case.alter(spec)
        argv = commands.create_network(spec)
        argv[3:3] = [option for case in about for option in case.options]
        scripts += [detach(desired, network.name), f"docker network rm {network.name}"]
        scripts.append(shell(argv))
        plans.append(f"network {network.name}: recreate the network (differs)")
        plans += sorted(f"    {line}" for case in about for line in case.shows)
    attached = [connects(desired, name) for name in {case.subject: None for case in cases}]
    return together(
        desired,
        [
            Case(
                name=", ".join(case.name for case in cases),
                script=lines(*scripts),
                plan=lines(*plans, *attached),
            )
        ],
    )


def by_hand(file: ConfigFile, text: str = "# by hand\n") -> tuple[str, str]:
    """A shell line that appends ``text`` to a file, and what the plan says about its content."""
    edited = hashlib.sha256((file.content + text).encode()).hexdigest()[:12]
    script = f"printf %s {shlex.quote(text)} >> {file.path}"
    return script, f"    content: {edited} -> {file.sha256[:12]}"


# Containers and networks made again by hand

POSTGRES = "/etc/postgresql/start.sh postgres -c config_file=/etc/postgresql/postgresql.conf"
CONTAINERS: tuple[Remade[Container], ...] = (
    Remade(
        "command",
        "ml_postgres",
        lambda c: replace(c, command=(*(c.command or ()), "-c", "log_connections=on")),
        (f"command: {POSTGRES} -c log_connections=on -> {POSTGRES}",),
    ),
    Remade(
        "shm size",
        "ml_postgres",
        lambda c: replace(c, shm_size=None),
        ("shm size: 64m -> 256m",),
    ),
    Remade(
        "stop timeout",
        "ml_postgres",
        lambda c: replace(c, stop_timeout=10),
        ("stop timeout: 10 -> 90",),
    ),
    Remade(
        "tmpfs with other options",
        "ml_postgres",
        lambda c: replace(c, tmpfs={**c.tmpfs, "/tmp": "size=64m"}),
        ("tmpfs /tmp: size=64m -> rw",),
    ),
    Remade(
        "bind address",
        "qdrant_new",
        lambda c: replace(c, ports=tuple(replace(port, bind="0.0.0.0") for port in c.ports)),
        (
            "port 6333/tcp: 0.0.0.0:6333 -> 127.0.0.1:6333",
            "port 6334/tcp: 0.0.0.0:6334 -> 127.0.0.1:6334",
        ),
    ),
    Remade(
        "volume swapped for another",
        "qdrant_new",
        lambda c: replace(c, mounts=(replace(c.mounts[0], source="drift_storage"), *c.mounts[1:])),
        ("mount /qdrant/storage: volume drift_storage rw -> volume qdrant_storage_new rw",),
        cleanup="docker volume rm drift_storage",
    ),
    Remade(
        "log options",
        "qdrant_new",
        lambda c: replace(c, log=LogConfig("json-file", {"max-size": "10m"})),
        ("log option.max-size: 10m -> 100m",),
    ),
    Remade(
        "environment changed",
        "project_api",
        lambda c: replace(c, environment={**c.environment, "SEARCH_LIMIT": "9"}),
        ("environment.SEARCH_LIMIT: 9 -> 3",),
    ),
    Remade(
        "extra hosts",
        "project_api",
        lambda c: replace(c, extra_hosts=("models.example.org:192.0.2.7",)),
        ("extra hosts: models.example.org:192.0.2.7 -> -",),
    ),
    Remade(
        "extra mount",
        "project_api",
        lambda c: replace(c, mounts=(*c.mounts, Mount("bind", "/srv", "/mnt", read_only=True))),
        ("mount /mnt: bind /srv ro -> -",),
    ),
    Remade(
        "name servers",
        "project_api",
        lambda c: c,
        ("dns: 192.0.2.53 -> -",),
        options=("--dns=192.0.2.53",),
    ),
    Remade(
        "entrypoint",
        "webbot2",
        lambda c: replace(c, entrypoint=("env", "python3", "-m", "webbot2")),
        ("command: python3 -m webbot2 -> -", "entrypoint: env -> python3 -m webbot2"),
    ),
    Remade(
        "label added",
        "webbot2",
        lambda c: replace(c, labels={"org.example.owner": "anna"}),
        ("label.org.example.owner: anna -> -",),
    ),
    Remade(
        "ulimit",
        "webbot2",
        lambda c: replace(c, ulimits={"nofile": "1024:2048"}),
        ("ulimit.nofile: 1024:2048 -> -",),
    ),
    Remade(
        "hostname",
        "webbot2",
        lambda c: replace(c, hostname="chat"),
        ("hostname: chat -> -",),
    ),
    Remade(
        "working directory and stop signal",
        "webbot2",
        lambda c: c,
        ("stop signal: SIGINT -> -", "working directory: /tmp -> -"),
        options=("--workdir=/tmp", "--stop-signal=SIGINT"),
    ),
    Remade(
        "environment added, its value a secret",
        "agent_exporter",
        lambda c: replace(c, environment={**c.environment, "API_TOKEN": "drift-secret"}),
        ("environment.API_TOKEN: (hidden) -> -",),
    ),
    Remade(
        "port not published",
        "agent_exporter",
        lambda c: replace(c, ports=()),
        ("port 9090/tcp: - -> 127.0.0.1:9402",),
    ),
    Remade(
        "no tmpfs",
        "agent_exporter",
        lambda c: replace(c, tmpfs={}),
        ("tmpfs /tmp: - -> rw",),
    ),
    Remade(
        "capability added",
        "agent_exporter",
        lambda c: replace(c, cap_add=("NET_RAW",)),
        ("added capabilities: NET_RAW -> -",),
    ),
    Remade(
        "no security options",
        "agent_exporter",
        lambda c: replace(c, security=()),
        ("security: - -> no-new-privileges",),
    ),
    Remade(
        "user",
        "node-exporter",
        lambda c: replace(c, user="0:0"),
        ("user: 0:0 -> 65534:65534",),
    ),
    Remade(
        "root file system to be written to",
        "node-exporter",
        lambda c: replace(c, read_only=False),
        ("read-only root: - -> yes",),
    ),
    Remade(
        "pid mode",
        "node-exporter",
        lambda c: replace(c, pid_mode=""),
        ("pid mode: - -> host",),
    ),
    Remade(
        "log driver",
        "node-exporter",
        lambda c: replace(c, log=replace(c.log, driver="local")),
        ("log driver: local -> json-file",),
    ),
    Remade(
        "privileged",
        "dcgm-exporter",
        lambda c: replace(c, security=()),
        ("privileged: yes -> -", "security: label=disable -> no-new-privileges"),
        options=("--privileged",),
        starts=False,
    ),
    Remade(
        "environment missing",
        "dcgm-exporter",
        lambda c: replace(
            c, environment={k: v for k, v in c.environment.items() if k != "NO_SETCAP"}
        ),
        ("environment.NO_SETCAP: - -> 1",),
    ),
    Remade(
        "no GPU",
        "dcgm-exporter",
        lambda c: replace(c, runtime=None),
        ("runtime: - -> nvidia",),
    ),
    Remade(
        "capabilities not dropped",
        "dcgm-exporter",
        lambda c: replace(c, cap_drop=()),
        ("dropped capabilities: - -> ALL",),
    ),
    Remade(
        "CPU set",
        "dcgm-exporter",
        lambda c: c,
        ("cpu set: 0 -> -",),
        options=("--cpuset-cpus=0",),
    ),
    Remade(
        "published port",
        "prometheus_new",
        lambda c: replace(c, ports=tuple(replace(port, published=9095) for port in c.ports)),
        ("port 9090/tcp: 127.0.0.1:9095 -> 127.0.0.1:9090",),
    ),
    Remade(
        "further published port",
        "prometheus_new",
        lambda c: replace(c, ports=(*c.ports, PublishedPort(9091, 9091, "0.0.0.0"))),
        ("port 9091/tcp: 0.0.0.0:9091 -> -",),
    ),
    Remade(
        "health check",
        "prometheus_new",
        lambda c: replace(c, health=HealthCheck("true", interval=60)),
        (
            "health check: CMD-SHELL true every 60s, timeout 5s, retries 3, start period 0s"
            " -> CMD-SHELL 'wget -q -O /dev/null http://127.0.0.1:9090/-/ready' every 15s,"
            " timeout 10s, retries 3, start period 30s",
        ),
    ),
    Remade(
        "CPUs",
        "grafana_new",
        lambda c: replace(c, cpus=1.5),
        ("cpus: 1.5 -> -",),
    ),
    Remade(
        "environment added",
        "grafana_new",
        lambda c: replace(c, environment={**c.environment, "GF_AUTH_ANONYMOUS_ENABLED": "true"}),
        ("environment.GF_AUTH_ANONYMOUS_ENABLED: true -> -",),
    ),
    Remade(
        "mount to be written to",
        "grafana_new",
        lambda c: replace(
            c, mounts=(c.mounts[0], replace(c.mounts[1], read_only=False), *c.mounts[2:])
        ),
        (
            "mount /etc/grafana/provisioning: bind /etc/saiga-stack/grafana/provisioning rw"
            " -> bind /etc/saiga-stack/grafana/provisioning ro",
        ),
    ),
    Remade(
        "tmpfs as a mount",
        "grafana_new",
        lambda c: c,
        ("tmpfs /scratch: size=16m -> -",),
        options=("--mount=type=tmpfs,destination=/scratch,tmpfs-size=16m",),
    ),
)

# vLLM takes a minute to load its model: on its own only.
SLOW_CONTAINERS: tuple[Remade[Container], ...] = (
    Remade(
        "shared memory of vLLM",
        "saiga_saiga_1",
        lambda c: replace(c, shm_size=None),
        ("shm size: 64m -> 8g",),
    ),
)

NETWORKS: tuple[Remade[Network], ...] = (
    Remade(
        "subnet",
        "mlopsnew",
        lambda n: replace(
            n, subnet="172.29.0.0/16", gateway="172.29.0.1", dynamic_range="172.29.128.0/17"
        ),
        (
            "dynamic range: 172.29.128.0/17 -> 172.22.128.0/17",
            "gateway: 172.29.0.1 -> 172.22.0.1",
            "subnet: 172.29.0.0/16 -> 172.22.0.0/16",
        ),
    ),
    Remade(
        "dynamic range over our addresses",
        "agent_default",
        lambda n: replace(n, dynamic_range="172.20.0.0/17"),
        ("dynamic range: 172.20.0.0/17 -> 172.20.128.0/17",),
    ),
    Remade(
        "gateway",
        "agent_default",
        lambda n: replace(n, gateway="172.20.0.254"),
        ("gateway: 172.20.0.254 -> 172.20.0.1",),
    ),
    Remade(
        "network option",
        "agent_default",
        lambda n: replace(n, options={"com.docker.network.driver.mtu": "1400"}),
        ("option.com.docker.network.driver.mtu: 1400 -> -",),
    ),
    Remade(
        "internal network",
        "agent_default",
        lambda n: n,
        ("internal: yes -> -",),
        options=("--internal",),
    ),
)


def cases(desired: Desired) -> Iterator[Case]:
    """Every drift apart from what is made again by hand."""
    yield from _state(desired)
    yield from _attachments(desired)
    yield from _networks(desired)
    yield from _files(desired)
    yield from _images(desired)
    yield from _interrupted(desired)
    yield from _foreign(desired)
    yield from _host(desired)


def _state(desired: Desired) -> Iterator[Case]:
    yield Case(
        "removed",
        "docker rm --force dcgm-exporter",
        "container dcgm-exporter: create the container (not found)",
        replaces=frozenset({"dcgm-exporter"}),
    )
    yield Case(
        "database removed",
        "docker rm --force ml_postgres",
        "container ml_postgres: create the container (not found)",
        replaces=frozenset({"ml_postgres"}),
    )
    yield Case(
        "stopped",
        "docker stop qdrant_new",
        "container qdrant_new: start (exited, exit code 0)",
        restarts=frozenset({"qdrant_new"}),
    )
    yield Case(
        "database stopped",
        "docker stop ml_postgres",
        "container ml_postgres: start (exited, exit code 0)",
        restarts=frozenset({"ml_postgres"}),
    )
    yield Case(
        "killed for good",
        lines(
            "docker update --restart=no agent_exporter",
            _kill("agent_exporter"),
            "docker wait agent_exporter",
        ),
        lines(
            "container agent_exporter: update in place (differs)",
            "    restart: no -> unless-stopped",
            "container agent_exporter: start (exited, exit code 137)",
        ),
        restarts=frozenset({"agent_exporter"}),
    )
    yield Case(
        "killed and brought back by Docker",
        lines(
            "export before=$(docker inspect --format '{{.State.StartedAt}}' webbot2)",
            _kill("webbot2"),
            _until(
                "docker inspect --format '{{.State.Status}} {{.State.StartedAt}}' webbot2 |"
                ' grep running | grep -qv "$before"'
            ),
        ),
    )
    yield Case(
        "paused",
        "docker pause prometheus_new",
        "container prometheus_new: unpause (paused)",
    )
    yield Case(
        "database paused",
        "docker pause ml_postgres",
        "container ml_postgres: unpause (paused)",
    )
    yield Case(
        "memory",
        "docker update --memory=1g --memory-swap=1g project_api",
        lines("container project_api: update in place (differs)", "    memory: 1g -> 2g"),
    )
    yield Case(
        "pids",
        "docker update --pids-limit=4000 saiga_saiga_1",
        lines("container saiga_saiga_1: update in place (differs)", "    pids: 4000 -> 4096"),
    )
    yield Case(
        "restart policy",
        "docker update --restart=on-failure:3 grafana_new",
        lines(
            "container grafana_new: update in place (differs)",
            "    restart: on-failure:3 -> unless-stopped",
        ),
    )


def _kill(container: str) -> str:
    return f"kill -9 $(docker inspect --format '{{{{.State.Pid}}}}' {container})"


def _until(condition: str) -> str:
    return f"timeout 60 sh -c {shlex.quote(f'until {condition}; do sleep 0.2; done')}"


def _attachments(desired: Desired) -> Iterator[Case]:
    yield Case(
        "addresses swapped",
        lines(
            "docker network disconnect mlopsnew grafana_new",
            "docker network disconnect mlopsnew dcgm-exporter",
            "docker network connect --ip 172.22.0.6 mlopsnew grafana_new",
            "docker network connect --ip 172.22.0.5 mlopsnew dcgm-exporter",
        ),
        lines(
            "network mlopsnew: release an address dcgm-exporter"
            " (it holds 172.22.0.5, the address of grafana_new)",
            "network mlopsnew: release an address grafana_new"
            " (it holds 172.22.0.6, the address of dcgm-exporter)",
            "container dcgm-exporter: connect mlopsnew (differs)",
            "    network: 172.22.0.5 -> 172.22.0.6",
            "container grafana_new: connect mlopsnew (differs)",
            "    network: 172.22.0.6 -> 172.22.0.5",
        ),
    )
    yield Case(
        "wrong address",
        lines(
            "docker network disconnect mlopsnew node-exporter",
            "docker network connect --ip 172.22.0.77 mlopsnew node-exporter",
        ),
        lines(
            "container node-exporter: connect mlopsnew (differs)",
            "    network: 172.22.0.77 -> 172.22.0.4",
        ),
    )
    yield Case(
        "alias missing",
        lines(
            "docker network disconnect agent_default qdrant_new",
            "docker network connect --ip 172.20.0.6 agent_default qdrant_new",
        ),
        lines(
            "container qdrant_new: connect agent_default (differs)",
            "    network: 172.20.0.6 -> 172.20.0.6 as qdrant",
        ),
    )
    yield Case(
        "further alias",
        lines(
            "docker network disconnect agent_default agent_exporter",
            "docker network connect --ip 172.20.0.5 --alias exporter agent_default agent_exporter",
        ),
        lines(
            "container agent_exporter: connect agent_default (differs)",
            "    network: 172.20.0.5 as exporter -> 172.20.0.5",
        ),
    )
    yield Case(
        "detached from one of two networks",
        "docker network disconnect mlopsnew prometheus_new",
        lines(
            "container prometheus_new: connect mlopsnew (not attached)",
            "    network: - -> 172.22.0.3",
        ),
    )
    yield Case(
        "detached from its only network",
        "docker network disconnect mlopsnew saiga_saiga_1",
        lines(
            "container saiga_saiga_1: connect mlopsnew (not attached)",
            "    network: - -> 172.22.0.9",
        ),
    )
    yield Case(
        "stray network",
        lines(
            "docker network create --subnet 172.29.1.0/24 drift_stray",
            "docker network connect --ip 172.29.1.9 drift_stray webbot2",
        ),
        lines(
            "container webbot2: disconnect drift_stray (not a network of this container)",
            "    network: 172.29.1.9 -> -",
        ),
        cleanup="docker network rm drift_stray",
    )


def _networks(desired: Desired) -> Iterator[Case]:
    for network in desired.networks:
        yield Case(
            f"network {network.name} deleted",
            lines(detach(desired, network.name), f"docker network rm {network.name}"),
            lines(
                f"network {network.name}: create the network (not found)",
                connects(desired, network.name),
            ),
        )
    network = next(network for network in desired.networks if network.name == "mlopsnew")
    other = replace(
        network, subnet="172.29.0.0/16", gateway="172.29.0.1", dynamic_range="172.29.128.0/17"
    )
    members = [
        (container.name, attachment.address)
        for container in desired.containers
        for attachment in container.attachments
        if attachment.network == network.name
    ]
    yield Case(
        "network with another subnet, containers attached again",
        lines(
            detach(desired, network.name),
            f"docker network rm {network.name}",
            shell(commands.create_network(other)),
            *(
                f"docker network connect --ip {address.replace('172.22.', '172.29.')}"
                f" {network.name} {name}"
                for name, address in members
            ),
        ),
        lines(
            f"network {network.name}: recreate the network (differs)",
            "    dynamic range: 172.29.128.0/17 -> 172.22.128.0/17",
            "    gateway: 172.29.0.1 -> 172.22.0.1",
            "    subnet: 172.29.0.0/16 -> 172.22.0.0/16",
            *(
                f"container {name}: connect {network.name} (differs)\n"
                f"    network: {address.replace('172.22.', '172.29.')} -> {address}"
                for name, address in members
            ),
        ),
        quiet=frozenset(f"container {name}" for name, _ in members),
    )


def _file(desired: Desired, container: str, name: str) -> ConfigFile:
    files = desired.container(container).files
    return next(file for file in files if file.path.endswith(f"/{name}"))


def _files(desired: Desired) -> Iterator[Case]:
    prometheus = _file(desired, "prometheus_new", "prometheus.yml")
    postgres = _file(desired, "ml_postgres", "postgresql.conf")
    access = _file(desired, "ml_postgres", "pg_hba.conf")
    qdrant = _file(desired, "qdrant_new", "production.yaml")
    dashboard = _file(desired, "grafana_new", "agent.json")
    other = _file(desired, "grafana_new", "saiga-metrics.json")
    datasource = _file(desired, "grafana_new", "prometheus.yaml")
    counters = _file(desired, "dcgm-exporter", "counters.csv")
    knowledge = _file(desired, "project_api", "BD_curs_data.yaml")

    script, content = by_hand(prometheus)
    written = f"container prometheus_new: write a file {prometheus.path} (differs)"
    reloaded = "container prometheus_new: reload (files were written)"
    yield Case("Prometheus: file edited", script, lines(written, content, reloaded))
    yield Case(
        "Prometheus: file deleted",
        f"rm {prometheus.path}",
        lines(f"container prometheus_new: write a file {prometheus.path} (not found)", reloaded),
    )
    stray = f"{prometheus.folder}/by-hand.yml"
    yield Case(
        "Prometheus: a file that nobody asked for",
        f"echo by hand >{stray}",
        lines(
            f"container prometheus_new: set a file aside {stray} (no file of the site)", reloaded
        ),
        check=f"! test -e {stray} && grep -q hand /var/lib/saiga-stack/set-aside{stray}",
        cleanup=f"rm -f /var/lib/saiga-stack/set-aside{stray}*",
    )
    yield Case(
        "Prometheus: file with another mode",
        f"chmod 0600 {prometheus.path}",
        lines(written, "    mode: 0600 -> 0644"),
    )
    folder = prometheus.folder
    yield Case(
        "Prometheus: folder deleted",
        f"rm -r {folder}",
        lines(
            f"container prometheus_new: write a file {prometheus.path} (not found)",
            f"container prometheus_new: restart (it has a deleted folder mounted: {folder})",
        ),
        restarts=frozenset({"prometheus_new"}),
        check="docker exec prometheus_new cat /etc/prometheus/prometheus.yml >/dev/null",
    )
    quick, slow = _altered(desired, restart=False), _altered(desired, restart=True)
    script, content = by_hand(postgres, _conf(quick))
    written = f"container ml_postgres: write a file {postgres.path} (differs)"
    reloaded = "container ml_postgres: reload (files were written)"
    yield Case(
        "PostgreSQL: settings edited and loaded",
        lines(script, _sql("SELECT pg_reload_conf()"), _until(_shows(quick, by_hand=True))),
        lines(written, content, reloaded),
        check=_shows(quick),
    )
    yield Case(
        "PostgreSQL: settings edited, loaded and put back",
        lines(
            f"cp -a {postgres.path} /run/put-back",
            script,
            _sql("SELECT pg_reload_conf()"),
            _until(_shows(quick, by_hand=True)),
            f"mv /run/put-back {postgres.path}",
        ),
        lines(
            "settings of PostgreSQL: load (SHOW differs)",
            *(f"    {name}: {value} -> {SETTINGS[name][1]}" for name, value in quick),
        ),
        check=_shows(quick),
    )
    script, content = by_hand(postgres, _conf(slow))
    yield Case(
        "PostgreSQL: restart-only settings edited and loaded",
        lines(script, "docker restart ml_postgres", _until(_shows(slow, by_hand=True))),
        lines(written, content, reloaded),
        restarts=frozenset({"ml_postgres"}),
        check=_shows(slow),
    )
    yield Case(
        "PostgreSQL: file with another owner",
        f"chown 1000:1000 {access.path}",
        lines(
            f"container ml_postgres: write a file {access.path} (differs)",
            "    owner: 1000:1000 -> 0:0",
        ),
    )
    script, content = by_hand(qdrant)
    written = f"container qdrant_new: write a file {qdrant.path} (differs)"
    yield Case("Qdrant: file edited, not read", script, lines(written, content))
    yield Case(
        "Qdrant: file edited and read",
        lines(script, "docker restart qdrant_new"),
        lines(
            written,
            content,
            "container qdrant_new: restart (it started after the file was changed by hand)",
        ),
        restarts=frozenset({"qdrant_new"}),
    )
    script, content = by_hand(dashboard, "\n")
    yield Case(
        "Grafana: dashboard edited",
        script,
        lines(f"container grafana_new: write a file {dashboard.path} (differs)", content),
    )
    yield Case(
        "Grafana: dashboard deleted",
        f"rm {other.path}",
        f"container grafana_new: write a file {other.path} (not found)",
    )
    yield Case(
        "Grafana: file with another owner",
        f"chown 65534:65534 {datasource.path}",
        lines(
            f"container grafana_new: write a file {datasource.path} (differs)",
            "    owner: 65534:65534 -> 0:0",
        ),
    )
    folder = dashboard.path.rpartition("/")[0]
    yield Case(
        "Grafana: folder of dashboards deleted",
        f"rm -r {folder}",
        lines(
            *(
                f"container grafana_new: write a file {file.path} (not found)"
                for file in desired.container("grafana_new").files
                if file.path.startswith(f"{folder}/")
            ),
            f"container grafana_new: restart (it has a deleted folder mounted: {folder})",
        ),
        restarts=frozenset({"grafana_new"}),
    )
    yield Case(
        "DCGM exporter: file deleted",
        f"rm {counters.path}",
        f"container dcgm-exporter: write a file {counters.path} (not found)",
    )
    script, content = by_hand(knowledge)
    yield Case(
        "Project API: file edited, not read",
        script,
        lines(f"container project_api: write a file {knowledge.path} (differs)", content),
    )
    secrets = "/etc/saiga-stack/secrets"
    keep = f"find {secrets} -type f -exec sha256sum {{}} + > /tmp/drift-secrets"
    kept = "sha256sum --check --quiet /tmp/drift-secrets"
    yield Case(
        "secret with another mode",
        lines(keep, f"chmod 0644 {secrets}/webbot2_session"),
        lines(
            "secret webbot2_session: protect (differs)",
            "    mode and owner: 644:0 -> 400:0",
        ),
        check=lines(kept, f"test $(stat -c %a:%u {secrets}/webbot2_session) = 400:0"),
    )
    yield Case(
        "secret deleted",
        lines(keep, f"rm {secrets}/postgres_agent_exporter"),
        "secret postgres_agent_exporter: restore or generate (not found)",
        check=lines(kept, f"test $(stat -c %a:%u {secrets}/postgres_agent_exporter) = 400:0"),
    )
    of_container = f"{secrets}/agent_exporter/qdrant_read_only_key"
    yield Case(
        "secret of a container deleted",
        lines(keep, f"rm {of_container}"),
        "secret agent_exporter/qdrant_read_only_key: write (not found)",
        check=lines(kept, f"test $(stat -c %a:%u {of_container}) = 400:10001"),
    )
    of_container = f"{secrets}/project_api/saiga_api_key"
    yield Case(
        "secret of a container readable by others",
        lines(keep, f"chmod 0444 {of_container}; chmod 0755 {secrets}/project_api"),
        lines(
            *(
                f"secret project_api/{name}: protect (differs)\n"
                f"    mode and owner: {mode}:10001 in 755:10001 -> 400:10001 in 500:10001"
                for name, mode in (
                    ("postgres_project_api", "400"),
                    ("saiga_api_key", "444"),
                    ("qdrant_api_key", "400"),
                )
            ),
        ),
        check=kept,
    )
    yield Case(
        "password changed in the database",
        _sql("ALTER ROLE project_api PASSWORD 'drift'"),
        "role project_api: set the password (cannot log in)",
    )
    yield Case(
        "privilege revoked in the database",
        _sql("REVOKE USAGE ON SCHEMA agent FROM agent_exporter"),
        "role agent_exporter: grant (missing: USAGE ON SCHEMA agent)",
    )
    reloaded, restarted = _altered(desired, restart=False), _altered(desired, restart=True)
    yield Case(
        "PostgreSQL: settings altered on the server",
        lines(*(_alter(*setting) for setting in reloaded), _sql("SELECT pg_reload_conf()")),
        lines(
            "settings of PostgreSQL: reset (set by ALTER SYSTEM)",
            *(f"    {name}: {value} -> {SETTINGS[name][1]}" for name, value in reloaded),
        ),
        check=_shows(reloaded),
    )
    yield Case(
        "PostgreSQL: restart-only settings altered on the server",
        lines(
            *(_alter(*setting) for setting in restarted),
            "docker restart ml_postgres",
            _until(_sql("SELECT 1")),
        ),
        lines(
            "settings of PostgreSQL: reset (set by ALTER SYSTEM)",
            *(f"    {name}: {value} -> {SETTINGS[name][1]}" for name, value in restarted),
        ),
        restarts=frozenset({"ml_postgres"}),
        check=_shows(restarted),
    )
    yield Case(
        "PostgreSQL: setting of the database",
        _sql("ALTER DATABASE ml_db SET work_mem = '64kB'"),
        lines("database ml_db: set (differs)", "    settings: work_mem=64kB -> -"),
    )
    yield Case(
        "Qdrant: payload index deleted",
        curl(
            "api-key: ",
            QDRANT_API_KEY,
            "-sSf -X DELETE 'http://172.22.0.7:6333/collections/BD_curs_data/index/course?wait=true'",
        ),
        lines(
            "collection BD_curs_data: index course (not found)",
            "    type: - -> keyword",
        ),
    )
    yield Case(
        "Grafana: password of the administrator",
        "echo changed-by-hand | docker exec -i grafana_new"
        " grafana cli admin reset-admin-password --password-from-stdin",
        "administrator of Grafana: set the password (cannot log in)",
    )


# Name to another value, the seed's value, and whether a change takes a restart.
SETTINGS = {
    "effective_cache_size": ("512MB", "768MB", False),
    "maintenance_work_mem": ("64MB", "128MB", False),
    "max_connections": ("40", "100", True),
    "max_wal_size": ("2GB", "4GB", False),
    "min_wal_size": ("512MB", "1GB", False),
    "shared_buffers": ("128MB", "256MB", True),
    "wal_buffers": ("8MB", "16MB", True),
    "work_mem": ("4MB", "16MB", False),
}


def _altered(desired: Desired, *, restart: bool) -> list[tuple[str, str]]:
    """Settings with other values than the site's, those that take a restart or all others."""
    conf = _file(desired, "ml_postgres", "postgresql.conf").content
    assert all(f"{name} = '{right}'" in conf for name, (_, right, _) in SETTINGS.items())
    return [(name, other) for name, (other, _, slow) in SETTINGS.items() if slow == restart]


def _alter(name: str, value: str) -> str:
    return _sql(f"ALTER SYSTEM SET {name} = '{value}'")


def _conf(settings: list[tuple[str, str]]) -> str:
    return "".join(f"{name} = '{value}'\n" for name, value in settings)


def _shows(settings: list[tuple[str, str]], *, by_hand: bool = False) -> str:
    """Succeeds when SHOW says the site's values or, ``by_hand``, those of ``settings``."""
    values = {name: value if by_hand else SETTINGS[name][1] for name, value in settings}
    ask = _sql("; ".join(f"SHOW {name}" for name in values))
    return f"test \"$({ask} | xargs)\" = '{' '.join(values.values())}'"


def _sql(statement: str) -> str:
    return f"docker exec ml_postgres psql -U postgres -d ml_db -qtAc {shlex.quote(statement)}"


def _images(desired: Desired) -> Iterator[Case]:
    moved, remade = desired.container("webbot2"), desired.container("agent_exporter")
    assert moved.build and remade.build
    yield Case(
        "another image behind the tag",
        f"docker tag {remade.image} {moved.image}",
        lines(
            f"container webbot2: build the image {moved.image} (not built from our source)",
            f"    context: {remade.build.context} -> {moved.build.context}",
        ),
    )
    yield Case(
        "another image behind the tag, container made from it",
        lines(
            f"printf 'FROM {remade.image}\\nLABEL by=hand\\n' |"
            f" docker build --tag {remade.image} -",
            "docker rm --force agent_exporter",
            create(remade),
            "docker start agent_exporter",
        ),
        lines(
            f"container agent_exporter: build the image {remade.image}"
            " (another image stands behind it)",
            "    image id: <an image> -> <an image>",
            "container agent_exporter: replace the container (differs)",
            "    image id: <an image> -> <an image>",
        ),
        replaces=frozenset({"agent_exporter"}),
    )
    pulled = desired.container("node-exporter").image
    yield Case(
        "image deleted",
        f"docker rmi --force {pulled}",
        f"container node-exporter: pull the image {pulled} (not found)",
    )
    yield Case(
        "image of ours deleted",
        f"docker rmi --force {moved.image}",
        f"container webbot2: build the image {moved.image} (not found)",
    )


def _interrupted(desired: Desired) -> Iterator[Case]:
    def aside(name: str) -> str:
        return f"docker rename {name} {name}{ASIDE_SUFFIX}"

    def returned(name: str) -> str:
        return f"container {name}: return the container set aside (a replacement was interrupted)"

    def finished(name: str) -> str:
        return f"container {name}: finish the replacement (a replacement was interrupted)"

    yield Case("set aside", aside("project_api"), returned("project_api"))
    yield Case(
        "set aside and stopped",
        lines(aside("agent_exporter"), f"docker stop agent_exporter{ASIDE_SUFFIX}"),
        lines(
            returned("agent_exporter"),
            "container agent_exporter: start (exited, exit code 0)",
        ),
        restarts=frozenset({"agent_exporter"}),
    )
    yield Case(
        "set aside, new one created",
        lines(aside("webbot2"), create(desired.container("webbot2"))),
        finished("webbot2"),
        restarts=frozenset({"webbot2"}),
    )
    first, _ = commands.create_container(desired.container("project_api"))
    yield Case(
        "set aside, new one created without its second network",
        lines(aside("project_api"), shell(first)),
        lines(
            "container project_api: connect agent_default (not attached)",
            "    network: - -> 172.20.0.2",
            finished("project_api"),
        ),
        restarts=frozenset({"project_api"}),
    )
    yield Case(
        "set aside, new one started",
        lines(
            aside("node-exporter"),
            f"docker stop node-exporter{ASIDE_SUFFIX}",
            create(desired.container("node-exporter")),
            "docker start node-exporter",
        ),
        finished("node-exporter"),
    )
    spec = desired.container("dcgm-exporter")
    yield Case(
        "set aside, new one wrong",
        lines(
            aside("dcgm-exporter"),
            f"docker stop dcgm-exporter{ASIDE_SUFFIX}",
            create(replace(spec, hostname="wrong")),
            "docker start dcgm-exporter",
        ),
        lines(
            "container dcgm-exporter: replace the container (differs)",
            "    hostname: wrong -> -",
        ),
        replaces=frozenset({"dcgm-exporter"}),
    )


def _without_label(script: str) -> str:
    return script.replace(f" --label={OWNER_LABEL}=yes", "")


def _volume_made_again(name: str, options: str) -> str:
    """The volume under its name and with its data, made with other ``options``."""
    data = f"/var/lib/docker/volumes/{name}/_data"
    return lines(
        f"rm -f {ADOPTED_DIR}/{name}",
        f"cp -a {data} /tmp/{name}",
        f"docker volume rm {name}",
        f"docker volume create {options} {name}",
        f"cp -a /tmp/{name}/. {data}/",
        f"rm -r /tmp/{name}",
    )


def hand_made(desired: Desired) -> str:
    """Every container and network made by hand, without our label, on the volumes of the site."""
    return lines(
        *(f"docker rm --force {container.name}" for container in desired.containers),
        *(f"docker network rm {network.name}" for network in desired.networks),
        *(_without_label(shell(commands.create_network(n))) for n in desired.networks),
        *(_without_label(create(container)) for container in desired.containers),
        *(f"docker start {container.name}" for container in desired.containers),
    )


def refused(subject: str) -> str:
    return (
        f"{subject} exists but was not made by this toolkit; remove or rename it, or take it over"
        " with --data adopt=yes"
    )


ADOPT = ("--data", "adopt=yes")


def _foreign(desired: Desired) -> Iterator[Case]:
    grafana, qdrant = desired.container("grafana_new"), desired.container("qdrant_new")
    yield Case(
        "container and volume not made by us",
        lines(
            "docker rm --force grafana_new",
            _volume_made_again("grafana_data_new", ""),
            _without_label(create(grafana)),
            "docker start grafana_new",
        ),
        lines(
            "volume grafana_data_new: adopt the volume"
            " (exists without our label; its data is kept)",
            "container grafana_new: replace the container (differs)",
            f"    label.{OWNER_LABEL}: - -> yes",
        ),
        replaces=frozenset({"grafana_new"}),
        refusal=lines(refused("container grafana_new"), refused("volume grafana_data_new")),
        options=ADOPT,
    )
    yield Case(
        "volume with a foreign label",
        lines(
            "docker rm --force qdrant_new",
            _volume_made_again("qdrant_storage_new", "--label owner=someone"),
            create(qdrant),
            "docker start qdrant_new",
        ),
        lines(
            "volume qdrant_storage_new: adopt the volume"
            " (exists without our label; its data is kept)",
            "container qdrant_new: prove that it works (it has not been seen to work yet)",
        ),
        refusal=refused("volume qdrant_storage_new"),
        options=ADOPT,
    )
    network = next(network for network in desired.networks if network.name == "agent_default")
    members = [
        commands.connect(container.name, attachment)
        for container in desired.containers
        for attachment in container.attachments
        if attachment.network == network.name
    ]
    stranger = (
        "docker run --detach --name stranger --entrypoint sleep --network {network} --ip {address}"
        f" {desired.container('node-exporter').image} infinity"
    )
    yield Case(
        "network not made by us, a stranger in it",
        lines(
            detach(desired, network.name),
            f"docker network rm {network.name}",
            _without_label(shell(commands.create_network(network))),
            shell(*members),
            stranger.format(network="agent_default", address="172.20.0.99"),
        ),
        lines(
            "network agent_default: recreate the network (differs)",
            "    owner label: - -> yes",
        ),
        refusal=lines(
            refused("network agent_default"),
            "network agent_default has to be recreated, but container stranger, which is not ours,"
            " is attached to it; disconnect stranger first",
        ),
        resolve="docker rm --force stranger",
        options=ADOPT,
    )
    yield Case(
        "an address of ours held by a stranger",
        lines(
            "docker network disconnect mlopsnew dcgm-exporter",
            stranger.replace("stranger", "squatter").format(
                network="mlopsnew", address="172.22.0.6"
            ),
        ),
        lines(
            "container dcgm-exporter: connect mlopsnew (not attached)",
            "    network: - -> 172.22.0.6",
        ),
        refusal=(
            "container squatter, which is not ours, holds 172.22.0.6 in mlopsnew, the address of"
            " dcgm-exporter; disconnect squatter first"
        ),
        resolve="docker rm --force squatter",
    )


def _host(desired: Desired) -> Iterator[Case]:
    configuration = "/etc/docker/daemon.json"
    yield Case(
        "daemon.json: not JSON",
        f"cp {configuration} /tmp/daemon.json; sed -i '$d' {configuration}",
        refusal=f"{configuration} is not JSON (",
        resolve=f"mv /tmp/daemon.json {configuration}",
    )
    yield Case(
        "daemon.json: a key of ours changed, a foreign one added",
        lines(
            f"""sed -i -e 's/"max-size": "100m"/"max-size": "1g"/'"""
            f""" -e '1a "max-concurrent-downloads": 5,' {configuration}"""
        ),
        lines(
            f"file {configuration}: write (differs)",
            '    log-opts: {"max-size": "1g", "max-file": "3"}'
            ' -> {"max-size": "100m", "max-file": "3"}',
        ),
        check=lines(
            f"""grep -q '"max-size": "100m"' {configuration}""",
            f"grep -q max-concurrent-downloads {configuration}",
        ),
        cleanup=f"sed -i '/max-concurrent-downloads/d' {configuration}",
    )
    yield Case(
        "Docker not started at boot",
        "systemctl disable docker",
        "service docker: enable (does not start at boot)",
        check="systemctl is-enabled docker",
    )
    yield Case(
        "Docker stopped",
        "systemctl stop docker.socket docker",
        "service docker: start (not running)",
        check="systemctl is-active docker docker.socket",
    )
    # A Docker that finds containers running which it may not keep ends them, and leaves them ended.
    ended = {container.name: 0 for container in desired.containers} | {"node-exporter": 143}
    yield Case(
        "containers end with Docker",
        lines(
            f"""sed -i 's/"live-restore": true/"live-restore": false/' {configuration}""",
            "systemctl restart docker",
        ),
        lines(
            f"file {configuration}: write (differs)",
            "    live-restore: false -> true",
            *(
                f"container {name}: start (exited, exit code {code})"
                for name, code in ended.items()
            ),
        ),
        restarts=frozenset(ended),
    )
