import fcntl
from pathlib import Path

import pytest

from lab import cgroups, lifecycle
from lab.errors import LabError


@pytest.fixture(autouse=True)
def no_cgroups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cgroups, "memberships", dict)


def test_a_second_command_waits_and_names_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as other:
        other.write("4711\n")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with (
            pytest.raises(LabError, match="busy after 0 s: end process 4711"),
            lifecycle.exclusively(lock, seconds=0.1),
        ):
            pass
    assert "busy (process 4711), waiting" in capsys.readouterr().err


def test_the_lock_is_free_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    for _ in range(2):
        with lifecycle.exclusively(lock, seconds=0):
            assert lock.read_text().strip().isdigit()
