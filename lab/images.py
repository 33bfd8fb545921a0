"""Builds the container images that the lab's hosts pull, each from a folder under lab/images/.

A folder holds a Containerfile, whatever that copies, and image.toml:

    tag           the image's tag
    base          another image here; the build argument <BASE>_IMAGE refers to it (PYTHON_IMAGE)
    packages      Debian packages of a root filesystem; the Containerfile adds it as rootfs.tar
    requirements  a file of hash-pinned Python requirements; the Containerfile copies the
                  installed tree as site-packages
    strip         globs below site-packages that nothing uses
    generate      {folder, script, requirements}: `python script folder` runs with site-packages
                  and these further requirements on its path; the Containerfile copies `folder`

mmdebstrap hook scripts lie in hooks/. Only `tag` is needed.
"""

import fcntl
import json
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from lab import cache, packages, registry, rootfs
from lab.errors import LabError
from lab.processes import run
from lab.settings import CONTROLLER, REGISTRY_PORT
from lab.steps import run_logged, step

IMAGES = Path(__file__).resolve().parent / "images"
PREFIX = "saiga-lab"
TOOLS = ("buildah", "docker-registry", "mmdebstrap")
# Raise it when the same folder would now give another image.
FORMAT = "1"


@dataclass(frozen=True)
class Generate:
    """A folder of the build context that a Python script makes."""

    folder: str
    script: str
    requirements: str


@dataclass(frozen=True)
class Image:
    """One image: its folder and what its image.toml says."""

    directory: Path
    tag: str
    base: str | None = None
    packages: tuple[str, ...] = ()
    requirements: str | None = None
    strip: tuple[str, ...] = ()
    generate: Generate | None = None

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def repository(self) -> str:
        return f"{PREFIX}/{self.name}"

    @property
    def reference(self) -> str:
        """What a lab host pulls."""
        return f"{CONTROLLER}:{REGISTRY_PORT}/{self.repository}:{self.tag}"

    @cached_property
    def content(self) -> str:
        """Key over the folder: names, contents and what git keeps of the modes."""
        return cache.key(*_content(self.directory))

    @property
    def rootfs_key(self) -> str:
        hooks = self.directory / "hooks"
        return cache.key(FORMAT, *self.packages, *(_content(hooks) if hooks.is_dir() else ()))

    @property
    def tree_key(self) -> str:
        return cache.key(FORMAT, self.read(self.requirements), *self.strip)

    @property
    def generate_key(self) -> str:
        made = self.generate
        inputs = (self.read(made.script), self.read(made.requirements)) if made else ()
        return cache.key(FORMAT, self.tree_key, *inputs)

    def read(self, name: str | None) -> bytes:
        return (self.directory / name).read_bytes() if name else b""


def load(directory: Path) -> Image:
    """Read a folder's image.toml; LabError names the key that is unknown, missing or wrong."""
    path = directory / "image.toml"
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise LabError(f"{path} is missing: it states the image's tag at least") from None
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{path} is not TOML: {error}") from None
    made = data.pop("generate", None)
    unknown = data.keys() - {field.name for field in fields(Image)} | data.keys() & {"directory"}
    if unknown:
        raise LabError(f"{path}: {min(unknown)} is not a key of image.toml")
    for key, value in data.items():
        if key in ("packages", "strip"):
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise LabError(f"{path}: {key} is {value!r}; a list of strings is needed")
            data[key] = tuple(value)
        elif not isinstance(value, str):
            raise LabError(f"{path}: {key} is {value!r}; a string is needed")
    if "tag" not in data:
        raise LabError(f"{path}: tag is missing")
    if made is not None:
        names = {field.name for field in fields(Generate)}
        if not isinstance(made, dict) or made.keys() != names:
            raise LabError(f"{path}: generate needs exactly {', '.join(sorted(names))}")
        data["generate"] = Generate(**made)
    return Image(directory, **data)


