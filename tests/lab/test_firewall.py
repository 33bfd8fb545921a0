"""Who reaches the host from another one: before and after restarts, changes by hand, and a reboot.

A neighbour tries everything that a neighbour can: the host's ports, routes over the host to its
containers, and a route over it to 127.0.0.1, where ports are published that nobody opened.
"""

import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab.settings import CONTROLLER, HOSTS
from stack.machine.firewall import UNDO, UNDO_SECONDS
from stack.machine.observe import FIREWALL, RULES, TABLE
from tests.lab.conftest import Lab
from tests.lab.deploys import (
    HOLD,
    Deploy,
    held,
    lab_command,
    reboot,
    serves,
    until,
    variant,
    verify,
)

HOST, NEIGHBOUR = HOSTS["lab"].address, HOSTS["lab2"].address
Place = tuple[str, int]
ADDRESS_6 = (
    "sysctl -q -w net.ipv6.conf.host0.disable_ipv6=0 && ip address add {}/64 dev host0 nodad"
)

HOST_6, NEIGHBOUR_6 = "fd77::10", "fd77::11"
CONTAINER, SERVICE = (HOST, 8888), (HOST, 9100)
STRANGERS = {CONTAINER, SERVICE, (HOST_6, SERVICE[1])}
OPENS = {"firewall": {"open": [{"port": 9100, "sources": [NEIGHBOUR]}]}}

_TRY = 'c() { timeout 2 bash -c "</dev/tcp/$1/$2" && echo "$1 $2"; } 2>/dev/null'


def opened(lab: Lab) -> set[Place]:
    ports = (port for container in lab.desired.containers for port in container.ports)
    return {(HOST, port.published) for port in ports if port.bind == "0.0.0.0"} | {(HOST, 22)}


def places(lab: Lab) -> set[Place]:
    """Every port of the site: on the host, on 127.0.0.1, and at each address of its container."""
    found = set(STRANGERS) | opened(lab)
    for container in lab.desired.containers:
        for port in container.ports:
            found |= {(address, port.published) for address in (HOST, "127.0.0.1")}
            found |= {(it.address, port.inside) for it in container.attachments}
    return found


def reached(neighbour: Lab, lab: Lab) -> set[Place]:
    """Those of all places that answer the neighbour."""
    tries = (f"c {address} {port} &" for address, port in sorted(places(lab)))
    answers = neighbour.run("\n".join((_TRY, *tries, "wait"))).splitlines()
    return {(address, int(port)) for address, port in map(str.split, answers)}


def rules(lab: Lab) -> tuple[str, str]:
    """In the kernel and in the file."""
    return lab.run(f"nft -s list table {TABLE}", check=False), lab.run(f"cat {RULES}")


@pytest.fixture(scope="module")
def neighbour(lab: Lab) -> Iterator[Lab]:
    """Another host in the network, with the routes of somebody curious."""
    lab_command("up", "lab2", "--fresh")
    assert lab.target.ssh
    other = Lab(replace(lab.target, address=NEIGHBOUR, ssh=(*lab.target.ssh[:-1], NEIGHBOUR)))
    other.run(ADDRESS_6.format(NEIGHBOUR_6))
    other.run(
        "sysctl -q -w net.ipv4.conf.all.route_localnet=1 && ip address del 127.0.0.1/8 dev lo &&"
        f" for net in 127.0.0.1/32 172.16.0.0/12; do ip route add $net via {HOST}; done"
    )
    yield other
    lab_command("power-off", "lab2")


@pytest.fixture(scope="module", autouse=True)
def strangers(lab: Lab) -> Iterator[None]:
    """A container published by hand, and a service on the host's own network."""
    run = "docker run --detach --restart always --entrypoint python3"
    serve = f"{lab.target.stack.site.python_image} -m http.server"
    lab.run(f"{run} --name stranger --publish {CONTAINER[1]}:8000 {serve} 8000")
    lab.run(f"{run} --name host-service --network host {serve} --bind :: {SERVICE[1]}")
    lab.run(ADDRESS_6.format(HOST_6))
    lab.deploy()
    yield
    lab.run("docker rm --force stranger host-service")
    lab.run("sysctl -q -w net.ipv6.conf.host0.disable_ipv6=1")
    lab.deploy()


def test_only_what_is_opened_answers(lab: Lab, neighbour: Lab) -> None:
    """Without the rules the same neighbour reaches strangers, and by its routes what is ours."""
    assert reached(neighbour, lab) == opened(lab)
    lab.run(f"nft delete table {TABLE}")
    without = reached(neighbour, lab)
    assert without >= opened(lab) | STRANGERS
    by_routes = {address for address, _ in without} - {HOST}
    assert "127.0.0.1" in by_routes
    assert by_routes - {"127.0.0.1"}

    plan = lab.pyinfra("--dry").plan()
    assert plan == (
        "firewall: load (not loaded)\n"
        "    8888/tcp (docker-proxy): open to everyone -> closed\n"
        "    9100/tcp (python3): open to everyone -> closed"
    )
    assert lab.deploy().changed() == ["Firewall | Rules"]
    assert reached(neighbour, lab) == opened(lab)


def test_containers_reach_the_host_and_the_outside(lab: Lab) -> None:
    """The registry on the controller is as far as the lab goes."""
    connect = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
    ask = f"{lab.target.stack.site.python_image} python3 -c {shlex.quote(connect)}"
    for network in ("bridge", *(network.name for network in lab.desired.networks)):
        for address, port in (SERVICE, (CONTROLLER, 5000)):
            lab.run(f"docker run --rm --network {network} {ask} {address} {port}")


