"""Someone who has only the README brings up a site of their own, in which everything is different.

The README's commands are typed as they stand there, in a checkout of their own, for the lab's
second host, which is bare and lets a user with sudo in. Then the host is theirs: reports, recipes,
a rollback, its end.
"""

import os
import pprint
import pty
import re
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from lab.settings import HOSTS, STATE
from stack.merging import merge, merge_site
from stack.schema import sections
from tests.lab.conftest import ROOT, Lab
from tests.lab.deploys import lab_command

ADDRESS = HOSTS["lab2"].address
OPERATOR = "deployer"
DEFAULTS = runpy.run_path(str(ROOT / "group_data/all.py"))
# What the lab dictates: where things come from, what its images and its machine can do.
LAB = {
    name: value
    for name, value in runpy.run_path(str(ROOT / "group_data/lab.py")).items()
    if name in DEFAULTS and not name.startswith("_")
}
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
# Kinds of options, as the schema names them, that have no value in common with the seed's.
DIFFERENT = re.compile(r"(list of )?(port|IPv4 address|IPv4 network|name)( or None)?")


def steps() -> list[str]:
    """The commands of the README's five steps, in order."""
    chapter = (ROOT / "README.md").read_text().partition("## Your own host")[2]
    return re.findall(r"^       (.*)", chapter.partition("\n## ")[0], re.M)


def recipes() -> tuple[str, str]:
    """What docs/ci.md runs: GitHub's step about drift, and GitLab's script."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), re.S)
    github, gitlab = map(yaml.safe_load, blocks)
    named = {step["name"]: step for step in github["jobs"]["check"]["steps"] if "name" in step}
    script = gitlab["site"]["script"]
    assert named["Verify"]["run"] in script, "the recipes verify alike"
    return named["Drift"]["run"], "\n".join(script)


def different() -> dict[str, Any]:
    """Every port, subnet, address, name and database setting other than in the seed."""
    services = {
        name: {
            "container": f"course-{name.replace('_', '-')}",
            "ports": {
                port: {
                    "inside": values["inside"] + 20000,
                    "published": 30000 + 10 * number + index,
                    "bind": "127.0.0.2",
                }
                for index, (port, values) in enumerate(service["ports"].items())
            },
            "aliases": {network: [f"alias-{name}"] for network in service["addresses"]},
        }
        for number, (name, service) in enumerate(DEFAULTS["services"].items())
    }
    services["webbot2"]["ports"]["http"]["bind"] = ADDRESS
    return {
        "docker": {"address_pool": "10.183.0.0/16"},
        "networks": {
            "mlopsnew": {"name": "models", "subnet": "10.181.0.0/24"},
            "agent_default": {"name": "agents", "subnet": "10.182.0.0/20"},
        },
        "services": services,
        "volumes": {name: f"course_{name}" for name in DEFAULTS["volumes"]},
        "saiga": {"served_name": "course"},
        "qdrant": {"collections": [*COLLECTIONS.values()]},
        "postgres": {
            "database": "course_db",
            "extensions": ["pg_trgm"],
            "settings": SETTINGS,
        },
        "prometheus": {"scrape_interval": 4, "retention_time": "3d", "retention_size": "2GB"},
    }


def written_by_the_operator(folder: Path) -> str:
    """What goes into the site's file: who logs in, where the knowledge is, everything different."""
    access = {
        "ssh_user": OPERATOR,
        "_sudo": True,
        "ssh_config_file": str(folder / "ssh_config"),
        "ssh_known_hosts_file": str(folder / "known_hosts"),
        "knowledge": str(folder / "knowledge"),
    }
    site = merge(LAB, different(), access)
    return "".join(f"{name} = {pprint.pformat(value)}\n" for name, value in site.items())


def value_at(path: str, data: Mapping[str, Any]) -> Any:
    for key in path.split("."):
        data = data[key]
    return data


def test_nothing_that_can_differ_is_the_seeds() -> None:
    site = merge_site(DEFAULTS, LAB, different())
    compared = 0
    for section in sections(ROOT / "group_data/all.py"):
        for option in section.options:
            named = option.path in ("saiga.served_name", "qdrant.collections")
            if DIFFERENT.fullmatch(option.kind) or "postgres.settings." in option.path or named:
                compared += 1
                assert value_at(option.path, site) != option.default, option.path
    assert compared > 80


class Terminal:
    """A checkout of one's own, and a terminal in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder

    def type(self, line: str, shell: tuple[str, ...] = ("sh", "-ec"), status: int = 0) -> str:
        """Type a command and say yes to whatever it asks; AssertionError when it ends otherwise."""
        near, far = pty.openpty()
        os.write(near, b"\n" * 3)
        started = time.monotonic()
        done = subprocess.run(
            [*shell, line],
            cwd=self.folder,
            env={**os.environ, "GITHUB_STEP_SUMMARY": str(self.home / "summary.md")},
            stdin=far,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1500,
        )
        os.close(near)
        os.close(far)
        print(f"$ {line} ({time.monotonic() - started:.0f} s)")
        assert done.returncode == status, f"{line}: {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout


def outside() -> int:
    """The process that started these tests in the lab's network, and is not in it itself."""
    process, network = os.getppid(), os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{process}/ns/net") == network:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process


