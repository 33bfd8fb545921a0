"""What a host's answers become: the table of status, the summary of a verification."""

import json
from pathlib import Path

from stack.site import Site
from stack.status import as_json, as_text, parse
from stack.topology import desired
from stack.verification import summary


def container(name: str, status: str, health: str, image: str, address: str) -> dict[str, object]:
    return {
        "Name": f"/{name}",
        "State": {"Status": status, "Health": {"Status": health}},
        "Config": {"Image": image},
        "NetworkSettings": {"Networks": {"mlopsnew": {"IPAddress": address}}},
    }


def answer(*containers: dict[str, object]) -> str:
    changes = (
        ("2026-01-30T09:00:00Z", "you@there", "network mlopsnew", {}),
        ("2026-01-31T12:00:00Z", "me@here", "container grafana_new", {}),
        ("2026-01-31T12:00:09Z", "me@here", "container grafana_new", {}),
        ("2026-01-31T12:00:09Z", "me@here", "container webbot2", {}),
        ("2026-01-31T12:00:19Z", "me@here", "container webbot2", {"failure": "it is exited"}),
        ("2026-01-31T15:00:00Z", "me@here", "secret grafana_admin", {"action": "show"}),
        ("2026-01-31T17:00:00Z", "me@here", "container webbot2", {}),
    )
    log = [
        json.dumps({"at": at, "from": by, "subject": what, "action": "start", **more})
        for at, by, what, more in changes
    ]
    return "\n".join(
        (
            "=== saiga-stack containers",
            json.dumps(containers, indent=1),
            "=== saiga-stack docker",
            "27.3.1",
            "=== saiga-stack gpus",
            "0, NVIDIA GeForce RTX 4090, 560.35.03, 97 %, 21000 MiB, 24564 MiB, 66",
            "=== saiga-stack changes",
            *log,
            "=== saiga-stack end",
        )
    )


def test_status(site: Site) -> None:
    pinned = "registry.example:5000/saiga@sha256:0123456789abcdef"
    status = parse(
        answer(
            container("grafana_new", "running", "healthy", "grafana/grafana:12.4.4", "172.22.0.5"),
            container("saiga_saiga_1", "running", "starting", pinned, "172.22.0.9"),
            container("ml_postgres", "exited", "unhealthy", "postgres:15", ""),
        ),
        desired(site),
    )
    text = as_text("gpu1", status)
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}
    assert rows["grafana_new"] == "grafana_new healthy 172.22.0.5 127.0.0.1:3000 12.4.4"
    assert rows["saiga_saiga_1"].split()[1::3] == ["starting", "0123456789ab"]
    assert rows["ml_postgres"].startswith("ml_postgres exited - ")
    assert rows["webbot2"].startswith("webbot2 missing 172.20.0.3 ")
    assert "97 %" in text
    deploys = [line.strip() for line in text.partition("LAST DEPLOYS\n")[2].splitlines()]
    assert [" ".join(line.split()) for line in deploys] == [
        "2026-01-30T09:00:00Z you@there 1 change network mlopsnew",
        "2026-01-31T12:00:00Z me@here 3 changes container grafana_new, container webbot2",
        "2026-01-31T17:00:00Z me@here 1 change container webbot2",
    ]
    assert not status.healthy
    assert as_json("gpu1", status)["containers"][0]["name"] == "ml_postgres"


def test_a_host_without_docker(site: Site) -> None:
    status = parse(
        "".join(
            f"=== saiga-stack {section}\n"
            for section in ("containers", "docker", "gpus", "changes", "end")
        ),
        desired(site),
    )
    assert "gpu1: Docker does not answer" in as_text("gpu1", status)
    assert {row[1] for row in status.containers} == {"missing"}


def test_the_summary_of_a_verification(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.verify.test_ports" name="test_published_ports[lab]"/>
        <testcase classname="tests.verify.test_postgres" name="test_version[lab]"/>
        <testcase classname="tests.verify.test_postgres" name="test_setting[lab-work_mem]">
          <failure message="AssertionError: assert '4MB' == '16MB'&#10;more">trace</failure>
        </testcase>
        <testcase classname="tests.verify.test_qdrant" name="test_collections[lab]">
          <skipped message="the site runs no qdrant"/>
        </testcase></testsuite></testsuites>"""
    )
    assert [*summary(report)] == [
        "ok      ports     1 passed",
        "FAILED  postgres  1 passed, 1 failed",
        "ok      qdrant    1 skipped",
        "",
        "  postgres: setting[lab-work mem]: AssertionError: assert '4MB' == '16MB'",
    ]
