"""Dashboards: JSON files checked for what Grafana refuses or would show broken."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from . import StandInError
from .provisioning import DataSource, Provider

Json = Mapping[str, Any]
UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
BUILT_IN_SOURCES = frozenset({"-- Grafana --", "-- Mixed --", "-- Dashboard --", "grafana"})
GRID_COLUMNS = 24


@dataclass(frozen=True)
class Dashboard:
    """One checked dashboard."""

    uid: str
    title: str
    provider: Provider
    file: Path
    model: Json

    @property
    def slug(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or self.uid

    @property
    def url(self) -> str:
        return f"/d/{self.uid}/{self.slug}"

    @property
    def tags(self) -> list[str]:
        return list(self.model.get("tags") or [])

    def panels(self) -> Iterator[Json]:
        """Every panel, also those inside collapsed rows; no rows."""
        for panel in self.model.get("panels") or []:
            if panel.get("type") == "row":
                yield from panel.get("panels") or []
            else:
                yield panel


class Library:
    """The dashboards of every provider, read again when a file changed."""

    def __init__(self, providers: Iterable[Provider], sources: Iterable[DataSource]) -> None:
        """Read everything. StandInError names the file and the path of the first wrong value."""
        self._providers = list(providers)
        self._sources = list(sources)
        self._seen = self._state()
        self._dashboards = self._load()

    @property
    def update_interval(self) -> int:
        """Seconds between two looks at the files."""
        return min((provider.update_interval for provider in self._providers), default=10)

    def all(self) -> list[Dashboard]:
        return sorted(self._dashboards.values(), key=lambda item: item.title.lower())

    def get(self, uid: str) -> Dashboard | None:
        return self._dashboards.get(uid)

    def refresh(self) -> bool:
        """Whether something changed; what was read before stays when StandInError is raised."""
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        self._dashboards = self._load()
        return True

    def _files(self) -> Iterator[tuple[Provider, Path]]:
        for provider in self._providers:
            for path in sorted(provider.path.rglob("*.json")):
                yield provider, path

    def _state(self) -> dict[Path, tuple[int, int]]:
        return {
            path: (status.st_mtime_ns, status.st_size)
            for _, path in self._files()
            if (status := path.stat())
        }

    def _load(self) -> dict[str, Dashboard]:
        found: dict[str, Dashboard] = {}
        titles: dict[tuple[str, str], Path] = {}
        for provider, path in self._files():
            dashboard = read(provider, path, self._sources)
            if dashboard.uid in found:
                raise _error(
                    path, "uid", f"{dashboard.uid!r} is also in {found[dashboard.uid].file}"
                )
            title = (provider.folder, dashboard.title)
            if title in titles:
                raise _error(path, "title", f"{dashboard.title!r} is also in {titles[title]}")
            found[dashboard.uid] = dashboard
            titles[title] = path
        return found


def read(provider: Provider, path: Path, sources: Iterable[DataSource]) -> Dashboard:
    """Read and check one file. StandInError names the file and the path of the wrong value."""
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StandInError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(model, dict):
        raise StandInError(f"{path} holds {type(model).__name__}, an object is needed")
    _Check(path, model, list(sources)).run()
    return Dashboard(model["uid"], model["title"], provider, path, model)


def _error(file: Path, path: str, message: str) -> StandInError:
    return StandInError(f"{file}: {path}: {message}")


class _Check:
    def __init__(self, file: Path, model: Json, sources: list[DataSource]) -> None:
        self._file = file
        self._model = model
        self._uids = {source.uid for source in sources}
        self._has_default = any(source.is_default for source in sources)
        variables = self._objects(model.get("templating") or {}, "list", "templating.list")
        self._source_variables = {
            item.get("name") for _, item in variables if item.get("type") == "datasource"
        }
        self._variables = variables

    def run(self) -> None:
        model = self._model
        uid = model.get("uid")
        if not isinstance(uid, str) or not UID.fullmatch(uid):
            raise self._error(
                "uid", f"is {uid!r}, 1 to 40 letters, digits, hyphens and underscores are needed"
            )
        if not isinstance(model.get("title"), str) or not model["title"].strip():
            raise self._error("title", f"is {model.get('title')!r}, a non-empty string is needed")
        version = model.get("schemaVersion")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise self._error("schemaVersion", f"is {version!r}, a whole number is needed")
        if model.get("id") is not None:
            raise self._error("id", f"is {model['id']!r}, null is needed in a provisioned file")
        if model.get("__inputs"):
            raise self._error(
                "__inputs", "is not empty: provisioning fills in no inputs, use fixed uids"
            )
        for path, text in _strings(model, ""):
            if "${DS_" in text:
                raise self._error(path, f"{text!r} refers to an input, a fixed uid is needed")
        for path, variable in self._variables:
            if variable.get("type") == "query":
                self._data_source(path, variable.get("datasource"))
        annotations = model.get("annotations") or {}
        for path, annotation in self._objects(annotations, "list", "annotations.list"):
            self._data_source(path, annotation.get("datasource"))
        self._panels()

    def _panels(self) -> None:
        top = self._objects(self._model, "panels", "panels")
        groups = [top]
        for path, panel in top:
            if panel.get("type") == "row":
                groups.append(self._objects(panel, "panels", f"{path}.panels"))
        everything = [item for group in groups for item in group]
        identifiers: dict[Any, str] = {}
        for path, panel in everything:
            identifier = panel.get("id")
            if isinstance(identifier, bool) or not isinstance(identifier, int):
                raise self._error(f"{path}.id", f"is {identifier!r}, a whole number is needed")
            if identifier in identifiers:
                raise self._error(f"{path}.id", f"{identifier} is also {identifiers[identifier]}'s")
            identifiers[identifier] = path
            if not isinstance(panel.get("type"), str):
                raise self._error(f"{path}.type", f"is {panel.get('type')!r}, a name is needed")
            if panel["type"] != "row":
                self._panel(path, panel)
        for group in groups:
            self._layout(group)

    def _panel(self, path: str, panel: Json) -> None:
        targets = self._objects(panel, "targets", f"{path}.targets")
        if panel.get("datasource") is not None:
            self._data_source(path, panel["datasource"])
        references = []
        for target_path, target in targets:
            source = target.get("datasource") or panel.get("datasource")
            self._data_source(target_path, source)
            references.append(target.get("refId"))
            if not isinstance(target.get("refId"), str) or references.count(target["refId"]) > 1:
                raise self._error(
                    f"{target_path}.refId",
                    f"is {target.get('refId')!r}, a name of its own is needed",
                )
            if self._built_in(source):
                continue
            expression = target.get("expr")
            if not isinstance(expression, str) or not expression.strip():
                raise self._error(
                    f"{target_path}.expr", f"is {expression!r}, a PromQL expression is needed"
                )

    def _layout(self, group: list[tuple[str, Json]]) -> None:
        boxes = []
        for path, panel in group:
            position = panel.get("gridPos")
            values: list[Any] = (
                [position.get(key) for key in "xywh"] if isinstance(position, Mapping) else []
            )
            if not values or any(
                isinstance(value, bool) or not isinstance(value, int) for value in values
            ):
                raise self._error(
                    f"{path}.gridPos", f"is {position!r}, whole numbers x, y, w, h are needed"
                )
            x, y, width, height = values
            if x < 0 or y < 0 or width < 1 or height < 1 or x + width > GRID_COLUMNS:
                raise self._error(
                    f"{path}.gridPos", f"{position} leaves the grid of {GRID_COLUMNS} columns"
                )
            boxes.append((path, x, y, x + width, y + height))
        for (first, *a), (second, *b) in combinations(boxes, 2):
            if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]:
                raise self._error(f"{second}.gridPos", f"overlaps {first}")

    def _data_source(self, path: str, source: Any) -> None:
        if self._built_in(source):
            return
        uid = source.get("uid") if isinstance(source, Mapping) else source
        if uid is None:
            if not self._has_default:
                raise self._error(
                    f"{path}.datasource", "is missing and no data source is the default"
                )
            return
        if isinstance(uid, str) and (variable := VARIABLE.fullmatch(uid)):
            name = variable[1] or variable[2]
            if name not in self._source_variables:
                raise self._error(
                    f"{path}.datasource.uid",
                    f"is {uid!r}, but the dashboard has no data source variable {name!r}",
                )
        elif uid not in self._uids:
            known = ", ".join(sorted(self._uids)) or "none"
            raise self._error(
                f"{path}.datasource.uid", f"{uid!r} is no data source (known: {known})"
            )

    @staticmethod
    def _built_in(source: Any) -> bool:
        uid = source.get("uid") if isinstance(source, Mapping) else source
        return uid in BUILT_IN_SOURCES

    def _objects(self, parent: Json, key: str, path: str) -> list[tuple[str, Json]]:
        items = parent.get(key) or []
        if not isinstance(items, list):
            raise self._error(path, f"is {type(items).__name__}, a list is needed")
        for index, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise self._error(f"{path}[{index}]", f"is {item!r}, an object is needed")
        return [(f"{path}[{index}]", item) for index, item in enumerate(items)]

    def _error(self, path: str, message: str) -> StandInError:
        return _error(self._file, path, message)


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{path}[{index}]")
