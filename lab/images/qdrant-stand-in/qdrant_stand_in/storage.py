"""The collections under storage_path and their snapshots under snapshots_path."""

import hashlib
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from . import configuration
from .collection import Collection
from .conversion import Json
from .errors import ApiError, invalid, not_found, wrong_input

FORBIDDEN_IN_NAMES = frozenset('<>:"/\\|?*\0\x1f')
MAINTENANCE_INTERVAL = 5.0


class Storage:
    """All collections of the server; safe to call from several threads."""

    def __init__(self, storage_path: Path, snapshots_path: Path) -> None:
        """Open every collection. Raises ApiError or OSError when one cannot be opened."""
        self._root = storage_path / "collections"
        self._snapshots = snapshots_path
        self._root.mkdir(parents=True, exist_ok=True)
        self._snapshots.mkdir(parents=True, exist_ok=True)
        self._changes = threading.Lock()
        self._collections: dict[str, Collection] = {}
        self.snapshots_created: Counter[str] = Counter()
        for directory in sorted(self._root.iterdir()):
            # A directory without its configuration is a creation or deletion cut short.
            if directory.name.startswith(".") or not (directory / "config.json").is_file():
                shutil.rmtree(directory)
                continue
            self._collections[directory.name] = Collection(directory.name, directory)
        self._stopping = threading.Event()
        self._maintenance = threading.Thread(target=self._maintain, name="maintenance")
        self._maintenance.start()

    def close(self) -> None:
        self._stopping.set()
        self._maintenance.join()
        with self._changes:
            for collection in self._collections.values():
                collection.close()

    def _maintain(self) -> None:
        while not self._stopping.wait(MAINTENANCE_INTERVAL):
            for collection in self.collections():
                try:
                    collection.maintain()
                except ApiError as error:
                    print(f"maintenance of {collection.name}: {error}", flush=True)

    def collections(self) -> list[Collection]:
        return sorted(self._collections.copy().values(), key=lambda collection: collection.name)

    def exists(self, name: str) -> bool:
        return name in self._collections

    def collection(self, name: str) -> Collection:
        collection = self._collections.get(name)
        if collection is None:
            raise not_found(f"Collection `{name}` doesn't exist!")
        return collection

    def create(self, name: str, body: Json) -> None:
        """Raises ApiError 409 when the collection exists, 4xx when the body is not valid."""
        _check_name(name)
        config = configuration.from_request(body)
        with self._changes:
            if name in self._collections:
                raise ApiError(409, f"Wrong input: Collection `{name}` already exists!")
            directory = self._root / name
            try:
                self._collections[name] = Collection.create(name, directory, config)
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                raise

    def delete(self, name: str) -> bool:
        """Whether there was such a collection. Its snapshots stay."""
        with self._changes:
            collection = self._collections.pop(name, None)
            if collection is None:
                return False
            collection.close()
            shutil.rmtree(self._discard(collection.directory))
            return True

    def _discard(self, directory: Path) -> Path:
        return directory.rename(self._root / f".discarded-{uuid4().hex}")

    def create_snapshot(self, name: str) -> Json:
        """Write a tar of the collection, taken while nothing changes it, with its checksum."""
        collection = self.collection(name)
        folder = self._snapshots / name
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}-0-{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}.snapshot"
        temporary = folder / f".{uuid4().hex}"
        try:
            # GNU tar, because the engine's files are sparse and tarfile would write out the holes.
            collection.frozen(
                lambda: _tar(
                    "--create",
                    "--sparse",
                    "--file",
                    temporary,
                    "--directory",
                    collection.directory,
                    ".",
                )
            )
            Path(f"{path}.checksum").write_text(_sha256(temporary), encoding="ascii")
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        self.snapshots_created[name] += 1
        return _description(path)

    def snapshots(self, name: str) -> list[Json]:
        self.collection(name)
        return [_description(path) for path in sorted((self._snapshots / name).glob("*.snapshot"))]

    def snapshot_path(self, name: str, snapshot: str) -> Path:
        self.collection(name)
        path = self._snapshots / name / snapshot
        if (
            Path(snapshot).name != snapshot
            or not snapshot.endswith(".snapshot")
            or not path.is_file()
        ):
            raise not_found(f"Snapshot {snapshot} not found")
        return path

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        path = self.snapshot_path(name, snapshot)
        path.unlink()
        Path(f"{path}.checksum").unlink(missing_ok=True)

    def upload_path(self, name: str, filename: str) -> Path:
        """Where an uploaded snapshot of `name` is kept."""
        _check_name(name)
        folder = self._snapshots / name
        folder.mkdir(exist_ok=True)
        return folder / (Path(filename).name or f"{uuid4().hex}.snapshot")

    def recover(self, name: str, body: Json) -> None:
        """Make `name` what the snapshot at body["location"] (file:// or http(s)://) holds."""
        _check_name(name)
        location = urllib.parse.urlsplit(str(body.get("location", "")))
        if location.scheme == "file":
            self.recover_file(name, Path(urllib.parse.unquote(location.path)), body.get("checksum"))
            return
        if location.scheme not in ("http", "https"):
            raise invalid(f"[location: {body.get('location')!r} is not a file or http URL]")
        downloaded = self._root / f".downloaded-{uuid4().hex}"
        headers = {"api-key": str(body["api_key"])} if body.get("api_key") else {}
        request = urllib.request.Request(location.geturl(), headers=headers)
        try:
            with urllib.request.urlopen(request) as answer, downloaded.open("wb") as target:
                shutil.copyfileobj(answer, target)
            self.recover_file(name, downloaded, body.get("checksum"))
        except OSError as error:
            raise wrong_input(
                f"Failed to download snapshot from {location.geturl()}: {error}"
            ) from error
        finally:
            downloaded.unlink(missing_ok=True)

    def recover_file(self, name: str, snapshot: Path, checksum: str | None) -> None:
        """Unpack and open the snapshot beside the collection, then put it in its place."""
        if not snapshot.is_file():
            raise wrong_input(f"Snapshot file {str(snapshot)!r} does not exist")
        if checksum is not None and (actual := _sha256(snapshot)) != checksum:
            raise ApiError(400, f"Checksum mismatch: expected {checksum}, actual {actual}")
        unpacked = self._root / f".recovered-{uuid4().hex}"
        unpacked.mkdir()
        try:
            _tar("--extract", "--sparse", "--file", snapshot, "--directory", unpacked)
            if not (unpacked / "config.json").is_file():
                raise wrong_input("the snapshot holds no collection of this stand-in")
            candidate = Collection(name, unpacked)
            candidate.close()
            with self._changes:
                self._install(name, unpacked, candidate.config)
        finally:
            if unpacked.exists():
                shutil.rmtree(unpacked)

    def _install(self, name: str, unpacked: Path, config: Json) -> None:
        target = self._root / name
        collection = self._collections.get(name)
        if collection is None:
            unpacked.rename(target)
            self._collections[name] = Collection(name, target)
            return
        if collection.config["params"] != config["params"]:
            raise wrong_input(f"the snapshot's vectors differ from those of collection `{name}`")

        def swap() -> None:
            discarded = self._discard(target)
            unpacked.rename(target)
            shutil.rmtree(discarded)

        collection.replace(swap)


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= 255 or name.startswith(".") or FORBIDDEN_IN_NAMES & set(name):
        raise ApiError(
            422,
            f"Validation error in path parameters: [collection_name: {name!r} invalid, it needs 1 "
            f"to 255 characters, none of {sorted(FORBIDDEN_IN_NAMES)}, and no dot in front]",
        )


def _tar(*arguments: str | Path) -> None:
    done = subprocess.run(["tar", *arguments], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise wrong_input(f"the snapshot cannot be handled by tar: {done.stderr.strip()[:200]}")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _description(path: Path) -> Json:
    """SnapshotDescription of the REST API; the size is in bytes."""
    status = path.stat()
    checksum = Path(f"{path}.checksum")
    return {
        "name": path.name,
        "creation_time": f"{datetime.fromtimestamp(status.st_mtime, UTC):%Y-%m-%dT%H:%M:%S}",
        "size": status.st_size,
        "checksum": checksum.read_text(encoding="ascii") if checksum.is_file() else None,
    }
