"""What a rollback returns to: the notes on the host, and taking everything of ours away."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from stack.docker import history
from stack.docker.plan import Refusal
from stack.docker.removal import removal
from stack.site import Site
from stack.topology import desired
from tests.unit.docker import hosts

ENGINE = hosts.ENGINES[-1]


def test_a_note_gives_the_container_back(site: Site) -> None:
    for container in desired(site).containers:
        without_source = dataclasses.replace(container, build=None)
        assert history.noted(history.note(container)) == without_source


def test_a_note_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="a version that knew other settings"):
        history.noted('{"name": "grafana_new"}')


def test_notes_move_on_only_when_the_container_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "SERVING_DIR", str(tmp_path))

    def serve(text: str) -> None:
        new = tmp_path / "grafana.json.new"
        new.write_text(text)
        subprocess.run(["sh", "-ec", history.keep_note("grafana", str(new))], check=True)

    def notes() -> dict[str, str]:
        return {path.name: path.read_text() for path in tmp_path.iterdir()}

    serve("one")
    assert notes() == {"grafana.json": "one"}
    serve("one")
    assert notes() == {"grafana.json": "one"}
    serve("two")
    assert notes() == {"grafana.json": "two", "grafana.before.json": "one"}
    serve("two")
    assert notes() == {"grafana.json": "two", "grafana.before.json": "one"}
    serve("one")
    assert notes() == {"grafana.json": "one", "grafana.before.json": "two"}


def host(*changes: hosts.Change) -> hosts.Host:
    made = hosts.Host(ENGINE)
    for change in changes:
        change(made)
    return made


def test_everything_of_ours_goes_and_the_data_stay() -> None:
    ours = host()
    subjects = [entry.subject for entry in removal(ours.desired, ours.observed)]
    containers = [f"container {container.name}" for container in ours.desired.containers]
    networks = sorted(f"network {network.name}" for network in ours.desired.networks)
    assert subjects == [*reversed(containers), *networks]


def test_data_go_where_they_are_named() -> None:
    ours = host()
    volume = ours.desired.volumes[0].name
    last = removal(ours.desired, ours.observed, [volume])[-1]
    assert (last.subject, last.command) == (f"volume {volume}", f"docker volume rm {volume}")


def test_only_volumes_of_the_site_can_be_named() -> None:
    ours = host()
    known = ", ".join(volume.name for volume in ours.desired.volumes)
    with pytest.raises(Refusal) as caught:
        removal(ours.desired, ours.observed, ["photos"])
    assert str(caught.value) == f"volume photos is none of the site's; there are: {known}"


def test_strangers_stay() -> None:
    strange = host(hosts.stranger())
    subjects = [entry.subject for entry in removal(strange.desired, strange.observed)]
    assert "container stranger" not in subjects


def test_a_stranger_in_a_network_of_ours_is_in_the_way() -> None:
    network = hosts.Host(ENGINE).desired.networks[0].name
    strange = host(hosts.stranger(), hosts.attached("stranger", network))
    with pytest.raises(Refusal) as caught:
        removal(strange.desired, strange.observed)
    assert str(caught.value) == (
        f"network {network} cannot be removed: container stranger, which is not ours, is attached"
        " to it; disconnect stranger first"
    )
