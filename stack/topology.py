"""From a site to everything that has to stand on its host: the one place that knows it all."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jinja2

from stack.docker.spec import (
    Attachment,
    ConfigFile,
    Container,
    Desired,
    Gate,
    HealthCheck,
    LogConfig,
    Mount,
    Network,
    PublishedPort,
    Volume,
)
from stack.images import build_of
from stack.model import Model
from stack.postgres_settings import MAINTENANCE, Trial, reload_command
from stack.postgres_settings import check_command as postgres_check
from stack.qdrant import check_command as qdrant_check
from stack.secrets import (
    GRAFANA_ADMIN,
    POSTGRES_AGENT_EXPORTER,
    POSTGRES_PROJECT_API,
    POSTGRES_SUPERUSER,
    QDRANT_API_KEY,
    QDRANT_READ_ONLY_KEY,
    SAIGA_API_KEY,
    WEBBOT2_SESSION,
    Secret,
    SecretFile,
    curl,
)
from stack.site import ServiceSettings, Site
from stack.values import GIB, parse_size

ROOT = Path(__file__).resolve().parent.parent
CONFIG_DIR = "/etc/saiga-stack"
ROOT_UID, POSTGRES_UID, PYTHON_UID, QDRANT_UID = 0, 999, 10001, 1000
PROMETHEUS_UID, GRAFANA_UID = 65534, 472


VOLUMES = {
    "postgres": ("postgres_data",),
    "qdrant": ("qdrant_storage_new", "qdrant_snapshots_new"),
    "saiga": ("saiga_cache",),
    "embeddings": ("embeddings_cache",),
    "prometheus": ("prometheus_data_new",),
    "grafana": ("grafana_data_new",),
}


def desired(site: Site, root: Path = ROOT) -> Desired:
    """Networks, volumes and containers of ``site``, containers in the order they start in.

    ``root`` is the checkout that holds templates/, files/ and services/.
    """
    topology = _Topology(site, root)
    makers = {
        "postgres": topology.postgres,
        "qdrant": topology.qdrant,
        "saiga": topology.saiga,
        "embeddings": topology.embeddings,
        "project_api": topology.project_api,
        "webbot2": topology.webbot2,
        "agent_exporter": topology.agent_exporter,
        "node_exporter": topology.node_exporter,
        "dcgm_exporter": topology.dcgm_exporter,
        "prometheus": topology.prometheus,
        "grafana": topology.grafana,
    }
    enabled = {name for name, _ in site.services.enabled()}
    return Desired(
        networks=tuple(
            Network(net.name, str(net.subnet), str(net.gateway), str(net.dynamic_range))
            for net in site.networks.values()
        ),
        volumes=tuple(
            Volume(getattr(site.volumes, volume))
            for name, volumes in VOLUMES.items()
            if name in enabled
            for volume in volumes
        ),
        containers=tuple(make() for name, make in makers.items() if name in enabled),
    )


def model_of(site: Site) -> Model | None:
    """The model whose files lie on the host; None when Saiga's image has them."""
    source = site.saiga.source
    if source.kind == "image":
        return None
    where = source.path if source.kind == "directory" else source.url
    assert where and source.revision
    return Model(site.saiga.model, source.kind, where.rstrip("/"), source.revision)


def model_path(site: Site) -> str:
    """The folder of the model as the container of Saiga and, for files of ours, the host see it."""
    model = model_of(site)
    return model.path if model else site.saiga.model


def address(service: ServiceSettings, port: str) -> str:
    """``address:port`` at which the host reaches a service inside its first network."""
    return f"{next(iter(service.addresses.values()))}:{service.ports[port].inside}"


def grafana_query(site: Site) -> str:
    """A shell command: Grafana's administrator has Prometheus queried; it prints the HTTP status.

    401 is the answer to another password than the host's.
    """
    user = f"printf 'user = \"admin:'; cat {GRAFANA_ADMIN.path}; printf '\"\\n'"
    url = f"http://{address(site.services.grafana, 'http')}/api/datasources/uid/prometheus/health"
    return f"{{ {user}; }} | curl -s -m 30 -o /dev/null -w '%{{http_code}}' -K - {url}"


