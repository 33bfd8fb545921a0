"""What a run does not begin: one exact sentence for each."""

from dataclasses import replace
from typing import Any

import pytest

from stack.gpu.compatibility import cuda_of_image
from stack.machine.checks import refusals, remarks
from stack.machine.observe import Gpu, Machine, Package
from stack.site import Site, SiteError, load
from tests.unit.machine.hosts import BARE, CARD, GIB, MIB, deployed

HWE = (
    "nvidia.kernel_limit: the host runs kernel 6.14.0-24-generic, and driver 560.35.03 does not"
    " compile on 6.12 or newer; boot and keep an older one, such as linux-image-generic of Ubuntu"
    " 24.04 instead of its HWE kernel"
)
SMALL = (
    "saiga.max_model_len: 20000 tokens of NightForger/saiga_nemo_12b-GPTQ need 12.4 GiB on the"
    " card, and {card} gives {gives} (90% of {has}); lower max_model_len, or use a larger card"
)
RTX_3060 = "0000:01:00.0 VGA compatible controller [0300]: NVIDIA GA106 [RTX 3060] [10de:2503]"

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "kernel": (
        {"kernel": "6.14.0-24-generic", "kernels": ("6.14.0-24-generic",)},
        HWE,
    ),
    "kernel of the next boot": (
        {"kernels": ("6.1.0-28-amd64", "6.12.9+bpo-amd64")},
        "nvidia.kernel_limit: the host has installed and would boot kernel 6.12.9+bpo-amd64, and"
        " driver 560.35.03 does not compile on 6.12 or newer; boot and keep an older one, such as"
        " linux-image-generic of Ubuntu 24.04 instead of its HWE kernel",
    ),
    "Secure Boot": (
        {"secure_boot": True},
        "Secure Boot is on, so the kernel would refuse the driver's module, which is built on the"
        " host; switch Secure Boot off in the firmware, or enrol the host's own key"
        " (update-secureboot-policy --new-key on Ubuntu, dkms generate_mok on Debian; then"
        " mokutil --import KEY and confirm it on the console at the next boot)",
    ),
    "no GPU": (
        {"cards": ()},
        "gpu: nvidia, but the host has no NVIDIA card (lspci -d 10de: shows none); look at the"
        " machine, or let gpu be none",
    ),
    "a card too small, before its driver": (
        {"cards": (RTX_3060,)},
        SMALL.format(card=RTX_3060, gives="10.8 GiB", has="12.0 GiB"),
    ),
    "a card too small, as its driver says": (
        {"gpus": (Gpu("NVIDIA Unknown", "560.35.03", 8192 * MIB, persistent=True),)},
        SMALL.format(card="NVIDIA Unknown", gives="7.2 GiB", has="8.0 GiB"),
    ),
    "disk": (
        {"free_disk": 16 * GIB},
        "base.free_disk: 60g must be free for Docker's data, and the host has 16.0 GiB",
    ),
    "memory": (
        {"memory": 32 * GIB, "swap": 8 * GIB},
        "services.saiga.memory: 48g is more than the host has: 32.0 GiB and 8.0 GiB of swap, into"
        " which no container of ours goes",
    ),
    "system": (
        {"system": "fedora40", "system_name": "Fedora Linux 40"},
        "the host runs Fedora Linux 40 on x86_64; supported on x86_64 are Ubuntu 22.04, Ubuntu"
        " 24.04, Debian 12",
    ),
    "processor": (
        {"architecture": "aarch64"},
        "the host runs Debian GNU/Linux 12 (bookworm) on aarch64; supported on x86_64 are Ubuntu"
        " 22.04, Ubuntu 24.04, Debian 12",
    ),
    "another Docker": (
        {"packages": {"docker.io": Package("20.10.24+dfsg1-1", held=False)}},
        "docker.source: docker would replace the docker.io that the host has; remove docker.io or"
        " let docker.source be the one it came from",
    ),
    "Docker as a snap": (
        {"docker": "/usr/bin/snap"},
        "the host has Docker as a snap, which no GPU reaches; remove it: snap remove docker",
    ),
    "a daemon.json that nobody can merge with": (
        {"daemon_config": "[]"},
        "/etc/docker/daemon.json holds no JSON object; correct or remove it",
    ),
    "the same repository without our key": (
        {
            "sources": {
                "/etc/apt/sources.list.d/docker.list": (
                    "deb https://download.docker.com/linux/debian bookworm stable"
                )
            }
        },
        "/etc/apt/sources.list.d/docker.list has a repository that this toolkit adds with a pinned"
        " key (deb https://download.docker.com/linux/debian bookworm stable); remove that file",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(site: Site, name: str) -> None:
    values, sentence = CASES[name]
    assert list(refusals(site, replace(BARE, **values), image_is_there=False)) == [sentence]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kernel": "6.11.0-1-generic"},
        {"secure_boot": True, "own_key_enrolled": True},
        {"secure_boot": True, "loaded": "550.90.07"},
        {"cards": (CARD, RTX_3060)},
        {"cards": (CARD.replace("2684", "ffff"),)},
    ],
)
def test_accepted(site: Site, values: dict[str, Any]) -> None:
    assert not list(refusals(site, replace(BARE, **values), image_is_there=False))


