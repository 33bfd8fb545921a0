"""The model on its way to the lab's host: what goes wrong stops the deploy while Saiga serves."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.settings import CONTROLLER
from stack.model import MANIFEST, manifest_of
from stack.secrets import SAIGA_API_KEY, curl
from tests.lab.conftest import Lab
from tests.lab.deploys import Deploy, held, serves, variant, verify
from tests.mirror import Mirror

MODELS, NAME = "/var/lib/saiga-stack/models", "lab/smollm2"
SERVED = "http://172.22.0.9:8010/v1/models"
WEIGHTS = "/model.safetensors"


@pytest.fixture(scope="module")
def files(lab: Lab) -> dict[str, bytes]:
    """The files of the model that the lab's image of vLLM holds."""
    assert lab.target.ssh
    command = f"docker exec saiga_saiga_1 tar -C {lab.target.stack.site.saiga.model} -c ."
    done = subprocess.run([*lab.target.ssh, command], capture_output=True, check=True, timeout=120)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        return {m.name.removeprefix("./"): archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    running = Mirror(CONTROLLER)
    yield running
    running.close()


def site(mirror: Mirror, revision: str) -> dict[str, Any]:
    source = {"kind": "mirror", "url": mirror.url, "revision": revision}
    return {"saiga": {"model": NAME, "source": source}}


def refused(lab: Lab, folder: Path, data: dict[str, Any], sentence: str) -> None:
    lives = lab.lives()
    run = lab.pyinfra("-y", inventory=variant(folder, data))
    assert run.status != 0
    assert sentence in run.text
    assert "Traceback" not in run.text
    assert lab.lives() == lives
    assert lab.run(f"ls {MODELS}/smollm2 2>/dev/null | grep -v partial", check=False) == ""


def test_what_goes_wrong_on_the_way(
    lab: Lab, mirror: Mirror, files: dict[str, bytes], tmp_path: Path
) -> None:
    lab.deploy()
    revision = mirror.serve(files)
    data, whole = site(mirror, revision), files["model.safetensors"]
    run = lab.stack("plan", "lab", "--json", inventory=variant(tmp_path / "plan", data))
    assert run.result is not None, run.text
    (planned,) = run.result["hosts"]
    assert len(planned["notes"]) == 1
    assert planned["notes"][0].startswith(
        "memory: weights 0.29 GiB, KV cache 32 KiB a token, 0.06 GiB a context of 2048 tokens, by"
        " saiga.weights and saiga.memory_per_token; "
    )
    try:
        mirror.files[WEIGHTS] = whole[:-1]
        sentence = f"has {len(whole) - 1} bytes, but the manifest says {len(whole)}"
        refused(lab, tmp_path, data, sentence)
        mirror.files[WEIGHTS] = whole[:-1] + bytes([whole[-1] ^ 1])
        refused(lab, tmp_path, data, f"{mirror.url}{WEIGHTS} is damaged: its digest is ")
        lab.run(f"rm -rf {MODELS}; mkdir {MODELS}; mount -t tmpfs -o size=50m none {MODELS}")
        sentence = f"GB in {MODELS}/smollm2, which has 0.1 GB free; make room there"
        refused(lab, tmp_path, data, sentence.replace("0.1 GB", "52.4 MB"))
        lab.run(f"umount {MODELS}")
        mirror.close()
        refused(lab, tmp_path, data, f"the host cannot reach {mirror.url}/MANIFEST: curl: (7)")
    finally:
        lab.run(f"umount {MODELS} 2>/dev/null; rm -rf {MODELS}")
    assert lab.deploy().changed() == []


def test_from_a_mirror_and_from_a_directory(
    lab: Lab, mirror: Mirror, files: dict[str, bytes], tmp_path: Path
) -> None:
    """The first revision is whole when the deploy is cut; the second one is served, and the first
    one goes. Starting vLLM takes a minute: it starts with one of them only."""
    mirror.cuts = [10**9, 100 * 10**6]
    inventory = variant(tmp_path / "first", site(mirror, mirror.serve(files)))
    lives = lab.lives()
    with held(
        lab, lambda: Deploy(tmp_path / "deploy.log", inventory), "docker rename saiga_saiga_1 *"
    ) as (deploy, hold):
        deploy.kill()
        hold.end_command()
    assert lab.lives() == lives
    first = lab.run(f"ls {MODELS}/smollm2")
    assert lab.run(f"cd {MODELS}/smollm2/{first} && stat -c %s .{WEIGHTS}") == str(
        len(files["model.safetensors"])
    )

    folder = tmp_path / "files"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "NOTES").write_text("another revision")
    (folder / MANIFEST).write_text(manifest := manifest_of(folder))
    second = hashlib.sha256(manifest.encode()).hexdigest()
    source = {"kind": "directory", "path": str(folder), "url": None, "revision": second}
    inventory = variant(tmp_path / "second", {"saiga": {"model": NAME, "source": source}})
    assert lab.deploy(inventory=inventory).changed() == [
        "Model | Files",
        "Saiga | Container saiga_saiga_1",
        "Saiga | Old revisions of the model",
    ]
    assert lab.run(f"ls {MODELS}/smollm2") == second[:40] != first
    assert lab.deploy(inventory=inventory).changed() == []
    answer = lab.run(curl("Authorization: Bearer ", SAIGA_API_KEY, f"-sSf {SERVED}"))
    assert json.loads(answer)["data"][0]["root"] == f"{MODELS}/smollm2/{second[:40]}"
    lab.deploy()
    lab.run(f"rm -r {MODELS}")


@pytest.mark.soak
def test_delivered_served_and_switched(
    lab: Lab, mirror: Mirror, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Two revisions one after the other; each is served, and the first one goes at the end."""
    mirror.cuts = [10**9, 100 * 10**6]
    inventory = variant(tmp_path / "first", site(mirror, mirror.serve(files)))
    run = lab.deploy(inventory=inventory)
    assert "KV cache" in run.text
    assert lab.deploy(inventory=inventory).changed() == []
    serves(lab)
    first = lab.run(f"ls {MODELS}/smollm2")
    lab.run(f"truncate -s -1 {MODELS}/smollm2/{first}{WEIGHTS}")
    lives = lab.lives()
    assert lab.deploy(inventory=inventory).changed() == ["Model | Files"]
    assert lab.lives() == lives

    other = mirror.serve({**files, "NOTES": b"another revision"})
    inventory = variant(tmp_path / "second", site(mirror, other))
    changed = lab.deploy(inventory=inventory).changed()
    assert changed == [
        "Model | Files",
        "Saiga | Container saiga_saiga_1",
        "Saiga | Old revisions of the model",
    ]
    assert lab.run(f"ls {MODELS}/smollm2") == other[:40] != first
    assert lab.deploy(inventory=inventory).changed() == []
    lab.deploy()
    lab.run(f"rm -r {MODELS}")
    verify()