def scrape_targets(site: Site) -> dict[str, str]:
    """Prometheus job to ``name:port`` of its target, for every service that runs."""
    jobs = {
        "saiga": ("saiga", "http"),
        "qdrant": ("qdrant", "http"),
        "node": ("node_exporter", "http"),
        "dcgm": ("dcgm_exporter", "http"),
        "agent": ("agent_exporter", "http"),
        "project_api": ("project_api", "http"),
        "prometheus": ("prometheus", "http"),
    }
    enabled = dict(site.services.enabled())
    return {
        job: f"{enabled[service].container}:{enabled[service].ports[port].inside}"
        for job, (service, port) in jobs.items()
        if service in enabled
    }


def _bind(source: str, target: str) -> Mount:
    return Mount("bind", source, target, read_only=True)


def _reads(service: str, uid: int, *secrets: Secret, at_start: bool = True) -> dict[str, Any]:
    """Files with the values of secrets for one service, and the folder that it finds them in."""
    files = tuple(SecretFile(service, s.name, uid, (s,), at_start) for s in secrets)
    return {"secrets": files, "secret_mounts": (_bind(files[0].folder, "/run/secrets"),)}


def _http_probe(port: int, path: str) -> str:
    """A health check for images that have bash but neither curl nor wget."""
    request = f"GET {path} HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n"
    return (
        f'bash -c \'exec 3<>/dev/tcp/127.0.0.1/{port} && printf "{request}" >&3'
        ' && head -1 <&3 | grep -q " 200 "\''
    )


