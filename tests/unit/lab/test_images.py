"""How the lab decides which images to build, and the trees and records it keeps."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from lab import images, packages, registry, rootfs
from lab.errors import LabError
from lab.steps import run_logged

ENTRYPOINT = images.IMAGES / "postgres/docker-entrypoint.sh"


def write_image(source: Path, name: str, toml: str) -> Path:
    folder = source / name
    folder.mkdir(parents=True)
    (folder / "Containerfile").write_text("FROM scratch\n")
    (folder / "image.toml").write_text(toml)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two images on a base, and one without."""
    folder = tmp_path / "source"
    write_image(folder, "alone", 'tag = "1"')
    write_image(folder, "above", 'tag = "1"\nbase = "under"')
    write_image(folder, "beside", 'tag = "1"\nbase = "under"')
    write_image(folder, "under", 'tag = "1"')
    return folder


class Builder:
    """Stands for buildah: notes what is built and leaves the manifests that the registry would."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.bases: dict[str, str] = {}
        self.number = 0
        self.broken: str | None = None

    def build(
        self, image: images.Image, base: str, directory: Path, work: Path, address: str
    ) -> str:
        if image.name == self.broken:
            raise LabError(f"{image.name} is broken")
        self.built.append(image.name)
        self.bases[image.name] = base
        self.number += 1
        name = hashlib.sha256(f"{image.name} {self.number}".encode()).hexdigest()
        root = images.storage(directory) / "docker/registry/v2"
        revisions = root / "repositories" / image.repository / "_manifests/revisions/sha256"
        for path in (revisions / name / "link", root / "blobs/sha256" / name[:2] / name / "data"):
            path.parent.mkdir(parents=True)
            path.touch()
        return f"sha256:{name}"

    def take(self) -> list[str]:
        built, self.built = self.built, []
        return built


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    @contextmanager
    def serve(storage: Path, work: Path) -> Iterator[str]:
        yield "127.0.0.1:1"

    fake = Builder()
    monkeypatch.setattr(images, "_build", fake.build)
    monkeypatch.setattr(registry, "serve", serve)
    monkeypatch.setattr(packages, "ensure", lambda *names: None)
    return fake


def test_every_image_of_the_lab_loads() -> None:
    found = images.load_all()
    assert {"python", "postgres", "prometheus", "node-exporter", "vllm"} <= found.keys()
    assert found["vllm"].reference == "10.77.0.1:5000/saiga-lab/vllm:0.32.0-cpu"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("", "tag is missing"),
        ('tag = "1"\ndirectory = "x"', "directory is not a key"),
        ('tag = "1"\nports = []', "ports is not a key"),
        ("tag = 1", "tag is 1; a string is needed"),
        ('tag = "1"\npackages = "bash"', "packages is 'bash'; a list of strings is needed"),
        ('tag = "1"\ngenerate = { folder = "x" }', "generate needs exactly folder"),
        ("tag =", "is not TOML"),
    ],
)
def test_a_wrong_image_toml_is_refused(tmp_path: Path, toml: str, words: str) -> None:
    folder = write_image(tmp_path, "one", toml)
    with pytest.raises(LabError, match=r"image\.toml") as caught:
        images.load(folder)
    assert words in str(caught.value)


def test_bases_come_first(source: Path) -> None:
    assert list(images.load_all(source)) == ["under", "above", "alone", "beside"]


def test_an_unknown_base_is_refused(source: Path) -> None:
    write_image(source, "odd", 'tag = "1"\nbase = "nothing"')
    with pytest.raises(LabError, match="odd: base nothing is no image"):
        images.load_all(source)


def test_bases_in_a_circle_are_refused(source: Path) -> None:
    (source / "under/image.toml").write_text('tag = "1"\nbase = "above"')
    with pytest.raises(LabError, match="above -> under -> above"):
        images.load_all(source)


def test_the_key_is_of_names_contents_and_executable_bits(source: Path) -> None:
    def key() -> str:
        return images.keys(images.load_all(source))["alone"]

    file = source / "alone/start.sh"
    file.write_text("true\n")
    file.chmod(0o644)
    keys = [key()]
    file.chmod(0o600)
    (source / "alone/__pycache__").mkdir()
    (source / "alone/__pycache__/start.pyc").write_text("x")
    assert key() == keys[0]
    file.chmod(0o755)
    keys.append(key())
    file.write_text("false\n")
    keys.append(key())
    file.rename(source / "alone/begin.sh")
    keys.append(key())
    assert len(set(keys)) == 4


def test_nothing_is_built_twice(source: Path, tmp_path: Path, builder: Builder) -> None:
    first = images.build_all(tmp_path / "cache", source)
    assert builder.take() == ["under", "above", "alone", "beside"]
    assert images.build_all(tmp_path / "cache", source) == first
    assert builder.take() == []


def test_a_changed_base_rebuilds_what_is_on_it(
    source: Path, tmp_path: Path, builder: Builder
) -> None:
    images.build_all(tmp_path / "cache", source)
    builder.take()
    (source / "under/new").write_text("x")
    images.build_all(tmp_path / "cache", source)
    assert builder.take() == ["under", "above", "beside"]


def test_a_manifest_that_is_gone_is_built_again(
    source: Path, tmp_path: Path, builder: Builder
) -> None:
    cache = tmp_path / "cache"
    images.build_all(cache, source)
    builder.take()
    shutil.rmtree(cache / "registry/docker/registry/v2/repositories/saiga-lab/alone")
    images.build_all(cache, source)
    assert builder.take() == ["alone"]


def test_a_failed_build_keeps_what_was_done(source: Path, tmp_path: Path, builder: Builder) -> None:
    cache = tmp_path / "cache"
    builder.broken = "alone"
    with pytest.raises(LabError, match="alone is broken"):
        images.build_all(cache, source)
    assert not (cache / "work").exists()
    builder.broken = None
    builder.take()
    images.build_all(cache, source)
    assert builder.take() == ["alone", "beside"]


def test_what_to_pull_is_pinned(source: Path, tmp_path: Path, builder: Builder) -> None:
    pins = images.build_all(tmp_path / "cache", source)
    assert pins.keys() == {"under", "above", "alone", "beside"}
    reference, _, digest = pins["under"].partition("@")
    assert reference == "10.77.0.1:5000/saiga-lab/under:1"
    assert registry.holds(images.storage(tmp_path / "cache"), "saiga-lab/under", digest)
    assert builder.bases["above"] == f"127.0.0.1:1/saiga-lab/under@{digest}"
    assert builder.bases["alone"] == ""


def test_checkouts_share_a_cache(source: Path, tmp_path: Path, builder: Builder) -> None:
    other = Path(shutil.copytree(source, tmp_path / "other"))
    (other / "under/new").write_text("x")
    (other / "alone/image.toml").write_text('tag = "2"')
    cache = tmp_path / "cache"
    pins = images.build_all(cache, source)
    others = images.build_all(cache, other)
    assert not set(pins.values()) & set(others.values())
    builder.take()
    assert images.build_all(cache, source) == pins
    assert images.build_all(cache, other) == others
    assert builder.take() == []


def test_a_second_builder_waits(source: Path, tmp_path: Path, builder: Builder) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    with (cache / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=images.build_all, args=(cache, source))
        second.start()
        second.join(timeout=0.3)
        assert second.is_alive()
        assert builder.built == []
    second.join(timeout=10)
    assert not second.is_alive()
    assert len(builder.built) == 4


def test_clean_leaves_nothing(source: Path, tmp_path: Path, builder: Builder) -> None:
    images.build_all(tmp_path / "cache", source)
    images.clean(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    images.clean(tmp_path / "cache")


def test_a_registry_holds_what_it_has_link_and_blob_of(tmp_path: Path, builder: Builder) -> None:
    folder = write_image(tmp_path / "source", "one", 'tag = "1"')
    digest = builder.build(images.load(folder), None, tmp_path, tmp_path, "")
    store = images.storage(tmp_path)
    assert registry.holds(store, "saiga-lab/one", digest)
    assert not registry.holds(store, "saiga-lab/two", digest)
    assert not registry.holds(store, "saiga-lab/one", "sha256:../../etc")
    shutil.rmtree(store / "docker/registry/v2/blobs")
    assert not registry.holds(store, "saiga-lab/one", digest)


def test_the_registry_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = yaml.safe_load(registry.config(tmp_path, "127.0.0.1:5001"))
    assert parsed["storage"]["filesystem"]["rootdirectory"] == str(tmp_path)
    assert parsed["http"]["addr"] == "127.0.0.1:5001"
    monkeypatch.setenv("REGISTRY_HTTP_ADDR", "0.0.0.0:5000")
    assert "REGISTRY_HTTP_ADDR" not in registry.environment()


def wheel(folder: Path) -> str:
    """Make a wheel of the package `small` 1.0 in `folder`; return its requirement with the hash."""
    path = folder / "small-1.0-py3-none-any.whl"
    info = "small-1.0.dist-info"
    files = {
        "small/__init__.py": "NUMBER = 7\n",
        "small/include/small.h": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in files))
    return f"small==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "requirements.txt"
    path.write_text(wheel(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return path


def test_a_python_tree_is_stripped_and_compiled(requirements: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    rootfs.python_tree(requirements, ["small/include"], tree, tmp_path / "log")
    assert not (tree / "small/include").exists()
    assert (tree / "small-1.0.dist-info/METADATA").is_file()
    (compiled,) = (tree / "small/__pycache__").glob("__init__.*.pyc")
    assert str(tree).encode() not in compiled.read_bytes()
    # Unchecked: the source may change and is not looked at.
    (tree / "small/__init__.py").write_text("NUMBER = 8\n")
    shown = subprocess.check_output(
        [sys.executable, "-c", "import small; print(small.NUMBER)"],
        env=os.environ | {"PYTHONPATH": str(tree)},
    )
    assert shown == b"7\n"


def test_a_glob_that_strips_nothing_is_refused(requirements: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="strip: small/tests matches nothing"):
        rootfs.python_tree(requirements, ["small/tests"], tmp_path / "tree", tmp_path / "log")


def test_another_hash_is_refused(requirements: Path, tmp_path: Path) -> None:
    requirements.write_text(f"small==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(LabError, match="DO NOT MATCH THE HASHES"):
        rootfs.python_tree(requirements, [], tmp_path / "tree", tmp_path / "log")


def test_a_failed_command_shows_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "deep/log"
    run_logged(["echo", "before"], log)
    with pytest.raises(LabError) as caught:
        run_logged(["sh", "-c", "seq 100; exit 3"], log)
    message = str(caught.value)
    assert "sh ended with status 3" in message
    assert message.splitlines()[1:] == [str(number) for number in range(71, 101)]
    assert log.read_text().startswith("before\n1\n")


def test_services_are_held_only_for_a_while(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with packages.services_held(policy):
        assert subprocess.run([policy]).returncode == 101
    assert not policy.exists()


def test_what_an_interrupted_installation_left_is_removed(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text(packages.NO_SERVICES)
    with packages.services_held(policy):
        pass
    assert not policy.exists()


def test_the_machine_s_own_policy_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with packages.services_held(policy):
        pass
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_nothing_is_installed_when_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def apt(*args: str) -> None:
        pytest.fail(f"apt-get {args} was run")

    monkeypatch.setattr(packages, "_apt", apt)
    packages.ensure("dpkg", "bash")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"POSTGRES_PASSWORD": "a", "POSTGRES_PASSWORD_FILE": "/b"}, "are both set"),
        ({"POSTGRES_USER_FILE": "/nowhere"}, "POSTGRES_USER_FILE is /nowhere, which cannot be"),
    ],
)
def test_the_postgres_entrypoint_refuses(
    settings: dict[str, str], words: str, tmp_path: Path
) -> None:
    result = subprocess.run(
        [ENTRYPOINT, "postgres"],
        env={"PATH": os.environ["PATH"], "PGDATA": str(tmp_path / "data"), **settings},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert words in result.stderr
    assert not (tmp_path / "data").exists()
