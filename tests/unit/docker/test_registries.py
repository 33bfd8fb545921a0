"""Logins and certificates of registries."""

import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from stack.docker.registries import authorities, log_in, logged_in
from stack.secret_sources import registry_password
from stack.site import Site, SiteError, load

REGISTRY = "10.0.0.5:5000"


def site_with(defaults: dict[str, Any], **registry: Any) -> Site:
    return load(defaults, {"docker": {"registries": {REGISTRY: registry}}})


@pytest.mark.parametrize(
    ("registry", "login", "is_there"),
    [
        (REGISTRY, "us:pass word", True),
        (REGISTRY, "us:pass word\n", True),
        (REGISTRY, "us:another", False),
        ("10.0.0.5:500", "us:pass word", False),
    ],
)
def test_a_login_is_compared_as_docker_wrote_it(
    tmp_path: Path, registry: str, login: str, is_there: bool
) -> None:
    auth = b64encode(b"us:pass word").decode()
    (tmp_path / "config.json").write_text(
        f'{{\n\t"auths": {{\n\t\t"{REGISTRY}": {{\n\t\t\t"auth": "{auth}"\n\t\t}}\n\t}}\n}}'
    )
    environment = {"PATH": "/usr/bin:/bin", "DOCKER_CONFIG": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-c", logged_in(registry)],
        input=login,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert (done.returncode == 0) is is_there
    assert done.stdout + done.stderr == ""


def test_nobody_is_logged_in_where_docker_never_was(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["sh", "-c", logged_in(REGISTRY)], input=b"us:word", env=environment)
    assert done.returncode != 0


def test_a_password_is_no_argument() -> None:
    assert log_in(REGISTRY, "us") == (
        f"docker login --username us --password-stdin {REGISTRY} >/dev/null"
    )


def test_a_password_of_the_controller(
    defaults: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_with(defaults, user="us", password={"environment": "REGISTRY"})
    path = f"docker.registries.{REGISTRY}.password"
    with pytest.raises(SiteError) as raised:
        registry_password(site, REGISTRY)
    assert str(raised.value) == f"{path}.environment: REGISTRY is not set here"
    monkeypatch.setenv("REGISTRY", "")
    with pytest.raises(SiteError) as raised:
        registry_password(site, REGISTRY)
    assert str(raised.value) == f"{path}: its value has to be one line of text"
    monkeypatch.setenv("REGISTRY", "pass word")
    found = registry_password(site, REGISTRY)
    assert found.get_secret_value() == "pass word"
    assert "pass" not in repr(found)


def test_the_certificate_of_an_authority(defaults: dict[str, Any], tmp_path: Path) -> None:
    site = site_with(defaults, ca=str(tmp_path / "ca.pem"))
    with pytest.raises(SiteError, match=rf"docker\.registries\.{REGISTRY}\.ca: .* cannot be read"):
        list(authorities(site))
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (file,) = authorities(site)
    assert file.path == f"/etc/docker/certs.d/{REGISTRY}/ca.crt"
    assert file.content == "-----BEGIN CERTIFICATE-----\n"
