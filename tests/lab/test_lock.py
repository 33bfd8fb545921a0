"""Two deploys cannot interleave, and a dead one holds nobody up."""

import re
from pathlib import Path

from tests.lab.conftest import Lab
from tests.lab.deploys import Deploy, audit, held, until, variant

LOCK = "/run/saiga-stack.lock"
HELD = re.compile(
    r"\[lab\] another deploy is at work, held by \S+@\S+ since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ,"
    r" by process (\d+) on the host; nothing was changed$",
    re.MULTILINE,
)


def test_a_second_deploy_is_told_who_is_at_work_and_a_third_takes_over_from_the_dead(
    lab: Lab, tmp_path: Path
) -> None:
    lab.deploy()
    inventory = variant(tmp_path, {"services": {"grafana": {"health_interval": 7}}})

    def first() -> Deploy:
        return Deploy(tmp_path / "first.log", inventory)

    with held(lab, first, "docker stop grafana_new.saiga-stack-old") as (deploy, hold):
        logged, lives = audit(lab), lab.lives()
        second = lab.pyinfra("-y")
        assert second.status != 0
        assert "Traceback" not in second.text
        holder = HELD.search(second.text)
        assert holder, second.text
        assert lab.run(f"cat /proc/{holder[1]}/comm").startswith("sshd")
        assert (audit(lab), lab.lives()) == (logged, lives)

        # Its command on the host outlives the first deploy: the third waits for its end.
        deploy.kill()
        third = Deploy(tmp_path / "third.log", inventory)
        waiting = "waiting for a command of "
        until(lambda: waiting in third.text, lambda: third.text, 120, lambda: third.runs())
        assert (audit(lab), lab.lives()) == (logged, lives)
        hold.release()
        run = third.wait()
    assert run.status == 0, run.text
    assert (
        "container grafana_new: finish the replacement (a replacement was interrupted)" in run.text
    )
    assert lab.deploy(inventory=inventory).changed() == []
    assert lab.run(f"ls {LOCK} 2>/dev/null", check=False) == "", "a normal end left the lock"


def test_a_lock_of_another_process_with_the_same_number_is_stale(lab: Lab) -> None:
    lab.run(f"echo 1 12345 2020-01-01T00:00:00Z nobody@nowhere >{LOCK}")
    assert lab.deploy().status == 0
