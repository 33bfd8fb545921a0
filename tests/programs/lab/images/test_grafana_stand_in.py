"""The Grafana stand-in over a real Prometheus."""

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from grafana_stand_in.templating import TimeRange, built_ins, interval, moment, substitute
from stand_in_process import (
    Program,
    free_port,
    run_stand_in,
    stand_in_command,
    stand_in_environment,
    wait_until,
)

IMAGE = "grafana-stand-in"
ADMIN = ("admin", "пароль ' с пробелом")
SHIPPED_DASHBOARDS = Path(__file__).resolve().parents[4] / "files" / "grafana" / "dashboards"
PANEL: dict[str, Any] = {
    "id": 2,
    "type": "stat",
    "title": "Up",
    "datasource": {"type": "prometheus", "uid": "prometheus"},
    "gridPos": {"x": 0, "y": 1, "w": 12, "h": 4},
    "targets": [{"refId": "A", "expr": 'up{job="$job"}', "legendFormat": "{{job}}!"}],
}
DASHBOARD: dict[str, Any] = {
    "id": None,
    "uid": "overview",
    "title": "System & GPU Overview",
    "tags": ["saiga"],
    "schemaVersion": 42,
    "templating": {
        "list": [
            {
                "name": "job",
                "type": "query",
                "datasource": {"uid": "prometheus"},
                "query": {"query": "label_values(up, job)", "refId": "job"},
                "current": {},
            }
        ]
    },
    "panels": [
        {"id": 1, "type": "row", "title": "Row", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}},
        PANEL,
        {
            "id": 3,
            "type": "timeseries",
            "title": "Rate <b>",
            "gridPos": {"x": 12, "y": 1, "w": 12, "h": 4},
            "targets": [
                {
                    "refId": "A",
                    "expr": "rate(prometheus_http_requests_total[$__rate_interval])",
                    "datasource": {"uid": "prometheus"},
                }
            ],
        },
    ],
}
DATA_SOURCE = """\
apiVersion: 1
datasources:
  - name: Prometheus
    uid: prometheus
    type: prometheus
    access: proxy
    url: {url}
    isDefault: true
    jsonData: {{timeInterval: 1s}}
"""
PROVIDER = """\
apiVersion: 1
providers:
  - name: saiga-stack
    folder: Saiga
    type: file
    updateIntervalSeconds: 1
    options: {{path: {path}}}
"""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prometheus that scrapes itself every second and can give rates."""
    if shutil.which("prometheus") is None:
        pytest.fail(
            "the program `prometheus` is missing: apt-get install prometheus", pytrace=False
        )
    directory = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: prometheus\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    )
    url = f"http://127.0.0.1:{port}"
    program = Program(
        [
            "prometheus",
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        directory,
        os.environ,
        f"{url}/-/ready",
    )

    # At whole steps, as the stand-in asks: late scrapes may share only windows in between.
    rate = "rate(prometheus_http_requests_total[4s])"

    def gives_rates() -> bool:
        now = int(time.time())
        span = {"query": rate, "start": str(now - 60), "end": str(now), "step": "1"}
        answer = requests.get(f"{url}/api/v1/query_range", params=span, timeout=5)
        return bool(answer.json()["data"]["result"])

    try:
        wait_until(gives_rates, "the first rate")
        yield url
    finally:
        program.stop()


class Site:
    """Provisioning, dashboards and data of one Grafana in a directory."""

    def __init__(self, directory: Path, prometheus_url: str) -> None:
        self.directory = directory
        self.provisioning = directory / "provisioning"
        self.dashboards = directory / "dashboards"
        for path in (
            self.provisioning / "datasources",
            self.provisioning / "dashboards",
            self.dashboards,
            directory / "data",
        ):
            path.mkdir(parents=True)
        self.data_source = self.provisioning / "datasources" / "prometheus.yaml"
        self.data_source.write_text(DATA_SOURCE.format(url=prometheus_url))
        self.provider = self.provisioning / "dashboards" / "saiga.yaml"
        self.provider.write_text(PROVIDER.format(path=self.dashboards))
        self.write("overview.json", DASHBOARD)
        (directory / "password").write_text(ADMIN[1] + "\n")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {
            "GF_SERVER_HTTP_ADDR": "127.0.0.1",
            "GF_SERVER_HTTP_PORT": str(self.port),
            "GF_PATHS_PROVISIONING": str(self.provisioning),
            "GF_PATHS_DATA": str(directory / "data"),
            "GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{directory / 'password'}}}",
        }

    def write(self, name: str, model: Any) -> Path:
        path = self.dashboards / name
        path.write_text(json.dumps(model), encoding="utf-8")
        return path

    def start(self) -> Program:
        environment = stand_in_environment(IMAGE, self.settings)
        url = f"{self.url}/api/health"
        return Program(stand_in_command(IMAGE), self.directory, environment, url)

    def refusal(self, **settings: str) -> str:
        """What the program says when it ends with status 1 instead of serving."""
        done = run_stand_in(IMAGE, self.directory, self.settings | settings)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        [*_, last] = done.stderr.strip().splitlines()
        return str(last)

    def get(self, path: str, **options: Any) -> requests.Response:
        credentials = options.pop("auth", ADMIN_BYTES)
        return requests.get(self.url + path, auth=credentials, timeout=20, **options)


# requests would encode a str as latin-1.
ADMIN_BYTES: Any = tuple(part.encode() for part in ADMIN)


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory, prometheus: str) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("grafana"), prometheus)
    program = site.start()
    yield site
    program.stop()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose Prometheus is not there."""
    return Site(tmp_path, f"http://127.0.0.1:{free_port()}")


