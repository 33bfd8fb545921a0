import fcntl
from pathlib import Path

import pytest

from lab import lock
from lab.errors import LabError


def test_a_second_holder_waits_and_names_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lock"
    with path.open("w") as other:
        other.write("4711\n")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        with (
            pytest.raises(LabError, match="the moon is still busy after 0 s: end process 4711"),
            lock.held(path, "the moon", seconds=0.1),
        ):
            pass
    assert capsys.readouterr().err == "the moon is busy (process 4711), waiting for it\n"


def test_the_lock_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(2):
        with lock.held(path, "the moon", seconds=0):
            assert path.read_text().strip().isdigit()