def on_the_host(command: str) -> str:
    """What root sees on the second host."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", "ssh", "--host", "lab2", "--", command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    lab_command("up", "lab2", "--fresh")
    on_the_host(
        f"apt-get -qq update && apt-get -qq install sudo && useradd -m {OPERATOR} &&"
        f" echo '{OPERATOR} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{OPERATOR} &&"
        f" cp -a .ssh /home/{OPERATOR}/ && chown -R {OPERATOR}: /home/{OPERATOR}/.ssh"
    )
    yield Terminal(tmp_path_factory.mktemp("operator"))
    lab_command("power-off", "lab2")


def test_the_readme_brings_up_a_site_of_ones_own(terminal: Terminal) -> None:
    for line in steps():
        typed = line.replace("gpu1.example.org", ADDRESS).replace("THIS-REPOSITORY", str(ROOT))
        match line.split()[:2]:
            case ["cd", folder]:
                terminal.folder /= folder
            case ["scripts/bootstrap"]:
                # Someone's own machine reaches a package index; the lab's network has none.
                terminal.type(f"nsenter --target {outside()} --net {typed}")
            case ["bin/stack", "new-site"]:
                terminal.type(typed)
                edit_the_site(terminal)
            case _:
                terminal.type(typed)
    assert "nothing to change" in terminal.type("bin/stack drift course")
    changed = terminal.type("git status --porcelain")
    assert changed.splitlines() == [" M inventory.py", "?? group_data/course.py"]


def edit_the_site(terminal: Terminal) -> None:
    key = f"Host {ADDRESS}\n    IdentityFile {STATE}/id_ed25519\n    IdentitiesOnly yes\n"
    (terminal.home / "ssh_config").write_text(key)
    with (terminal.folder / "group_data/course.py").open("a") as file:
        file.write(written_by_the_operator(terminal.home))
    for name, other in COLLECTIONS.items():
        target = terminal.home / f"knowledge/{other}.yaml"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(terminal.folder / f"files/knowledge/{name}.yaml", target)


def test_a_user_with_sudo_is_enough(terminal: Terminal) -> None:
    shown = terminal.type("bin/stack secret show grafana_admin --site course").strip()
    assert shown == on_the_host("cat /etc/saiga-stack/secrets/grafana_admin")
    assert "Running on http" in terminal.type("bin/stack logs course webbot2")
    origins = on_the_host('grep -o \'"from": "[^"]*"\' /var/log/saiga-stack/audit.jsonl | sort -u')
    assert re.fullmatch(r'"from": "\S+@\S+ 10\.77\.0\.1"', origins)
    table = terminal.type("bin/stack status course")
    assert "NVIDIA GeForce RTX 4090" in table
    assert "secret grafana_admin" not in table


def test_the_recipes_for_ci_run(terminal: Terminal) -> None:
    drift, gitlab = recipes()
    bash = ("bash", "-ec")
    terminal.type(gitlab, bash)
    assert "No drift." in (terminal.folder / "drift.md").read_text()
    cases = [*ElementTree.parse(terminal.folder / "verify.xml").iter("testcase")]
    assert len(cases) > 50
    on_the_host("docker update --memory=300m --memory-swap=300m course-webbot2 >/dev/null")
    terminal.type(drift, bash, status=2)
    assert "| 300m | 512m |" in (terminal.home / "summary.md").read_text()
    terminal.type("bin/stack deploy course --yes")


def test_rollback_returns_to_the_previous_image(terminal: Terminal) -> None:
    image = "docker inspect --format '{{.Config.Image}} {{.Image}}' course-webbot2"
    before = on_the_host(image)
    with (terminal.folder / "services/webbot2/webbot2/app.py").open("a") as source:
        source.write("\n# Another version.\n")
    terminal.type("bin/stack deploy course --yes")
    after = on_the_host(image)
    terminal.type("bin/stack rollback course webbot2 --yes")
    assert on_the_host(image) == before
    assert after.split()[0] in terminal.type("bin/stack drift course", status=2)
    terminal.type("git checkout --quiet services && bin/stack drift course")


def test_both_sites_deploy_in_one_run(lab: Lab, terminal: Terminal) -> None:
    lab.deploy()
    before = lab.lives()
    lab.run("docker rm --force webbot2 >/dev/null")
    on_the_host("docker rm --force course-webbot2 >/dev/null")
    terminal.type(".venv/bin/pyinfra inventory.py deploy.py --limit lab --limit course -y")
    after = lab.lives()
    assert {name for name in before if before[name] != after[name]} == {"webbot2"}
    assert "course-webbot2" in on_the_host("docker ps --format '{{.Names}}'")
    for site in ("lab", "course"):
        assert "nothing to change" in terminal.type(f"bin/stack drift {site}")
        terminal.type(f"bin/stack verify {site}")


def test_removal_leaves_the_data_that_is_not_named(terminal: Terminal) -> None:
    named = "course_prometheus_data_new"
    volumes = set(on_the_host("docker volume ls -q").splitlines())
    terminal.type(f"bin/stack remove course --confirm course --data {named}")
    label = "--filter label=saiga-stack.managed=yes"
    assert on_the_host(f"docker ps -aq {label}; docker network ls -q {label}") == ""
    assert volumes - set(on_the_host("docker volume ls -q").splitlines()) == {named}
    assert "nothing to remove" in terminal.type("bin/stack remove course --confirm course")
