"""provisioning/datasources/*.yaml and provisioning/dashboards/*.yaml, read and checked."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from . import StandInError

DEFAULT_SCRAPE_INTERVAL = "15s"
DEFAULT_UPDATE_INTERVAL = 10
REFERENCE = re.compile(r"\$\$|\$__(env|file)\{([^}]*)\}|\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class DataSource:
    """One provisioned data source; `time_interval` is Prometheus' scrape interval."""

    name: str
    uid: str
    kind: str
    url: str
    is_default: bool
    time_interval: str
    json_data: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True)
class Provider:
    """One source of dashboards: JSON files below `path`, shown in `folder`."""

    name: str
    folder: str
    folder_uid: str
    path: Path
    update_interval: int


def data_sources(directory: Path, variables: Mapping[str, str]) -> list[DataSource]:
    """Every data source. StandInError names the file and the path of the wrong value."""
    found: list[DataSource] = []
    for path, content in _files(directory / "datasources", variables):
        for index, item in enumerate(_items(path, content, "datasources")):
            found.append(_data_source(_Place(path, f"datasources[{index}]"), item))
    for attribute in ("name", "uid"):
        values = [getattr(source, attribute) for source in found]
        for value in values:
            if values.count(value) > 1:
                raise StandInError(
                    f"{directory / 'datasources'}: data source {attribute} {value!r} is given twice"
                )
    defaults = [source.name for source in found if source.is_default]
    if len(defaults) > 1:
        raise StandInError(
            f"{directory / 'datasources'}: only one data source may be isDefault, "
            f"but {', '.join(defaults)} are"
        )
    return found


def providers(directory: Path, variables: Mapping[str, str]) -> list[Provider]:
    """Every dashboard provider. StandInError names the file and the path of the wrong value."""
    found: list[Provider] = []
    for path, content in _files(directory / "dashboards", variables):
        for index, item in enumerate(_items(path, content, "providers")):
            place = _Place(path, f"providers[{index}]")
            provider = _provider(place, item)
            if provider.name in {other.name for other in found}:
                raise place.error("name", f"{provider.name!r} is given twice")
            found.append(provider)
    return found


@dataclass(frozen=True)
class _Place:
    file: Path
    path: str

    def error(self, key: str, message: str) -> StandInError:
        return StandInError(f"{self.file}: {self.path}.{key}: {message}")

    def text(self, item: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = item.get(key, default)
        if not isinstance(value, str) or (not value and default is None):
            raise self.error(key, f"is {value!r}, a non-empty string is needed")
        return value

    def flag(self, item: Mapping[str, Any], key: str) -> bool:
        value = item.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"is {value!r}, true or false is needed")
        return value


def _files(directory: Path, variables: Mapping[str, str]) -> list[tuple[Path, Mapping[str, Any]]]:
    if not directory.is_dir():
        return []
    contents = []
    for path in sorted(directory.iterdir()):
        if path.suffix not in (".yaml", ".yml"):
            continue
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise StandInError(f"{path} cannot be read as YAML: {reason}") from error
        content = {} if content is None else content
        if not isinstance(content, Mapping):
            raise StandInError(f"{path}: holds {type(content).__name__}, a mapping is needed")
        if content and content.get("apiVersion") != 1:
            raise StandInError(
                f"{path}: apiVersion: is {content.get('apiVersion')!r}, the number 1 is needed"
            )
        contents.append((path, _expand(content, variables, path)))
    return contents


def _items(path: Path, content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = content.get(key) or []
    if not isinstance(items, list):
        raise StandInError(f"{path}: {key}: is {type(items).__name__}, a list is needed")
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise StandInError(f"{path}: {key}[{index}]: is {item!r}, a mapping is needed")
    return items


def _data_source(place: _Place, item: Mapping[str, Any]) -> DataSource:
    name = place.text(item, "name")
    kind = place.text(item, "type")
    if kind != "prometheus":
        raise place.error("type", f"is {kind!r}, the lab stand-in knows only 'prometheus'")
    access = place.text(item, "access", "proxy")
    if access not in ("proxy", "direct"):
        raise place.error("access", f"is {access!r}, 'proxy' or 'direct' is needed")
    url = place.text(item, "url")
    if not url.startswith(("http://", "https://")):
        raise place.error("url", f"is {url!r}, an http:// or https:// URL is needed")
    json_data = item.get("jsonData") or {}
    if not isinstance(json_data, Mapping):
        raise place.error("jsonData", f"is {json_data!r}, a mapping is needed")
    # Grafana's own default for a data source without a uid (pkg/services/provisioning/datasources).
    generated = f"P{hashlib.sha256(name.encode()).hexdigest()[:16].upper()}"
    interval = str(json_data.get("timeInterval", DEFAULT_SCRAPE_INTERVAL))
    if not re.fullmatch(r"\d+(ms|s|m|h|d)", interval):
        raise place.error("jsonData.timeInterval", f"is {interval!r}, a duration as 15s is needed")
    return DataSource(
        name=name,
        uid=place.text(item, "uid", generated),
        kind=kind,
        url=url.rstrip("/"),
        is_default=place.flag(item, "isDefault"),
        time_interval=interval,
        json_data=json_data,
    )


def _provider(place: _Place, item: Mapping[str, Any]) -> Provider:
    name = place.text(item, "name")
    kind = place.text(item, "type", "file")
    if kind != "file":
        raise place.error("type", f"is {kind!r}, 'file' is needed")
    options = item.get("options")
    if not isinstance(options, Mapping):
        raise place.error("options", f"is {options!r}, a mapping with `path` is needed")
    path = Path(_Place(place.file, f"{place.path}.options").text(options, "path"))
    if not path.is_dir():
        raise place.error("options.path", f"{path} is no directory")
    interval = item.get("updateIntervalSeconds", DEFAULT_UPDATE_INTERVAL)
    if isinstance(interval, bool) or not isinstance(interval, int) or interval < 0:
        raise place.error("updateIntervalSeconds", f"is {interval!r}, a whole number is needed")
    folder = place.text(item, "folder", "")
    generated = hashlib.sha256(folder.encode()).hexdigest()[:14] if folder else ""
    return Provider(
        name=name,
        folder=folder,
        folder_uid=place.text(item, "folderUid", "") or generated,
        path=path,
        update_interval=interval or DEFAULT_UPDATE_INTERVAL,
    )


def _expand(value: Any, variables: Mapping[str, str], path: Path) -> Any:
    """Replace $NAME, ${NAME}, $__env{NAME} and $__file{path}; `$$` is a dollar sign."""
    if isinstance(value, Mapping):
        return {key: _expand(item, variables, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, variables, path) for item in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] == "file":
            try:
                return Path(match[2]).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise StandInError(f"{path}: {match[0]} cannot be read: {error}") from error
        return variables.get(match[2] or match[3] or match[4], "")

    return REFERENCE.sub(replacement, value)
