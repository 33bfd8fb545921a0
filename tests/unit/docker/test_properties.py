"""What holds for every desired state, not only for the recorded one."""

import random
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stack import topology
from stack.docker.observe import Observed
from stack.docker.plan import plan
from stack.docker.spec import (
    CONTEXT_LABEL,
    Attachment,
    ConfigFile,
    Container,
    Desired,
    HealthCheck,
    LogConfig,
    Mount,
    Network,
    PublishedPort,
    Volume,
)
from stack.site import Site
from tests.unit.docker.engine import Json, identity, perfect
from tests.unit.docker.recording import DESIRED, EVERYTHING, PLAIN

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)

NETWORKS = tuple(
    Network(name, f"10.{part}.0.0/16", f"10.{part}.0.1", f"10.{part}.128.0/17")
    for name, part in (("front", 91), ("back", 92), ("side", 93))
)
VOLUMES = (Volume("data"), Volume("cache"))

names = st.sampled_from(["app", "app.1", "db", "web_2", "www", "x", "z9"])
variables = st.sampled_from(["A", "API_KEY", "HOME", "PATH", "URL"])
text = st.text("a0 '\"=:,$é\n", max_size=4)
words = st.text("a0- '\"=:,$é", min_size=1, max_size=4)
paths = st.sampled_from(["/a", "/a/b", "/data", "/etc/app", "/srv", "/tmp", "/var/lib"])
seconds = st.integers(0, 100)
sizes = st.integers(6 * 1024**2, 2**40)
capabilities = st.lists(st.sampled_from(["CHOWN", "NET_RAW", "SYS_TIME", "KILL"]), unique=True)

image_configs: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {},
    optional={
        "Cmd": st.none() | st.lists(words, max_size=3),
        "Entrypoint": st.none() | st.lists(words, min_size=1, max_size=2),
        "Env": st.none()
        | st.dictionaries(variables, text).map(lambda e: [f"{k}={v}" for k, v in e.items()]),
        "ExposedPorts": st.none() | st.just({"9000/tcp": {}}),
        "Healthcheck": st.none()
        | st.fixed_dictionaries(
            {"Test": st.lists(words, min_size=2, max_size=2)},
            optional={"Interval": st.integers(0, 10**11), "StartPeriod": st.integers(0, 10**11)},
        ),
        "Labels": st.none() | st.dictionaries(names, text, max_size=2),
        "StopSignal": st.sampled_from(["SIGINT", "SIGQUIT"]),
        "User": st.sampled_from(["", "1000", "app:app"]),
        "Volumes": st.none() | st.dictionaries(paths, st.just({}), max_size=2),
        "WorkingDir": st.just("") | paths,
    },
)
health_checks = st.builds(
    HealthCheck,
    command=words,
    interval=seconds,
    timeout=seconds,
    retries=st.integers(0, 9),
    start_period=seconds,
)
ports = st.builds(
    PublishedPort,
    inside=st.integers(1, 9),
    published=st.integers(1, 65535),
    bind=st.sampled_from(["127.0.0.1", "0.0.0.0", "10.0.0.1"]),
    protocol=st.sampled_from(["tcp", "udp"]),
)
limits = st.sampled_from(["-1", "0", "5", "5:5", "5:9", "5:-1"])


@st.composite
def mounts_of(draw: st.DrawFn, targets: list[str]) -> tuple[Mount, ...]:
    mounts = []
    for target in targets:
        if draw(st.booleans()):
            mounts.append(Mount("volume", draw(st.sampled_from(["data", "cache"])), target))
        else:
            propagation = draw(st.sampled_from(["", "rslave", "shared"]))
            mounts.append(Mount("bind", draw(paths), target, draw(st.booleans()), propagation))
    return tuple(mounts)


