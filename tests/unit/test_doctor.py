"""What doctor makes of a host's answers."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from stack.doctor import Finding, Level, as_text, findings, on_controller, script, sources
from stack.site import Site, load
from stack.topology import desired

NOW = 1_800_000_000.0

HEALTHY = """=== saiga-stack user
0
=== saiga-stack system
ubuntu 22.04
x86_64
=== saiga-stack clock
1800000004
=== saiga-stack memory
131863492
=== saiga-stack disk
/dev/nvme0n1p2 1500000000000 100000000000 1400000000000 7% /
=== saiga-stack listeners
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=700,fd=3))
=== saiga-stack routes
default via 192.0.2.1 dev eno1
192.0.2.0/24 dev eno1 proto kernel scope link src 192.0.2.7
=== saiga-stack bridges
=== saiga-stack published
=== saiga-stack firewalls
=== saiga-stack gpu
NVIDIA GeForce RTX 4090, 560.35.03, 24564 MiB
=== saiga-stack pci
1
=== saiga-stack connects
registry-1.docker.io 443 yes
huggingface.co 443 yes
=== saiga-stack end
"""


def wrong(site: Site, output: str) -> list[tuple[str, str, str]]:
    found = findings(output, site, desired(site), NOW)
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
            "ubuntu 22.04",
            "fedora 43",
            (
                "warning",
                "system",
                "fedora 43; known to work are Debian 12, Ubuntu 22.04 and 24.04",
            ),
        ),
        (
            "x86_64",
            "aarch64",
            ("error", "system", "the machine is aarch64; the images are x86_64"),
        ),
        (
            "1800000004",
            "1800000900",
            ("error", "clock", "900 s apart from this machine's; certificates may be refused"),
        ),
        (
            "131863492",
            "16777216",
            (
                "error",
                "memory",
                "the host has 16 GiB, services.saiga.memory alone may take 48 GiB",
            ),
        ),
        (
            "131863492",
            "62914560",
            (
                "warning",
                "memory",
                "60 GiB on the host, 72 GiB of limits in the site; containers may be killed",
            ),
        ),
        (
            "1400000000000 7%",
            "20000000000 7%",
            ("warning", "disk", "19 GiB free; images, model and data want 60 GiB"),
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
            "NVIDIA GeForce RTX 4090, 560.35.03, 24564 MiB",
            "sh: 1: nvidia-smi: not found",
            ("warning", "gpu", "an NVIDIA card, but nvidia-smi does not answer yet"),
        ),
        (
            "NVIDIA GeForce RTX 4090, 560.35.03, 24564 MiB\n=== saiga-stack pci\n1",
            "=== saiga-stack pci\n0",
            (
                "error",
                "gpu",
                "no NVIDIA card in the machine; set gpu = 'none' with images that need none",
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


def test_our_own_ports_and_networks_are_not_in_the_way(site: Site) -> None:
    ours = HEALTHY.replace(
        "=== saiga-stack routes",
        'LISTEN 0 9 127.0.0.1:5432 0.0.0.0:* users:(("docker-proxy",pid=9,fd=3))\n'
        "=== saiga-stack routes",
    )
    ours = ours.replace("=== saiga-stack published", "=== saiga-stack published\n5432 ")
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
        ("ghcr.io", 443),
        ("huggingface.co", 443),
        ("nvcr.io", 443),
        ("registry-1.docker.io", 443),
    ]
    mirrored = load(
        defaults,
        {
            "docker": {
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
    assert ("huggingface.co", 443) not in places


def test_the_script_runs_on_a_host_without_docker(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.doctor.sources", lambda *_: [("localhost", 1)])
    text = script(site, desired(site))
    run = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=60)
    found = [*findings(run.stdout, site, desired(site), NOW)]
    assert {finding.check for finding in found} >= {"privileges", "clock", "memory", "disk", "gpu"}
    assert "downloads" in {finding.check for finding in found}
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
