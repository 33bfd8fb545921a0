"""Every change leaves a line in the audit log, and no secret is in any line or anywhere else."""

import re
from pathlib import Path

from tests.lab.conftest import Lab
from tests.lab.deploys import audit, variant

MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")
# The role is made again from its secret, so that a password is on its way during the deploy.
WITHOUT_ROLE = (
    "docker exec ml_postgres psql -U postgres -d ml_db -qc"
    " 'DROP OWNED BY agent_exporter; DROP ROLE agent_exporter'"
)
WATCH = (
    "systemd-run --quiet --unit=watch"
    " sh -c 'while ps -eww -o args; do sleep 0.05; done >/run/watched'"
)


def test_changes_are_logged_and_secrets_are_nowhere(lab: Lab, tmp_path: Path) -> None:
    lab.deploy()
    before = audit(lab)
    assert lab.deploy().changed() == []
    assert audit(lab) == before, "a run without change left a line"

    secrets = lab.run("cd /etc/saiga-stack/secrets; for f in *; do cat $f; echo; done").split()
    assert len(secrets) >= 5
    assert all(len(secret) >= 24 for secret in secrets)

    inventory = variant(
        tmp_path,
        {"services": {"grafana": {"health_interval": 8, "memory": "500m"}}},
    )
    lab.run(WITHOUT_ROLE)
    lab.run(WATCH)
    try:
        run = lab.pyinfra("-y", "-vvv", inventory=inventory)
    finally:
        lab.run("systemctl stop watch")
    assert run.status == 0, run.text
    assert lab.deploy().changed() == ["Grafana | Container grafana_new"]

    log = audit(lab)
    assert log[: len(before)] == before
    entries = log[len(before) :]
    assert [(entry["subject"], entry["action"], entry["cause"]) for entry in entries] == [
        ("role agent_exporter", "create", "not found"),
        ("role agent_exporter", "grant", "privileges missing"),
        ("container grafana_new", "replace the container", "differs"),
        ("container grafana_new", "replace the container", "differs"),
    ]
    assert all(MOMENT.fullmatch(entry["at"]) for entry in entries)
    assert all(re.fullmatch(r"\S+@\S+ 10\.77\.0\.1", entry["from"]) for entry in entries)
    changes = {change["field"]: change for change in entries[2]["changes"]}
    assert changes["memory"] == {"field": "memory", "before": "512m", "after": "500m"}
    assert "every 8s" in changes["health check"]["after"]

    places = {
        "audit log": lab.run("cat /var/log/saiga-stack/audit.jsonl"),
        "docker inspect": lab.run("docker inspect $(docker ps -aq)"),
        "ps": lab.run("cat /run/watched; rm /run/watched"),
        "deploy at -vvv": run.text,
        "notes on the host": lab.run("find /var/lib/saiga-stack -type f -exec cat {} +"),
        "container logs": lab.run("for c in $(docker ps -q); do docker logs $c 2>&1; done"),
        "journal": lab.run("journalctl --boot --no-pager"),
    }
    assert "CREATE ROLE agent_exporter" in places["deploy at -vvv"]
    assert "psql" in places["ps"]
    leaks = {place for place, text in places.items() if any(secret in text for secret in secrets)}
    assert leaks == set()
