"""Recorded hosts, and what somebody may have done to one."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from stack.docker.observe import ASIDE_SUFFIX, Observed, ObservedFile, parse
from stack.docker.spec import Desired
from stack.secrets import Secret, SecretFile
from tests.unit.docker.recording import DESIRED

RECORDED = Path(__file__).parent / "recorded"
ENGINES = sorted(path.stem for path in RECORDED.glob("*.txt"))

BRIDGE_ENDPOINT = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "NetworkID": "",
    "IPAddress": "",
    "DriverOpts": None,
}


@cache
def recorded(engine: str) -> Observed:
    return parse((RECORDED / f"{engine}.txt").read_text())


@cache
def _pickled(engine: str) -> bytes:
    return pickle.dumps(recorded(engine))


class Host:
    """A copy of a recorded host, to be changed; ``desired`` is what has to stand on it."""

    def __init__(self, engine: str) -> None:
        observed: Observed = pickle.loads(_pickled(engine))
        self.engine = observed.engine
        self.desired: Desired = DESIRED
        self.containers = dict(observed.containers)
        self.networks = dict(observed.networks)
        self.volumes = dict(observed.volumes)
        self.images = dict(observed.images)
        self.files = dict(observed.files)
        self.loaded = dict(observed.loaded)
        self.pulled = dict(observed.pulled)
        self.adopted: set[str] = set()
        self.unproven: set[str] = set()
        self.stale_folders: dict[str, tuple[str, ...]] = {}
        self.secrets: dict[str, float] = {}

    @property
    def observed(self) -> Observed:
        return Observed(
            engine=self.engine,
            containers=self.containers,
            networks=self.networks,
            volumes=self.volumes,
            images=self.images,
            files=self.files,
            loaded=self.loaded,
            pulled=self.pulled,
            adopted=frozenset(self.adopted),
            unproven=frozenset(self.unproven),
            stale_folders=self.stale_folders,
            secrets=self.secrets,
        )

    def endpoints(self, container: str) -> dict[str, Any]:
        endpoints: dict[str, Any] = self.containers[container]["NetworkSettings"]["Networks"]
        return endpoints


Change = Callable[[Host], object]


def nothing(_: Host) -> None:
    pass


def both(*changes: Change) -> Change:
    def apply(host: Host) -> None:
        for change in changes:
            change(host)

    return apply


def config(name: str, **values: Any) -> Change:
    return lambda host: host.containers[name]["Config"].update(values)


def host_config(name: str, **values: Any) -> Change:
    return lambda host: host.containers[name]["HostConfig"].update(values)


def state(name: str, status: str, **values: Any) -> Change:
    running = status in ("running", "paused", "restarting")
    values = {"Status": status, "Running": running, "Paused": status == "paused", **values}
    return lambda host: host.containers[name]["State"].update(values)


def environment(name: str, variable: str, value: str | None) -> Change:
    """Give a variable another value, or none."""

    def apply(host: Host) -> None:
        document = host.containers[name]["Config"]
        entries = [entry for entry in document["Env"] or () if not entry.startswith(f"{variable}=")]
        document["Env"] = entries if value is None else [*entries, f"{variable}={value}"]

    return apply


def label(kind: str, name: str, key: str, value: str | None) -> Change:
    """Give a container, network, volume or image another label, or take it away."""

    def apply(host: Host) -> None:
        document = getattr(host, kind)[name]
        labels = document.get("Config", document).setdefault("Labels", None) or {}
        labels.pop(key, None)
        document.get("Config", document)["Labels"] = labels | ({key: value} if value else {})

    return apply


def mount(name: str, target: str, **values: Any) -> Change:
    """Change a mount, add it or (without values) take it away."""

    def apply(host: Host) -> None:
        document = host.containers[name]
        mounts = document["Mounts"]
        found = next((m for m in mounts if m["Destination"] == target), {"Destination": target})
        rest = [m for m in mounts if m["Destination"] != target]
        document["Mounts"] = [*rest, {**found, **values}] if values else rest

    return apply


def gone(kind: str, name: str) -> Change:
    return lambda host: getattr(host, kind).pop(name)


def endpoint(container: str, network: str, **values: Any) -> Change:
    return lambda host: host.endpoints(container)[network].update(values)


def detached(container: str, network: str) -> Change:
    return lambda host: host.endpoints(container).pop(network)


def attached(container: str, network: str, address: str = "", **values: Any) -> Change:
    """Attach a container to a network, with a fixed address where one is given."""

    def apply(host: Host) -> None:
        host.endpoints(container)[network] = {
            **BRIDGE_ENDPOINT,
            "NetworkID": host.networks[network]["Id"],
            "IPAMConfig": {"IPv4Address": address} if address else None,
            "IPAddress": address,
            **values,
        }

    return apply


def pool(network: str, **values: Any) -> Change:
    return lambda host: host.networks[network]["IPAM"]["Config"][0].update(values)


def network(name: str, **values: Any) -> Change:
    return lambda host: host.networks[name].update(values)


def image(reference: str, **values: Any) -> Change:
    return lambda host: host.images[reference].update(values)


def file(path: str, **values: Any) -> Change:
    """Change what was seen of a file."""

    def apply(host: Host) -> None:
        host.files[path] = ObservedFile(**{**vars(host.files[path]), **values})

    return apply


def edited(path: str, since_start: float, container: str) -> Change:
    """Edit a file so many seconds after (or before) the start of a container."""

    def apply(host: Host) -> None:
        started = datetime.fromisoformat(host.containers[container]["State"]["StartedAt"])
        file(path, sha256="0" * 64, modified=started.timestamp() + since_start)(host)

    return apply


def stray(path: str, like: str, since_start: float, container: str) -> Change:
    """A file that nobody asked for, of so many seconds after (or before) a container's start."""

    def apply(host: Host) -> None:
        host.files[path] = host.files[like]
        edited(path, since_start, container)(host)

    return apply


