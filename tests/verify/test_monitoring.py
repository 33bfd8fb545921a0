"""Prometheus scrapes every job; Grafana has its data source and the dashboards."""

import time
from collections.abc import Callable
from pathlib import Path

import requests
from testinfra.host import Host

from stack.secrets import GRAFANA_ADMIN
from stack.site import Site
from stack.topology import scrape_targets

DASHBOARDS = Path(__file__).resolve().parents[2] / "files/grafana/dashboards"


def test_every_target_is_up(published: Callable[..., str], site: Site) -> None:
    url = f"{published('prometheus')}/api/v1/targets?state=active"
    deadline = time.monotonic() + 2 * site.prometheus.scrape_interval + 10
    while True:
        targets = requests.get(url, timeout=10).json()["data"]["activeTargets"]
        health = {target["labels"]["job"]: target["health"] for target in targets}
        if set(health.values()) == {"up"} or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert health == dict.fromkeys(scrape_targets(site), "up")


def _admin(host: Host) -> tuple[str, str]:
    return "admin", host.check_output("cat %s", GRAFANA_ADMIN.path)


def test_grafana_has_every_dashboard(published: Callable[..., str], host: Host) -> None:
    url = f"{published('grafana')}/api/search?type=dash-db"
    found = requests.get(url, auth=_admin(host), timeout=10).json()
    assert len(found) == len(list(DASHBOARDS.glob("*.json")))


def test_grafana_reaches_prometheus(published: Callable[..., str], host: Host) -> None:
    url = f"{published('grafana')}/api/datasources/uid/prometheus/health"
    answer = requests.get(url, auth=_admin(host), timeout=10).json()
    assert answer["status"] == "OK"


def test_grafana_refuses_a_wrong_password(published: Callable[..., str]) -> None:
    url = f"{published('grafana')}/api/datasources"
    assert requests.get(url, auth=("admin", "admin"), timeout=10).status_code == 401
