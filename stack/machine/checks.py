"""What keeps a run from beginning, and what an operator had better know before it: one sentence for
each, with the site value it depends on."""

from collections.abc import Iterator

from stack.docker.daemon import DaemonConfigError, parse
from stack.gpu.compatibility import (
    engine_mistake,
    engine_remark,
    image_remark,
    memory_of_card,
    version,
)
from stack.gpu.packages import DISTRIBUTIONS, DRIVER
from stack.machine.observe import Machine
from stack.model_memory import stated
from stack.site import Site
from stack.values import GIB, parse_size


def refusals(site: Site, machine: Machine, image_is_there: bool) -> Iterator[str]:
    """Why nothing may be installed on ``machine``. ``image_is_there`` says that Saiga's image, most
    of what a deploy downloads, is on the host already."""
    yield from _system(machine)
    yield from _room(site, machine, image_is_there)
    yield from _docker(site, machine)
    yield from _sources(machine)
    if site.gpu == "nvidia":
        yield from _card(site, machine)
        yield from _kernel(site, machine)
        yield from _secure_boot(machine)


def remarks(site: Site, machine: Machine) -> Iterator[str]:
    """What may go wrong on ``machine`` and does not have to."""
    limits = sum(parse_size(service.memory) for _, service in site.services.enabled())
    if limits > machine.memory + machine.swap:
        yield (
            f"services.*.memory: {_gib(limits)} in all is more than the host has:"
            f" {_memory(machine)}; a container may be killed"
        )
    saiga = site.services.saiga
    if site.gpu == "nvidia" and saiga.enabled and (remark := image_remark(saiga.image)):
        yield f"services.saiga.image: {remark}"
    if (engine := _engine(machine)) and (remark := engine_remark(engine)):
        yield f"docker.source: {remark}"


def _system(machine: Machine) -> Iterator[str]:
    if machine.system not in DISTRIBUTIONS or machine.architecture != "x86_64":
        known = ", ".join(distribution.title for distribution in DISTRIBUTIONS.values())
        yield (
            f"the host runs {machine.system_name or 'an unknown system'} on"
            f" {machine.architecture or 'an unknown processor'}; supported on x86_64 are {known}"
        )


def _room(site: Site, machine: Machine, image_is_there: bool) -> Iterator[str]:
    if not image_is_there and machine.free_disk < parse_size(site.base.free_disk):
        yield (
            f"base.free_disk: {site.base.free_disk} must be free for Docker's data, and the host"
            f" has {_gib(machine.free_disk)}"
        )
    for name, service in site.services.enabled():
        if parse_size(service.memory) > machine.memory:
            yield (
                f"services.{name}.memory: {service.memory} is more than the host has:"
                f" {_memory(machine)}, into which no container of ours goes"
            )


def _docker(site: Site, machine: Machine) -> Iterator[str]:
    other = {"docker": "docker.io", "distribution": "docker-ce"}[site.docker.source]
    if other in machine.packages:
        yield (
            f"docker.source: {site.docker.source} would replace the {other} that the host has;"
            f" remove {other} or let docker.source be the one it came from"
        )
    if machine.docker.endswith("/snap"):
        yield "the host has Docker as a snap, which no GPU reaches; remove it: snap remove docker"
    if (engine := _engine(machine)) and (mistake := engine_mistake(engine)):
        yield f"docker.source: {mistake}; upgrade docker.io"
    try:
        parse(machine.daemon_config)
    except DaemonConfigError as error:
        yield str(error)


def _engine(machine: Machine) -> str:
    """The version of the distribution's engine; Docker's own is pinned."""
    return ".".join(map(str, version(machine.version("docker.io"))))


def _sources(machine: Machine) -> Iterator[str]:
    for file, line in sorted(machine.sources.items()):
        yield (
            f"{file} has a repository that this toolkit adds with a pinned key ({line.strip()});"
            " remove that file"
        )


def _card(site: Site, machine: Machine) -> Iterator[str]:
    if not machine.cards:
        yield (
            "gpu: nvidia, but the host has no NVIDIA card (lspci -d 10de: shows none); look at the"
            " machine, or let gpu be none"
        )
        return
    if not site.services.saiga.enabled:
        return
    saiga = site.saiga
    needed, known = stated(saiga).needed, cards(machine)
    usable = {card: size * saiga.gpu_memory_utilization for card, size in known.items()}
    if usable and max(usable.values()) < needed:
        card = max(usable, key=lambda name: usable[name])
        yield (
            f"saiga.max_model_len: {saiga.max_model_len} tokens of {saiga.model} need"
            f" {_gib(needed)} on the card, and {card} gives {_gib(usable[card])}"
            f" ({saiga.gpu_memory_utilization:.0%} of {_gib(known[card])}); lower max_model_len,"
            " or use a larger card"
        )


def cards(machine: Machine) -> dict[str, int]:
    """Each card whose memory is known, in bytes: by its driver or, before that, by our table."""
    found = {gpu.name: gpu.memory for gpu in machine.gpus} or {
        card: memory_of_card(card) for card in machine.cards
    }
    return {card: size for card, size in found.items() if size}


def _kernel(site: Site, machine: Machine) -> Iterator[str]:
    if site.nvidia.kernel_limit is None:
        return
    limit = version(site.nvidia.kernel_limit)
    kernels = {machine.kernel: "runs"} | {
        kernel: "has installed and would boot"
        for kernel in machine.kernels
        if version(kernel) > version(machine.kernel)
    }
    for kernel, what in kernels.items():
        if version(kernel) >= limit:
            yield (
                f"nvidia.kernel_limit: the host {what} kernel {kernel}, and driver {DRIVER} does"
                f" not compile on {site.nvidia.kernel_limit} or newer; boot and keep an older one,"
                " such as linux-image-generic of Ubuntu 24.04 instead of its HWE kernel"
            )


def _secure_boot(machine: Machine) -> Iterator[str]:
    if machine.secure_boot and not machine.own_key_enrolled and not machine.loaded:
        yield (
            "Secure Boot is on, so the kernel would refuse the driver's module, which is built on"
            " the host; switch Secure Boot off in the firmware, or enrol the host's own key"
            " (update-secureboot-policy --new-key on Ubuntu, dkms generate_mok on Debian; then"
            " mokutil --import KEY and confirm it on the console at the next boot)"
        )


def _memory(machine: Machine) -> str:
    return f"{_gib(machine.memory)} and {_gib(machine.swap)} of swap"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
