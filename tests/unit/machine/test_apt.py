"""Repositories, package sets and files: what is left to do, as text."""

import subprocess
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from stack.gpu.packages import DISTRIBUTION_DOCKER, DISTRIBUTIONS
from stack.machine.apt import (
    AptSource,
    PackageSet,
    contrib_tasks,
    missing_tasks,
    package_tasks,
    repository_tasks,
)
from stack.machine.base import UNATTENDED, clock_tasks, journal_tasks, sysctl_tasks, tool_tasks
from stack.machine.files import HostFile, file_tasks
from stack.machine.observe import File, Machine, Package, Unit
from stack.machine.repositories import repositories
from stack.pyinfra.facts import AptSources
from stack.site import Site
from tests.unit.machine.hosts import BARE, on_host

KEY = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
ENGINE = PackageSet("docker", {"docker-ce": "5:28.5.2-1"})


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_vendors_paths(site: Site, name: str) -> None:
    distribution = DISTRIBUTIONS[name]
    found = repositories(site, distribution)
    cuda = f"https://developer.download.nvidia.com/compute/cuda/repos/{name}/x86_64/"
    assert found.nvidia_cuda.source.content == (
        f"deb [arch=amd64 signed-by=/etc/apt/keyrings/saiga-stack-nvidia-cuda.asc] {cuda} /\n"
    )
    assert found.nvidia_cuda.key_url == f"{cuda}3bf863cc.pub"
    assert found.nvidia_container_toolkit.source.content.endswith(
        " https://nvidia.github.io/libnvidia-container/stable/deb/amd64 /\n"
    )
    assert found.docker.source.content.endswith(
        f" https://download.docker.com/linux/{distribution.family} {distribution.codename} stable\n"
    )


def test_a_repository(site: Site) -> None:
    repository = repositories(site, DISTRIBUTIONS["debian12"]).docker
    key, source = repository_tasks(BARE, repository)
    assert str(key) == (
        "file /etc/apt/keyrings/saiga-stack-docker.asc: take the key (not found)\n"
        f"    key: - -> {KEY}"
    )
    assert source.subject == "file /etc/apt/sources.list.d/saiga-stack-docker.list"
    there = replace(BARE, keys={repository.key: (KEY,)}, files=on_host(repository.source))
    assert not list(repository_tasks(there, repository))
    for wrong in (("0" * 40,), (KEY, "0" * 40), ()):
        (task,) = repository_tasks(replace(there, keys={repository.key: wrong}), repository)
        assert task.action == "take the key"


@pytest.mark.parametrize(("served", "taken"), [("right", True), ("wrong", False)])
def test_a_key_is_taken_only_with_its_fingerprint(
    site: Site, tmp_path: Any, served: str, taken: bool
) -> None:
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    make = ["--passphrase", "", "--quick-generate-key", "a@example", "ed25519", "sign", "never"]
    subprocess.run([*gpg, *make], check=True, capture_output=True)
    exported = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True)
    listed = subprocess.run(
        [*gpg, "--with-colons", "--list-keys"], check=True, capture_output=True, text=True
    ).stdout
    fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    (tmp_path / "key.asc").write_bytes(exported.stdout)
    repository = replace(
        repositories(site, DISTRIBUTIONS["debian12"]).docker,
        name="test",
        key_url=f"file://{tmp_path}/key.asc",
        fingerprint=fingerprint if served == "right" else "0" * 40,
    )
    command = next(repository_tasks(BARE, repository)).commands[0]
    command = command.replace(repository.key, f"{tmp_path}/keyrings/key.asc")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode == 0) is taken
    assert (tmp_path / "keyrings/key.asc").exists() is taken
    if not taken:
        assert done.stderr == (
            f"apt.docker.key: file://{tmp_path}/key.asc holds the key {fingerprint},"
            f" not {'0' * 40}\n"
        )


def test_packages_of_another_version() -> None:
    machine = replace(BARE, packages={"docker-ce": Package("5:29.2.0-1", held=True)})
    (task,) = package_tasks(machine, ENGINE)
    assert str(task) == (
        "packages docker: install and hold (differs)\n    docker-ce: 5:29.2.0-1 -> 5:28.5.2-1"
    )
    assert "docker-ce=5:28.5.2-1" in task.commands[1]


def test_packages_of_any_version_are_only_held() -> None:
    names = DISTRIBUTION_DOCKER.packages
    machine = replace(BARE, packages={name: Package("1", held=False) for name in names})
    (task,) = package_tasks(machine, DISTRIBUTION_DOCKER)
    assert str(task) == "packages docker: hold (not held)"
    held = replace(BARE, packages={name: Package("2", held=True) for name in names})
    assert not list(package_tasks(held, DISTRIBUTION_DOCKER))


def test_flat_repositories_have_no_component() -> None:
    """The vendors of NVIDIA have such ones."""
    entry = "deb [signed-by=/k.asc] http://x.example/debian12/x86_64/ /"
    output = ["== /||/etc/apt/sources.list.d/cuda.list", entry, "== bookworm|main|/a.list", "deb x"]
    assert AptSources().process(output) == (
        AptSource("/", "", "/etc/apt/sources.list.d/cuda.list", f"{entry}\n"),
        AptSource("bookworm", "main", "/a.list", "deb x\n"),
    )