def test_health_and_keys(grafana: Site) -> None:
    health = grafana.get("/api/health", auth=None).json()
    assert health == {"database": "ok", "version": "12.4.4", "commit": "lab stand-in"}
    assert grafana.get("/api/search", auth=None).status_code == 401
    assert grafana.get("/api/search", auth=("admin", "admin")).status_code == 401
    assert grafana.get("/api/search").status_code == 200
    assert 'edition="lab stand-in"' in grafana.get("/metrics", auth=None).text


def test_data_source(grafana: Site, prometheus: str) -> None:
    [source] = grafana.get("/api/datasources").json()
    assert (source["uid"], source["url"], source["isDefault"]) == ("prometheus", prometheus, True)
    assert grafana.get("/api/datasources/uid/prometheus").json() == source
    assert grafana.get("/api/datasources/uid/absent").status_code == 404
    health = grafana.get("/api/datasources/uid/prometheus/health").json()
    assert health == {"status": "OK", "message": "Successfully queried the Prometheus API."}


def test_search_and_dashboard(grafana: Site) -> None:
    [found] = grafana.get("/api/search?type=dash-db&tag=saiga").json()
    assert found["uid"] == "overview"
    assert found["title"] == "System & GPU Overview"
    assert found["folderTitle"] == "Saiga"
    assert found["url"] == "/d/overview/system-gpu-overview"
    assert grafana.get("/api/search?type=dash-db&query=absent").json() == []
    [folder] = grafana.get("/api/search?type=dash-folder").json()
    assert folder["uid"] == found["folderUid"]
    answer = grafana.get("/api/dashboards/uid/overview").json()
    assert answer["dashboard"] == DASHBOARD
    assert answer["meta"]["provisioned"] is True
    assert answer["meta"]["provisionedExternalId"] == "overview.json"
    assert grafana.get("/api/dashboards/uid/absent").status_code == 404


def test_proxy(grafana: Site) -> None:
    base = "/api/datasources/proxy/uid/prometheus/api/v1"
    answer = grafana.get(f"{base}/query", params={"query": 'up{job="prometheus"}'}).json()
    assert answer["data"]["result"][0]["value"][1] == "1"
    now = time.time()
    window = {"query": "up", "start": str(now - 60), "end": str(now), "step": "1"}
    answer = grafana.get(f"{base}/query_range", params=window).json()
    assert len(answer["data"]["result"][0]["values"]) >= 2
    refused = grafana.get(f"{base}/query", params={"query": "up{"})
    assert refused.status_code == 400
    assert refused.json()["errorType"] == "bad_data"


def ask(grafana: Site, *queries: dict[str, Any], **body: Any) -> requests.Response:
    return requests.post(
        f"{grafana.url}/api/ds/query",
        json={"queries": list(queries), "from": "now-5m", "to": "now"} | body,
        auth=ADMIN_BYTES,
        timeout=20,
    )


