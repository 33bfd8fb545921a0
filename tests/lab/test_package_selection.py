"""What apt would install on each distribution, from the lab's copies of the vendors' repositories.

Only apt's own simulation decides; nothing is installed. The repositories hold newer versions and
another branch beside the wanted one, and metapackages that ask for a least version.

Each apt runs in a chroot, Debian's base system, with sources, keys, preferences, lists and a dpkg
status of its own. Ubuntu's own apt no repository of the lab has: what its resolver chooses is not
proved here.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from lab import base
from lab.settings import APT_URL, CACHE
from stack.gpu.packages import selection
from stack.machine.apt import PackageSet

DISTRIBUTIONS = ("debian12", "ubuntu2204", "ubuntu2404")
SUITES = {
    "debian12": ("debian", "bookworm"),
    "ubuntu2204": ("ubuntu", "jammy"),
    "ubuntu2404": ("ubuntu", "noble"),
}
CONFIGURATION = """
Dir::Etc "{root}";
Dir::State "{root}";
Dir::State::status "{root}/status";
Dir::Cache "{root}";
APT::Architecture "amd64";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
"""

DEBIAN = "560.35.03-1"
UBUNTU = "560.35.03-0ubuntu1"
OF_DEBIAN = {
    "firmware-nvidia-gsp",
    "libcuda1",
    "libnvidia-cfg1",
    "libnvidia-ml1",
    "libnvidia-nvvm4",
    "libnvidia-pkcs11-openssl3",
    "libnvidia-ptxjitcompiler1",
    "nvidia-alternative",
    "nvidia-kernel-support",
    "nvidia-legacy-check",
    "nvidia-modprobe",
    "nvidia-persistenced",
    "nvidia-smi",
}
OF_UBUNTU = {
    "libnvidia-cfg1-560",
    "libnvidia-compute-560",
    "nvidia-compute-utils-560",
    "nvidia-firmware-560-560.35.03",
    "nvidia-kernel-common-560",
    "nvidia-modprobe",
    "nvidia-utils-560",
}
OPEN = {"nvidia-dkms-560-open", "nvidia-kernel-source-560-open"}
PROPRIETARY = {"nvidia-dkms-560", "nvidia-kernel-source-560"}
DRIVER = {
    ("debian12", "open"): dict.fromkeys(OF_DEBIAN | {"nvidia-kernel-open-dkms"}, DEBIAN),
    ("debian12", "proprietary"): dict.fromkeys(OF_DEBIAN | {"nvidia-kernel-dkms"}, DEBIAN),
    ("ubuntu2204", "open"): dict.fromkeys(OF_UBUNTU | OPEN, UBUNTU),
    ("ubuntu2204", "proprietary"): dict.fromkeys(OF_UBUNTU | PROPRIETARY, UBUNTU),
    ("ubuntu2404", "open"): dict.fromkeys(OF_UBUNTU | OPEN, UBUNTU),
    ("ubuntu2404", "proprietary"): dict.fromkeys(OF_UBUNTU | PROPRIETARY, UBUNTU),
}
# Debian's own, from contrib.
CONTRIB = {
    "glx-alternative-nvidia": "1.2.2",
    "nvidia-installer-cleanup": "20220217+3~deb12u1",
    "nvidia-kernel-common": "20220217+3~deb12u1",
    "nvidia-support": "20220217+3~deb12u1",
}
CUDA = {
    "cuda-compiler-12-6": "12.6.2-1",
    "cuda-cudart-12-6": "12.6.77-1",
    "cuda-libraries-12-6": "12.6.2-1",
    "cuda-nvcc-12-6": "12.6.77-1",
    "cuda-nvrtc-12-6": "12.6.77-1",
    "cuda-toolkit-12-6": "12.6.2-1",
    "cuda-tools-12-6": "12.6.2-1",
    "libcublas-12-6": "12.6.3.3-1",
    "libcufft-12-6": "11.3.0.4-1",
    "libcusolver-12-6": "11.7.1.2-1",
    "libnvjitlink-12-6": "12.6.77-1",
}
CONTAINER_TOOLKIT = dict.fromkeys(
    (
        "libnvidia-container-tools",
        "libnvidia-container1",
        "nvidia-container-toolkit",
        "nvidia-container-toolkit-base",
    ),
    "1.20.0-1",
)


@dataclass(frozen=True)
class Apt:
    """apt of one distribution, with its own sources, preferences and state.

    ``root`` is where those lie, below the ``chroot`` in which it runs.
    """

    chroot: Path
    root: Path

    @property
    def inside(self) -> str:
        """``root`` as the chroot sees it."""
        return f"/{self.root.relative_to(self.chroot)}"

    def configure(self) -> None:
        (self.root / "apt.conf").write_text(CONFIGURATION.format(root=self.inside))

    def install(self, *packages: str) -> dict[str, str]:
        """What an installation would put on the host, by name; a failure is shown."""
        return self._simulate("install", "--allow-downgrades", *packages)

    def install_set(self, wanted: PackageSet) -> dict[str, str]:
        """The same for a package set of the roles, with its preferences in place."""
        self.prefer(wanted)
        return self.install(*(f"{name}={version}" for name, version in wanted.packages.items()))

    def upgrade(self) -> dict[str, str]:
        """What a full upgrade would put on the host."""
        return self._simulate("dist-upgrade")

    def prefer(self, wanted: PackageSet) -> None:
        (self.root / "preferences.d" / wanted.name).write_text(wanted.preferences)

    def have(self, packages: Mapping[str, str]) -> None:
        """Let the host have these packages of the repositories already."""
        names = [f"{name}={version}" for name, version in packages.items()]
        shown = self.run("show", *names, program="apt-cache")
        with (self.root / "status").open("a") as status:
            status.write(
                re.sub(r"^(Package: .*)$", r"\1\nStatus: install ok installed", shown, flags=re.M)
            )

    def run(self, *words: str, program: str = "apt-get") -> str:
        done = subprocess.run(
            ["chroot", str(self.chroot), program, "--quiet=2", *words],
            env={**os.environ, "APT_CONFIG": f"{self.inside}/apt.conf", "LC_ALL": "C"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _simulate(self, *words: str) -> dict[str, str]:
        text = self.run("--simulate", *words)
        return dict(re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", text, re.M))


def lay_out(apt: Apt, distribution: str) -> None:
    """Make the apt of a distribution that has only its base system, lists downloaded."""
    root = apt.root
    for name in ("lists/partial", "archives/partial", "sources.list.d", "preferences.d", "keys"):
        (root / name).mkdir(parents=True)
    family, suite = SUITES[distribution]
    cuda = f"nvidia/cuda/repos/{distribution}/x86_64"
    container = "nvidia/libnvidia-container"
    sources = [
        (cuda, "/", f"{cuda}/3bf863cc.pub"),
        (f"{container}/stable/deb/amd64", "/", f"{container}/gpgkey"),
        (f"docker/linux/{family}", f"{suite} stable", f"docker/linux/{family}/gpg"),
    ]
    if family == "debian":
        sources.append(("", f"{suite} main contrib", "lab.asc"))
    else:
        sources.append(("ubuntu", f"{suite} main", "ubuntu/archive.asc"))
    lines = []
    for number, (path, what, key) in enumerate(sources):
        file = root / "keys" / f"{number}.asc"
        with urlopen(f"{APT_URL}/{key}") as answer:
            file.write_bytes(answer.read())
        signer = f"/{file.relative_to(apt.chroot)}"
        lines.append(f"deb [signed-by={signer}] {APT_URL}/{path} {what}\n")
    (root / "sources.list.d/lab.list").write_text("".join(lines))
    (root / "status").write_text(base.dpkg_status(CACHE) + "\n" if family == "debian" else "")


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chroot with one apt of each distribution, to be copied."""
    chroot = tmp_path_factory.mktemp("chroot")
    base.unpack(CACHE, chroot)
    for distribution in DISTRIBUTIONS:
        apt = Apt(chroot, chroot / "laid-out" / distribution)
        lay_out(apt, distribution)
        apt.configure()
        apt.run("update")
    return chroot


