"""What the lab promises about its host, deployed or bare."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lab(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command of the lab's command line."""
    return subprocess.run(
        [sys.executable, "-m", "lab", *words],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def on_host(command: str) -> str:
    done = lab("ssh", "--", command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_ssh_adds_nothing_to_a_command() -> None:
    done = lab("ssh", "--", "cat; echo err >&2; exit 7", stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "in\n", "err\n")


def test_make_ssh_passes_a_command_and_its_output_on() -> None:
    """Whatever fails, make ends with 2; what it failed with stands in its last line."""
    command = """echo "$HOME it's $((3 * 4))"; echo err >&2; exit 7"""
    done = subprocess.run(
        ["make", "-s", "ssh", f"CMD={command}"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "/root it's 12\n")
    assert done.stderr.splitlines()[-2] == "err"
    assert done.stderr.endswith("ssh] Error 7\n")
    done = subprocess.run(["make", "-s", "ssh", "CMD=exit 0"], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_exec_keeps_the_directory_the_input_and_the_exit_status() -> None:
    done = lab("exec", "--", "sh", "-c", "pwd; cat; exit 9", stdin="in\n")
    assert (done.returncode, done.stdout) == (9, f"{ROOT}\nin\n")


def test_the_host_is_a_whole_system() -> None:
    assert on_host("cat /proc/1/comm") == "systemd"
    assert on_host("hostname") == "lab"
    assert on_host("date +%Z") == "UTC"
    assert on_host("journalctl --header | grep -c '^File path: /var/log/journal/'") != "0"


def test_the_host_knows_no_source_but_the_lab() -> None:
    files = "--include='*.list' --include='*.sources'"
    sources = on_host(f"grep -rhoE 'https?://[^/ ]+' {files} /etc/apt")
    assert set(sources.splitlines()) == {"http://10.77.0.1:8081"}
    assert on_host("apt-get -qq update && echo signed") == "signed"


def test_the_host_has_a_card_that_one_module_holds() -> None:
    assert "[10de:2684]" in on_host("lspci -Dnn -d 10de:")
    assert on_host("ls /sys/module") in ("nouveau", "nvidia")


def test_there_is_no_way_out() -> None:
    assert on_host("ip route show default") == ""
    assert lab("exec", "--", "ip", "route", "show", "default").stdout == ""


@pytest.mark.parametrize(("name", "status"), [("lab2", 0), ("example.org", 2)])
def test_names_are_answered_at_once(name: str, status: int) -> None:
    assert on_host(f"timeout 2 getent ahostsv4 {name} >/dev/null; echo $?") == str(status)


def test_docker_gets_the_machine_s_file_system() -> None:
    assert on_host("stat --file-system --format %T /var/lib") != "overlayfs"


def test_the_registry_serves_and_refuses_to_be_written_to() -> None:
    script = (
        "import urllib.request as r, urllib.error as e\n"
        "url = 'http://10.77.0.1:5000/v2/'\n"
        "print(r.urlopen(url).status)\n"
        "try:\n"
        "    r.urlopen(r.Request(url + 'probe/blobs/uploads/', method='POST'))\n"
        "except e.HTTPError as error:\n"
        "    print(error.code)\n"
    )
    assert lab("exec", "--", sys.executable, "-c", script).stdout.split() == ["200", "405"]