def test_queries_give_frames(grafana: Site) -> None:
    source = {"datasource": {"uid": "prometheus"}}
    response = ask(
        grafana,
        source | {"refId": "A", "expr": "up", "instant": True, "legendFormat": "{{job}}"},
        source
        | {
            "refId": "B",
            "expr": "increase(prometheus_http_requests_total[$__rate_interval])",
            "intervalMs": 1000,
            "maxDataPoints": 300,
        },
    )
    assert response.status_code == 200, response.text
    [instant] = response.json()["results"]["A"]["frames"]
    moment_field, value_field = instant["schema"]["fields"]
    assert (moment_field["type"], value_field["type"]) == ("time", "number")
    assert value_field["labels"]["job"] == "prometheus"
    assert value_field["config"]["displayNameFromDS"] == "prometheus"
    assert instant["data"]["values"][1] == [1.0]
    assert abs(instant["data"]["values"][0][0] / 1000 - time.time()) < 60
    ranged = response.json()["results"]["B"]["frames"][0]
    assert "[4s]" in ranged["schema"]["meta"]["executedQueryString"]
    times, values = ranged["data"]["values"]
    assert len(times) == len(values) > 0
    assert all(later - earlier == 1000 for earlier, later in pairwise(times))


def test_wrong_queries(grafana: Site) -> None:
    response = ask(grafana, {"refId": "A", "expr": "up{"}, {"refId": "B", "expr": "up"})
    assert response.status_code == 400
    results = response.json()["results"]
    assert "parse error" in results["A"]["error"]
    assert results["B"]["frames"]
    assert ask(grafana).status_code == 400
    assert ask(grafana, {"refId": "A", "expr": "up"}, to="yesterday").status_code == 400
    lost = ask(grafana, {"refId": "A", "expr": "up", "datasource": {"uid": "absent"}})
    assert "not found" in lost.json()["results"]["A"]["error"]


def test_not_a_number_becomes_null(grafana: Site) -> None:
    response = ask(grafana, {"refId": "A", "expr": "vector(0)/0", "instant": True})
    assert response.json()["results"]["A"]["frames"][0]["data"]["values"][1] == [None]


def test_pages(grafana: Site) -> None:
    front = grafana.get("/", auth=None)
    assert front.status_code == 200
    assert "учебная замена Grafana" in front.text and "lab stand-in" in front.text
    assert "System" not in front.text
    assert 'href="/d/overview/system-gpu-overview"' in grafana.get("/").text
    locked = grafana.get("/d/overview", auth=None)
    assert locked.status_code == 401 and "Basic" in locked.headers["WWW-Authenticate"]
    view = grafana.get("/d/overview/system-gpu-overview").text
    assert "prometheus!: <b>1</b>" in view
    assert "Rate &lt;b&gt;" in view
    assert view.count("no data") + view.count('class="error"') == 0
    assert grafana.get("/d/absent").status_code == 404


def test_an_absent_prometheus_is_said(site: Site) -> None:
    program = site.start()
    try:
        health = site.get("/api/datasources/uid/prometheus/health")
        assert health.status_code == 400
        assert health.json()["status"] == "ERROR"
        assert "cannot be asked" in site.get("/d/overview").text
        proxied = site.get("/api/datasources/proxy/uid/prometheus/api/v1/query?query=up")
        assert proxied.status_code == 502
    finally:
        assert program.stop() == 0


def test_dashboards_are_read_again(site: Site) -> None:
    program = site.start()

    def titles() -> set[str]:
        return {item["title"] for item in site.get("/api/search?type=dash-db").json()}

    try:
        site.write("second.json", DASHBOARD | {"uid": "second", "title": "Second"})
        wait_until(lambda: "Second" in titles(), "the new dashboard")
        site.write("second.json", DASHBOARD | {"uid": "second", "title": ""})
        wait_until(lambda: "dashboards stay as they were" in program.output(), "a complaint")
        assert "second.json: title: is ''" in program.output()
        assert titles() == {"System & GPU Overview", "Second"}
        (site.dashboards / "second.json").unlink()
        wait_until(lambda: titles() == {"System & GPU Overview"}, "the dashboard to go")
    finally:
        program.stop()