@pytest.fixture
def apt_of(laid_out: Path) -> Iterator[Callable[[str], Apt]]:
    """The apt of a distribution for one test."""

    def copy(distribution: str) -> Apt:
        apt = Apt(laid_out, laid_out / "copies" / distribution)
        shutil.copytree(laid_out / "laid-out" / distribution, apt.root)
        for source in apt.root.glob("sources.list.d/*"):
            source.write_text(source.read_text().replace("/laid-out/", "/copies/"))
        apt.configure()
        return apt

    yield copy
    shutil.rmtree(laid_out / "copies", ignore_errors=True)


def of_nvidia(packages: Mapping[str, str]) -> dict[str, str]:
    return {
        name: version
        for name, version in packages.items()
        if re.search("nvidia|cuda", name) and name not in CONTRIB
    }


@pytest.mark.parametrize(("distribution", "module"), DRIVER)
def test_the_driver_is_560_35_03_to_the_last_package(
    apt_of: Callable[[str], Apt], distribution: str, module: str
) -> None:
    wanted = selection(distribution, kernel_module=module).driver  # type: ignore[arg-type]
    installed = apt_of(distribution).install_set(wanted)
    assert of_nvidia(installed) == DRIVER[distribution, module]
    assert "dkms" in installed
    if distribution == "debian12":
        assert installed.items() >= CONTRIB.items()


