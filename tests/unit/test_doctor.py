"""What doctor makes of a host's answers."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stack.doctor import Finding, Level, as_text, findings, on_controller, script, sources
from stack.machine.observe import Machine
from stack.site import Site, load
from stack.topology import desired
from tests.unit.machine.hosts import BARE, GIB

NOW = 1_800_000_000.0

HEALTHY = """=== saiga-stack user
0
=== saiga-stack clock
1800000004
=== saiga-stack image
=== saiga-stack listeners
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=700,fd=3))
=== saiga-stack routes
default via 192.0.2.1 dev eno1
192.0.2.0/24 dev eno1 proto kernel scope link src 192.0.2.7
=== saiga-stack bridges
=== saiga-stack published
=== saiga-stack firewalls
=== saiga-stack connects
registry-1.docker.io 443 yes
huggingface.co 443 yes
=== saiga-stack end
"""


def wrong(site: Site, output: str, machine: Machine = BARE) -> list[tuple[str, str, str]]:
    found = findings(output, machine, site, desired(site), NOW)
    return [(str(f.level), f.check, f.sentence) for f in found if f.level is not Level.OK]


def test_nothing_is_wrong_with_a_healthy_host(site: Site) -> None:
    assert wrong(site, HEALTHY) == []


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        (
            "=== saiga-stack user\n0",
            "=== saiga-stack user\n1000",
            (
                "error",
                "privileges",
                "commands do not run as root; set ssh_user = 'root', or _sudo = True",
            ),
        ),
        (
            "1800000004",
            "1800000900",
            ("error", "clock", "900 s apart from this machine's; certificates may be refused"),
        ),
        (
            "=== saiga-stack routes",
            'LISTEN 0 9 127.0.0.1:5432 0.0.0.0:* users:(("postgres",pid=9,fd=3))\n'
            "=== saiga-stack routes",
            ("error", "ports", "port 5432 of ml_postgres is taken by postgres on 127.0.0.1"),
        ),
        (
            "=== saiga-stack bridges",
            "172.22.0.0/24 dev wg0 scope link\n=== saiga-stack bridges",
            (
                "error",
                "subnets",
                "networks.mlopsnew.subnet: 172.22.0.0/16 clashes with the host's route to"
                " 172.22.0.0/24 by wg0",
            ),
        ),
        (
            "huggingface.co 443 yes",
            "huggingface.co 443 no",
            ("error", "downloads", "huggingface.co:443 does not answer within 5 s"),
        ),
        (
            "huggingface.co 443 yes",
            "huggingface.co 443 unknown",
            ("error", "downloads", "the name huggingface.co cannot be resolved"),
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_named(
    site: Site, before: str, after: str, finding: tuple[str, str, str]
) -> None:
    assert before in HEALTHY
    assert wrong(site, HEALTHY.replace(before, after)) == [finding]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"kernel": "6.14.0-24-generic", "kernels": ("6.14.0-24-generic",)},
            "nvidia.kernel_limit: the host runs kernel 6.14.0-24-generic",
        ),
        ({"secure_boot": True}, "Secure Boot is on"),
        ({"cards": ()}, "gpu: nvidia, but the host has no NVIDIA card"),
        ({"system": "fedora43", "system_name": "Fedora Linux 43"}, "the host runs Fedora Linux 43"),
        ({"free_disk": 16 * GIB}, "base.free_disk: 60g must be free"),
        ({"memory": 16 * GIB}, "services.saiga.memory: 48g is more than the host has"),
        ({"daemon_config": "{"}, "/etc/docker/daemon.json is not JSON"),
        (
            {"sources": {"/etc/apt/sources.list.d/cuda.list": "deb https://x.example /"}},
            "/etc/apt/sources.list.d/cuda.list has a repository that this toolkit adds",
        ),
    ],
)
def test_what_a_deploy_would_refuse_is_an_error(
    site: Site, values: dict[str, Any], sentence: str
) -> None:
    found = wrong(site, HEALTHY, replace(BARE, **values))
    ((check, said),) = [(check, said) for level, check, said in found if level == "error"]
    assert check == "machine"
    assert said.startswith(sentence)


def test_no_room_is_needed_for_an_image_that_is_there(site: Site) -> None:
    there = HEALTHY.replace("=== saiga-stack image", "=== saiga-stack image\nthere")
    assert wrong(site, there, replace(BARE, free_disk=16 * GIB)) == []


def test_more_limits_than_memory_are_a_warning(site: Site) -> None:
    assert wrong(site, HEALTHY, replace(BARE, memory=60 * GIB, swap=4 * GIB)) == [
        (
            "warning",
            "machine",
            "services.*.memory: 71.9 GiB in all is more than the host has: 60.0 GiB and 4.0 GiB of"
            " swap; a container may be killed",
        )
    ]
    assert wrong(site, HEALTHY, replace(BARE, memory=60 * GIB, swap=16 * GIB)) == []


def test_the_machine_is_shown(site: Site) -> None:
    found = findings(HEALTHY, BARE, site, desired(site), NOW)
    assert next(f.sentence for f in found if f.check == "machine") == (
        "Debian GNU/Linux 12 (bookworm) with kernel 6.1.0-28-amd64, 128 GiB of memory and 0 GiB of"
        " swap, 1400 GiB free, 0000:01:00.0 VGA compatible controller [0300]: NVIDIA AD102 [GeForce"
        " RTX 4090] [10de:2684]"
    )


@pytest.mark.parametrize(
    ("address", "bind", "in_the_way"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("*", "127.0.0.1", True),
        ("192.0.2.1", "127.0.0.1", False),
        ("[::1]", "127.0.0.1", False),
        ("127.0.0.53%lo", "127.0.0.53", True),
        ("192.0.2.1", "0.0.0.0", True),
        ("[::]", "0.0.0.0", True),
    ],
)
def test_a_stranger_is_in_the_way_on_our_address_only(
    defaults: dict[str, Any], address: str, bind: str, in_the_way: bool
) -> None:
    port = {"postgres": {"ports": {"sql": {"bind": bind}}}}
    stranger = f"LISTEN 0 9 {address}:5432 0.0.0.0:*\n=== saiga-stack routes"
    said = wrong(
        load(defaults, {"services": port}), HEALTHY.replace("=== saiga-stack routes", stranger)
    )
    sentence = f"port 5432 of ml_postgres is taken by another program on {address}"
    assert said == ([("error", "ports", sentence)] if in_the_way else [])


def test_our_own_ports_and_networks_are_not_in_the_way(site: Site) -> None:
    ours = HEALTHY.replace(
        "=== saiga-stack routes",
        'LISTEN 0 9 127.0.0.1:5432 0.0.0.0:* users:(("docker-proxy",pid=9,fd=3))\n'
        "=== saiga-stack routes",
    )
    ours = ours.replace("=== saiga-stack published", "=== saiga-stack published\n127.0.0.1:5432 ")
    ours = ours.replace(
        "=== saiga-stack bridges", "172.22.0.0/16 dev br-0123456789ab\n=== saiga-stack bridges"
    )
    ours = ours.replace("=== saiga-stack published", "0123456789ab\n=== saiga-stack published")
    assert wrong(site, ours) == []


def test_another_firewall_may_close_what_the_site_opens(defaults: dict[str, Any]) -> None:
    both = HEALTHY.replace("saiga-stack firewalls", "saiga-stack firewalls\nufw\nfirewalld")
    assert wrong(load(defaults), both) == []
    opens = load(defaults, {"firewall": {"open": [{"port": 9100}]}})
    sentence = "ufw and firewalld may close what firewall.open names; open it there too"
    assert wrong(opens, both) == [("warning", "firewall", sentence)]


def test_an_answer_that_is_cut_short_is_none(site: Site) -> None:
    with pytest.raises(ValueError, match="incomplete"):
        wrong(site, HEALTHY.removesuffix("=== saiga-stack end\n"))


def test_every_place_of_a_download_is_known(site: Site, defaults: dict[str, Any]) -> None:
    assert sources(site, desired(site)) == [
        ("developer.download.nvidia.com", 443),
        ("download.docker.com", 443),
        ("ghcr.io", 443),
        ("huggingface.co", 443),
        ("nvcr.io", 443),
        ("nvidia.github.io", 443),
        ("registry-1.docker.io", 443),
    ]
    mirrored = load(
        defaults,
        {
            "gpu": "none",
            "docker": {
                "source": "distribution",
                "registry_mirrors": ["http://mirror.example:5000"],
                "insecure_registries": ["10.0.0.5:5000"],
            },
            "services": {"grafana": {"image": "10.0.0.5:5000/grafana:1"}},
            "model_hub": "https://hub.example",
            "saiga": {"source": {"url": "https://hub.example"}},
        },
    )
    places = sources(mirrored, desired(mirrored))
    assert {("mirror.example", 5000), ("10.0.0.5", 5000), ("hub.example", 443)} <= set(places)
    vendors = {"developer.download.nvidia.com", "download.docker.com", "nvidia.github.io"}
    assert not {name for name, _ in places} & {"huggingface.co", *vendors}


def test_the_script_runs_on_a_host_without_docker(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.doctor.sources", lambda *_: [("localhost", 1)])
    text = script(site, desired(site))
    run = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=60)
    found = [*findings(run.stdout, BARE, site, desired(site), NOW)]
    checks = {"privileges", "clock", "machine", "ports", "subnets", "firewall", "downloads"}
    assert {finding.check for finding in found} == checks
    refused = Finding(Level.ERROR, "downloads", "localhost:1 does not answer within 5 s")
    assert refused in found
    assert as_text("here", found).splitlines()[0] == "here:"


def test_wheels_that_are_not_here_yet_are_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAIGA_STACK_CACHE", str(tmp_path))
    said = {finding.sentence for finding in on_controller(desired(site))}
    assert "those of webbot2 are not downloaded yet; bin/stack fetch does it" in said
    assert len(said) == 3


def test_the_sources_of_apt_are_tried(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list").write_text(
        "# deb http://commented.invalid/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://mirror.invalid:8081/debian bookworm main\n"
        "URIs: https://other.invalid/debian\n"
    )
    text = script(site, desired(site)).replace("/etc/apt/sources.list", f"{tmp_path}/sources.list")
    monkeypatch.setattr("stack.doctor.sources", lambda *_: [])
    run = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=60)
    answers = run.stdout.partition("=== saiga-stack connects\n")[2].split("===")[0].splitlines()
    tried = {tuple(line.split()[:2]) for line in answers}
    assert {("mirror.invalid", "8081"), ("other.invalid", "443")} <= tried
    assert not any("commented" in host for host, _ in tried)
