"""Nothing changed means nothing done, and little asked."""

from pathlib import Path

import pytest

from bench.rounds import remote_commands
from tests.lab.conftest import Lab


def test_a_second_deploy_changes_nothing(lab: Lab) -> None:
    before = lab.lives()
    run = lab.deploy()
    assert run.changed() == []
    assert lab.lives() == before


def test_a_dry_run_of_a_deployed_host_shows_no_plan(lab: Lab) -> None:
    assert lab.dry() == ""


@pytest.mark.parametrize(("option", "stages"), [("-y", ["Execute"]), ("--dry", ["Prepare"])])
def test_all_containers_and_networks_are_observed_by_one_command(
    lab: Lab, tmp_path: Path, option: str, stages: list[str]
) -> None:
    asked = remote_commands(option, "bench/containers.py", tmp_path)
    observing = [each for each in asked if "lock" not in each.operation.lower()]
    assert [(each.stage, each.number) for each in observing] == [(stage, 1) for stage in stages]