@pytest.mark.parametrize(("distribution", "module"), DRIVER)
def test_a_desktop_gets_the_same_version_throughout(
    apt_of: Callable[[str], Apt], distribution: str, module: str
) -> None:
    wanted = selection(distribution, module, components="desktop").driver  # type: ignore[arg-type]
    installed = of_nvidia(apt_of(distribution).install_set(wanted))
    assert set(installed) > set(DRIVER[distribution, module])
    assert set(installed.values()) == {DEBIAN if distribution == "debian12" else UBUNTU}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_cuda_is_12_6_2_with_its_own_components_and_no_driver(
    apt_of: Callable[[str], Apt], distribution: str
) -> None:
    installed = apt_of(distribution).install_set(selection(distribution).cuda_toolkit)
    assert installed.items() >= CUDA.items()
    assert not [name for name in installed if "nvidia" in name]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_container_toolkit_is_four_packages_of_one_version(
    apt_of: Callable[[str], Apt], distribution: str
) -> None:
    installed = apt_of(distribution).install_set(selection(distribution).container_toolkit)
    assert of_nvidia(installed) == CONTAINER_TOOLKIT


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_docker_comes_from_docker_at_the_pinned_version(
    apt_of: Callable[[str], Apt], distribution: str
) -> None:
    installed = apt_of(distribution).install_set(selection(distribution).docker)
    suffix = {
        "debian12": "debian.12~bookworm",
        "ubuntu2204": "ubuntu.22.04~jammy",
        "ubuntu2404": "ubuntu.24.04~noble",
    }[distribution]
    engine = f"5:28.5.2-1~{suffix}"
    assert (installed["docker-ce"], installed["docker-ce-cli"]) == (engine, engine)
    assert installed["containerd.io"] == f"1.7.29-1~{suffix}"
    assert installed["docker-buildx-plugin"] == f"0.29.1-1~{suffix}"
    assert "docker.io" not in installed


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_metapackages_alone_would_bring_another_driver(
    apt_of: Callable[[str], Apt], distribution: str
) -> None:
    """What the selection protects from is really there to be taken."""
    apt = apt_of(distribution)
    newest = "565.57.01-1" if distribution == "debian12" else "565.57.01-0ubuntu1"
    smi = {"debian12": "nvidia-smi"}.get(distribution, "nvidia-utils-565")
    assert apt.install("nvidia-open")[smi] == newest
    assert apt.install("cuda-toolkit-12-6=12.6.2-1")["cuda-nvcc-12-6"] == "12.6.85-1"
    if distribution != "debian12":
        assert apt.install("nvidia-utils-560")["nvidia-utils-560"] == "560.35.05-0ubuntu1"


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_full_upgrade_leaves_everything_where_it_is(
    apt_of: Callable[[str], Apt], distribution: str
) -> None:
    apt = apt_of(distribution)
    chosen = selection(distribution)
    sets = (chosen.driver, chosen.cuda_toolkit, chosen.container_toolkit, chosen.docker)
    installed: dict[str, str] = {}
    for each in sets:
        installed |= apt.install_set(each)
    apt.have(installed)
    upgraded = apt.upgrade()
    assert not of_nvidia(upgraded)
    assert not [name for name in upgraded if "docker" in name or "containerd" in name]


def test_a_newer_driver_goes_back_to_the_pinned_one(apt_of: Callable[[str], Apt]) -> None:
    apt = apt_of("debian12")
    newer = apt.install("nvidia-open", "nvidia-persistenced")
    assert newer["nvidia-smi"] == "565.57.01-1"
    apt.have(newer)
    wanted = selection("debian12").driver
    assert apt.install_set(wanted).items() >= wanted.packages.items()
