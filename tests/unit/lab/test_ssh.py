import shutil
import subprocess
from pathlib import Path

import pytest

from lab import ssh
from lab.settings import HOSTS, Host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr("lab.settings.STATE", tmp_path)
    monkeypatch.setattr(ssh, "IDENTITY", tmp_path / "id_ed25519")
    monkeypatch.setattr(ssh, "KNOWN_HOSTS", tmp_path / "known_hosts")
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA saiga-lab\n")
    host = Host("lab", "10.77.0.10")
    (host.root / "root").mkdir(parents=True)
    return host


def test_authorize_keeps_the_keys_of_others_and_adds_ours_once(host: Host) -> None:
    keys = host.root / "root/.ssh/authorized_keys"
    ssh.authorize(host)
    keys.write_text(f"ssh-ed25519 BBBB admin\n{keys.read_text()}")
    ssh.authorize(host)
    assert keys.read_text() == "ssh-ed25519 BBBB admin\nssh-ed25519 AAAA saiga-lab\n"
    keys.write_text("ssh-ed25519 BBBB admin\n")
    ssh.authorize(host)
    assert keys.read_text() == "ssh-ed25519 BBBB admin\nssh-ed25519 AAAA saiga-lab\n"


def test_only_hosts_with_a_disk_are_known(host: Host) -> None:
    key = host.root / "etc/ssh/ssh_host_ed25519_key.pub"
    key.parent.mkdir(parents=True)
    key.write_text("ssh-ed25519 CCCC lab\n")
    ssh.remember([host, Host("lab2", "10.77.0.11")])
    assert ssh.KNOWN_HOSTS.read_text() == "lab,10.77.0.10 ssh-ed25519 CCCC\n"


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs the OpenSSH client")
def test_the_ssh_client_reads_the_configuration_as_meant(tmp_path: Path) -> None:
    file = tmp_path / "ssh_config"
    file.write_text(ssh.client_config(HOSTS.values()))
    for name, host in HOSTS.items():
        shown = subprocess.run(
            ["ssh", "-G", "-F", file, name], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert f"hostname {host.address}" in shown
        assert "user root" in shown
        assert "stricthostkeychecking true" in shown
        assert f"identityfile {ssh.IDENTITY}" in shown
