import re
from pathlib import Path

import pytest

from lab import servers
from lab.servers import SERVERS
from lab.settings import FILES
from lab.template import fill


def test_every_mark_of_every_template_has_a_value() -> None:
    for server in SERVERS:
        marks = set(re.findall(r"@([A-Z]+)@", (FILES / server.template).read_text()))
        filled = fill((FILES / server.template).read_text(), server.values())
        assert marks <= set(server.values())
        assert "@" not in re.sub(r"#.*", "", filled)


def test_the_name_server_knows_the_hosts() -> None:
    names = next(server for server in SERVERS if server.name == "names")
    text = fill((FILES / names.template).read_text(), names.values())
    assert "host-record=lab,10.77.0.10\nhost-record=lab2,10.77.0.11\n" in text


def test_a_server_of_an_older_checkout_is_configured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "STATE", tmp_path)
    apt = next(server for server in SERVERS if server.name == "apt")
    assert not apt.is_configured()
    apt.configuration.write_text(apt.text())
    assert apt.is_configured()
    apt.configuration.write_text(apt.text().replace("autoindex on", "autoindex off"))
    assert not apt.is_configured()


def test_servers_do_not_share_a_port() -> None:
    assert len({server.port for server in SERVERS}) == len(SERVERS)