def test_others_restart(lab: Lab, neighbour: Lab) -> None:
    """nftables.service flushes the tables of everyone, and Docker makes its own anew."""
    before = rules(lab)
    for flush in ("restart nftables", "reload nftables"):
        lab.run(f"systemctl {flush}")
        until(lambda: rules(lab) == before, lambda: str(rules(lab)), 10)
    assert reached(neighbour, lab) <= opened(lab)
    lab.run("systemctl restart docker")
    assert reached(neighbour, lab) == opened(lab)
    assert lab.deploy().changed() == []


def test_what_is_changed_by_hand_is_named_and_repaired(lab: Lab, neighbour: Lab) -> None:
    lab.run(f"sed -i 's/tcp dport {{ 22 }}/tcp dport {{ 22, 9100 }}/' {RULES}")
    lab.run(f"systemctl restart {FIREWALL} && systemctl disable {FIREWALL}")
    assert SERVICE in reached(neighbour, lab)
    assert lab.drift() == (
        2,
        "firewall: load (differs)\n"
        "    9100/tcp (python3): open to everyone -> closed\n"
        f"service {FIREWALL}: enable and start (does not run at boot)",
    )
    assert lab.deploy().changed() == ["Firewall | Rules", "Firewall | At boot"]
    assert reached(neighbour, lab) == opened(lab)
    verify("test_firewall.py")


def test_a_port_is_opened_for_some_and_closed_again(
    lab: Lab, neighbour: Lab, tmp_path: Path
) -> None:
    lives = lab.lives()
    run = lab.deploy(inventory=variant(tmp_path, OPENS))
    assert run.changed() == ["Firewall | Rules"]
    assert reached(neighbour, lab) == opened(lab) | {SERVICE}
    with pytest.raises(TimeoutError):
        socket.create_connection(SERVICE, timeout=3)
    assert lab.deploy().changed() == ["Firewall | Rules"]
    assert reached(neighbour, lab) == opened(lab)
    assert lab.lives() == lives


def test_a_second_ssh_port_is_open_too(lab: Lab) -> None:
    lab.run("systemd-run --quiet --unit second-sshd /usr/sbin/sshd -D -p 2222")
    try:
        assert lab.deploy().changed() == ["Firewall | Rules"]
        socket.create_connection((HOST, 2222), timeout=3).close()
    finally:
        lab.run("systemctl stop second-sshd")
    assert lab.deploy().changed() == ["Firewall | Rules"]


@contextmanager
def locked_out(lab: Lab, rule: str) -> Iterator[None]:
    """Lets the held deploy go on and, from its ``rule`` on, no new connection to the host."""
    assert lab.target.ssh
    chain = "{ type filter hook input priority 0; }"
    outage = (
        f"add chain inet outage input {chain}; add rule inet outage input tcp dport 22 ct state"
    )
    script = (
        f"nft 'add table inet outage; {outage} new drop' && rm -f {HOLD} &&"
        f" timeout 60 sh -c \"until nft list table {TABLE} | grep -q '{rule}'; do sleep 0.1; done\""
        " && echo loaded && read -r _; nft delete table inet outage"
    )
    before = subprocess.Popen(
        [*lab.target.ssh, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert before.stdin and before.stdout
    try:
        assert before.stdout.readline() == "loaded\n"
        yield
    finally:
        before.communicate("\n", timeout=90)


@pytest.mark.parametrize(
    "killed",
    [
        pytest.param(False, id="the run fails"),
        pytest.param(True, id="the run is killed", marks=pytest.mark.soak),
    ],
)
def test_rules_that_lock_out_the_run_are_undone(lab: Lab, tmp_path: Path, killed: bool) -> None:
    before = rules(lab)
    inventory = variant(tmp_path, OPENS)

    def deploy() -> Deploy:
        return Deploy(tmp_path / "log", inventory)

    with held(lab, deploy, f"systemd-run *{UNDO}*") as (running, _):
        with locked_out(lab, f"dport {SERVICE[1]} accept"):
            if killed:
                running.kill()
            else:
                run = running.wait()
                assert run.status != 0
                sentence = (
                    "with the new rules of the firewall no new connection could be made, so the"
                    " former ones are back: "
                )
                assert sentence in run.text
        if killed:
            assert rules(lab) != before
    until(lambda: rules(lab) == before, lambda: str(rules(lab)), UNDO_SECONDS + 10 if killed else 0)
    assert lab.run(f"systemctl is-active {UNDO}.timer", check=False) == "inactive"
    assert lab.deploy().changed() == []


def test_after_a_reboot(lab: Lab, neighbour: Lab) -> None:
    """Python does not hear the SIGTERM of the shutdown: it would cost a minute and a half."""
    lab.run("docker kill stranger host-service")
    reboot(lab)
    started = "systemctl show --value --property ActiveEnterTimestampMonotonic"
    ours, network = (int(lab.run(f"{started} {unit}")) for unit in (FIREWALL, "network-pre.target"))
    assert 0 < ours <= network

    wanted = opened(lab)
    here = " && ".join(
        f"curl -s -m 2 -o /dev/null http://{address}:{port}"
        for address, port in sorted({CONTAINER, SERVICE} | wanted - {(HOST, 22)})
    )
    until(lambda: lab.run(f"{here} && echo all", check=False) == "all", lambda: here, 120)
    assert reached(neighbour, lab) == wanted
    assert lab.drift()[1] == ""
    serves(lab)