def test_what_a_deploy_leaves_is_accepted(site: Site) -> None:
    full = replace(deployed(site), free_disk=5 * GIB)
    assert not list(refusals(site, full, image_is_there=True))


def test_a_site_without_a_gpu_looks_for_none(defaults: dict[str, Any]) -> None:
    site = load(defaults, {"gpu": "none", "services": {"dcgm_exporter": {"enabled": False}}})
    machine = replace(BARE, cards=(), kernel="6.18.1", secure_boot=True)
    assert not list(refusals(site, machine, image_is_there=False))


def test_a_site_may_lift_the_kernel_limit_knowingly(defaults: dict[str, Any]) -> None:
    site = load(defaults, {"nvidia": {"kernel_limit": None}})
    assert not list(refusals(site, replace(BARE, kernel="6.18.1"), image_is_there=False))


def test_every_obstacle_is_named_at_once(site: Site) -> None:
    machine = replace(BARE, cards=(), free_disk=GIB, kernel="6.18.1")
    assert len(list(refusals(site, machine, image_is_there=False))) == 3


@pytest.mark.parametrize(
    ("tag", "cuda", "driver"),
    [("v0.9.0", "12.8", "570.26"), ("v0.11.2", "12.9", "575.51.03"), ("v0.33.0", "13.0", "580.65")],
)
def test_an_image_too_new_for_the_driver(
    defaults: dict[str, Any], tag: str, cuda: str, driver: str
) -> None:
    image = f"vllm/vllm-openai:{tag}"
    with pytest.raises(SiteError) as caught:
        load(defaults, {"services": {"saiga": {"image": image}}})
    message = str(caught.value)
    assert message.startswith(
        f"services.saiga.image: {image} is made for CUDA {cuda}, which needs driver {driver}"
    )
    assert message.endswith("whose newest image is vllm/vllm-openai:v0.8.5.post1")


@pytest.mark.parametrize(
    ("image", "cuda"),
    [
        ("vllm/vllm-openai:v0.8.5.post1", "12.4"),
        ("mirror.example:5000/vllm-openai:v0.11.0@sha256:" + "0" * 64, "12.8"),
        ("vllm/vllm-openai:v0.19.1", "12.9"),
        ("vllm/vllm-openai:v0.20.0", "13.0"),
        ("vllm/vllm-openai:v0.22.0-cu129-ubuntu2404", "12.9"),
        ("vllm/vllm-openai:v0.12.0-cu130", "13.0"),
        ("vllm/vllm-openai@sha256:" + "0" * 64, ""),
        ("registry.example/vllm-cu126:0.11.0", ""),
    ],
)
def test_the_cuda_of_an_image(image: str, cuda: str) -> None:
    assert cuda_of_image(image) == cuda


def test_an_image_of_unknown_cuda_is_named_and_not_refused(defaults: dict[str, Any]) -> None:
    for image in ("registry.example/vllm-cu126:0.11.0", f"vllm/vllm-openai@sha256:{'0' * 64}"):
        site = load(defaults, {"services": {"saiga": {"image": image}}})
        assert not list(refusals(site, BARE, image_is_there=False))
        assert list(remarks(site, BARE)) == [
            f"services.saiga.image: nothing is known of the CUDA in {image}; the driver here runs"
            " images up to CUDA 12.6"
        ]


def test_nothing_is_remarked_of_a_host_that_fits(site: Site) -> None:
    assert not list(remarks(site, BARE))
    assert not list(remarks(site, deployed(site)))


def test_the_engine_of_the_distribution_is_judged(defaults: dict[str, Any]) -> None:
    site = load(defaults, {"docker": {"source": "distribution"}})

    def said(version: str) -> tuple[list[str], list[str]]:
        machine = replace(BARE, packages={"docker.io": Package(version, held=True)})
        refused = [*refusals(site, machine, image_is_there=False)]
        return refused, [*remarks(site, machine)] if not refused else []

    assert said("28.2.2-0ubuntu1~24.04.1") == ([], [])
    assert said("20.10.24+dfsg1-1+deb12u1") == (
        [],
        [
            "docker.source: Docker 20.10.24 is older than 24: --gpus is a hook behind the engine's"
            " back, and there is no CDI; containers of this toolkit get the card by the runtime"
            " nvidia, which is the same on it"
        ],
    )
    old = "Docker 19.3.8 is older than 20.10, the oldest on which this toolkit runs"
    assert said("19.03.8-0ubuntu1") == ([f"docker.source: {old}; upgrade docker.io"], [])


def test_machine_default_is_refused_in_words(site: Site) -> None:
    assert "an unknown system" in next(refusals(site, Machine(), image_is_there=False))