def test_the_first_password_stays(site: Site) -> None:
    site.start().stop()
    (site.directory / "password").write_text("changed")
    program = site.start()
    try:
        assert site.get("/api/search").status_code == 200
        assert site.get("/api/search", auth=("admin", "changed")).status_code == 401
    finally:
        program.stop()


def reset(site: Site, password: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "grafana_stand_in.reset_password"),
        *("cli", "admin", "reset-admin-password", "--password-from-stdin"),
    ]
    environment = stand_in_environment(IMAGE, site.settings)
    return subprocess.run(
        command, env=environment, input=f"{password}\n", capture_output=True, text=True, check=False
    )


def test_the_password_is_reset_while_it_serves(site: Site) -> None:
    assert "there is no database" in reset(site, "much better").stderr
    program = site.start()
    try:
        assert reset(site, "abc").returncode == 1
        assert site.get("/api/search").status_code == 200
        done = reset(site, "much better")
        assert done.returncode == 0, done.stderr
        assert site.get("/api/search").status_code == 401
        assert site.get("/api/search", auth=("admin", "much better")).status_code == 200
    finally:
        program.stop()


def test_a_password_file_that_is_not_there(site: Site) -> None:
    said = site.refusal(GF_SECURITY_ADMIN_PASSWORD="$__file{/nowhere}")
    assert "GF_SECURITY_ADMIN_PASSWORD: $__file{/nowhere} cannot be read" in said


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda model: model.pop("uid"), "uid: is None"),
        (lambda model: model.update(uid="no spaces"), "uid: is 'no spaces'"),
        (lambda model: model.pop("schemaVersion"), "schemaVersion: is None"),
        (lambda model: model.update(id=7), "id: is 7, null is needed"),
        (lambda model: model.update(__inputs=[{"name": "DS_P"}]), "__inputs: is not empty"),
        (
            lambda model: model["panels"][1].update(datasource={"uid": "${DS_PROMETHEUS}"}),
            "panels[1].datasource.uid: '${DS_PROMETHEUS}' refers to an input",
        ),
        (
            lambda model: model["panels"][1].update(datasource={"uid": "other"}),
            "panels[1].datasource.uid: 'other' is no data source (known: prometheus)",
        ),
        (
            lambda model: model["panels"][2]["targets"][0].update(datasource={"uid": "other"}),
            "panels[2].targets[0].datasource.uid: 'other' is no data source",
        ),
        (
            lambda model: model["panels"][1].update(datasource={"uid": "$source"}),
            "no data source variable 'source'",
        ),
        (
            lambda model: model["panels"][1]["targets"][0].update(expr=" "),
            "panels[1].targets[0].expr: is ' ', a PromQL expression is needed",
        ),
        (
            lambda model: model["panels"][1]["targets"].append(PANEL["targets"][0]),
            "panels[1].targets[1].refId: is 'A', a name of its own",
        ),
        (
            lambda model: model["panels"][2]["gridPos"].update(x=11),
            "panels[2].gridPos: overlaps panels[1]",
        ),
        (
            lambda model: model["panels"][2]["gridPos"].update(w=13),
            "leaves the grid of 24 columns",
        ),
        (lambda model: model["panels"][2].update(id=2), "panels[2].id: 2 is also panels[1]'s"),
        (
            lambda model: model["panels"][0].update(panels=[PANEL | {"id": 9, "targets": [{}]}]),
            "panels[0].panels[0].targets[0].refId",
        ),
        (
            lambda model: model["templating"]["list"][0].update(datasource={"uid": "lost"}),
            "templating.list[0].datasource.uid: 'lost'",
        ),
    ],
)
def test_a_wrong_dashboard_ends_it(site: Site, change: Change, complaint: str) -> None:
    model = copy.deepcopy(DASHBOARD)
    change(model)
    path = site.write("overview.json", model)
    said = site.refusal()
    assert f"{path}: " in said
    assert complaint in said


def test_dashboards_differ_in_uid_and_title(site: Site) -> None:
    path = site.write("again.json", DASHBOARD)
    assert f"'overview' is also in {path}" in site.refusal()
    site.write("again.json", DASHBOARD | {"uid": "again"})
    assert "title: 'System & GPU Overview' is also in" in site.refusal()
    path.write_text("{")
    assert f"{path} cannot be read as JSON" in site.refusal()


