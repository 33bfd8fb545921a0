"""Someone who has only the README brings up a site of their own, in which everything is different.

The README's commands are typed as they stand there, in a checkout of their own, to the lab's second
host. The clone is of this checkout and has its environment, as the lab has no way to an index.
"""

import os
import pprint
import pty
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.settings import HOSTS
from stack.merging import merge
from tests.lab.conftest import ROOT, Lab
from tests.lab.deploys import lab_command

ADDRESS = HOSTS["lab2"].address
LAB = runpy.run_path(str(ROOT / "group_data/lab.py"))
DEFAULTS = runpy.run_path(str(ROOT / "group_data/all.py"))
COLLECTIONS = {
    "BD_curs_data": "course_lectures",
    "BD_chat_question": "course_questions",
    "BD_organization_question": "course_office",
}
SETTINGS = {
    "max_connections": "60",
    "shared_buffers": "192MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "96MB",
    "wal_buffers": "8MB",
    "min_wal_size": "512MB",
    "max_wal_size": "2GB",
    "effective_cache_size": "512MB",
}

pytestmark = pytest.mark.soak


def steps() -> list[str]:
    """The commands of the README's five steps, in order."""
    chapter = (ROOT / "README.md").read_text().partition("## Your own host")[2]
    return re.findall(r"^       (.*)", chapter.partition("\n## ")[0], re.M)


def different() -> dict[str, Any]:
    """Every port, subnet, address, name and database setting other than in the seed."""
    services = {
        name: {
            "container": f"course-{name.replace('_', '-')}",
            "ports": {
                port: {
                    "inside": values["inside"] + 20000,
                    "published": 30000 + 10 * number + index,
                }
                for index, (port, values) in enumerate(service["ports"].items())
            },
            "aliases": {network: [f"alias-{name}"] for network in service["addresses"]},
        }
        for number, (name, service) in enumerate(DEFAULTS["services"].items())
    }
    services["webbot2"]["ports"]["http"]["bind"] = ADDRESS
    return {
        "networks": {
            "mlopsnew": {"name": "models", "subnet": "10.181.0.0/24"},
            "agent_default": {"name": "agents", "subnet": "10.182.0.0/20"},
        },
        "services": services,
        "volumes": {name: f"course_{name}" for name in DEFAULTS["volumes"]},
        "saiga": {"served_name": "course"},
        "qdrant": {"collections": [*COLLECTIONS.values()]},
        "knowledge": "files/course",
        "postgres": {"database": "course_db", "settings": SETTINGS},
        "prometheus": {"scrape_interval": 4, "retention_time": "3d", "retention_size": "2GB"},
    }


def written_by_the_operator() -> str:
    """What goes into the site's file: everything different, and the lab's images and host key."""
    names = {"gpu", "docker", "python_image", "services", "saiga", "embedder", "qdrant"}
    names |= {"prometheus", "ssh_key", "ssh_known_hosts_file"}
    site = merge({name: LAB[name] for name in names}, different())
    return "".join(f"{name} = {pprint.pformat(value)}\n" for name, value in site.items())


class Terminal:
    """A checkout of one's own, and a terminal in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def type(self, line: str) -> str:
        """Type a command and say yes to whatever it asks; AssertionError when it fails."""
        near, far = pty.openpty()
        os.write(near, b"\n" * 3)
        done = subprocess.run(
            ["sh", "-ec", line],
            cwd=self.folder,
            stdin=far,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
        )
        os.close(near)
        os.close(far)
        assert done.returncode == 0, f"{line}\n{done.stdout[-6000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def terminal(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    lab.deploy()
    lab_command("up", "lab2")
    yield Terminal(tmp_path_factory.mktemp("operator"))


def test_the_readme_brings_up_a_site_of_ones_own(terminal: Terminal) -> None:
    for line in steps():
        typed = line.replace("gpu1.example.org", ADDRESS)
        match line.split()[:2]:
            case ["git", _]:
                terminal.type(typed.replace("THIS-REPOSITORY", str(ROOT)))
            case ["cd", folder]:
                terminal.folder /= folder
            case ["scripts/bootstrap"]:
                (terminal.folder / ".venv").symlink_to(ROOT / ".venv")
            case ["bin/stack", "new-site"]:
                terminal.type(typed)
                edit_the_site(terminal.folder)
            case _:
                print(terminal.type(typed))
    assert "nothing to change" in terminal.type("bin/stack drift course")


def edit_the_site(checkout: Path) -> None:
    with (checkout / "group_data/course.py").open("a") as file:
        file.write(written_by_the_operator())
    for name, other in COLLECTIONS.items():
        target = checkout / f"files/course/{other}.yaml"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(checkout / f"files/knowledge/{name}.yaml", target)


def test_both_sites_deploy_in_one_run(lab: Lab, terminal: Terminal) -> None:
    before = lab.lives()
    lab.run("docker rm --force webbot2 >/dev/null")
    terminal.type(f"ssh {' '.join(options())} {ADDRESS} docker rm --force course-webbot2")
    terminal.type(".venv/bin/pyinfra inventory.py deploy.py --limit lab --limit course -y")
    assert lab.lives().keys() == before.keys()
    for site in ("lab", "course"):
        assert "nothing to change" in terminal.type(f"bin/stack drift {site}")
        assert "course-webbot2" in terminal.type("bin/stack status course")


def options() -> list[str]:
    key, hosts = LAB["ssh_key"], LAB["ssh_known_hosts_file"]
    return [f"-o IdentityFile={key}", f"-o UserKnownHostsFile={hosts}", "-o BatchMode=yes"]
