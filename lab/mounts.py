"""What is mounted where, in this mount namespace."""

import re
from pathlib import Path

TABLE = Path("/proc/self/mounts")


def below(directory: Path, table: str | None = None) -> list[Path]:
    """The mount points at or below `directory`, oldest first, as /proc/self/mounts has them."""
    lines = (TABLE.read_text() if table is None else table).splitlines()
    points = [Path(_unescape(line.split()[1])) for line in lines]
    return [point for point in points if point.is_relative_to(directory)]


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