def test_a_data_source_variable_and_a_collapsed_row_are_fine(site: Site) -> None:
    model = copy.deepcopy(DASHBOARD)
    model["templating"]["list"].append({"name": "source", "type": "datasource"})
    model["panels"][1]["datasource"] = {"uid": "${source}"}
    model["panels"][0] |= {"collapsed": True, "panels": [copy.deepcopy(PANEL) | {"id": 9}]}
    site.write("overview.json", model)
    assert site.start().stop() == 0


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("apiVersion: 1", "apiVersion: 2", "apiVersion: is 2, the number 1 is needed"),
        ("name: Prometheus", "title: Prometheus", "datasources[0].name: is None"),
        ("type: prometheus", "type: influx", "datasources[0].type: is 'influx'"),
        ("url: http", "url: ftp", "datasources[0].url: is 'ftp"),
        ("timeInterval: 1s", "timeInterval: often", "jsonData.timeInterval: is 'often'"),
        ("datasources:", "datasources: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_data_source_ends_it(site: Site, old: str, new: str, complaint: str) -> None:
    text = site.data_source.read_text()
    assert old in text
    site.data_source.write_text(text.replace(old, new))
    said = site.refusal()
    assert str(site.data_source) in said
    assert complaint in said


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("name: saiga-stack", "name: 7", "providers[0].name: is 7"),
        ("path: ", "path: /nowhere", "providers[0].options.path: /nowhere"),
        ("updateIntervalSeconds: 1", "updateIntervalSeconds: soon", "is 'soon', a whole number"),
    ],
)
def test_a_wrong_provider_ends_it(site: Site, old: str, new: str, complaint: str) -> None:
    site.provider.write_text(site.provider.read_text().replace(old, new))
    said = site.refusal()
    assert str(site.provider) in said
    assert complaint in said


def test_variables_in_provisioning(site: Site) -> None:
    text = site.data_source.read_text()
    url = text.split("url: ")[1].split("\n")[0]
    site.data_source.write_text(text.replace(url, "http://${PROM_HOST}:9$$9"))
    site.settings["PROM_HOST"] = "example.invalid"
    program = site.start()
    try:
        [source] = site.get("/api/datasources").json()
        assert source["url"] == "http://example.invalid:9$9"
    finally:
        program.stop()


def test_our_dashboards_are_accepted(site: Site) -> None:
    """The dashboards that the deploy ships; the data source has the uid the templates give it."""
    shipped = sorted(SHIPPED_DASHBOARDS.glob("*.json"))
    assert shipped, f"no dashboards in {SHIPPED_DASHBOARDS}"
    (site.dashboards / "overview.json").unlink()
    for path in shipped:
        shutil.copy(path, site.dashboards)
    program = site.start()
    try:
        assert len(site.get("/api/search?type=dash-db").json()) == len(shipped)
    finally:
        program.stop()


HOUR = TimeRange(0, 3_600_000)


@pytest.mark.parametrize(
    ("span", "points", "scrape", "step", "rate"),
    [
        (HOUR, 1000, 15_000, 15_000, "1m"),
        (HOUR, 100, 15_000, 30_000, "1m"),
        (TimeRange(0, 86_400_000), 1000, 15_000, 60_000, "75s"),
        (HOUR, 1000, 1_000, 5_000, "6s"),
    ],
)
def test_intervals(span: TimeRange, points: int, scrape: int, step: int, rate: str) -> None:
    assert interval(span, points, scrape) == step
    assert built_ins(span, step, scrape)["__rate_interval"] == rate


def test_substitution() -> None:
    values = built_ins(HOUR, 15_000, 15_000) | {"job": "saiga"}
    text = 'x{job="${job:regex}",y="$y"}[$__range] $__interval_ms ${__range_s} $__rate_interval'
    assert substitute(text, values) == 'x{job="saiga",y="$y"}[3600s] 15000 3600 1m'
    assert moment("now-6h", 100_000_000) == 78_400_000
    with pytest.raises(ValueError, match="is no time"):
        moment("tomorrow", 0)


def test_version_names_the_stand_in(tmp_path: Path) -> None:
    assert "lab stand-in" in run_stand_in(IMAGE, tmp_path, {}, "--version").stdout
