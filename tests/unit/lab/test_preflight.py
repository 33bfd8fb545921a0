import platform
from pathlib import Path

import pytest

from lab import cgroups, preflight
from lab.errors import LabError
from lab.preflight import GIB


def test_names_the_memory_that_is_missing() -> None:
    with pytest.raises(LabError, match=r"^4\.0 GiB of memory are available, the lab needs 10 GiB$"):
        preflight.check_memory(f"MemTotal: 1 kB\nMemAvailable: {4 * 1024**2} kB\n")
    preflight.check_memory(f"MemAvailable:   {10 * 1024**2} kB\n")


def test_names_the_disk_space_that_is_missing() -> None:
    with pytest.raises(LabError, match=r"^1\.5 GiB .* file system of /x, the lab needs 25 GiB"):
        preflight.check_disk(Path("/x"), int(1.5 * GIB), 25 * GIB)
    preflight.check_disk(Path("/x"), 25 * GIB, 25 * GIB)


def test_an_empty_cache_needs_more_disk_than_a_filled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 15 * GIB})
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: free)
    monkeypatch.setattr(preflight, "check_memory", lambda _: None)
    cache, state = tmp_path / "cache", tmp_path / "state" / "deep"
    cache.mkdir()
    with pytest.raises(LabError, match="needs 25 GiB"):
        preflight.check_resources(cache, state)
    (cache / "base.tar").touch()
    (cache / "registry").mkdir()
    preflight.check_resources(cache, state)


@pytest.mark.parametrize(
    ("machine", "release", "message"),
    [
        ("aarch64", {"ID": "debian", "VERSION_ID": "12"}, "x86_64 machine, this one is aarch64"),
        (
            "x86_64",
            {"ID": "ubuntu", "VERSION_ID": "24.04", "PRETTY_NAME": "Ubuntu 24.04"},
            "needs Debian 12, this machine runs Ubuntu 24.04",
        ),
        ("x86_64", {"ID": "debian", "VERSION_ID": "13"}, "runs an unknown system"),
    ],
)
def test_refuses_another_machine(
    machine: str, release: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    with pytest.raises(LabError, match=message):
        preflight.check_machine()


def test_refuses_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="run by root, not by the user with id 1000"):
        preflight.check_root()


def test_refuses_control_groups_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchies", list)
    with pytest.raises(LabError, match="no control group hierarchy is mounted"):
        preflight.check_control_groups()
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [Path("/proc/none")])
    with pytest.raises(LabError, match="/proc/none is read-only"):
        preflight.check_control_groups()


def test_existing_is_the_nearest_parent(tmp_path: Path) -> None:
    assert preflight.existing(tmp_path / "a" / "b") == tmp_path