def secret_changed(since_start: float, *, at_start: bool = True) -> Change:
    """Container plain reads a secret that was changed so many seconds after its start."""
    key = SecretFile("plain", "key", 0, (Secret("key"),), at_start)

    def apply(host: Host) -> None:
        started = datetime.fromisoformat(host.containers["plain"]["State"]["StartedAt"])
        host.secrets[key.path] = started.timestamp() + since_start
        containers = (
            replace(c, secrets=(key,)) if c.name == "plain" else c for c in host.desired.containers
        )
        host.desired = replace(host.desired, containers=tuple(containers))

    return apply


def aside(name: str, *, replaced: bool) -> Change:
    """A replacement that was cut off: the old container is set aside; the new one may be there."""

    def apply(host: Host) -> None:
        document = copy.deepcopy(host.containers[name])
        document["Name"] = f"/{name}{ASIDE_SUFFIX}"
        host.containers[name + ASIDE_SUFFIX] = document
        if not replaced:
            del host.containers[name]

    return apply


def stranger(name: str = "stranger") -> Change:
    """A container that is not ours, attached to nothing of ours."""

    def apply(host: Host) -> None:
        document = copy.deepcopy(host.containers["plain"])
        document |= {"Name": f"/{name}", "Id": "5" * 64}
        document["Config"]["Labels"] = {}
        document["NetworkSettings"]["Networks"] = {}
        host.containers[name] = document

    return apply


def strange_network(subnet: str) -> Change:
    """A network that is not ours, over some addresses."""

    def change(host: Host) -> None:
        document = copy.deepcopy(host.networks["front"])
        document.update(Name="theirs", Id="f" * 64, Labels={}, Containers={})
        document["IPAM"]["Config"] = [{"Subnet": subnet}]
        host.networks["theirs"] = document

    return change


def renamed_network(old: str, new: str) -> Change:
    """The site has another name for a network."""

    def other(name: str) -> str:
        return new if name == old else name

    def change(wanted: Desired) -> Desired:
        return replace(
            wanted,
            networks=tuple(replace(n, name=other(n.name)) for n in wanted.networks),
            containers=tuple(
                replace(
                    c,
                    attachments=tuple(replace(a, network=other(a.network)) for a in c.attachments),
                )
                for c in wanted.containers
            ),
        )

    return desired(change)


def desired(change: Callable[[Desired], Desired]) -> Change:
    def apply(host: Host) -> None:
        host.desired = change(host.desired)

    return apply
