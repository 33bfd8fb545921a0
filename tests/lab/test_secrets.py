"""Secrets are nowhere but in their files, are never made anew by themselves, and can be rotated."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from stack.secrets import GRAFANA_ADMIN, SECRETS, SECRETS_DIR, WEBBOT2_SESSION
from tests.lab.conftest import ROOT, Lab
from tests.lab.deploys import audit, serves, variant, verify
from tests.lab.traffic import Traffic

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
# What a client with a value is answered: HTTP statuses, and the role that PostgreSQL lets in.
LOGINS = """
code() { curl -s -m 30 -o /dev/null -w '%{http_code} ' "$@"; }
cd $1
for key in qdrant_api_key qdrant_read_only_key; do
    { printf 'api-key: '; cat $key; } | code -H @- http://172.22.0.7:6333/collections
done
{ printf 'Authorization: Bearer '; cat saiga_api_key; } |
    code -H @- http://172.22.0.9:8010/v1/models
{ printf 'user = "admin:'; cat grafana_admin; echo '"'; } |
    code -K - http://172.22.0.5:3000/api/datasources
for role in superuser:postgres project_api:project_api agent_exporter:agent_exporter; do
    # The superuser is let in inside the container only.
    at=ml_postgres; [ $role != superuser:postgres ] || at=127.0.0.1
    { echo '[login]'; printf password=; cat postgres_${role%%:*}; echo; } |
        docker exec -i -e PGSERVICEFILE=/dev/stdin -e PGSERVICE=login ml_postgres \
            psql -h $at -U ${role##*:} -d ml_db -qtAwc 'SELECT 1' >/dev/null 2>&1 &&
        printf 'in ' || printf 'out '
done
"""


def values(lab: Lab) -> dict[str, str]:
    """Name to value of every secret on the host."""
    script = (
        f"cd {SECRETS_DIR} && for f in $(find . -maxdepth 1 -type f); do echo $f $(cat $f); done"
    )
    rows = (line.split() for line in lab.run(script).splitlines())
    return {name.removeprefix("./"): value for name, value in rows}


def logins(lab: Lab, folder: str = SECRETS_DIR) -> str:
    return lab.run(f"set -- {folder}\n{LOGINS}")


@pytest.fixture
def watched(lab: Lab) -> Iterator[None]:
    """Every command line on the host during the test is in /run/watched."""
    lab.run(WATCH)
    try:
        yield
    finally:
        lab.run("systemctl stop watch; rm -f /run/watched", check=False)


def places(lab: Lab, *outputs: str) -> dict[str, str]:
    """Where a secret could have gone, and what stands there."""
    return {
        **{f"output {number}": text for number, text in enumerate(outputs)},
        "audit log": lab.run("cat /var/log/saiga-stack/audit.jsonl"),
        "docker inspect": lab.run("docker inspect $(docker ps -aq)"),
        "images": lab.run("docker image inspect $(docker images -q)"),
        "ps": lab.run("cat /run/watched"),
        "environments": lab.run("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"),
        "notes on the host": lab.run("find /var/lib/saiga-stack -type f -exec cat {} +"),
        "configuration": lab.run(
            f"find /etc/saiga-stack -path {SECRETS_DIR} -prune -o -type f -exec cat {{}} +"
        ),
        "container logs": lab.run("for c in $(docker ps -q); do docker logs $c 2>&1; done"),
        "journal": lab.run("journalctl --boot --no-pager"),
        "checkout": git("grep", "--no-index", "-hI", "", "--", ":!.venv*", ":!.git"),
        "history": git("log", "--all", "--patch", "--no-color"),
    }


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode(errors="replace")


def leaks(found: dict[str, str], secrets: set[str]) -> set[str]:
    return {place for place, text in found.items() if any(secret in text for secret in secrets)}


def test_changes_are_logged_and_secrets_are_nowhere(
    lab: Lab, watched: None, tmp_path: Path
) -> None:
    lab.deploy()
    before = audit(lab)
    assert lab.deploy().changed() == []
    assert audit(lab) == before, "a run without change left a line"

    secrets = values(lab)
    assert secrets.keys() == {secret.name for secret in SECRETS}
    assert all(len(secret) >= 24 for secret in secrets.values())
    modes = lab.run(
        f"find {SECRETS_DIR} -type f -printf '%m\\n' | sort -u; stat -c %a {SECRETS_DIR}"
    )
    assert modes.split() == ["400", "700"]

    inventory = variant(
        tmp_path,
        {"services": {"grafana": {"health_interval": 8, "memory": "500m"}}},
    )
    lab.run(WITHOUT_ROLE)
    dry = lab.pyinfra("--dry", "-vvv", "--diff", inventory=inventory)
    run = lab.pyinfra("-y", "-vvv", "--diff", inventory=inventory)
    assert run.status == 0, run.text
    assert lab.deploy().changed() == ["Grafana | Container grafana_new"]

    log = audit(lab)
    assert log[: len(before)] == before
    entries = log[len(before) :]
    assert [(entry["subject"], entry["action"]) for entry in entries] == [
        ("role agent_exporter", "create"),
        ("role agent_exporter", "set"),
        ("role agent_exporter", "grant"),
        ("container grafana_new", "replace the container"),
        ("container grafana_new", "replace the container"),
    ]
    assert all(MOMENT.fullmatch(entry["at"]) for entry in entries)
    assert all(re.fullmatch(r"\S+@\S+ 10\.77\.0\.1", entry["from"]) for entry in entries)
    changes = {change["field"]: change for change in entries[3]["changes"]}
    assert changes["memory"] == {"field": "memory", "before": "512m", "after": "500m"}
    assert "every 8s" in changes["health check"]["after"]

    assert "CREATE ROLE agent_exporter" in run.text
    found = places(lab, dry.text, run.text)
    assert "psql" in found["ps"] and "curl" in found["ps"]
    assert leaks(found, set(secrets.values())) == set()


def test_a_site_supplies_its_own(
    lab: Lab, watched: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = values(lab)
    own = {
        GRAFANA_ADMIN.name: f"of-the-environment={token_hex(8)}",
        WEBBOT2_SESSION.name: f"of-a-file-of-the-controller-{token_hex(8)}",
    }
    (tmp_path / "session").write_text(f"{own[WEBBOT2_SESSION.name]}\n")
    data = {
        "secrets": {
            GRAFANA_ADMIN.name: {"environment": "LAB_GRAFANA_PASSWORD"},
            WEBBOT2_SESSION.name: {"file": str(tmp_path / "session")},
        }
    }
    inventory = variant(tmp_path / "site", data)
    run = lab.pyinfra("-y", inventory=inventory)
    assert run.status != 0
    assert "secrets.grafana_admin.environment: LAB_GRAFANA_PASSWORD is not set here" in run.text
    assert values(lab) == before

    monkeypatch.setenv("LAB_GRAFANA_PASSWORD", own[GRAFANA_ADMIN.name])
    run = lab.pyinfra("-y", "-vvv", "--diff", inventory=inventory)
    assert run.status == 0, run.text
    assert values(lab) == before | own
    assert logins(lab) == "200 200 200 200 in in in"
    assert leaks(places(lab, run.text), set(own.values())) == set()
    assert lab.deploy(inventory=inventory).changed() == []
    refused = lab.pyinfra("-y", "--data", f"rotate={GRAFANA_ADMIN.name}", inventory=inventory)
    assert refused.status != 0
    assert "is supplied by the site: change it there and deploy" in refused.text
    # What the site supplies no more stays, as every value does.
    assert lab.deploy().changed() == []
    assert values(lab) == before | own


def secret_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", "secret", *words, "--site", "lab"],
        cwd=ROOT,
        env=os.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def rotate(lab: Lab, name: str, changed: set[str]) -> None:
    """Rotate while people ask; see that what used it follows and that nothing was lost."""
    before, copy = values(lab), "/run/old-secrets"
    lab.run(f"rm -rf {copy} && cp -a {SECRETS_DIR} {copy}")
    with Traffic(lab, f"rotate-{name}") as traffic:
        traffic.wait_for_answers(2)
        done = secret_command("rotate", name)
        assert done.returncode == 0, done.stdout + done.stderr
        serves(lab)
        traffic.wait_for_answers(4)
    traffic.assert_stored()
    after = values(lab)
    assert {key for key in after if after[key] != before[key]} == changed
    assert leaks({"rotate": done.stdout + done.stderr}, set(after.values())) == set()
    assert logins(lab) == "200 200 200 200 in in in"
    was = logins(lab, copy).split()
    order = [
        *("qdrant_api_key", "qdrant_read_only_key", "saiga_api_key", "grafana_admin"),
        *("postgres_superuser", "postgres_project_api", "postgres_agent_exporter"),
    ]
    assert {key for key, code in zip(order, was, strict=True) if code in ("401", "out")} == {
        key for key in changed if key in order
    }
    lab.run(f"rm -r {copy}")
    assert lab.deploy().changed() == []


def test_all_are_rotated_under_traffic(lab: Lab) -> None:
    lab.deploy()
    rotate(lab, "all", {secret.name for secret in SECRETS})
    verify()


@pytest.mark.soak
@pytest.mark.parametrize("name", [secret.name for secret in SECRETS])
def test_each_is_rotated_under_traffic(lab: Lab, name: str) -> None:
    rotate(lab, name, {name})
    verify("test_containers.py", "test_dialogue.py", "test_monitoring.py")


def test_one_is_shown_to_the_operator(lab: Lab) -> None:
    shown = secret_command("show", GRAFANA_ADMIN.name)
    assert shown.stdout.strip() == values(lab)[GRAFANA_ADMIN.name]
    last = audit(lab)[-1]
    assert (last["subject"], last["action"]) == ("secret grafana_admin", "show")
    missing = secret_command("show", "grafana_adnim")
    assert missing.returncode != 0
    assert "grafana_admin" in missing.stderr
