"""Collections: what is said, what is refused, and which upgrade may go on."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stack.qdrant import Wanted, parse, refusal, tasks, version_of

ROOT = Path(__file__).resolve().parents[2]
WANTED = Wanted("http://172.22.0.7:6333", ("BD_curs_data",), 1024, False, True)


def collection(**changes: Any) -> dict[str, Any]:
    vectors = {"size": 1024, "distance": "Cosine", **changes.pop("vectors", {})}
    indexes = changes.pop("indexes", {"course": "keyword", "source": "keyword"})
    return {
        "config": {"params": {"vectors": vectors, "on_disk_payload": True, **changes}},
        "payload_schema": {name: {"data_type": kind} for name, kind in indexes.items()},
    }


def said(found: dict[str, Any]) -> str:
    return "\n".join(str(task) for task in tasks(WANTED, found))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"BD_curs_data": collection()}, ""),
        (
            {},
            "collection BD_curs_data: create (not found)\n    dimension: - -> 1024\n"
            "collection BD_curs_data: index course (not found)\n    type: - -> keyword\n"
            "collection BD_curs_data: index source (not found)\n    type: - -> keyword",
        ),
        (
            {"BD_curs_data": collection(vectors={"on_disk": True}, on_disk_payload=False)},
            "collection BD_curs_data: update (differs)\n"
            "    payload on disk: no -> yes\n    vectors on disk: yes -> no",
        ),
        (
            {"BD_curs_data": collection(indexes={"course": "integer", "source": "keyword"})},
            "collection BD_curs_data: index course (not found)\n    type: integer -> keyword",
        ),
    ],
)
def test_what_is_said(found: dict[str, Any], text: str) -> None:
    assert said(found) == text


@pytest.mark.parametrize(
    ("vectors", "holds"),
    [
        ({"size": 384}, "vectors of 384 dimensions, compared by Cosine"),
        ({"distance": "Dot"}, "vectors of 1024 dimensions, compared by Dot"),
        ({"size": None}, "named vectors"),
    ],
)
def test_another_embedders_collection_is_refused(vectors: dict[str, Any], holds: str) -> None:
    assert refusal(WANTED, {"BD_curs_data": collection(vectors=vectors)}) == (
        f"collection BD_curs_data holds {holds}, but the embedder makes 1024, compared by Cosine;"
        " keep the embedder or name a new collection in qdrant.collections"
    )


def test_no_command_holds_a_key_and_none_drops() -> None:
    wanted = replace(WANTED, vectors_on_disk=True)
    for found in ({}, {"BD_curs_data": collection()}):
        for task in tasks(wanted, found):
            for command in task.commands:
                assert "cat /etc/saiga-stack/secrets/qdrant_api_key" in command
                assert "DELETE" not in command


def test_answers() -> None:
    missing = '{"status": {"error": "Not found"}, "time": 0.1}'
    lines = [f"BD_a {missing}", 'BD_b {"result": {"status": "green"}}']
    assert parse(lines) == {"BD_b": {"status": "green"}}
    assert parse(["BD_a "]) is None
    assert parse(["BD_a Invalid API key or JWT"]) is None


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("qdrant/qdrant:v1.19.0-unprivileged", "1.19.0"),
        ("registry.example:5000/qdrant:1.12.3@sha256:00", "1.12.3"),
        ("registry.example:5000/qdrant@sha256:00", None),
    ],
)
def test_version_of_an_image(image: str, version: str | None) -> None:
    assert version_of(image) == version


@pytest.mark.parametrize(
    ("found", "wanted", "sentence"),
    [
        ("1.19.0", "1.19.2", ""),
        ("1.18.3", "1.19.0", ""),
        (
            "1.20.1",
            "1.19.0",
            "volume qdrant_storage_new holds data of Qdrant 1.20.1, but services.qdrant.image is"
            " 1.19.0, which cannot read it: keep an image of 1.20 or newer",
        ),
        (
            "1.12.3",
            "1.15.0",
            "volume qdrant_storage_new holds data of Qdrant 1.12.3, but services.qdrant.image is"
            " 1.15.0, and Qdrant is upgraded one minor version at a time: deploy the newest patch"
            " of 1.13, 1.14 first, one after the other",
        ),
    ],
)
def test_an_upgrade(tmp_path: Path, found: str, wanted: str, sentence: str) -> None:
    (tmp_path / "collections/a").mkdir(parents=True)
    (tmp_path / "collections/a/version.info").write_text(found)
    done = subprocess.run(
        ["sh", str(ROOT / "files/qdrant/check.sh")],
        env={**os.environ, "DATA": str(tmp_path), "WANTED": wanted, "VOLUME": "qdrant_storage_new"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout + done.stderr).strip() == sentence
    assert done.returncode == (1 if sentence else 0)
