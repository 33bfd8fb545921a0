"""Every secret is where it has to be, for whom it has to be, and nowhere that Docker shows."""

from typing import Any

import pytest
from testinfra.host import Host

from stack.docker.spec import Desired
from stack.secret_tasks import secret_files
from stack.secrets import SECRETS, SECRETS_DIR


def test_files(host: Host, desired: Desired) -> None:
    right = {SECRETS_DIR: "700:0", **{secret.path: "400:0" for secret in SECRETS}}
    for file in secret_files(desired):
        right |= {file.folder: f"500:{file.uid}", file.path: f"400:{file.uid}"}
    found = host.check_output(f"find {SECRETS_DIR} -printf '%m:%U %p\\n'")
    modes = {path: mode for mode, path in (line.split() for line in found.splitlines())}
    assert modes.items() >= right.items()
    # A service that the site switched off leaves its files.
    assert {mode.partition(":")[0] for mode in modes.values()} <= {"400", "500", "700"}


def test_containers_have_what_the_host_has(host: Host, desired: Desired) -> None:
    for file in secret_files(desired):
        assert host.run(f"{file.render} | cmp - {file.path}").rc == 0, file.path


def test_docker_shows_none(live: dict[str, Any], host: Host) -> None:
    shown = repr(live)
    for secret in SECRETS:
        value = host.check_output("cat %s", secret.path)
        if value in shown:
            pytest.fail(f"docker inspect shows {secret.name}", pytrace=False)