@st.composite
def containers(draw: st.DrawFn, name: str, number: int) -> Container:
    targets = draw(st.lists(paths, unique=True, max_size=4))
    mounted = draw(st.integers(0, len(targets)))
    networks = draw(st.lists(st.sampled_from([91, 92, 93]), min_size=1, max_size=3, unique=True))
    by_part = {91: "front", 92: "back", 93: "side"}
    options: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "command": st.none() | st.lists(st.just("") | words, max_size=3).map(tuple),
                "entrypoint": st.none() | st.lists(words, max_size=3).map(tuple),
                "environment": st.dictionaries(variables, text, max_size=3),
                "labels": st.dictionaries(names, text, max_size=3),
                "user": st.sampled_from([None, "", "1000", "0:0"]),
                "restart": st.sampled_from(["no", "always", "on-failure", "on-failure:5"]),
                "ports": st.lists(ports, max_size=3, unique_by=lambda p: p.published).map(tuple),
                "health": st.none() | health_checks,
                "memory": st.none() | sizes,
                "cpus": st.none() | st.integers(1, 6400).map(lambda n: n / 100),
                "pids": st.none() | st.integers(1, 10**6),
                "shm_size": st.none() | sizes,
                "ulimits": st.dictionaries(st.sampled_from(["nofile", "core"]), limits),
                "cap_add": capabilities.map(tuple),
                "cap_drop": st.sampled_from([(), ("ALL",), ("MKNOD", "AUDIT_WRITE")]),
                "security": st.sampled_from(
                    [(), ("no-new-privileges",), ("seccomp=unconfined", "no-new-privileges:true")]
                ),
                "read_only": st.booleans(),
                "pid_mode": st.sampled_from(["", "host"]),
                "gpus": st.sampled_from([None, "all"]),
                "runtime": st.sampled_from([None, "nvidia"]),
                "log": st.builds(
                    LogConfig,
                    st.sampled_from(["json-file", "local", "none"]),
                    st.dictionaries(names, text, max_size=2),
                ),
                "stop_timeout": st.none() | seconds,
                "hostname": st.none() | names,
                "extra_hosts": st.lists(names.map(lambda n: f"{n}:10.0.0.9"), max_size=2).map(
                    tuple
                ),
                "files": st.lists(
                    st.builds(ConfigFile, path=paths, content=text, live=st.booleans()),
                    max_size=2,
                    unique_by=lambda file: file.path,
                ).map(tuple),
                "reload": st.sampled_from([None, "true"]),
            },
        )
    )
    return Container(
        name=name,
        image=f"{name}:1",
        attachments=tuple(
            Attachment(
                by_part[part],
                f"10.{part}.0.{number + 2}",
                tuple(draw(st.lists(names, max_size=2, unique=True))),
            )
            for part in networks
        ),
        mounts=draw(mounts_of(targets[:mounted])),
        tmpfs={target: draw(st.sampled_from(["", "size=1m"])) for target in targets[mounted:]},
        **options,
    )


@st.composite
def states(draw: st.DrawFn) -> tuple[Desired, dict[str, Json]]:
    """A desired state and the images that its containers are made from."""
    chosen = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    made = tuple(draw(containers(name, number)) for number, name in enumerate(chosen))
    files: dict[str, str] = {}
    for container in made:
        for file in container.files:
            files.setdefault(file.path, container.name)
    made = tuple(
        replace(c, files=tuple(f for f in c.files if files[f.path] == c.name)) for c in made
    )
    images = {
        container.image: {
            "Id": f"sha256:{identity('image', container.name)}",
            "Config": draw(image_configs),
        }
        for container in made
    }
    return Desired(NETWORKS, VOLUMES, made), images


def shuffled(value: Any, source: random.Random) -> Any:
    """The same JSON with the keys of its objects in another order."""
    if isinstance(value, list):
        return [shuffled(entry, source) for entry in value]
    if isinstance(value, dict):
        keys = list(value)
        source.shuffle(keys)
        return {key: shuffled(value[key], source) for key in keys}
    return value


def reordered(observed: Observed, source: random.Random) -> Observed:
    kinds = ("containers", "networks", "volumes", "images", "files", "loaded", "pulled")
    return replace(observed, **{k: shuffled(getattr(observed, k), source) for k in kinds})


