"""The firewall's file in nftables itself, in a network namespace of its own."""

import runpy
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stack.machine.files import HostFile
from stack.machine.firewall import rules_file, rules_tasks
from stack.machine.observe import TABLE, File, Machine
from stack.site import Site, load

ROOT = Path(__file__).resolve().parents[3]
WEBBOT2 = {"bind": "0.0.0.0"}
GRAFANA = {"bind": "192.0.2.7", "sources": ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.9"]}
SITES: dict[str, dict[str, Any]] = {
    "closed": {},
    "open": {
        "services": {
            "webbot2": {"ports": {"http": WEBBOT2}},
            "grafana": {"ports": {"http": GRAFANA}},
        },
        "firewall": {
            "open": [
                {"port": 99},
                {"port": 9100, "protocol": "udp", "sources": ["fd00::/8", "10.0.0.1"]},
            ],
            "trusted_interfaces": ["wg0", "enp1s0.20"],
        },
    },
    "other networks": {
        "networks": {"mlopsnew": {"subnet": "172.16.0.0/16"}},
        "docker": {"address_pool": "10.99.0.0/24"},
    },
}


def loaded(*files: HostFile) -> str:
    """The table in the kernel after loading the files one after the other."""
    script = "\n".join(f"nft -f - <<'END' || exit 1\n{file.content}END" for file in files)
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", f"{script}\nnft -s list table {TABLE}"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout


def site_of(name: str) -> Site:
    values = runpy.run_path(str(ROOT / "group_data/all.py"))
    return load({key: it for key, it in values.items() if not key.startswith("__")}, SITES[name])


@pytest.mark.parametrize("name", SITES)
def test_the_kernel_takes_the_rules_and_shows_what_was_meant(name: str) -> None:
    site = site_of(name)
    file = rules_file(site, [22, 2222])
    rules = loaded(file)
    machine = Machine(
        files={file.path: File(file.sha256, file.mode)},
        ssh_ports=(22, 2222),
        rules=rules,
        rules_of_file=loaded(file),
    )
    assert [*rules_tasks(machine, site, None)] == []
    (task,) = rules_tasks(replace(machine, rules_of_file=""), site, None)
    assert task.changes == ()


def test_loading_replaces_what_was_loaded_before() -> None:
    files = [rules_file(site_of(name), [22]) for name in ("open", "closed")]
    assert loaded(*files) == loaded(files[-1])