def load_all(directory: Path = IMAGES) -> dict[str, Image]:
    """Every image below `directory`, bases before what is built on them."""
    found = {path.parent.name: load(path.parent) for path in directory.glob("*/Containerfile")}
    ordered: dict[str, Image] = {}

    def place(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise LabError(f"images that are each other's base: {' -> '.join((*above, name))}")
        base = found[name].base
        if base is not None:
            if base not in found:
                known = ", ".join(sorted(found))
                raise LabError(f"{name}: base {base} is no image; there are {known}")
            place(base, (*above, name))
        ordered[name] = found[name]

    for name in sorted(found):
        place(name, ())
    return ordered


def keys(images: Mapping[str, Image]) -> dict[str, str]:
    """The key of each image, over its folder, its base's key and the builder's format."""
    result: dict[str, str] = {}
    for name, image in images.items():
        base = result[image.base] if image.base else ""
        result[name] = cache.key(FORMAT, name, image.content, base)
    return result


def build_all(directory: Path, source: Path = IMAGES) -> dict[str, str]:
    """Build and push what changed below `source`; return each image's pinned reference by name.

    The cache `directory` keeps the registry's storage, the file trees and pins.json, which says
    what has been made of which inputs and is replaced after each image: a killed build goes on
    where it was. A second builder waits; another checkout's images stay beside these.
    """
    images = load_all(source)
    wanted = keys(images)
    with _locked(directory):
        made = _records(directory)
        stale = [
            image
            for name, image in images.items()
            if not _is_current(directory, image, made.get(wanted[name]))
        ]
        if stale:
            packages.ensure(*TOOLS)
            with _workplace(directory) as work, registry.serve(storage(directory), work) as address:
                for image in stale:
                    base = ""
                    if image.base:
                        digest = made[wanted[image.base]].partition("@")[2]
                        base = f"{address}/{images[image.base].repository}@{digest}"
                    with step(f"image {image.name}"):
                        digest = _build(image, base, directory, work, address)
                    made[wanted[image.name]] = f"{image.reference}@{digest}"
                    _write_records(directory, made)
    return {name: made[wanted[name]] for name in images}


def clean(directory: Path) -> None:
    """Remove the cache `directory` and what an interrupted build left mounted below it."""
    if not directory.exists():
        return
    with _locked(directory):
        _unmount(directory)
        shutil.rmtree(directory)


def storage(directory: Path) -> Path:
    """The registry's storage in the cache `directory`."""
    return directory / "registry"


def _build(image: Image, base: str, directory: Path, work: Path, address: str) -> str:
    log = directory / "log" / f"{image.name}.log"
    log.unlink(missing_ok=True)
    context = work / "context"
    cache.remove(context)
    _copy(image.directory, context)
    _add_trees(image, directory, context, log)

    store = [
        *("--root", str(work / "storage"), "--runroot", str(work / "run")),
        *("--storage-driver", "overlay"),
    ]
    local, plain = f"localhost/{image.repository}:{image.tag}", "--tls-verify=false"
    arguments: list[str] = []
    if image.base:
        variable = f"{image.base.upper().replace('-', '_')}_IMAGE"
        arguments = ["--build-arg", f"{variable}={base}"]
    with step(f"image {image.name}: build"):
        run_logged(
            [
                *("buildah", *store, "build", "--isolation=chroot", "--format=docker", plain),
                *("--pull=false", "--layers=false", *arguments, "--tag", local, str(context)),
            ],
            log,
        )
    with step(f"image {image.name}: push"):
        digest = work / "digest"
        run_logged(
            [
                *("buildah", *store, "push", plain, "--quiet"),
                # The quickest that Docker 20.10 can pull: buildah always compresses for a registry.
                *("--compression-format=gzip", "--compression-level=1"),
                *("--digestfile", digest),
                *(local, f"docker://{address}/{image.repository}:{image.tag}"),
            ],
            log,
        )
    run(["buildah", *store, "rmi", local])
    return digest.read_text().strip()


def _add_trees(image: Image, directory: Path, context: Path, log: Path) -> None:
    """Make the trees that are not in the cache yet, and link all of them into the build context."""
    trees = directory / "trees"
    title = f"image {image.name}"
    if image.packages:
        tar = trees / f"{image.name}.tar"
        if not cache.is_fresh(tar, image.rootfs_key):
            with step(f"{title}: Debian root filesystem"):
                hooks = image.directory / "hooks"
                cache.build(
                    tar,
                    image.rootfs_key,
                    lambda out: rootfs.debian(image.packages, hooks, out, log),
                )
        os.link(tar, context / "rootfs.tar")
    if image.requirements:
        tree = trees / f"{image.name}.site-packages"
        requirements = image.directory / image.requirements
        if not cache.is_fresh(tree, image.tree_key):
            with step(f"{title}: Python packages"):
                cache.build(
                    tree,
                    image.tree_key,
                    lambda out: rootfs.python_tree(requirements, image.strip, out, log),
                )
        shutil.copytree(tree, context / "site-packages", symlinks=True, copy_function=os.link)
        made = image.generate
        if made:
            out = trees / f"{image.name}.{made.folder}"
            if not cache.is_fresh(out, image.generate_key):
                with step(f"{title}: {made.script}"):
                    cache.build(
                        out,
                        image.generate_key,
                        lambda new: _generate(image, made, tree, new, log),
                    )
            shutil.copytree(out, context / made.folder, copy_function=os.link)


def _generate(image: Image, made: Generate, tree: Path, out: Path, log: Path) -> None:
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        further = Path(scratch) / "site-packages"
        rootfs.python_tree(image.directory / made.requirements, (), further, log)
        environment = os.environ | {
            "PYTHONPATH": f"{tree}:{further}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HF_HUB_OFFLINE": "1",
        }
        out.mkdir()
        run_logged([sys.executable, image.directory / made.script, out], log, environment)
    for path in out.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _content(directory: Path) -> Iterator[str | bytes]:
    for path in _files(directory):
        yield str(path.relative_to(directory))
        yield "x" if os.access(path, os.X_OK) else "-"
        yield path.read_bytes()


def _files(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.relative_to(directory).parts
    )


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with the modes that git keeps: the umask of a checkout decides nothing."""
    for path in _files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o755 if os.access(path, os.X_OK) else 0o644)


def _is_current(directory: Path, image: Image, made: str | None) -> bool:
    reference, _, digest = (made or "").partition("@")
    return reference == image.reference and registry.holds(
        storage(directory), image.repository, digest
    )


def _records(directory: Path) -> dict[str, str]:
    """Key to pinned reference."""
    path = directory / "pins.json"
    if not path.is_file():
        return {}
    records: dict[str, str] = json.loads(path.read_text())
    return records


def _write_records(directory: Path, records: Mapping[str, str]) -> None:
    new = directory / "pins.json.new"
    new.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")
    new.replace(directory / "pins.json")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _workplace(directory: Path) -> Iterator[Path]:
    """A scratch folder in the cache that holds buildah's storage; clears one that was left."""
    work = directory / "work"
    _discard(work)
    work.mkdir()
    try:
        yield work
    finally:
        _discard(work)


def _discard(work: Path) -> None:
    _unmount(work)
    cache.remove(work)


def _unmount(directory: Path) -> None:
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1].encode().decode("unicode_escape") for line in mounts]
    for point in sorted(points, reverse=True):
        if Path(point).is_relative_to(directory):
            run(["umount", "--lazy", point])