@settings(SAME_EACH_TIME, max_examples=60)
@given(states(), st.booleans())
def test_what_was_made_as_desired_needs_nothing(
    state: tuple[Desired, dict[str, Json]], is_modern: bool
) -> None:
    desired, images = state
    assert str(plan(desired, perfect(desired, images, is_modern=is_modern))) == ""


@pytest.mark.parametrize("is_modern", [False, True])
def test_the_default_site_made_as_desired_needs_nothing(site: Site, is_modern: bool) -> None:
    wanted = topology.desired(site)
    images: dict[str, Json] = {
        container.image: {"Id": identity(container.image), "Config": {"Labels": labels(container)}}
        for container in wanted.containers
    }
    assert str(plan(wanted, perfect(wanted, images, is_modern=is_modern))) == ""


def labels(container: Container) -> dict[str, str]:
    """What our own build gives an image."""
    return {CONTEXT_LABEL: container.build.context} if container.build else {}


@settings(SAME_EACH_TIME, max_examples=30)
@given(states(), states(), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(
    before: tuple[Desired, dict[str, Json]],
    after: tuple[Desired, dict[str, Json]],
    source: random.Random,
) -> None:
    observed = perfect(*before, is_modern=True)
    observed = replace(observed, images={**observed.images, **after[1]})
    assert str(plan(after[0], reordered(observed, source))) == str(plan(after[0], observed))


@settings(SAME_EACH_TIME, max_examples=30)
@given(states(), states())
def test_a_plan_names_only_what_is_there_or_wanted(
    before: tuple[Desired, dict[str, Json]], after: tuple[Desired, dict[str, Json]]
) -> None:
    steps = plan(after[0], perfect(*before, is_modern=True)).steps
    wanted = {container.name for container in after[0].containers}
    left = {container.name for container in before[0].containers} - wanted
    subjects = [step.subject for step in steps]
    assert {s.removeprefix("container ") for s in subjects if s.startswith("container ")} <= wanted
    assert sorted(s.target for s in steps if s.subject == "leftovers") == sorted(left)
    assert subjects == sorted(subjects, key=subjects.index), "the steps of a subject stand together"


ALTERED: dict[str, Any] = {
    "image": PLAIN,
    "attachments": EVERYTHING.attachments[:1],
    "command": ("exit",),
    "entrypoint": ("/bin/sh",),
    "environment": {},
    "labels": {},
    "user": "1:1",
    "restart": "no",
    "ports": EVERYTHING.ports[:2],
    "mounts": EVERYTHING.mounts[:3],
    "tmpfs": {"/tmp": ""},
    "health": None,
    "memory": 32 * 1024**2,
    "cpus": 0.25,
    "pids": None,
    "shm_size": None,
    "ulimits": {},
    "cap_add": (),
    "cap_drop": (),
    "security": (),
    "read_only": False,
    "pid_mode": "host",
    "gpus": "all",
    "runtime": "nvidia",
    "log": LogConfig(),
    "stop_timeout": None,
    "hostname": None,
    "extra_hosts": (),
    "files": EVERYTHING.files[1:],
}
# How a container is made, made to reload and proven: nothing that it shows once it runs.
NOT_SHOWN = {"name", "build", "secrets", "check", "reload", "gate"}


def test_every_field_of_a_container_is_altered_below() -> None:
    assert ALTERED.keys() | NOT_SHOWN == {field.name for field in fields(Container)}


@pytest.mark.parametrize("is_modern", [False, True])
@pytest.mark.parametrize("field", ALTERED)
def test_every_field_of_a_container_is_compared(field: str, is_modern: bool) -> None:
    images = {
        container.image: {"Id": identity(container.image), "Config": {}}
        for container in DESIRED.containers
    }
    unbuilt = [replace(container, build=None) for container in DESIRED.containers]
    desired = replace(DESIRED, containers=tuple(unbuilt))
    altered = [
        replace(container, **{field: ALTERED[field]})
        if container.name == "everything"
        else container
        for container in unbuilt
    ]
    observed = perfect(replace(DESIRED, containers=tuple(altered)), images, is_modern=is_modern)
    assert {step.subject for step in plan(desired, observed).steps} == {"container everything"}
