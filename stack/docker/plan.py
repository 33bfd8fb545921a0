"""The pure planner: desired and observed state in, ordered steps with their causes out."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import ip_network

from stack.docker.fields import (
    Json,
    desired_fields,
    differences,
    observed_fields,
    printable,
    without_image,
)
from stack.docker.observe import ASIDE_SUFFIX, Engine, Observed
from stack.docker.spec import (
    CONTEXT_LABEL,
    OWNER_LABEL,
    OWNER_VALUE,
    Attachment,
    Container,
    Desired,
    Network,
)

LEFTOVERS = "leftovers"
_NO_PART = "made by this toolkit, but no part of the site any more"


class Action(StrEnum):
    CREATE_NETWORK = "create the network"
    RECREATE_NETWORK = "recreate the network"
    RELEASE = "release an address"
    REMOVE = "remove the container"
    REMOVE_NETWORK = "remove the network"
    CREATE_VOLUME = "create the volume"
    ADOPT_VOLUME = "adopt the volume"
    PULL = "pull the image"
    BUILD = "build the image"
    WRITE = "write a file"
    SET_FILE_ASIDE = "set a file aside"
    RETURN = "return the container set aside"
    CREATE = "create the container"
    REPLACE = "replace the container"
    FINISH = "finish the replacement"
    UPDATE = "update in place"
    DISCONNECT = "disconnect"
    CONNECT = "connect"
    UNPAUSE = "unpause"
    START = "start"
    RESTART = "restart"
    RELOAD = "reload"
    PROVE = "prove that it works"


@dataclass(frozen=True)
class Change:
    """One field of a subject with its value before and after, as text."""

    field: str
    before: str
    after: str

    @property
    def shown(self) -> dict[str, str]:
        """Field, before and after as they may be shown: what may be a secret is hidden."""
        return {
            "field": self.field,
            "before": printable(self.field, self.before),
            "after": printable(self.field, self.after),
        }

    def __str__(self) -> str:
        return "{field}: {before} -> {after}".format_map(self.shown)


@dataclass(frozen=True)
class Step:
    """One thing to do. ``subject`` is ``container NAME``, ``network NAME``, ``volume NAME`` or
    ``leftovers``; ``target`` is the network, file or container that the action is about, where it
    needs one."""

    subject: str
    action: Action
    cause: str
    changes: tuple[Change, ...] = ()
    target: str = ""

    def __str__(self) -> str:
        return described(self.subject, self.action, self.target, self.cause, self.changes)


def described(subject: str, action: str, target: str, cause: str, changes: Iterable[Change]) -> str:
    """What is done to a subject as text: one line, and one more for each change."""
    about = f" {target}" if target else ""
    return "\n".join(
        (f"{subject}: {action}{about} ({cause})", *(f"    {change}" for change in changes))
    )


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        return "\n".join(str(step) for step in self.steps)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def about(self, subject: str) -> "Plan":
        """The steps of one subject, in order."""
        return Plan(tuple(step for step in self.steps if step.subject == subject))


class Refusal(ValueError):
    """The host holds something that the toolkit must not touch. One sentence a line."""


def _owned(labels: Json | None) -> bool:
    return (labels or {}).get(OWNER_LABEL) == OWNER_VALUE


def _changes(pairs: list[tuple[str, str, str]]) -> tuple[Change, ...]:
    return tuple(Change(*pair) for pair in pairs)


def plan(desired: Desired, observed: Observed, adopt: bool = False) -> Plan:
    """The steps that bring ``observed`` to ``desired``; no steps when nothing differs.

    With ``adopt`` a container, network or volume of our name that is not ours is taken over.

    Raises Refusal, naming every obstacle, when going on would touch what is not ours.
    """
    refusals = list(_foreign_aside(desired, observed))
    refusals += [] if adopt else _foreign(desired, observed)
    refusals += _strangers_in_the_way(desired, observed)
    refusals += _networks_in_the_way(desired, observed)
    if refusals:
        raise Refusal("\n".join(refusals))
    steps = list(_plan_leftovers(desired, observed))
    for network in desired.networks:
        steps += _plan_network(network, desired, observed)
    for volume in desired.volumes:
        steps += _plan_volume(volume.name, observed)
    for container in desired.containers:
        steps += _plan_container(container, desired, observed)
    return Plan(tuple(steps))


def _foreign(desired: Desired, observed: Observed) -> Iterator[str]:
    subjects = (
        *(("container", c.name, observed.containers.get(c.name)) for c in desired.containers),
        *(("network", n.name, observed.networks.get(n.name)) for n in desired.networks),
        *(("volume", v.name, observed.volumes.get(v.name)) for v in desired.volumes),
    )
    for kind, name, document in subjects:
        if document is None or (kind == "volume" and name in observed.adopted):
            continue
        owned = _is_owned(document, observed) if kind == "container" else _owned(document["Labels"])
        if not owned:
            yield (
                f"{kind} {name} exists but was not made by this toolkit; "
                f"remove or rename it, or take it over with --data adopt=yes"
            )


def _foreign_aside(desired: Desired, observed: Observed) -> Iterator[str]:
    for name in (container.name + ASIDE_SUFFIX for container in desired.containers):
        document = observed.containers.get(name)
        if document and not _is_owned(document, observed):
            yield (
                f"container {name} was not made by this toolkit, but has the name under which it"
                " sets a container aside; remove or rename it"
            )


def _is_owned(document: Json, observed: Observed) -> bool:
    """Whether a container is ours by its label, or because its adoption was begun."""
    return _owned(document["Config"]["Labels"]) or document["Id"] in observed.adopted


def _attachments(document: Json) -> dict[str, Json]:
    return document["NetworkSettings"]["Networks"] or {}


def _address(endpoint: Json) -> str:
    configured = (endpoint.get("IPAMConfig") or {}).get("IPv4Address")
    return configured or endpoint.get("IPAddress") or "dynamic"


def _is_ours(name: str, desired: Desired) -> bool:
    ours = {container.name for container in desired.containers}
    return name in ours or name.removesuffix(ASIDE_SUFFIX) in ours


def _is_leftover(name: str, document: Json, desired: Desired) -> bool:
    return _owned(document["Config"]["Labels"]) and not _is_ours(name, desired)


def _plan_leftovers(desired: Desired, observed: Observed) -> Iterator[Step]:
    for name, document in sorted(observed.containers.items()):
        if _is_leftover(name, document, desired):
            yield Step(LEFTOVERS, Action.REMOVE, _NO_PART, target=name)
    for name in sorted(_removed_networks(desired, observed)):
        yield Step(LEFTOVERS, Action.REMOVE_NETWORK, _NO_PART, target=name)


def _leftover_networks(desired: Desired, observed: Observed) -> dict[str, list[str]]:
    """Networks of ours that the site no longer has, with the containers of others in them."""
    ours = {network.name for network in desired.networks}
    return {
        name: _strangers_on(name, desired, observed)
        for name, document in observed.networks.items()
        if name not in ours and _owned(document["Labels"])
    }


def _removed_networks(desired: Desired, observed: Observed) -> set[str]:
    leftovers = _leftover_networks(desired, observed)
    return {name for name, strangers in leftovers.items() if not strangers}


def _strangers_on(network: str, desired: Desired, observed: Observed) -> list[str]:
    return [
        name
        for name, document in sorted(observed.containers.items())
        if network in _attachments(document)
        and not _is_ours(name, desired)
        and not _is_leftover(name, document, desired)
    ]


def _strangers_in_the_way(desired: Desired, observed: Observed) -> Iterator[str]:
    addresses = {
        (attachment.network, attachment.address): container.name
        for container in desired.containers
        for attachment in container.attachments
    }
    recreated = {n.name for n in desired.networks if _network_changes(n, observed)}
    for name, document in sorted(observed.containers.items()):
        if _is_ours(name, desired) or _is_leftover(name, document, desired):
            continue
        for network, endpoint in sorted(_attachments(document).items()):
            if network in recreated and network in observed.networks:
                yield (
                    f"network {network} has to be recreated, but container {name}, which is not "
                    f"ours, is attached to it; disconnect {name} first"
                )
            elif owner := addresses.get((network, _address(endpoint))):
                yield (
                    f"container {name}, which is not ours, holds {_address(endpoint)} in "
                    f"{network}, the address of {owner}; disconnect {name} first"
                )


def _networks_in_the_way(desired: Desired, observed: Observed) -> Iterator[str]:
    """What Docker would refuse only after the network that is there has been removed."""
    leftovers = _leftover_networks(desired, observed)
    ours = {network.name for network in desired.networks}
    staying = observed.networks.keys() - ours - _removed_networks(desired, observed)
    pools = [
        (name, ip_network(pool["Subnet"], strict=False))
        for name in sorted(staying)
        for pool in observed.networks[name]["IPAM"]["Config"] or ()
        if observed.networks[name]["Scope"] == "local"
    ]
    for network in desired.networks:
        subnet = ip_network(network.subnet)
        if network.name in observed.networks and not _network_changes(network, observed):
            continue
        for name, pool in pools:
            if not pool.overlaps(subnet):
                continue
            needs = f"network {network.name} needs {subnet}, but network {name}"
            if strangers := leftovers.get(name):
                yield (
                    f"{needs}, which the site no longer has, has {pool} and container"
                    f" {strangers[0]}, which is not ours, attached; disconnect {strangers[0]} first"
                )
            else:
                yield (
                    f"{needs}, which is not ours, has {pool};"
                    f" remove {name} or choose another subnet"
                )


def _network_fields(network: Network) -> dict[str, str]:
    options = {f"option.{name}": value for name, value in network.options.items()}
    return {
        "driver": network.driver,
        "subnet": network.subnet,
        "gateway": network.gateway,
        "dynamic range": network.dynamic_range,
        "owner label": "yes",
        **options,
    }


# Settings that no network of ours has.
_NEVER_IN_NETWORK = {
    "Attachable": "attachable",
    "ConfigOnly": "configuration only",
    "EnableIPv6": "ipv6",
    "Ingress": "ingress",
    "Internal": "internal",
}


def _observed_network_fields(document: Json) -> dict[str, str]:
    pools = document["IPAM"]["Config"] or [{}]
    options = {f"option.{name}": value for name, value in (document["Options"] or {}).items()}
    fields = {
        "driver": document["Driver"],
        "subnet": " ".join(pool.get("Subnet", "-") for pool in pools),
        "gateway": " ".join(pool.get("Gateway", "-") for pool in pools),
        "dynamic range": " ".join(pool.get("IPRange", "-") for pool in pools),
        **{
            f"reserved address.{name}": address
            for pool in pools
            for name, address in (pool.get("AuxiliaryAddresses") or {}).items()
        },
        **options,
    }
    if document["IPAM"].get("Driver") != "default":
        fields["address manager"] = document["IPAM"].get("Driver", "-")
    if _owned(document["Labels"]):
        fields["owner label"] = "yes"
    for key, name in _NEVER_IN_NETWORK.items():
        if document.get(key):
            fields[name] = "yes"
    if document.get("EnableIPv4") is False:
        fields["ipv4"] = "no"
    return fields


def _network_changes(network: Network, observed: Observed) -> tuple[Change, ...]:
    document = observed.networks.get(network.name)
    if document is None:
        return ()
    return _changes(differences(_observed_network_fields(document), _network_fields(network)))


def _plan_network(network: Network, desired: Desired, observed: Observed) -> Iterator[Step]:
    subject = f"network {network.name}"
    if network.name not in observed.networks:
        yield Step(subject, Action.CREATE_NETWORK, "not found")
        return
    if changes := _network_changes(network, observed):
        yield Step(subject, Action.RECREATE_NETWORK, "differs", changes)
        return
    wanted = {
        attachment.address: container.name
        for container in desired.containers
        for attachment in container.attachments
        if attachment.network == network.name
    }
    for name, document in sorted(observed.containers.items()):
        endpoint = _attachments(document).get(network.name)
        if endpoint is None or not _is_ours(name, desired):
            continue
        owner = wanted.get(_address(endpoint))
        if owner and owner != name.removesuffix(ASIDE_SUFFIX):
            cause = f"it holds {_address(endpoint)}, the address of {owner}"
            yield Step(subject, Action.RELEASE, cause, target=name)


def _plan_volume(name: str, observed: Observed) -> Iterator[Step]:
    subject = f"volume {name}"
    document = observed.volumes.get(name)
    if document is None:
        yield Step(subject, Action.CREATE_VOLUME, "not found")
    elif not _owned(document["Labels"]) and name not in observed.adopted:
        yield Step(subject, Action.ADOPT_VOLUME, "exists without our label; its data is kept")


def _plan_image(container: Container, subject: str, observed: Observed) -> Iterator[Step]:
    image = observed.images.get(container.image)
    recorded = observed.pulled.get(container.image)
    labels = ((image or {}).get("Config") or {}).get("Labels") or {}
    changes: tuple[Change, ...] = ()
    if image is None:
        cause = "not found"
    elif container.build and labels.get(CONTEXT_LABEL) != container.build.context:
        cause = "not built from our source"
        changes = (Change("context", labels.get(CONTEXT_LABEL, "-"), container.build.context),)
    elif recorded and recorded != image["Id"]:
        cause = "another image stands behind it"
        changes = (Change("image id", image["Id"], recorded),)
    else:
        return
    action = Action.BUILD if container.build else Action.PULL
    yield Step(subject, action, cause, changes, container.image)


def _plan_files(container: Container, subject: str, observed: Observed) -> Iterator[Step]:
    for file in container.files:
        actual = observed.files.get(file.path)
        if actual is None:
            yield Step(subject, Action.WRITE, "not found", target=file.path)
            continue
        before = {"content": actual.sha256[:12], "mode": actual.mode, "owner": actual.owner}
        after = {"content": file.sha256[:12], "mode": file.mode, "owner": file.owner}
        if changes := _changes(differences(before, after)):
            yield Step(subject, Action.WRITE, "differs", changes, file.path)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _strays(container: Container, desired: Desired, observed: Observed) -> list[str]:
    """Files that nobody asked for beside those of the container: it may read them too."""
    wanted = {file.path for other in desired.containers for file in other.files}
    folders = {file.folder for file in container.files}
    return sorted(path for path in observed.files.keys() - wanted if _folder(path) in folders)


def _start_folders(container: Container) -> set[str]:
    """Folders whose files the container reads at its start or on a reload."""
    return {file.folder for file in container.start_files}


def _rewrites(container: Container, steps: list[Step]) -> bool:
    """Whether a step changes the content of what is read only at start or on a reload."""
    start_files = {file.path for file in container.start_files}
    return any(
        _folder(step.target) in _start_folders(container)
        if step.action is Action.SET_FILE_ASIDE
        else step.target in start_files
        and (not step.changes or any(change.field == "content" for change in step.changes))
        for step in steps
    )


def _endpoint_text(
    endpoint: Json, document: Json, container: Container, observed: Observed, network: str
) -> str:
    # Engines add the names that a container answers to in any case.
    own = {container.name, document["Name"].lstrip("/"), document["Id"][:12], container.hostname}
    aliases = " ".join(sorted(set(endpoint.get("Aliases") or ()) - own))
    text = " as ".join(filter(None, (_address(endpoint), aliases)))
    for key, name in (("Links", "links"), ("DriverOpts", "options"), ("GwPriority", "priority")):
        if endpoint.get(key):
            text += f" with {name} {json.dumps(endpoint[key], sort_keys=True)}"
    live = observed.networks.get(network, {}).get("Id")
    stale = live and endpoint.get("NetworkID") not in ("", None, live)
    return f"{text} in a network that is gone" if stale or not live else text


def _attachment_text(attachment: Attachment, container: Container) -> str:
    aliases = " ".join(sorted(set(attachment.aliases) - {container.name, container.hostname}))
    return " as ".join(filter(None, (attachment.address, aliases)))


def _plan_attachments(
    container: Container, subject: str, document: Json, desired: Desired, observed: Observed
) -> Iterator[Step]:
    wanted = {attachment.network: attachment for attachment in container.attachments}
    actual = _attachments(document)
    removed = _removed_networks(desired, observed)
    for network in sorted(actual.keys() - wanted.keys() - removed):
        before = _endpoint_text(actual[network], document, container, observed, network)
        yield Step(
            subject,
            Action.DISCONNECT,
            "not a network of this container",
            (Change("network", before, "-"),),
            network,
        )
    for network, attachment in wanted.items():
        after = _attachment_text(attachment, container)
        before = "-"
        if network in actual:
            before = _endpoint_text(actual[network], document, container, observed, network)
        if before != after:
            cause = "not attached" if before == "-" else "differs"
            yield Step(subject, Action.CONNECT, cause, (Change("network", before, after),), network)


def _plan_running(subject: str, document: Json) -> Iterator[Step]:
    state = document["State"]
    if state.get("Paused"):
        yield Step(subject, Action.UNPAUSE, "paused")
    elif state["Status"] == "restarting":
        yield Step(subject, Action.RESTART, "restarting in a loop")
    elif not state["Running"]:
        yield Step(subject, Action.START, f"{state['Status']}, exit code {state['ExitCode']}")


def _in_place(change: Change, container: Container) -> bool:
    """Whether ``docker update`` can do it. It takes no limit away but that of processes."""
    match change.field:
        case "memory" | "cpus" | "restart":
            return change.after != "-"
        case "memory and swap":
            return container.memory is not None
        case "pids":
            return True
    return False


def _read_edited_files(
    container: Container, document: Json, observed: Observed, strays: list[str]
) -> bool:
    """Whether the running container may have read a file that had been changed by hand."""
    started = datetime.fromisoformat(document["State"]["StartedAt"]).timestamp()
    edited = [
        observed.files[file.path].modified
        for file in container.start_files
        if file.path in observed.files and observed.files[file.path].sha256 != file.sha256
    ]
    edited += [
        observed.files[path].modified
        for path in strays
        if _folder(path) in _start_folders(container)
    ]
    return any(moment <= started for moment in edited)


def _newer_secrets(container: Container, document: Json, observed: Observed) -> list[str]:
    """Names of the secrets that the running container read before they were changed."""
    started = datetime.fromisoformat(document["State"]["StartedAt"]).timestamp()
    return [
        file.name
        for file in container.secrets
        if file.at_start and observed.secrets.get(file.path, started) > started
    ]


def _plan_reload(
    container: Container,
    subject: str,
    document: Json,
    observed: Observed,
    rewritten: bool,
    strays: list[str],
) -> Iterator[Step]:
    if container.reload is None:
        if rewritten and _read_edited_files(container, document, observed, strays):
            yield Step(subject, Action.RESTART, "it started after the file was changed by hand")
        elif any(file.path in observed.unproven for file in container.start_files):
            yield Step(subject, Action.RESTART, "a change of its files was interrupted")
        return
    owner, loaded = observed.loaded.get(container.name, ("", "-"))
    if owner != document["Id"]:
        loaded = "-"
    if loaded != container.files_hash or rewritten:
        before, after = {"loaded files": loaded}, {"loaded files": container.files_hash}
        cause = "files were written" if rewritten else "it has not loaded its files"
        yield Step(subject, Action.RELOAD, cause, _changes(differences(before, after)))


def _container_changes(
    container: Container, document: Json, observed: Observed
) -> tuple[Change, ...]:
    image = observed.images.get(container.image)
    pulled = observed.pulled.get(container.image)
    engine = observed.engine or Engine("unknown")
    before = observed_fields(document, image, engine)
    after = desired_fields(container, image)
    if image is None or (pulled and pulled != image["Id"]):
        after = desired_fields(container, None)
        after["image id"] = pulled or before["image id"]
        before, after = without_image(before, after)
    if container.runtime == engine.runtime:
        after.pop("runtime", None)
    return _changes(differences(before, after))


def _plan_container(container: Container, desired: Desired, observed: Observed) -> Iterator[Step]:
    subject = f"container {container.name}"
    yield from _plan_image(container, subject, observed)
    strays = _strays(container, desired, observed)
    files = [
        *_plan_files(container, subject, observed),
        *(
            Step(subject, Action.SET_FILE_ASIDE, "no file of the site", target=path)
            for path in strays
        ),
    ]
    yield from files
    rewritten = _rewrites(container, files)

    aside = observed.containers.get(container.name + ASIDE_SUFFIX)
    document = observed.containers.get(container.name)
    if document is None and aside is not None:
        yield Step(subject, Action.RETURN, "a replacement was interrupted")
        document, aside = aside, None
    if document is None:
        yield Step(subject, Action.CREATE, "not found")
        return

    changes = _container_changes(container, document, observed)
    if any(not _in_place(change, container) for change in changes):
        yield Step(subject, Action.REPLACE, "differs", changes)
        return

    if changes:
        yield Step(subject, Action.UPDATE, "differs", changes)
    yield from _plan_attachments(container, subject, document, desired, observed)
    if aside is not None:
        yield Step(subject, Action.FINISH, "a replacement was interrupted")
        return
    running = list(_plan_running(subject, document))
    yield from running
    asleep = [step for step in running if step.action is not Action.UNPAUSE]
    if not running and (folders := observed.stale_folders.get(container.name)):
        cause = f"it has a deleted folder mounted: {', '.join(folders)}"
        yield Step(subject, Action.RESTART, cause)
    elif not asleep and (names := _newer_secrets(container, document, observed)):
        yield Step(subject, Action.RESTART, f"it started before {', '.join(names)} was changed")
    elif not asleep:
        loading = list(_plan_reload(container, subject, document, observed, rewritten, strays))
        yield from loading
        proven, _ = observed.loaded.get(container.name, ("", ""))
        if not loading and proven != document["Id"]:
            yield Step(subject, Action.PROVE, "it has not been seen to work yet")
