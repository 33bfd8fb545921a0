"""The command lines that make what is desired."""

import shlex
from dataclasses import replace

import pytest

from stack.docker import commands
from stack.docker.spec import Container
from tests.unit.docker.recording import (
    BACK,
    DEFAULTS,
    EVERYTHING,
    FRONT,
    ON_GPU,
    PLAINEST,
    RELOADS,
)

CREATED = {
    "everything": (
        EVERYTHING,
        """
docker create --name=everything --network=front --ip=10.91.0.2 --network-alias=www
 --network-alias=web --restart=unless-stopped --label=saiga-stack.files={files}
 --label=saiga-stack.managed=yes --label=site.owner=recording --env=APP_MODE=site
 --env=APP_URL=http://plain:8000 --env=APP_PASSWORD_FILE=/run/secrets/app
 --env=APP_PASSWORD=opensesame --env=APP_NOTHING= --publish=127.0.0.1:18000:8000/tcp
 --publish=0.0.0.0:18001:8000/tcp --publish=127.0.0.1:18053:53/udp
 --mount=type=volume,source=everything_data,target=/var/lib/app
 --mount=type=volume,source=shared_data,target=/srv/shared,readonly
 --mount=type=bind,source=/srv/recording/everything,target=/etc/app,readonly
 --mount=type=bind,source=/,target=/host,readonly,bind-propagation=rslave --tmpfs=/tmp
 --tmpfs=/var/cache/app:uid=1000,mode=0700 '--health-cmd=test -e /etc/app/app.conf'
 --health-interval=60s --health-timeout=7s --health-retries=2 --health-start-period=0s
 --memory=67108864 --memory-swap=67108864 --cpus=0.5 --pids-limit=50 --shm-size=16777216
 --ipc=private --ulimit=nofile=1024:2048 --ulimit=core=0 --ulimit=nproc=512:512
 --cap-add=NET_BIND_SERVICE --cap-add=CHOWN --cap-drop=ALL --security-opt=no-new-privileges
 --security-opt=seccomp=unconfined --read-only --log-driver=json-file --log-opt=max-file=2
 --log-opt=max-size=1m --stop-timeout=1 --hostname=everything.example
 --add-host=registry.example:10.91.0.1 --add-host=gateway.example:host-gateway --user=0:0
 --entrypoint=/bin/sh recording/app:1 -c 'exec /bin/sleep infinity'
docker network connect --ip=10.92.0.2 --alias=app back everything
""",
    ),
    "reloads": (
        RELOADS,
        """
docker create --name=reloads --network=back --ip=10.92.0.3 --restart=on-failure:3
 --label=saiga-stack.managed=yes --mount=type=volume,source=shared_data,target=/srv/shared
 --mount=type=bind,source=/srv/recording/reloads,target=/etc/app
 '--health-cmd=/bin/sleep 0' --health-interval=30s --health-timeout=5s --health-retries=3
 --health-start-period=0s --shm-size=67108864 --ipc=private --log-driver=json-file recording/app:1
""",
    ),
    "defaults": (
        DEFAULTS,
        """
docker create --name=defaults --network=front --ip=10.91.0.4 --restart=no
 --label=saiga-stack.managed=yes --shm-size=67108864 --ipc=private --log-driver=json-file
 recording/app:1
""",
    ),
    "plain": (
        PLAINEST,
        """
docker create --name=plain --network=front --ip=10.91.0.5 --restart=always
 --label=saiga-stack.managed=yes --shm-size=67108864 --ipc=private --pid=host
 --log-driver=json-file recording/plain:1
""",
    ),
    "on_gpu": (
        ON_GPU,
        """
docker create --name=on_gpu --network=back --ip=10.92.0.6 --restart=unless-stopped
 --label=saiga-stack.managed=yes --shm-size=67108864 --ipc=private
 --security-opt=no-new-privileges --pid=host --gpus=all --log-driver=json-file
 recording/built:0123456789abcdef
""",
    ),
}


def text(*argvs: list[str]) -> str:
    return "\n".join(map(shlex.join, argvs))


@pytest.mark.parametrize("name", CREATED)
def test_create(name: str) -> None:
    container, expected = CREATED[name]
    wanted = expected.strip().replace("\n ", " ").format(files=container.files_hash)
    assert text(*commands.create_container(container)) == wanted


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"memory": 1024}, "--memory-swap=1024"),
        ({"cpus": 2.0}, "--cpus=2"),
        ({"stop_timeout": 0}, "--stop-timeout=0"),
        ({"pids": 7}, "--pids-limit=7"),
    ],
)
def test_option(values: dict[str, object], option: str) -> None:
    assert option not in commands.create_container(PLAINEST)[0]
    changed: Container = replace(PLAINEST, **values)  # type: ignore[arg-type]
    assert option in commands.create_container(changed)[0]


def test_nothing_stands_between_image_and_command() -> None:
    create = commands.create_container(replace(PLAINEST, command=("--name=x", "")))[0]
    assert create[-3:] == [PLAINEST.image, "--name=x", ""]


def test_networks_and_volumes() -> None:
    assert text(
        commands.create_network(FRONT),
        commands.create_network(BACK),
        commands.create_volume("data"),
        commands.connect("everything", EVERYTHING.attachments[0]),
        commands.disconnect("everything", "front"),
    ) == (
        "docker network create --driver=bridge --subnet=10.91.0.0/24 --gateway=10.91.0.1"
        " --ip-range=10.91.0.128/25 --label=saiga-stack.managed=yes"
        " --opt=com.docker.network.driver.mtu=1400 front\n"
        "docker network create --driver=bridge --subnet=10.92.0.0/24 --gateway=10.92.0.1"
        " --ip-range=10.92.0.128/25 --label=saiga-stack.managed=yes back\n"
        "docker volume create --label=saiga-stack.managed=yes data\n"
        "docker network connect --ip=10.91.0.2 --alias=www --alias=web front everything\n"
        "docker network disconnect --force front everything"
    )


def test_build() -> None:
    assert text(commands.build(ON_GPU, "/var/lib/x.tar")) == (
        'sh -c \'docker build --quiet --network=none "$@" - <"$0"\' /var/lib/x.tar'
        " --build-arg=PYTHON_IMAGE=recording/plain:1 --label=saiga-stack.context=0123456789abcdef"
        " --tag=recording/built:0123456789abcdef"
    )


@pytest.mark.parametrize(
    ("container", "fields", "expected"),
    [
        (EVERYTHING, {"memory"}, "--memory=67108864 --memory-swap=67108864 everything"),
        (EVERYTHING, {"memory and swap"}, "--memory=67108864 --memory-swap=67108864 everything"),
        (EVERYTHING, {"cpus"}, "--cpus=0.5 everything"),
        (EVERYTHING, {"pids"}, "--pids-limit=50 everything"),
        (PLAINEST, {"pids"}, "--pids-limit=-1 plain"),
        (RELOADS, {"restart"}, "--restart=on-failure:3 reloads"),
        (
            EVERYTHING,
            {"restart", "pids", "cpus", "memory"},
            "--memory=67108864 --memory-swap=67108864 --cpus=0.5 --pids-limit=50"
            " --restart=unless-stopped everything",
        ),
    ],
)
def test_update(container: Container, fields: set[str], expected: str) -> None:
    assert text(commands.update(container, fields)) == f"docker update {expected}"
