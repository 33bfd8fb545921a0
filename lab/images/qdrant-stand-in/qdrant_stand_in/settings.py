"""Configuration with Qdrant's sources and precedence (src/settings.rs of qdrant 1.19.0)."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class SettingsError(Exception):
    """The configuration cannot be used; the message names the value."""


@dataclass(frozen=True)
class Settings:
    """The part of Qdrant's configuration in use; paths are relative to the working directory."""

    storage_path: Path
    snapshots_path: Path
    host: str
    http_port: int
    grpc_port: int | None
    api_key: str | None
    read_only_api_key: str | None
    max_request_size_mb: int


DEFAULTS: dict[str, dict[str, Any]] = {
    "storage": {"storage_path": "./storage", "snapshots_path": "./snapshots"},
    "service": {
        "host": "0.0.0.0",
        "http_port": 6333,
        "grpc_port": 6334,
        "api_key": None,
        "read_only_api_key": None,
        "max_request_size_mb": 32,
    },
}


def load(environ: Mapping[str, str], config_path: Path | None = None) -> Settings:
    """Merge defaults < config/config < config/$RUN_MODE < config/local < config_path < QDRANT__*.

    Raises SettingsError for a file that is not a YAML mapping or a value of the wrong type.
    """
    merged: dict[str, Any] = {section: dict(values) for section, values in DEFAULTS.items()}
    run_mode = environ.get("RUN_MODE", "development")
    for name in ("config", run_mode, "local"):
        _merge(merged, _read(Path("config") / f"{name}.yaml"))
    if config_path is not None:
        if not config_path.is_file():
            raise SettingsError(f"Config file via --config-path is not found: {config_path}")
        _merge(merged, _read(config_path))
    for name, value in environ.items():
        if name.startswith("QDRANT__"):
            path = [part.lower() for part in name.split("__")[1:]]
            _merge(merged, _nest(path, value or None))
    storage, service = merged["storage"], merged["service"]
    grpc_port = service["grpc_port"]
    return Settings(
        storage_path=Path(_text(storage, "storage.storage_path")),
        snapshots_path=Path(_text(storage, "storage.snapshots_path")),
        host=_text(service, "service.host"),
        http_port=_number(service, "service.http_port"),
        grpc_port=None if grpc_port is None else _number(service, "service.grpc_port"),
        api_key=_secret(service, "api_key"),
        read_only_api_key=_secret(service, "read_only_api_key"),
        max_request_size_mb=_number(service, "service.max_request_size_mb"),
    )


def from_environment(config_path: Path | None) -> Settings:
    return load(os.environ, config_path)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{path} cannot be read as YAML: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds {type(content).__name__}, a mapping is needed")
    return content


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def _nest(path: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def _text(section: Mapping[str, Any], name: str) -> str:
    value = section[name.rsplit(".", 1)[-1]]
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{name} is {value!r}, a non-empty string is needed")
    return value


def _number(section: Mapping[str, Any], name: str) -> int:
    value = section[name.rsplit(".", 1)[-1]]
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SettingsError(f"{name} is {value!r}, a whole number is needed")
    return value


def _secret(section: Mapping[str, Any], key: str) -> str | None:
    value = section[key]
    return str(value) if value not in (None, "") else None
