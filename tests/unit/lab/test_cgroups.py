from pathlib import Path

import pytest

from lab import cgroups
from lab.errors import LabError

V1 = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0
cgroup /elsewhere/memory cgroup rw,relatime,memory 0 0
"""
V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate,memory_recursiveprot 0 0\n"


def test_v1_has_one_directory_for_each_hierarchy() -> None:
    own = "4:cpu,cpuacct:/\n3:memory:/user\n1:name=systemd:/user/session\n"
    assert cgroups.memberships(V1, own) == {
        Path("/sys/fs/cgroup/cpu,cpuacct"): "/",
        Path("/sys/fs/cgroup/memory"): "/user",
        Path("/sys/fs/cgroup/systemd"): "/user/session",
    }


def test_v2_has_one_hierarchy() -> None:
    assert cgroups.memberships(V2, "0::/user.slice/a:b.scope\n") == {
        Path("/sys/fs/cgroup"): "/user.slice/a:b.scope"
    }


def test_v1_and_v2_at_once() -> None:
    mounts = V1 + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    assert cgroups.memberships(mounts, "3:memory:/a\n0::/b\n") == {
        Path("/sys/fs/cgroup/memory"): "/a",
        Path("/sys/fs/cgroup/unified"): "/b",
    }


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [tmp_path])
    return tmp_path


def test_create_hands_the_cpuset_of_v1_down(hierarchy: Path) -> None:
    mkdir = Path.mkdir

    def kernel_mkdir(path: Path, **options: bool) -> None:
        mkdir(path, **options)
        for name in ("cpuset.cpus", "cpuset.mems"):
            (path / name).touch()

    (hierarchy / "cpuset.cpus").write_text("0-1\n")
    (hierarchy / "cpuset.mems").write_text("0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", kernel_mkdir)
        cgroups.create("a/b")
    assert (hierarchy / "a/b/cpuset.cpus").read_text() == "0-1\n"
    assert (hierarchy / "a/b/cpuset.mems").read_text() == "0\n"


def test_create_turns_the_controllers_of_v2_on(hierarchy: Path) -> None:
    (hierarchy / "cgroup.controllers").write_text("memory\n")
    (hierarchy / "cgroup.subtree_control").touch()
    cgroups.create("a")
    assert (hierarchy / "cgroup.subtree_control").read_text() == "+memory"


def test_pids_looks_below(hierarchy: Path) -> None:
    (hierarchy / "a/b").mkdir(parents=True)
    (hierarchy / "a/cgroup.procs").write_text("12\n")
    (hierarchy / "a/b/cgroup.procs").write_text("13\n0\n")
    assert cgroups.pids("a") == {12, 13}
    assert cgroups.pids("missing") == set()


def test_kill_names_what_does_not_end(hierarchy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups.os, "kill", lambda pid, signal: None)
    (hierarchy / "a").mkdir()
    (hierarchy / "a/cgroup.procs").write_text("12\n")
    with pytest.raises(LabError, match="processes 12 of a do not end after SIGKILL"):
        cgroups.kill("a", seconds=0)


def test_kill_thaws_what_is_frozen(hierarchy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: hierarchy / "a/b" / name for name in ("freezer.state", "cgroup.freeze")}
    files["freezer.state"].parent.mkdir(parents=True)
    files["freezer.state"].write_text("FROZEN\n")
    files["cgroup.freeze"].write_text("1\n")
    processes = hierarchy / "a/b/cgroup.procs"
    processes.write_text("12\n")

    def end_unless_frozen(pid: int, signal: int) -> None:
        if (files["freezer.state"].read_text(), files["cgroup.freeze"].read_text()) == (
            "THAWED",
            "0",
        ):
            processes.write_text("")

    monkeypatch.setattr(cgroups.os, "kill", end_unless_frozen)
    cgroups.kill("a", seconds=0.2)


def test_remove_goes_from_the_leaves_up(hierarchy: Path) -> None:
    (hierarchy / "a/b/c").mkdir(parents=True)
    cgroups.remove("a")
    assert list(hierarchy.iterdir()) == []
    cgroups.remove("a")
