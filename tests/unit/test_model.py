"""A model on its way to a host: a real shell as the host, a real HTTP server as the mirror."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stack import model as module
from stack import model_delivery
from stack.docker.apply import RemoteError
from stack.model import (
    MANIFEST,
    Model,
    ModelError,
    State,
    damaged_script,
    manifest_of,
    parse_manifest,
    parse_state,
    state_script,
)
from stack.model_delivery import Delivery
from stack.model_memory import GIB, left_on_gpu, memory
from tests.mirror import Mirror

CONFIG = b'{"architectures": ["MistralForCausalLM"]}'
WEIGHTS = bytes(range(256)) * 4000
NEMO = {
    "hidden_size": 5120,
    "num_hidden_layers": 40,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}


class LocalHost:
    """Runs the scripts here."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.fetched: list[str] = []

    def run(self, script: str) -> str:
        if "curl" in script:
            self.fetched.append(script)
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RemoteError(done.stderr.strip().splitlines()[-1])
        return done.stdout

    def put(self, content: bytes, path: str) -> None:
        Path(path).write_bytes(content)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    running = Mirror()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "MODELS_DIR", str(tmp_path / "models"))
    return tmp_path / "models"


FILES = {"config.json": CONFIG, "weights/model.safetensors": WEIGHTS}


def state(model: Model) -> State:
    return parse_state(LocalHost().run(state_script(model)).splitlines())


def bring(model: Model) -> LocalHost:
    host = LocalHost()
    Delivery(host, model).bring(state(model))
    return host


def delivered(model: Model) -> dict[str, bytes]:
    folder = Path(model.path)
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_from_a_mirror(mirror: Mirror) -> None:
    model = Model("someone/saiga", "mirror", mirror.url, mirror.serve(FILES))
    assert state(model) == State()
    bring(model)
    assert delivered(model) == FILES
    assert state(model) == State(complete=True)
    assert not Path(model.partial).exists()


def test_a_connection_that_breaks_is_taken_up_where_it_broke(mirror: Mirror) -> None:
    model = Model("someone/saiga", "mirror", mirror.url, mirror.serve(FILES))
    mirror.cuts = [10**6, 10**6, 300_000, 300_000]
    host = bring(model)
    assert delivered(model) == FILES
    assert any("0.3 MB of 1.0 MB" in line for line in host.said)
    # The manifest, the small file, and the large one in three pieces.
    assert len(host.fetched) == 5


def test_what_was_fetched_stays_for_the_next_try(mirror: Mirror) -> None:
    model = Model("someone/saiga", "mirror", mirror.url, mirror.serve(FILES))
    del mirror.files["/weights/model.safetensors"]
    with pytest.raises(ModelError) as raised:
        bring(model)
    assert str(raised.value).startswith(
        f"the host could not fetch {mirror.url}/weights/model.safetensors: curl: (22)"
    )
    assert state(model) == State()
    mirror.serve(FILES)
    assert len(bring(model).fetched) == 2
    assert delivered(model) == FILES


@pytest.mark.parametrize(
    ("served", "sentence"),
    [
        (WEIGHTS[:-1], "has 1023999 bytes, but the manifest says 1024000"),
        (WEIGHTS[:-1] + b"!", "is damaged: its digest is"),
    ],
)
def test_a_file_that_is_not_the_manifests(mirror: Mirror, served: bytes, sentence: str) -> None:
    model = Model("someone/saiga", "mirror", mirror.url, mirror.serve(FILES))
    mirror.files["/weights/model.safetensors"] = served
    with pytest.raises(ModelError, match=sentence):
        bring(model)
    assert state(model) == State()
    assert not Path(model.path).exists()


def test_a_manifest_of_another_revision(mirror: Mirror) -> None:
    revision = mirror.serve(FILES)
    mirror.serve({"config.json": b"{}"})
    with pytest.raises(ModelError, match=r"saiga\.source\.revision: .* is not that of MANIFEST"):
        bring(Model("someone/saiga", "mirror", mirror.url, revision))


def test_a_mirror_that_is_not_there(mirror: Mirror) -> None:
    mirror.server.shutdown()
    mirror.server.server_close()
    with pytest.raises(ModelError, match=r"the host cannot reach http://127\.0\.0\.1:\d+/MANIFEST"):
        bring(Model("someone/saiga", "mirror", mirror.url, "0" * 64))


def test_a_full_disk(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, models: Path) -> None:
    monkeypatch.setattr(model_delivery, "MARGIN", 1e12)
    model = Model("someone/saiga", "mirror", mirror.url, mirror.serve(FILES))
    with pytest.raises(ModelError, match=rf"the model needs .* GB in {models}/saiga, which has"):
        bring(model)
    assert not list(models.rglob("*.safetensors*"))


def test_another_revision_is_brought_beside(mirror: Mirror) -> None:
    first = Model("someone/saiga", "mirror", mirror.url, mirror.serve(FILES))
    bring(first)
    second = Model("someone/saiga", "mirror", mirror.url, mirror.serve({"config.json": b"{}"}))
    bring(second)
    assert delivered(first) == FILES
    assert delivered(second) == {"config.json": b"{}"}
    assert state(second) == State(complete=True, others=(first.revision[:40],))


