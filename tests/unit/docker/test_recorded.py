"""What real engines show of the recorded desired state."""

import pytest

from stack.docker.fields import observed_fields
from stack.docker.plan import plan
from tests.unit.docker.hosts import ENGINES, recorded
from tests.unit.docker.recording import DESIRED, HAND_MADE, PLAIN

HAND_MADE_FIELDS = {
    "tuned": """
cgroup parent: /tuned
command: /bin/sleep infinity
cpu period: 50000
cpu quota: 25000
cpu set: 0
cpu shares: 512
device rules: 'c 1:3 r'
devices: /dev/null:/dev/nothing:rwm
dns: 192.0.2.53
dns options: ndots:2
dns search: example
domain name: example
exposed ports: 1234/tcp
groups: audio
health check: none
init: yes
links: /plain:/tuned/plain
log driver: json-file
mac address: 02:42:ac:11:00:99
memory: 64m
memory and swap: 128m
memory nodes: 0
memory reservation: 33554432
mount /etc/app: bind /srv/recording/reloads rw
mount /srv/shared: volume shared_data rw
mount /srv/spare: volume spare_data rw {"NoCopy": true}
mount /var/anonymous: anonymous volume
mount /var/cache/app: anonymous volume
mount /var/lib/app: anonymous volume
network mode: bridge
oom score: 500
open stdin: yes
port 8000/tcp: 127.0.0.1:
port 8001/tcp: *:18002
restart: no
shm size: 64m
stop timeout: 0
swappiness: 10
sysctls: {"net.core.somaxconn": "1024"}
system paths: unconfined
terminal: yes
tmpfs /scratch: size=16m
user namespace: host
volumes from: reloads
""",
    "opened": """
all ports published: yes
command: /bin/sleep infinity
ipc mode: shareable
log driver: json-file
memory: 64m
memory and swap: unlimited
network mode: host
oom killer disabled: yes
privileged: yes
removed on exit: yes
restart: no
security: label=disable
shm size: 64m
uts mode: host
""",
}


def test_engines_of_both_ages_are_recorded() -> None:
    majors = [int(engine.split(".")[0]) for engine in ENGINES]
    assert 20 in majors
    assert max(majors) >= 26


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_made_as_desired_needs_nothing(engine: str) -> None:
    observed = recorded(engine)
    assert observed.engine
    assert observed.engine.version.startswith(engine)
    assert {c.name for c in DESIRED.containers} | set(HAND_MADE) == set(observed.containers)
    assert str(plan(DESIRED, observed)) == ""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", HAND_MADE)
def test_no_setting_made_by_hand_is_overlooked(engine: str, name: str) -> None:
    observed = recorded(engine)
    assert observed.engine
    fields = observed_fields(observed.containers[name], observed.images[PLAIN], observed.engine)
    unstable = ("image", "image id", "hostname")
    text = [f"{field}: {value}" for field, value in sorted(fields.items()) if field not in unstable]
    assert text == HAND_MADE_FIELDS[name].split("\n")[1:-1]
