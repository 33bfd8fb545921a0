from pathlib import Path

from lab import mounts

TABLE = """\
/dev/sda / ext4 rw 0 0
tmpfs /var/lib/lab tmpfs rw 0 0
tmpfs /var/lib/lab/a\\040b tmpfs rw 0 0
tmpfs /var/lib/laboratory tmpfs rw 0 0
"""


def test_below_decodes_names_and_takes_no_neighbours() -> None:
    assert mounts.below(Path("/var/lib/lab"), TABLE) == [
        Path("/var/lib/lab"),
        Path("/var/lib/lab/a b"),
    ]
