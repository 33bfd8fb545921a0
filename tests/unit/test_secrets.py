"""Secrets: what is said about the host's files, and what a site may supply."""

from pathlib import Path
from typing import Any

import pytest

from stack.secret_sources import supplied
from stack.secret_tasks import FileState, Observed, files, observation_script, parse, values
from stack.secrets import SECRETS, Secret, SecretFile
from stack.site import Site, SiteError, load
from stack.topology import desired

KEY, OTHER = Secret("key"), Secret("other")
FILE = SecretFile("api", "key", 10001, (KEY,))
BOTH = SecretFile("qdrant", "keys.yaml", 1000, ("a: ", KEY, "\nb: ", OTHER, "\n"))
RIGHT = Observed(
    {KEY.path: "400:0", OTHER.path: "400:0"},
    {FILE.path: FileState("400:10001", "500:10001", "same")},
)


@pytest.fixture
def stack(site: Site) -> Any:
    return desired(site)


def said(observed: Observed, stack: Any, rotate: frozenset[str] = frozenset()) -> str:
    tasks = [*values((KEY, OTHER), observed, stack, frozenset(), rotate), *files((FILE,), observed)]
    return "\n".join(str(task) for task in tasks)


@pytest.mark.parametrize(
    ("observed", "text"),
    [
        (RIGHT, ""),
        (
            Observed({KEY.path: "644:0"}, RIGHT.files),
            "secret key: protect (differs)\n    mode and owner: 644:0 -> 400:0\n"
            "secret other: restore or generate (not found)",
        ),
        (Observed(RIGHT.secrets), "secret api/key: write (not found)"),
        (
            Observed(RIGHT.secrets, {FILE.path: FileState("400:10001", "500:10001", "differs")}),
            "secret api/key: write (the secret is another)",
        ),
        (
            Observed(RIGHT.secrets, {FILE.path: FileState("444:0", "755:0", "same")}),
            "secret api/key: protect (differs)\n"
            "    mode and owner: 444:0 in 755:0 -> 400:10001 in 500:10001",
        ),
        (
            Observed(RIGHT.secrets, {FILE.path: FileState("400:10001", "500:10001", "unknown")}),
            "",
        ),
    ],
)
def test_what_is_said(observed: Observed, text: str, stack: Any) -> None:
    assert said(observed, stack) == text


def test_only_what_is_asked_for_is_rotated(stack: Any) -> None:
    assert said(RIGHT, stack, frozenset({"key"})) == "secret key: rotate (asked for)"


def test_a_lost_value_is_looked_for_before_it_is_generated(stack: Any) -> None:
    secret = next(secret for secret in SECRETS if secret.name == "qdrant_api_key")
    (task,) = values((secret,), Observed(), stack, frozenset(), frozenset())
    (command,) = task.commands
    places = ["secrets/project_api/qdrant_api_key", "/proc/$(docker inspect", "/dev/urandom"]
    assert [command.index(place) for place in places] == sorted(map(command.index, places))


def test_observation_is_read_back() -> None:
    script = observation_script((KEY,), (FILE, BOTH))
    assert "cmp -s - /etc/saiga-stack/secrets/qdrant/keys.yaml" in script
    lines = [f"secret 400:0 {KEY.path}", f"file 400:10001 500:10001 same {FILE.path}"]
    assert parse(lines) == Observed({KEY.path: "400:0"}, RIGHT.files)


def test_every_reader_has_a_file_of_its_own(stack: Any) -> None:
    paths = [file.path for container in stack.containers for file in container.secrets]
    assert len(paths) == len(set(paths)) == 11
    for container in stack.containers:
        for file in container.secrets:
            assert container.user is None or container.user.split(":")[0] == str(file.uid)


def site_with(defaults: dict[str, Any], **source: str) -> Site:
    return load(defaults, {"secrets": {"grafana_admin": source}})


def test_a_supplied_value(
    defaults: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA", "from-the-environment")
    found = supplied(site_with(defaults, environment="GRAFANA"))
    assert found["grafana_admin"].get_secret_value() == "from-the-environment"
    assert "from-the-environment" not in repr(found)
    (tmp_path / "value").write_text("from-a-file-of-mine\n")
    found = supplied(site_with(defaults, file=str(tmp_path / "value")))
    assert found["grafana_admin"].get_secret_value() == "from-a-file-of-mine"


@pytest.mark.parametrize(
    "value", ["short", "sixteen or more, with spaces", "sixteen-or-more'quoted"]
)
def test_a_value_that_cannot_be_used(
    defaults: dict[str, Any], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("GRAFANA", value)
    with pytest.raises(SiteError) as raised:
        supplied(site_with(defaults, environment="GRAFANA"))
    assert str(raised.value) == (
        "secrets.grafana_admin: its value has to be 16 to 256 characters out of letters, digits"
        " and _.~+/=@%^:,-"
    )


def test_a_value_that_is_not_there(defaults: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"secrets\.grafana_admin\.environment: NOWHERE is not set"):
        supplied(site_with(defaults, environment="NOWHERE"))
    with pytest.raises(SiteError, match=r"secrets\.grafana_admin\.file: .*/none cannot be read"):
        supplied(site_with(defaults, file=str(tmp_path / "none")))
