"""The HTTP API and the pages (docs of Grafana 12: developers/http_api)."""

import asyncio
import base64
import binascii
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

from . import COMMIT, EDITION, GRAFANA_VERSION, StandInError, view
from .accounts import Accounts
from .dashboards import Dashboard, Library
from .prometheus import Prometheus, QueryError, frames
from .provisioning import DataSource
from .templating import TimeRange, built_ins, duration, interval, moment, substitute

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Json = dict[str, Any]
OPEN_PATHS = frozenset({"/", "/api/health", "/healthz", "/metrics"})
DEFAULT_MAX_DATA_POINTS = 100


class Api:
    """The application over the provisioned data sources and dashboards."""

    def __init__(self, accounts: Accounts, sources: list[DataSource], library: Library) -> None:
        self._accounts = accounts
        self._sources = {source.uid: source for source in sources}
        self._library = library
        self._session: aiohttp.ClientSession | None = None
        self._started = time.time()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._sign_in])
        app.cleanup_ctx.append(self._run)
        source = "/api/datasources/uid/{uid}"
        proxy = "/api/datasources/proxy/uid/{uid}/{path:api/v1/.+}"
        app.add_routes(
            [
                web.get("/", self._home),
                web.get("/login", self._login),
                web.get("/d/{uid}", self._view),
                web.get("/d/{uid}/{slug}", self._view),
                web.get("/healthz", self._alive),
                web.get("/metrics", self._metrics),
                web.get("/api/health", self._health),
                web.get("/api/datasources", self._list_sources),
                web.get(source, self._show_source),
                web.get(f"{source}/health", self._source_health),
                web.get(proxy, self._proxy),
                web.post(proxy, self._proxy),
                web.post("/api/ds/query", self._query),
                web.get("/api/search", self._search),
                web.get("/api/dashboards/uid/{uid}", self._dashboard),
            ]
        )
        return app

    async def _run(self, _app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as self._session:
            refresher = asyncio.create_task(self._refresh())
            yield
            refresher.cancel()

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._library.update_interval)
            try:
                if await asyncio.to_thread(self._library.refresh):
                    logging.info("dashboards were read again")
            except (StandInError, OSError) as error:
                logging.error("dashboards stay as they were: %s", error)

    @web.middleware
    async def _sign_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN_PATHS or await self._signed_in(request):
            return await handler(request)
        given = "Authorization" in request.headers
        return web.json_response(
            {
                "message": "Invalid username or password" if given else "Unauthorized",
                "messageId": "password-auth.failed" if given else "auth.unauthorized",
                "statusCode": 401,
                "traceID": "",
            },
            status=401,
            headers={}
            if request.path.startswith("/api/")
            else {"WWW-Authenticate": 'Basic realm="Grafana lab stand-in", charset="UTF-8"'},
        )

    async def _signed_in(self, request: web.Request) -> bool:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            login, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return await asyncio.to_thread(self._accounts.accepts, login, password)

    def _prometheus(self, source: DataSource) -> Prometheus:
        assert self._session is not None
        return Prometheus(self._session, source)

    def _default_uid(self) -> str:
        return next((item.uid for item in self._sources.values() if item.is_default), "")

    async def _home(self, request: web.Request) -> web.Response:
        signed_in = await self._signed_in(request)
        return _html(view.home(self._library.all() if signed_in else None))

    async def _login(self, _request: web.Request) -> web.Response:
        raise web.HTTPFound("/")

    async def _view(self, request: web.Request) -> web.Response:
        dashboard = self._library.get(request.match_info["uid"])
        if dashboard is None:
            body = "<p>Такой панели нет · There is no such dashboard</p>"
            return _html(view.page("404", body), status=404)
        sources = {
            uid: (self._prometheus(source), source.time_interval)
            for uid, source in self._sources.items()
        }
        now = round(time.time() * 1000)
        found = await view.readings(dashboard, sources, self._default_uid(), now)
        return _html(view.dashboard_page(dashboard, found))

    async def _alive(self, _request: web.Request) -> web.Response:
        return web.Response(text="Ok")

    async def _health(self, _request: web.Request) -> web.Response:
        works = await asyncio.to_thread(self._accounts.answers)
        return web.json_response(
            {
                "database": "ok" if works else "failing",
                "version": GRAFANA_VERSION,
                "commit": COMMIT,
            },
            status=200 if works else 503,
        )

    async def _metrics(self, _request: web.Request) -> web.Response:
        labels = f'version="{GRAFANA_VERSION}",edition="{EDITION}",revision="{COMMIT}"'
        return web.Response(
            text=(
                "# TYPE grafana_build_info gauge\n"
                f"grafana_build_info{{{labels}}} 1\n"
                "# TYPE grafana_stat_totals_dashboard gauge\n"
                f"grafana_stat_totals_dashboard {len(self._library.all())}\n"
                "# TYPE process_start_time_seconds gauge\n"
                f"process_start_time_seconds {self._started:.3f}\n"
            )
        )

    def _source(self, request: web.Request) -> DataSource:
        source = self._sources.get(request.match_info["uid"])
        if source is None:
            raise _failure(404, "Data source not found")
        return source

    async def _list_sources(self, _request: web.Request) -> web.Response:
        return web.json_response(
            [_source_json(item, number) for number, item in enumerate(self._sources.values(), 1)]
        )

    async def _show_source(self, request: web.Request) -> web.Response:
        source = self._source(request)
        return web.json_response(_source_json(source, list(self._sources).index(source.uid) + 1))

    async def _source_health(self, request: web.Request) -> web.Response:
        try:
            now = round(time.time() * 1000)
            await self._prometheus(self._source(request)).query("1+1", now)
        except QueryError as error:
            return web.json_response({"message": str(error), "status": "ERROR"}, status=400)
        return web.json_response(
            {"message": "Successfully queried the Prometheus API.", "status": "OK"}
        )

    async def _proxy(self, request: web.Request) -> web.Response:
        prometheus = self._prometheus(self._source(request))
        try:
            status, content_type, body = await prometheus.forward(
                request.method,
                request.match_info["path"],
                request.query_string,
                await request.read(),
                request.headers.get("Content-Type", ""),
            )
        except QueryError as error:
            raise _failure(502, str(error)) from error
        return web.Response(status=status, body=body, content_type=content_type)

    async def _query(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            queries = body["queries"]
            now = round(time.time() * 1000)
            span = TimeRange(
                moment(str(body.get("from", "now-1h")), now),
                moment(str(body.get("to", "now")), now),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise _failure(400, f"bad request data: {error}") from error
        if not queries or not all(isinstance(query, dict) for query in queries):
            raise _failure(400, "no queries found")
        if span.milliseconds <= 0:
            raise _failure(400, "the time range is empty: `from` is not before `to`")
        results = {
            str(query.get("refId", "A")): answer
            for query, answer in zip(
                queries,
                await asyncio.gather(*(self._one_query(query, span) for query in queries)),
                strict=True,
            )
        }
        failed = any("error" in result for result in results.values())
        return web.json_response({"results": results}, status=400 if failed else 200)

    async def _one_query(self, query: Json, span: TimeRange) -> Json:
        """One member of `results`: frames, or Grafana's way to say what went wrong."""
        reference = str(query.get("refId", "A"))
        given = query.get("datasource")
        uid = given.get("uid") if isinstance(given, dict) else given
        source = self._sources.get(uid or self._default_uid())
        expression = query.get("expr")
        if source is None:
            return _query_error(404, f"data source {uid!r} not found")
        if not isinstance(expression, str) or not expression.strip():
            return _query_error(400, "query expression is empty")
        try:
            minimum = duration(str(query.get("interval") or source.time_interval))
            points = int(query.get("maxDataPoints") or DEFAULT_MAX_DATA_POINTS)
        except (ValueError, TypeError) as error:
            return _query_error(400, str(error))
        step = interval(span, points, minimum)
        scrape = duration(source.time_interval)
        expression = substitute(expression, built_ins(span, step, scrape))
        prometheus = self._prometheus(source)
        instant = bool(query.get("instant"))
        try:
            series = []
            if query.get("range") or not instant:
                series += await prometheus.query_range(expression, span, step)
            if instant:
                series += await prometheus.query(expression, span.end)
        except QueryError as error:
            return _query_error(400, str(error))
        name = str(query.get("legendFormat") or "")
        return {"status": 200, "frames": frames(series, reference, expression, step, name)}

    async def _search(self, request: web.Request) -> web.Response:
        kind = request.query.get("type")
        words = request.query.get("query", "").lower()
        tags = set(request.query.getall("tag", []))
        found = []
        if kind in (None, "dash-folder"):
            folders = {
                item.provider.folder: item.provider.folder_uid
                for item in self._library.all()
                if item.provider.folder
            }
            found += [
                {"uid": uid, "title": title, "type": "dash-folder", "url": f"/dashboards/f/{uid}"}
                for title, uid in sorted(folders.items())
                if words in title.lower() and not tags
            ]
        if kind in (None, "dash-db"):
            found += [
                _search_json(item, number)
                for number, item in enumerate(self._library.all(), 1)
                if words in item.title.lower() and tags <= set(item.tags)
            ]
        return web.json_response(found)

    async def _dashboard(self, request: web.Request) -> web.Response:
        dashboard = self._library.get(request.match_info["uid"])
        if dashboard is None:
            raise _failure(404, "Dashboard not found", status="not-found")
        provider = dashboard.provider
        meta = {
            "type": "db",
            "canSave": False,
            "canEdit": True,
            "slug": dashboard.slug,
            "url": dashboard.url,
            "folderUid": provider.folder_uid,
            "folderTitle": provider.folder or "General",
            "provisioned": True,
            "provisionedExternalId": str(dashboard.file.relative_to(provider.path)),
        }
        return web.json_response({"meta": meta, "dashboard": dashboard.model})


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", status=status)


def _failure(code: int, message: str, **more: str) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPException]] = {
        400: web.HTTPBadRequest,
        404: web.HTTPNotFound,
        502: web.HTTPBadGateway,
    }
    return kinds[code](
        text=json.dumps({"message": message, **more}), content_type="application/json"
    )


def _query_error(status: int, message: str) -> Json:
    return {"status": status, "error": message, "frames": []}


def _source_json(source: DataSource, number: int) -> Json:
    return {
        "id": number,
        "uid": source.uid,
        "orgId": 1,
        "name": source.name,
        "type": source.kind,
        "access": "proxy",
        "url": source.url,
        "isDefault": source.is_default,
        "jsonData": dict(source.json_data),
        "readOnly": True,
    }


def _search_json(dashboard: Dashboard, number: int) -> Json:
    folder = dashboard.provider
    answer: Json = {
        "id": number,
        "uid": dashboard.uid,
        "title": dashboard.title,
        "uri": f"db/{dashboard.slug}",
        "url": dashboard.url,
        "type": "dash-db",
        "tags": dashboard.tags,
        "isStarred": False,
    }
    if folder.folder:
        answer |= {"folderUid": folder.folder_uid, "folderTitle": folder.folder}
    return answer