class _Topology:
    def __init__(self, site: Site, root: Path) -> None:
        self.site = site
        self.root = root
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(root / "templates"),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
        )

    @property
    def gpu_runtime(self) -> Literal["nvidia"] | None:
        """The container toolkit's runtime, which puts the card's devices into the container's own
        specification: ``--gpus`` of engines before 29.2 adds them behind the back of systemd, and
        the next ``systemctl daemon-reload`` takes them away (nvidia-container-toolkit issue 48)."""
        return "nvidia" if self.site.gpu == "nvidia" else None

    @property
    def gpu_environment(self) -> Mapping[str, str]:
        if self.gpu_runtime is None:
            return {}
        return {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}

    def render(self, template: str, path: str, **values: Any) -> ConfigFile:
        content = self.templates.get_template(template).render(site=self.site, **values)
        return ConfigFile(path, content)

    def container(self, service: str, health: str, gate: Gate, **options: Any) -> Container:
        """What all containers share: hardening, log rotation, limits, addresses and ports."""
        settings: ServiceSettings = getattr(self.site.services, service)
        site = self.site
        start_period = options.pop("start_period", 30)
        options["mounts"] = (*options.get("mounts", ()), *options.pop("secret_mounts", ()))
        return Container(
            name=settings.container,
            image=options.pop("image", settings.image),
            attachments=tuple(
                Attachment(
                    site.networks[network].name,
                    str(ip),
                    tuple(settings.aliases.get(network, ())),
                )
                for network, ip in settings.addresses.items()
            ),
            ports=tuple(
                PublishedPort(port.inside, port.published, str(port.bind))
                for port in settings.ports.values()
                if port.published is not None
            ),
            memory=parse_size(settings.memory),
            pids=settings.pids,
            health=HealthCheck(
                health, interval=settings.health_interval, timeout=10, start_period=start_period
            ),
            log=LogConfig(
                "json-file",
                {
                    "max-size": site.docker.log_max_size,
                    "max-file": str(site.docker.log_max_file),
                },
            ),
            cap_drop=("ALL",),
            security=("no-new-privileges",),
            gate=gate,
            **options,
        )

    def gate(
        self, title: str, service: str, port: str, path: str, check: str = "", **extra: Any
    ) -> Gate:
        """An HTTP gate: curl must succeed and, with ``check``, the answer must match that regex."""
        url = f"http://{address(getattr(self.site.services, service), port)}{path}"
        match = f" | grep -qE '{check}'" if check else " -o /dev/null"
        return Gate(title, f"curl -sf -m 30 '{url}'{match}", **extra)

    def volume(self, key: str, target: str) -> Mount:
        return Mount("volume", getattr(self.site.volumes, key), target)

    def url(self, service: str, port: str = "http") -> str:
        settings: ServiceSettings = getattr(self.site.services, service)
        return f"http://{settings.container}:{settings.ports[port].inside}"

    def postgres(self) -> Container:
        service, database = self.site.services.postgres, self.site.postgres.database
        name, user = service.container, f"{POSTGRES_UID}:{POSTGRES_UID}"
        config = f"{CONFIG_DIR}/postgres"
        query = f"psql -U postgres -d {MAINTENANCE} -qtAc 'SELECT 1'"
        ready = f"pg_isready -q -h 127.0.0.1 && {query}"
        networks = [str(self.site.networks[network].subnet) for network in service.addresses]
        scripts = {
            f"{config}/start.sh": "start.sh",
            f"{CONFIG_DIR}/postgres-init/initialised.sh": "initialised.sh",
        }
        trial = Trial(
            container=name,
            image=service.image,
            user=user,
            volume=self.site.volumes.postgres_data,
            memory=parse_size(service.memory),
            script=(self.root / "files/postgres/check.sh").read_text(),
        )
        return self.container(
            "postgres",
            health=ready,
            gate=Gate("answers SELECT 1", f'docker exec {name} sh -c "{ready}"', deadline=120),
            entrypoint=("sh", "/etc/postgresql/start.sh"),
            command=("postgres", "-c", "config_file=/etc/postgresql/postgresql.conf"),
            environment={
                "PGPORT": str(self.site.services.postgres.ports["sql"].inside),
                "POSTGRES_DB": database,
                "POSTGRES_INITDB_ARGS": "--data-checksums --auth-host=scram-sha-256",
            },
            user=user,
            mounts=(
                self.volume("postgres_data", "/var/lib/postgresql/data"),
                _bind(config, "/etc/postgresql"),
                _bind(f"{CONFIG_DIR}/postgres-init", "/docker-entrypoint-initdb.d"),
            ),
            **_reads("postgres", POSTGRES_UID, POSTGRES_SUPERUSER, at_start=False),
            tmpfs={
                "/var/run/postgresql": f"uid={POSTGRES_UID},gid={POSTGRES_UID},mode=2775",
                "/tmp": "",
            },
            read_only=True,
            shm_size=GIB // 4,
            stop_timeout=90,
            files=(
                self.render("postgres/postgresql.conf.j2", f"{config}/postgresql.conf"),
                self.render("postgres/pg_hba.conf.j2", f"{config}/pg_hba.conf", networks=networks),
                *(
                    ConfigFile(path, (self.root / "files/postgres" / name).read_text(), live=True)
                    for path, name in scripts.items()
                ),
            ),
            check=postgres_check(trial),
            reload=reload_command(name),
        )

    def qdrant(self) -> Container:
        service = self.site.services.qdrant
        config = f"{CONFIG_DIR}/qdrant/production.yaml"
        keys = SecretFile(
            "qdrant",
            "keys.yaml",
            QDRANT_UID,
            (
                *("service:\n  api_key: '", QDRANT_API_KEY),
                *("'\n  read_only_api_key: '", QDRANT_READ_ONLY_KEY, "'\n"),
            ),
        )
        collections = f"-sf -m 30 -o /dev/null http://{address(service, 'http')}/collections"
        return self.container(
            "qdrant",
            health=_http_probe(service.ports["http"].inside, "/readyz"),
            gate=Gate(
                "lists its collections", curl("api-key: ", QDRANT_READ_ONLY_KEY, collections)
            ),
            user=f"{QDRANT_UID}:{QDRANT_UID}",
            mounts=(
                self.volume("qdrant_storage_new", "/qdrant/storage"),
                self.volume("qdrant_snapshots_new", "/qdrant/snapshots"),
                _bind(config, "/qdrant/config/production.yaml"),
                _bind(keys.path, "/qdrant/config/local.yaml"),
            ),
            secrets=(keys,),
            tmpfs={"/tmp": ""},
            stop_timeout=30,
            check=qdrant_check(
                service.image,
                self.site.volumes.qdrant_storage_new,
                (self.root / "files/qdrant/check.sh").read_text(),
            ),
            files=(
                self.render(
                    "qdrant/production.yaml.j2",
                    config,
                    http_port=service.ports["http"].inside,
                    grpc_port=service.ports["grpc"].inside,
                ),
            ),
        )

    def saiga(self) -> Container:
        settings, service = self.site.saiga, self.site.services.saiga
        port = service.ports["http"].inside
        defaults = {"temperature": settings.temperature, "top_p": settings.top_p}
        on_gpu = self.site.gpu == "nvidia"
        completion = json.dumps({"model": settings.served_name, "prompt": "1", "max_tokens": 1})
        ask = (
            "-sf -m 60 -o /dev/null -H 'Content-Type: application/json'"
            f" -d '{completion}' http://{address(service, 'http')}/v1/completions"
        )
        program, model = f"{CONFIG_DIR}/saiga", model_of(self.site)
        return self.container(
            "saiga",
            health=f"curl -sf -o /dev/null http://127.0.0.1:{port}/health",
            start_period=settings.start_deadline,
            gate=Gate(
                "completes one token",
                curl("Authorization: Bearer ", SAIGA_API_KEY, ask),
                deadline=settings.start_deadline,
            ),
            entrypoint=("python3", "/opt/saiga-stack/serve.py"),
            command=(
                *("--model", model_path(self.site), "--served-model-name", settings.served_name),
                *("--host", "0.0.0.0", "--port", str(port)),
                *("--max-model-len", str(settings.max_model_len)),
                "--enable-prefix-caching",
                *("--override-generation-config", json.dumps(defaults)),
                *(
                    ("--gpu-memory-utilization", f"{settings.gpu_memory_utilization:g}")
                    if on_gpu
                    else ()
                ),
                *settings.extra_arguments,
            ),
            environment={
                "VLLM_NO_USAGE_STATS": "1",
                "DO_NOT_TRACK": "1",
                "HF_HUB_OFFLINE": "1",
                # What was compiled once lies in the volume, as do vLLM's own graphs.
                "TORCHINDUCTOR_CACHE_DIR": "/root/.cache/torchinductor",
                "TRITON_CACHE_DIR": "/root/.cache/triton",
                **self.gpu_environment,
                **settings.environment,
            },
            mounts=(
                self.volume("saiga_cache", "/root/.cache"),
                _bind(program, "/opt/saiga-stack"),
                *([_bind(model.path, model.path)] if model else []),
            ),
            **_reads("saiga", ROOT_UID, SAIGA_API_KEY),
            files=(
                ConfigFile(f"{program}/serve.py", (self.root / "files/saiga/serve.py").read_text()),
            ),
            shm_size=8 * GIB,
            runtime=self.gpu_runtime,
            stop_timeout=30,
        )

    def embeddings(self) -> Container:
        service = self.site.services.embeddings
        port = service.ports["http"].inside
        word = json.dumps({"model": self.site.embedder.model, "input": "word"})
        url = f"http://{address(service, 'http')}/v1/embeddings"
        return self.container(
            "embeddings",
            health=_http_probe(port, "/health"),
            start_period=600,
            gate=Gate(
                "embeds a word",
                f"curl -sf -m 30 -H 'Content-Type: application/json' -d {shlex.quote(word)} {url}"
                """ | grep -q '"embedding": *\\['""",
                deadline=600,
            ),
            command=("--model-id", self.site.embedder.model, "--port", str(port)),
            environment={"HF_ENDPOINT": self.site.model_hub},
            mounts=(self.volume("embeddings_cache", "/data"),),
        )

    def _python_service(self, service: str, gate: Gate, **options: Any) -> Container:
        build = build_of(service, self.root, self.site.python_image)
        image: str = getattr(self.site.services, service).image
        return self.container(
            service,
            health=f"python3 -m {service}.healthcheck",
            gate=gate,
            image=f"{image}:{build.context}",
            build=build,
            user=f"{PYTHON_UID}:{PYTHON_UID}",
            tmpfs={"/tmp": ""},
            read_only=True,
            stop_timeout=30,
            **options,
        )

    def _postgres_environment(self, role: str, secret: Secret) -> dict[str, str]:
        service = self.site.services.postgres
        return {
            "POSTGRES_HOST": service.container,
            "POSTGRES_PORT": str(service.ports["sql"].inside),
            "POSTGRES_DB": self.site.postgres.database,
            "POSTGRES_USER": role,
            "POSTGRES_PASSWORD_FILE": f"/run/secrets/{secret.name}",
        }

    def project_api(self) -> Container:
        site = self.site
        url = f"{self.url('embeddings')}/v1" if site.asks_own_embeddings else site.embedder.url
        embedder: Mapping[str, str] = {
            "EMBEDDER": site.embedder.kind,
            "EMBEDDER_MODEL": site.embedder.model,
            "EMBEDDER_DIMENSION": str(site.embedder.dimension),
            **({"EMBEDDER_URL": url} if url else {}),
        }
        knowledge = f"{CONFIG_DIR}/project_api/knowledge"
        return self._python_service(
            "project_api",
            # It asks PostgreSQL, the collections, the embedder and Saiga each time.
            gate=self.gate("reaches all it needs", "project_api", "http", "/health", deadline=180),
            environment={
                "PORT": str(site.services.project_api.ports["http"].inside),
                "SAIGA_URL": f"{self.url('saiga')}/v1",
                "SAIGA_MODEL": site.saiga.served_name,
                "SAIGA_TEMPERATURE": f"{site.saiga.temperature:g}",
                "SAIGA_TOP_P": f"{site.saiga.top_p:g}",
                "SAIGA_PRESENCE_PENALTY": f"{site.saiga.presence_penalty:g}",
                "SAIGA_FREQUENCY_PENALTY": f"{site.saiga.frequency_penalty:g}",
                "SAIGA_MAX_TOKENS": str(site.saiga.max_tokens),
                "SAIGA_CONTEXT_LENGTH": str(site.saiga.max_model_len),
                "QDRANT_URL": self.url("qdrant"),
                "COLLECTIONS": json.dumps(site.qdrant.collections),
                "SEARCH_LIMIT": str(site.qdrant.search_limit),
                "SCORE_THRESHOLD": f"{site.qdrant.score_threshold:g}",
                **embedder,
                **self._postgres_environment("project_api", POSTGRES_PROJECT_API),
                "KNOWLEDGE_DIR": "/knowledge",
                "SAIGA_API_KEY_FILE": f"/run/secrets/{SAIGA_API_KEY.name}",
                "QDRANT_API_KEY_FILE": f"/run/secrets/{QDRANT_API_KEY.name}",
            },
            mounts=(_bind(knowledge, "/knowledge"),),
            **_reads(
                "project_api", PYTHON_UID, POSTGRES_PROJECT_API, SAIGA_API_KEY, QDRANT_API_KEY
            ),
            files=tuple(
                ConfigFile(f"{knowledge}/{path.name}", path.read_text())
                for path in sorted((self.root / site.knowledge).glob("*.yaml"))
            ),
        )

    def webbot2(self) -> Container:
        url = f"http://{address(self.site.services.webbot2, 'http')}"
        person = json.dumps({"user_name": "gate", "course": "gate"})
        session = f"-sf -m 30 -b '' {url}/api/session"
        chat = (
            f"curl -sf -m 30 {url}/ | grep -q '<form'",
            f"curl {session} -o /dev/null -H 'Content-Type: application/json' -d '{person}'"
            f" --next {session} | grep -q '\"gate\"'",
            f"curl -sf -m 30 -o /dev/null {url}/health",
        )
        return self._python_service(
            "webbot2",
            gate=Gate("signs a visitor in and reaches the Project API", " && ".join(chat)),
            environment={
                "PORT": str(self.site.services.webbot2.ports["http"].inside),
                "PROJECT_API_URL": self.url("project_api"),
                "SESSION_KEY_FILE": f"/run/secrets/{WEBBOT2_SESSION.name}",
            },
            **_reads("webbot2", PYTHON_UID, WEBBOT2_SESSION),
        )

    def agent_exporter(self) -> Container:
        services = self.site.services
        dcgm = (
            {"DCGM_METRICS_URL": f"{self.url('dcgm_exporter')}/metrics"}
            if services.dcgm_exporter.enabled
            else {}
        )
        return self._python_service(
            "agent_exporter",
            gate=self.gate(
                "reads PostgreSQL",
                "agent_exporter",
                "http",
                "/metrics",
                "^agent_interactions_total ",
            ),
            environment={
                "PORT": str(services.agent_exporter.ports["http"].inside),
                "QDRANT_URL": self.url("qdrant"),
                "SAIGA_METRICS_URL": f"{self.url('saiga')}/metrics",
                **dcgm,
                **self._postgres_environment("agent_exporter", POSTGRES_AGENT_EXPORTER),
                "QDRANT_API_KEY_FILE": f"/run/secrets/{QDRANT_READ_ONLY_KEY.name}",
            },
            **_reads(
                *("agent_exporter", PYTHON_UID, POSTGRES_AGENT_EXPORTER, QDRANT_READ_ONLY_KEY),
                at_start=False,
            ),
        )

    def node_exporter(self) -> Container:
        port = self.site.services.node_exporter.ports["http"].inside
        system = "^/(dev|proc|sys|run|var/lib/docker/.+|var/lib/containerd/.+)($|/)"
        return self.container(
            "node_exporter",
            health=f"wget -q -O /dev/null http://127.0.0.1:{port}/",
            gate=self.gate(
                "shows the CPU", "node_exporter", "http", "/metrics", "^node_cpu_seconds"
            ),
            command=(
                "--path.rootfs=/host",
                f"--web.listen-address=:{port}",
                f"--collector.filesystem.mount-points-exclude={system}",
            ),
            user=f"{PROMETHEUS_UID}:{PROMETHEUS_UID}",
            mounts=(Mount("bind", "/", "/host", read_only=True, propagation="rslave"),),
            pid_mode="host",
            read_only=True,
        )

    def dcgm_exporter(self) -> Container:
        port = self.site.services.dcgm_exporter.ports["http"].inside
        config = f"{CONFIG_DIR}/dcgm_exporter/counters.csv"
        counters = (self.root / "files/dcgm_exporter/counters.csv").read_text()
        return self.container(
            "dcgm_exporter",
            health=_http_probe(port, "/health"),
            gate=self.gate("shows the GPU", "dcgm_exporter", "http", "/metrics", "^DCGM_FI_DEV_"),
            environment={
                "DCGM_EXPORTER_LISTEN": f":{port}",
                "DCGM_EXPORTER_COLLECTORS": "/etc/dcgm-exporter/counters.csv",
                "DCGM_EXPORTER_INTERVAL": "10000",
                "DCGM_EXPORTER_KUBERNETES": "false",
                "NO_SETCAP": "1",
                **self.gpu_environment,
            },
            mounts=(_bind(config, "/etc/dcgm-exporter/counters.csv"),),
            files=(ConfigFile(config, counters),),
            runtime=self.gpu_runtime,
        )

    def prometheus(self) -> Container:
        settings, service = self.site.prometheus, self.site.services.prometheus
        port = service.ports["http"].inside
        config = f"{CONFIG_DIR}/prometheus"
        return self.container(
            "prometheus",
            health=f"wget -q -O /dev/null http://127.0.0.1:{port}/-/ready",
            gate=Gate(
                "has scraped a target since it started",
                f"started=$(date +%s -d $(docker inspect --format '{{{{.State.StartedAt}}}}'"
                f" {service.container})) && curl -sf -m 30 -G --data-urlencode"
                f' "query=timestamp(up == 1) > $started" http://{address(service, "http")}'
                """/api/v1/query | grep -q '"value"'""",
                deadline=60 + settings.scrape_interval,
            ),
            command=(
                "--config.file=/etc/prometheus/prometheus.yml",
                "--storage.tsdb.path=/prometheus",
                f"--storage.tsdb.retention.time={settings.retention_time}",
                f"--storage.tsdb.retention.size={settings.retention_size}",
                f"--web.listen-address=:{port}",
            ),
            user=f"{PROMETHEUS_UID}:{PROMETHEUS_UID}",
            mounts=(
                self.volume("prometheus_data_new", "/prometheus"),
                _bind(config, "/etc/prometheus"),
            ),
            **_reads("prometheus", PROMETHEUS_UID, QDRANT_READ_ONLY_KEY, at_start=False),
            read_only=True,
            stop_timeout=60,
            files=(
                self.render(
                    "prometheus/prometheus.yml.j2",
                    f"{config}/prometheus.yml",
                    targets=scrape_targets(self.site),
                    credentials={"qdrant": f"/run/secrets/{QDRANT_READ_ONLY_KEY.name}"},
                ),
            ),
            reload=self._prometheus_reload(service.container),
        )

    def _prometheus_reload(self, name: str) -> str:
        """Reload and wait until Prometheus has the file: it goes on with the old one otherwise.

        Not by `docker kill`: engines before 23.0 take that for a stop by hand, and leave the
        container off at the next boot.
        """
        metrics = f"http://{address(self.site.services.prometheus, 'http')}/metrics"
        loaded = "prometheus_config_last_reload_success_timestamp_seconds"
        return (
            f"now=$(date +%s) && docker exec {name} sh -c 'kill -HUP 1' && "
            f"for try in $(seq 20); do sleep 0.5; loaded=$(curl -sf -m 5 {metrics} |"
            f" awk '/^{loaded} / {{ printf \"%.0f\", $2 }}');"
            ' if [ "${loaded:-0}" -ge "$now" ]; then break; fi; done; '
            'if [ "${loaded:-0}" -lt "$now" ]; then'
            ' echo "Prometheus says that it did not load its configuration"; false; fi'
        )

    def grafana(self) -> Container:
        service = self.site.services.grafana
        port = service.ports["http"].inside
        config = f"{CONFIG_DIR}/grafana"
        dashboards = sorted((self.root / "files/grafana/dashboards").glob("*.json"))
        return self.container(
            "grafana",
            health=f"wget -q -O /dev/null http://127.0.0.1:{port}/api/health",
            # 401: a volume with another password, which gets the right one after the gate.
            gate=Gate(
                "queries Prometheus",
                f"case $({grafana_query(self.site)}) in 200|401) ;; *) false ;; esac",
            ),
            environment={
                "GF_SERVER_HTTP_PORT": str(port),
                # Read by Grafana itself; the image's script puts what __FILE names into this.
                "GF_SECURITY_ADMIN_PASSWORD": f"$__file{{/run/secrets/{GRAFANA_ADMIN.name}}}",
                "GF_USERS_DEFAULT_LANGUAGE": "ru-RU",
                "GF_ANALYTICS_REPORTING_ENABLED": "false",
                "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            },
            user=str(GRAFANA_UID),
            mounts=(
                self.volume("grafana_data_new", "/var/lib/grafana"),
                _bind(f"{config}/provisioning", "/etc/grafana/provisioning"),
                _bind(f"{config}/dashboards", "/etc/grafana/dashboards"),
            ),
            **_reads("grafana", GRAFANA_UID, GRAFANA_ADMIN, at_start=False),
            tmpfs={"/tmp": ""},
            read_only=True,
            stop_timeout=30,
            files=(
                self.render(
                    "grafana/datasource.yaml.j2",
                    f"{config}/provisioning/datasources/prometheus.yaml",
                    prometheus_url=self.url("prometheus"),
                ),
                self.render(
                    "grafana/dashboards.yaml.j2",
                    f"{config}/provisioning/dashboards/saiga-stack.yaml",
                ),
                *(
                    ConfigFile(f"{config}/dashboards/{path.name}", path.read_text(), live=True)
                    for path in dashboards
                ),
            ),
        )