LINE = "deb [signed-by=/etc/apt/keyrings/mirror.asc] http://mirror.example/debian bookworm main\n"
STANZA = """\
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


@pytest.mark.parametrize(
    ("file", "entry", "written", "expected"),
    [
        ("debian.list", LINE, "contrib.list", LINE.replace("main", "contrib")),
        (
            "sources.list",
            "deb http://x bookworm main contrib-x\n",
            "contrib.list",
            "deb http://x bookworm contrib\n",
        ),
        ("debian.sources", STANZA, "contrib.sources", STANZA.replace("main", "contrib")),
    ],
)
def test_contrib_comes_from_where_main_comes_from(
    file: str, entry: str, written: str, expected: str
) -> None:
    path = f"/etc/apt/sources.list.d/{file}"
    main = AptSource("bookworm", "main", path, entry)
    (task,) = contrib_tasks(BARE, [main])
    ours = f"/etc/apt/sources.list.d/saiga-stack-{written}"
    assert task.subject == f"file {ours}"
    assert expected.splitlines()[0] in task.commands[0]
    assert "contrib" in task.commands[0]
    written_there = replace(BARE, files=on_host(HostFile(ours, expected)))
    own = replace(main, component="contrib", file=ours)
    assert not list(contrib_tasks(written_there, [main, own]))
    assert not list(contrib_tasks(BARE, [main, replace(main, component="contrib")]))
    assert not list(contrib_tasks(replace(BARE, system="ubuntu2204"), [main]))


def test_a_file_with_another_mode_or_content() -> None:
    file = HostFile("/etc/x.conf", "a 'quoted' line\n", "reload it")
    present = on_host(file)
    assert not list(file_tasks(replace(BARE, files=present), [file]))
    (task,) = file_tasks(replace(BARE, files={file.path: File(file.sha256, "0666")}), [file])
    assert str(task) == "file /etc/x.conf: write (differs)\n    mode: 0666 -> 0644"
    assert task.commands[0].endswith("&& reload it")


def test_base_on_a_bare_host(site: Site) -> None:
    plans = (
        partial(file_tasks, files=(UNATTENDED,)),
        partial(tool_tasks, site=site, headers="linux-headers-amd64"),
        clock_tasks,
        partial(journal_tasks, site=site),
        partial(sysctl_tasks, site=site),
    )
    machine = replace(BARE, sysctls={"vm.max_map_count": "65530", "vm.swappiness": "60"})
    assert [str(task) for plan in plans for task in plan(machine)] == [
        "file /etc/apt/apt.conf.d/60saiga-stack: write (not found)",
        "packages ca-certificates curl gnupg linux-headers-6.1.0-28-amd64 linux-headers-amd64:"
        " install (not found)",
        "service systemd-timesyncd: install and start (nothing sets the clock)",
        "file /etc/systemd/journald.conf.d/saiga-stack.conf: write (not found)",
        "file /etc/sysctl.d/60-saiga-stack.conf: write (not found)",
        "sysctl: set (differs)\n    vm.max_map_count: 65530 -> 262144\n    vm.swappiness: 60 -> 10",
    ]


@pytest.mark.parametrize("name", ["systemd-timesyncd", "chrony", "ntpsec"])
def test_one_service_that_sets_the_clock_is_enough(name: str) -> None:
    unit = Unit(exists=True, active=True, enabled=True)
    assert not list(clock_tasks(Machine(units={name: unit})))


def test_a_clock_service_that_stands_still_is_started() -> None:
    stopped = Unit(exists=True, active=False, enabled=True)
    (task,) = clock_tasks(Machine(units={"chrony": stopped}))
    assert str(task) == "service chrony: start (not running)"
    other = Unit(exists=True, active=True, enabled=True)
    assert not list(clock_tasks(Machine(units={"systemd-timesyncd": stopped, "chrony": other})))
    skipped = replace(stopped, skipped=True)
    assert not list(clock_tasks(Machine(units={"systemd-timesyncd": skipped})))


@pytest.mark.parametrize(
    "package",
    [
        "nvidia-smi",
        "libnvidia-compute-560",
        "libcuda1",
        "firmware-nvidia-gsp",
        "docker-ce",
        "docker.io",
        "containerd.io",
        "linux-image-amd64",
        "linux-headers-6.1.0-28-amd64",
    ],
)
def test_unattended_upgrades_leave_our_packages_alone(package: str) -> None:
    patterns = UNATTENDED.content.split('"')[1::2]
    assert any(package.startswith(pattern) for pattern in patterns)


def test_missing_packages_only() -> None:
    machine = replace(BARE, packages={"curl": Package("7", held=False)})
    (task,) = missing_tasks(machine, ("curl", "gnupg"))
    assert task.subject == "packages gnupg"