def test_a_truncated_file_of_a_delivered_model_is_fetched_again(mirror: Mirror) -> None:
    model = Model("someone/saiga", "mirror", mirror.url, mirror.serve(FILES))
    bring(model)
    Path(model.path, "weights/model.safetensors").write_bytes(b"cut")
    assert state(model) == State(complete=True, wrong=("weights/model.safetensors",))
    host = bring(model)
    assert delivered(model) == FILES
    assert len(host.fetched) == 2


def test_a_damaged_file_of_the_right_size_is_found(mirror: Mirror) -> None:
    model = Model("someone/saiga", "mirror", mirror.url, mirror.serve(FILES))
    bring(model)
    assert LocalHost().run(damaged_script(model)) == ""
    Path(model.path, "weights/model.safetensors").write_bytes(WEIGHTS[:-1] + b"!")
    assert state(model) == State(complete=True)
    assert "weights/model.safetensors: FAILED" in LocalHost().run(damaged_script(model))


def test_from_a_directory_of_the_controller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_delivery, "CHUNK", 300_000)
    source = tmp_path / "source"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    with pytest.raises(ModelError, match="make it with python -m stack model"):
        bring(Model("saiga", "directory", str(source), "0" * 64))
    (source / ".cache").mkdir()
    (source / ".cache/notes").write_text("of a download")
    text = manifest_of(source)
    (source / MANIFEST).write_text(text)
    assert manifest_of(source) == text
    model = Model("saiga", "directory", str(source), hashlib.sha256(text.encode()).hexdigest())
    host = bring(model)
    assert delivered(model) == FILES
    assert any("0.9 MB of 1.0 MB" in line for line in host.said)


def test_from_the_hub(mirror: Mirror) -> None:
    """Large files have a SHA-256 there, small ones the digest of a git blob."""
    blob = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()
    tree = [
        {"type": "directory", "path": "weights", "oid": "0" * 40, "size": 0},
        {"type": "file", "path": "README.md", "oid": "0" * 40, "size": 7},
        {"type": "file", "path": "config.json", "oid": blob, "size": len(CONFIG)},
        {
            "type": "file",
            "path": "weights/model.safetensors",
            "oid": "1" * 40,
            "size": len(WEIGHTS),
            "lfs": {"oid": hashlib.sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS)},
        },
    ]
    revision, name = "04b00b6" + "c" * 33, "someone/saiga"
    commits = json.dumps([{"id": "1" * 40, "title": "newer"}, {"id": revision, "title": "ours"}])
    mirror.files = {
        f"/{name}/resolve/{revision}/{path}": content for path, content in FILES.items()
    } | {
        f"/api/models/{name}/tree/{revision}": json.dumps(tree).encode(),
        f"/api/models/{name}/commits/main": commits.encode(),
    }
    with pytest.raises(ModelError, match=r"no commit of .* begins with 0000000"):
        bring(Model(name, "hub", mirror.url, "0000000"))
    # The Hub itself takes a whole commit only.
    model = Model(name, "hub", mirror.url, revision[:7])
    bring(model)
    assert model.path.endswith("/04b00b6")
    assert delivered(model) == FILES
    manifest = Path(model.path, MANIFEST).read_text()
    assert parse_manifest(manifest) == parse_manifest(manifest_of(Path(model.path)))
    tree[2]["oid"] = "2" * 40
    mirror.files[f"/api/models/{name}/tree/{revision}"] = json.dumps(tree).encode()
    subprocess.run(["rm", "-r", model.path], check=True)
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        bring(model)


@pytest.mark.parametrize("spoil", [lambda tree: [], lambda tree: {"error": "Repository not found"}])
def test_a_hub_that_names_no_files(mirror: Mirror, spoil: Callable[[Any], Any]) -> None:
    commit = "04b00b6" + "c" * 33
    mirror.files = {f"/api/models/a/b/tree/{commit}": json.dumps(spoil([])).encode()}
    with pytest.raises(ModelError, match="names no files"):
        bring(Model("a/b", "hub", mirror.url, commit))


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_a_path_that_leads_out_is_refused(mirror: Mirror, path: str) -> None:
    model = Model("someone/saiga", "mirror", mirror.url, mirror.serve({path: b"x"}))
    with pytest.raises(ModelError, match="is no path inside a model"):
        bring(model)


def test_memory_of_the_seeds_model() -> None:
    """The figures of the vendor's documents: 160 KiB a token, 3.05 GiB a context of 20000."""
    weights = int(7.78 * GIB)
    found = memory(json.dumps(NEMO), weights, 20000, left_on_gpu(24564 * 1024**2, 0.9, weights))
    assert found is not None
    assert found.kv_per_token == 163_840
    assert found.contexts == pytest.approx(4.0, abs=0.3)
    assert str(found).startswith(
        "memory: weights 7.78 GiB, KV cache 160 KiB a token, 3.05 GiB a context of 20000 tokens, by"
        " config.json; "
    )
    assert memory("{}", weights, 20000, None) is None
