"""The plain pages: what this is, the dashboards, and each panel with its current values."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from . import GRAFANA_VERSION
from .dashboards import BUILT_IN_SOURCES, VARIABLE, Dashboard
from .prometheus import Prometheus, QueryError, legend
from .templating import TimeRange, built_ins, duration, interval, moment, substitute

LABEL_VALUES = re.compile(r"label_values\(\s*(?:(?P<selector>.+?)\s*,\s*)?(?P<label>\w+)\s*\)")
QUERY_RESULT_DATA_POINTS = 1000
SHOWN_SERIES = 25
DEFAULT_FROM = "now-6h"
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.3rem;"
    "text-align:left;vertical-align:top}.notice{border:2px solid #b80;padding:.5rem 1rem}"
    ".error{color:#b00}"
)


@dataclass(frozen=True)
class Reading:
    """One panel of the view: its series with their values, or why there are none."""

    title: str
    kind: str
    values: list[tuple[str, str]]
    error: str | None


def page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="ru"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        '<div class="notice"><p>Это <b>учебная замена Grafana</b>: она проверяет настройки и '
        "показывает текущие значения панелей, но не рисует графики.</p>"
        '<p lang="en">This is a <b>lab stand-in for Grafana</b>: it checks the provisioning and '
        f"shows the panels' current values; it draws no graphs (API of {GRAFANA_VERSION}).</p>"
        f"</div>{body}</body></html>"
    )


def home(dashboards: list[Dashboard] | None) -> str:
    """The front page; without a signed-in user (None) it offers to sign in."""
    if dashboards is None:
        return page("Grafana: lab stand-in", '<p><a href="/login">Войти · Sign in</a></p>')
    items = "".join(
        f'<li><a href="{escape(item.url)}">{escape(item.title)}</a> '
        f"({escape(item.provider.folder or 'General')})</li>"
        for item in dashboards
    )
    return page("Grafana: lab stand-in", f"<h1>Панели · Dashboards</h1><ul>{items}</ul>")


def dashboard_page(dashboard: Dashboard, readings: list[Reading]) -> str:
    rows = []
    for reading in readings:
        if reading.error is not None:
            shown = f'<span class="error">{escape(reading.error)}</span>'
        elif reading.values:
            shown = "<br>".join(
                f"{escape(name)}: <b>{escape(value)}</b>" for name, value in reading.values
            )
        else:
            shown = "нет данных · no data"
        rows.append(
            f"<tr><td>{escape(reading.title)}</td><td>{escape(reading.kind)}</td><td>{shown}</td></tr>"
        )
    return page(
        dashboard.title,
        f'<p><a href="/">Панели · Dashboards</a></p><h1>{escape(dashboard.title)}</h1>'
        "<table><tr><th>Панель · Panel</th><th>Вид · Type</th>"
        f"<th>Сейчас · Now</th></tr>{''.join(rows)}</table>",
    )


async def readings(
    dashboard: Dashboard, sources: Mapping[str, tuple[Prometheus, str]], default: str, now: int
) -> list[Reading]:
    """Ask for every panel's current values.

    `sources` maps a data source's uid to its API and its scrape interval, `default` is the uid that
    stands where none is named, `now` is in milliseconds.
    """
    time = dashboard.model.get("time") or {}
    span = TimeRange(moment(str(time.get("from", DEFAULT_FROM)), now), now)
    variables = await _variables(dashboard, sources, default)

    async def read(panel: Mapping[str, Any]) -> Reading:
        title = substitute(str(panel.get("title") or ""), variables)
        values: list[tuple[str, str]] = []
        try:
            for target in panel.get("targets") or []:
                uid = _source(target.get("datasource") or panel.get("datasource"), default)
                uid = substitute(uid, variables)
                if uid in BUILT_IN_SOURCES:
                    continue
                if uid not in sources:
                    raise QueryError(f"data source {uid!r} does not exist")
                prometheus, scrape = sources[uid]
                minimum = duration(scrape)
                step = interval(span, QUERY_RESULT_DATA_POINTS, minimum)
                known = variables | built_ins(span, step, minimum)
                for series in await prometheus.query(substitute(target["expr"], known), now):
                    name = legend(str(target.get("legendFormat") or ""), series["metric"])
                    values.append((name, series["value"][1]))
        except QueryError as error:
            return Reading(title, str(panel["type"]), [], str(error))
        return Reading(title, str(panel["type"]), values[:SHOWN_SERIES], None)

    return list(await asyncio.gather(*(read(panel) for panel in dashboard.panels())))


async def _variables(
    dashboard: Dashboard, sources: Mapping[str, tuple[Prometheus, str]], default: str
) -> dict[str, str]:
    """The dashboard's variables: the saved choice, else everything, else the first value."""
    values: dict[str, str] = {}
    for variable in (dashboard.model.get("templating") or {}).get("list") or []:
        kind = variable.get("type")
        chosen = (variable.get("current") or {}).get("value")
        chosen = chosen[0] if isinstance(chosen, list) and chosen else chosen
        if chosen == "$__all" or (not chosen and variable.get("includeAll")):
            value = str(variable.get("allValue") or ".*")
        elif chosen:
            value = str(chosen)
        elif kind == "datasource":
            value = default
        elif kind == "query":
            value = await _first_value(variable, sources, default, values)
        else:
            value = str(variable.get("query") or "").split(",")[0].strip()
        values[str(variable.get("name"))] = value
    return values


async def _first_value(
    variable: Mapping[str, Any],
    sources: Mapping[str, tuple[Prometheus, str]],
    default: str,
    known: Mapping[str, str],
) -> str:
    query = variable.get("query")
    text = str(query.get("query", "") if isinstance(query, Mapping) else query or "")
    match = LABEL_VALUES.fullmatch(substitute(text, known).strip())
    uid = _source(variable.get("datasource"), default)
    if match is None or uid not in sources:
        return ""
    try:
        found = await sources[uid][0].label_values(match["label"], match["selector"])
    except QueryError:
        return ""
    return found[0] if found else ""


def _source(source: Any, default: str) -> str:
    uid = source.get("uid") if isinstance(source, Mapping) else source
    if isinstance(uid, str) and (variable := VARIABLE.fullmatch(uid)):
        return f"${variable[1] or variable[2]}"
    return str(uid or default)
