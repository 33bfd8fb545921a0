"""How a host is reached outside a run of pyinfra."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: pyinfra replaces Python's threads and sockets when it is imported.
COMMAND = """
import json, sys
from pathlib import Path
from stack.pyinfra.inventory import targets
print(json.dumps(next(targets("course", Path(sys.argv[1]))).command("id -u; true")))
"""


def command(folder: Path, data: dict[str, Any]) -> list[str]:
    """The command line that asks a host whose site says ``data``."""
    (folder / "group_data").mkdir()
    (folder / "group_data/all.py").symlink_to(ROOT / "group_data/all.py")
    (folder / "inventory.py").write_text(f"course = [('gpu1', {data!r})]\n")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    words: list[str] = json.loads(done.stdout)
    return words


def test_root_at_a_host_seen_for_the_first_time(tmp_path: Path) -> None:
    words = command(tmp_path, {"ssh_user": "root", "ssh_port": 2222})
    assert (words[0], words[-2:]) == ("ssh", ["gpu1", "sh -c 'id -u; true'"])
    assert {"User=root", "Port=2222", "StrictHostKeyChecking=accept-new"} <= set(words)


def test_a_user_with_sudo_and_files_of_ones_own(tmp_path: Path) -> None:
    data = {
        "ssh_user": "anna",
        "_sudo": True,
        "ssh_hostname": "192.0.2.1",
        "ssh_config_file": "/srv/ssh_config",
        "ssh_strict_host_key_checking": "yes",
    }
    words = command(tmp_path, data)
    assert words[:3] == ["ssh", "-F", "/srv/ssh_config"]
    assert words[-2:] == ["192.0.2.1", "sudo -n sh -c 'id -u; true'"]
    assert "StrictHostKeyChecking=yes" in words
