"""Nothing changed means nothing done."""

from tests.lab.conftest import Lab


def test_a_second_deploy_changes_nothing(lab: Lab) -> None:
    before = lab.lives()
    run = lab.deploy()
    assert run.changed() == []
    assert lab.lives() == before


def test_a_dry_run_of_a_deployed_host_shows_no_plan(lab: Lab) -> None:
    assert lab.dry() == ""
