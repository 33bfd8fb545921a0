"""A deployment that somebody made by hand moves in, also when the deploy is cut off on its way."""

from pathlib import Path

import pytest

from tests.lab.conftest import Lab
from tests.lab.data import Data
from tests.lab.deploys import Deploy, held, serves, verify
from tests.lab.drift_cases import ADOPT, hand_made, refused

pytestmark = pytest.mark.soak


def test_a_hand_made_deployment_moves_in(lab: Lab) -> None:
    lab.deploy()
    data = Data(lab, "adopted")
    data.write()
    written = data.read()
    lab.run(f"set -e\n{hand_made(lab.desired)}")
    serves(lab)
    before = lab.lives()

    run = lab.pyinfra("-y")
    assert run.status != 0
    for container in lab.desired.containers:
        assert refused(f"container {container.name}") in run.text
    assert lab.lives() == before, "nothing was touched"

    lab.deploy(*ADOPT)
    assert not {start for _, start in lab.lives().values()} & {s for _, s in before.values()}
    assert data.read() == written
    assert lab.deploy().changed() == []
    verify()
    data.remove()


def test_an_adoption_that_was_cut_off_is_finished_without_being_asked_for(
    lab: Lab, tmp_path: Path
) -> None:
    lab.deploy()
    lab.run(
        "docker rm --force grafana_new\n"
        + "\n".join(
            line
            for line in hand_made(lab.desired).splitlines()
            if "--name=grafana_new" in line or line == "docker start grafana_new"
        )
    )

    def adopting() -> Deploy:
        return Deploy(tmp_path / "adopting.log", "inventory.py", *ADOPT)

    with held(lab, adopting, "docker create --name=grafana_new *") as (deploy, hold):
        deploy.kill()
        hold.end_command()
    assert lab.deploy().changed() == ["Grafana | Container grafana_new"]
    assert lab.deploy().changed() == []
